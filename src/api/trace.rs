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

use super::{Cause, Client, Endpoint, headers};
use crate::auth::Resource;
use crate::oci::Reference;
use crate::telemetry::traces;

/// Opens the span of a request. Its method and its path name it where it is one that we know.
pub(super) fn request(
    endpoint: Option<&Endpoint>,
    method: &Method,
    client: Client,
    headers: &HeaderMap,
) -> Span {
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
    if !span.is_disabled() {
        traces::continue_from(&span, headers);
        if let Some(endpoint) = endpoint {
            describe(&span, endpoint);
        }
    }
    span
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

/// What the path says.
fn describe(span: &Span, endpoint: &Endpoint) {
    match endpoint {
        Endpoint::Base | Endpoint::Catalog | Endpoint::Extensions(None) => return,
        Endpoint::GetManifest(_, reference)
        | Endpoint::HeadManifest(_, reference)
        | Endpoint::PutManifest(_, reference)
        | Endpoint::DeleteManifest(_, reference) => {
            span.record("oci.reference", display(reference));
            if let Reference::Digest(digest) = reference {
                span.record("oci.digest", display(digest));
            }
        }
        Endpoint::GetBlob(_, digest)
        | Endpoint::HeadBlob(_, digest)
        | Endpoint::DeleteBlob(_, digest)
        | Endpoint::ListReferrers(_, digest) => {
            span.record("oci.digest", display(digest));
        }
        Endpoint::PatchUpload(_, id)
        | Endpoint::PutUpload(_, id)
        | Endpoint::GetUpload(_, id)
        | Endpoint::DeleteUpload(_, id) => {
            span.record("upload.id", display(id));
        }
        Endpoint::StartUpload { .. } | Endpoint::ListTags(_) | Endpoint::Extensions(Some(_)) => {}
    }
    if let Resource::Repository(name) = endpoint.access().resource {
        span.record("oci.repository", display(name));
    }
}

/// Notes the answer, whose body carries the span on until it has been sent.
pub(super) fn answered(span: Span, response: Response) -> Response {
    if span.is_disabled() {
        return response;
    }
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    // The digest of what a tag names is known only now.
    if let Some(digest) = headers::text(response.headers(), &headers::DOCKER_CONTENT_DIGEST) {
        span.record("oci.digest", digest);
    }
    // What a client did wrong is no error of the server that says so.
    if status.is_server_error() {
        let cause = response.extensions().get::<Cause>().map(|Cause(cause)| cause.as_str());
        failed(&span, status.as_str(), cause.unwrap_or_default());
    }
    response.map(|body| Body::new(Traced { body, span }))
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
