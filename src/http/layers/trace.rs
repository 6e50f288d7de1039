//! The span of a request: what the client sent, what the registry responded, and everything that
//! was done for it below.
//!
//! It ends when the last byte of the response has left, or its client has gone. Without a trace
//! exporter there is no span, and the functions here cost next to nothing.

use axum::extract::Request;
use http::{Method, response};
use tracing::Span;
use tracing::field::{Empty, display};

use super::RequestInfo;
use crate::http::endpoint::{Endpoint, Target};
use crate::http::error::Failure;
use crate::http::headers::{self, DOCKER_CONTENT_DIGEST};
use crate::telemetry::traces;

/// The span of a request that is being answered.
pub(in crate::http) struct RequestSpan {
    span: Span,
    /// Whether the path names the digest of the content.
    names_digest: bool,
}

/// Opens the span of a request. Its method and its route name it, where it has a route.
pub(in crate::http) fn open(request: &Request, info: &RequestInfo) -> RequestSpan {
    let (method, client, endpoint) = (request.method(), info.client, info.endpoint());
    let row = endpoint.map(|endpoint| endpoint.operation.row());
    let span = tracing::info_span!(
        target: "traces",
        parent: None,
        "request",
        otel.name = name(row.map(|row| row.route), method),
        otel.kind = "server",
        otel.status_code = Empty,
        otel.status_description = Empty,
        http.request.method = known(method),
        http.route = row.map(|row| row.route),
        http.response.status_code = Empty,
        url.scheme = if client.secure { "https" } else { "http" },
        client.address = client.address.map(display),
        error.type = Empty,
        oci.endpoint = row.map(|row| row.spec_id),
        oci.repository = Empty,
        oci.reference = Empty,
        oci.digest = Empty,
        upload.id = Empty,
    );
    let mut names_digest = false;
    if !span.is_disabled() {
        traces::set_parent(&span, request.headers());
        names_digest = endpoint.is_some_and(|endpoint| describe(&span, endpoint));
    }
    // Last, for from here on the trace is decided.
    if let Some(id) = traces::trace_id(&span) {
        info.log_fields.trace_id.get_or_init(|| id);
    }
    RequestSpan { span, names_digest }
}

/// The methods of RFC 9110, section 9.1, and PATCH.
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];

/// The method, if it is one; clients may send any word.
fn known(method: &Method) -> &'static str {
    METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

fn name(route: Option<&str>, method: &Method) -> String {
    match (route, known(method)) {
        (Some(route), method) => format!("{method} {route}"),
        (None, "_OTHER") => "HTTP".to_owned(),
        (None, method) => method.to_owned(),
    }
}

/// Records what the path says; true if that includes a digest.
fn describe(span: &Span, endpoint: &Endpoint) -> bool {
    span.record("oci.repository", endpoint.repository.as_ref().map(display));
    let target = endpoint.operation.target();
    match target {
        Target::Reference(reference) => {
            span.record("oci.reference", display(reference));
        }
        Target::Upload(id) => {
            span.record("upload.id", display(id));
        }
        Target::Digest(_) | Target::None => {}
    }
    span.record("oci.digest", target.digest().map(display));
    target.digest().is_some()
}

impl RequestSpan {
    pub(super) fn respond(&self, head: &response::Parts) {
        let span = &self.span;
        if span.is_disabled() {
            return;
        }
        span.record("http.response.status_code", head.status.as_u16());
        // The digest of what a tag points at, or of what was pushed, is known only now.
        let digest = headers::text(&head.headers, &DOCKER_CONTENT_DIGEST);
        span.record("oci.digest", digest.filter(|_| !self.names_digest));
        // What a client did wrong is no error of the server.
        if head.status.is_server_error() {
            let failure = head.extensions.get::<Failure>();
            let cause = failure.and_then(|failure| failure.cause.as_deref());
            failed(span, head.status.as_str(), cause.unwrap_or_default());
        }
    }

    pub(super) fn fail(&self, error: &axum::Error) {
        failed(&self.span, "body", &error.to_string());
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }
}

fn failed(span: &Span, kind: &str, why: &str) {
    span.record("error.type", kind);
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", why);
}
