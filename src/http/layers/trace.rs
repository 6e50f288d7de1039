//! The span of a request: what was asked, what was answered, and everything that was done for it
//! below.
//!
//! It ends when the last byte of the answer has left, or its client has gone. Without anybody who
//! listens there is none, and the functions here cost next to nothing.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, Method};
use http_body::{Frame, SizeHint};
use tracing::Span;
use tracing::field::{Empty, display};

use crate::auth::Resource;
use crate::http::{Cause, Client, Endpoint, headers};
use crate::oci::Reference;
use crate::telemetry::traces;

/// The span of a request that is being answered.
pub(in crate::http) struct Asked {
    span: Span,
    /// Whether the path has named the content.
    names_digest: bool,
    /// The trace, if it is recorded.
    pub(in crate::http) trace_id: Option<String>,
}

/// Opens the span of a request. Its method and its path name it where it is one that we know.
pub(in crate::http) fn request(
    endpoint: Option<&Endpoint>,
    method: &Method,
    client: Client,
    headers: &HeaderMap,
) -> Asked {
    let span = tracing::info_span!(
        target: "traces",
        parent: None,
        "request",
        otel.name = name(endpoint, method),
        otel.kind = "server",
        otel.status_code = Empty,
        otel.status_description = Empty,
        http.request.method = known(method),
        http.route = endpoint.map(Endpoint::route),
        http.response.status_code = Empty,
        url.scheme = if client.secure { "https" } else { "http" },
        client.address = client.address.map(display),
        error.type = Empty,
        oci.endpoint = endpoint.map(Endpoint::id),
        oci.repository = Empty,
        oci.reference = Empty,
        oci.digest = Empty,
        upload.id = Empty,
    );
    let mut names_digest = false;
    if !span.is_disabled() {
        traces::set_parent(&span, headers);
        names_digest = endpoint.is_some_and(|endpoint| describe(&span, endpoint));
    }
    // Last, for from here on the trace is decided.
    let trace_id = traces::trace_id(&span);
    Asked { span, names_digest, trace_id }
}

/// The method, if it is one; clients may send any word.
fn known(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS
        | Method::CONNECT
        | Method::TRACE => method.as_str(),
        _ => "_OTHER",
    }
}

fn name(endpoint: Option<&Endpoint>, method: &Method) -> String {
    match (endpoint, known(method)) {
        (Some(endpoint), method) => format!("{method} {}", endpoint.route()),
        (None, "_OTHER") => "HTTP".to_owned(),
        (None, method) => method.to_owned(),
    }
}

/// Notes what the path says; true if that includes a digest.
fn describe(span: &Span, endpoint: &Endpoint) -> bool {
    let mut named = None;
    match endpoint {
        Endpoint::GetManifest(_, reference)
        | Endpoint::HeadManifest(_, reference)
        | Endpoint::PutManifest(_, reference)
        | Endpoint::DeleteManifest(_, reference) => {
            span.record("oci.reference", display(reference));
            if let Reference::Digest(digest) = reference {
                named = Some(digest);
            }
        }
        Endpoint::GetBlob(_, digest)
        | Endpoint::HeadBlob(_, digest)
        | Endpoint::DeleteBlob(_, digest)
        | Endpoint::ListReferrers(_, digest) => named = Some(digest),
        Endpoint::PatchUpload(_, id)
        | Endpoint::PutUpload(_, id)
        | Endpoint::GetUpload(_, id)
        | Endpoint::DeleteUpload(_, id) => {
            span.record("upload.id", display(id));
        }
        Endpoint::Base
        | Endpoint::Catalog
        | Endpoint::Extensions(_)
        | Endpoint::StartUpload { .. }
        | Endpoint::ListTags(_) => {}
    }
    if let Resource::Repository(name) = endpoint.access().resource {
        span.record("oci.repository", display(name));
    }
    span.record("oci.digest", named.map(display));
    named.is_some()
}

impl Asked {
    pub(in crate::http) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Notes the answer, whose body carries the span on until it has been sent.
    pub(in crate::http) fn answered(self, response: Response) -> Response {
        let Self { span, names_digest, .. } = self;
        if span.is_disabled() {
            return response;
        }
        let status = response.status();
        span.record("http.response.status_code", status.as_u16());
        // The digest of what a tag names, or of what was pushed, is known only now.
        let digest = headers::text(response.headers(), &headers::DOCKER_CONTENT_DIGEST);
        span.record("oci.digest", digest.filter(|_| !names_digest));
        // What a client did wrong is no error of the server that says so.
        if status.is_server_error() {
            let cause = response.extensions().get::<Cause>().map(|Cause(cause)| cause.as_str());
            failed(&span, status.as_str(), cause.unwrap_or_default());
        }
        response.map(|body| Body::new(Traced { body, span }))
    }
}

fn failed(span: &Span, kind: &str, why: &str) {
    span.record("error.type", kind);
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", why);
}

/// The body of an answer. What is fetched to send it belongs to the request.
struct Traced {
    body: Body,
    span: Span,
}

impl http_body::Body for Traced {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { body, span } = &mut *self;
        let _entered = span.enter();
        let frame = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(Some(Err(error))) = &frame {
            failed(span, "body", &error.to_string());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
