//! The access log: one line for each request, at its end.
//!
//! The line is written when the [`Watch`](super::Watch) of the request is dropped: with the body of
//! the response, or before there is one, because the client has gone. So no request is left out.

use std::sync::{Arc, OnceLock};

use axum::extract::Request;
use http::{HeaderValue, Method, StatusCode, response};
use memchr::memchr;
use tracing::Level;
use tracing::field::display;
use tracing::level_filters::LevelFilter;

use super::peer::Client;
use super::request_id::X_REQUEST_ID;
use super::{Ended, RequestInfo};
use crate::auth::Caller;
use crate::http::error::Failure;
use crate::http::headers::DOCKER_CONTENT_DIGEST;
use crate::oci::{Digest, RepositoryName};
use crate::telemetry::error_chain;
use crate::telemetry::metrics::{BrokenBy, Label as _, Operation};

/// Bytes of a path that the log repeats. No path of this API is longer.
const PATH_BYTES_MAX: usize = 1024;

/// The fields of the line that other layers and the handlers know. They are shared with the
/// request, because there may never be a response to carry them.
#[derive(Debug)]
pub(in crate::http) struct LogFields {
    pub(in crate::http) request_id: HeaderValue,
    pub(in crate::http) caller: OnceLock<Caller>,
    pub(in crate::http) trace_id: OnceLock<String>,
}

impl LogFields {
    pub(in crate::http) fn new(request_id: HeaderValue) -> Self {
        Self { request_id, caller: OnceLock::new(), trace_id: OnceLock::new() }
    }
}

/// The line of one request.
#[derive(Debug)]
pub(in crate::http) struct AccessLog {
    level: Option<Level>,
    operation: Operation,
    method: Method,
    path: Box<str>,
    client: Client,
    repository: Option<RepositoryName>,
    /// The digest in the path.
    asked: Option<Digest>,
    /// The digest of what was served or pushed.
    content: Option<HeaderValue>,
    fields: Arc<LogFields>,
    status: Option<StatusCode>,
    failure: Option<Failure>,
    /// Why the body of the response broke off.
    broken: Option<String>,
}

/// A copy of a path: a part of the head would keep all of it in memory until the response has left.
/// What follows `&` is a query that a client has joined to the path, and may be a secret.
fn shown(path: &str) -> Box<str> {
    let path = memchr(b'&', path.as_bytes()).map_or(path, |end| &path[..end]);
    path[..path.floor_char_boundary(PATH_BYTES_MAX)].into()
}

/// How a request ended that has a response.
fn how(broken: Option<BrokenBy>) -> &'static str {
    match broken {
        None => "request completed",
        Some(BrokenBy::Client) => "client disconnected during the response",
        Some(BrokenBy::Idle) => "response ended: the client took nothing of it for too long",
        // Its line has a cause.
        Some(BrokenBy::Store) => "request failed",
    }
}

impl AccessLog {
    /// Begins the line of a request. Without a level only failures are logged.
    pub(in crate::http) fn begin(
        level: Option<Level>,
        request: &Request,
        info: &RequestInfo,
    ) -> Self {
        let endpoint = info.endpoint();
        Self {
            level,
            operation: info.operation(),
            method: request.method().clone(),
            path: shown(request.uri().path()),
            client: info.client,
            repository: endpoint.and_then(|endpoint| endpoint.repository.clone()),
            asked: endpoint.and_then(|endpoint| endpoint.operation.target().digest().copied()),
            content: None,
            fields: info.log_fields.clone(),
            status: None,
            failure: None,
            broken: None,
        }
    }

    /// Learns what the response says, and names the request in it.
    pub(super) fn respond(&mut self, head: &mut response::Parts) {
        self.status = Some(head.status);
        self.content = head.headers.get(DOCKER_CONTENT_DIGEST).cloned();
        self.failure = head.extensions.remove();
        head.headers.insert(X_REQUEST_ID, self.fields.request_id.clone());
    }

    /// The head is gone, so the line is the only place that can tell of it.
    pub(super) fn fail(&mut self, error: &axum::Error) {
        self.broken = Some(error_chain(error));
    }

    /// Writes the line. The query is left out: clients put secrets there.
    pub(super) fn write(&self, ended: &Ended<'_>) {
        let failure = self.failure.as_ref();
        let cause = self.broken.as_deref().or(failure.and_then(|failure| failure.cause.as_deref()));
        let broken = ended.transfer.broken();
        let (level, message) = match (cause, self.status, self.level) {
            (Some(_), ..) => (Level::ERROR, "request failed"),
            (None, None, Some(level)) => (level, "client disconnected before the response"),
            (None, Some(_), Some(level)) => (level, how(broken)),
            (None, _, None) => return,
        };
        if level > LevelFilter::current() {
            return;
        }
        let Self { operation, method, path, repository, .. } = self;
        let sent = ended.transfer.sent;
        let promised = broken.and(ended.transfer.promised);
        let id = self.fields.request_id.to_str().ok().map(display);
        let trace_id = self.fields.trace_id.get().map(display);
        let operation = operation.as_str();
        let repository = repository.as_ref().map(display);
        let served = self.content.as_ref().and_then(|digest| digest.to_str().ok());
        let digest =
            served.map(str::to_owned).or_else(|| self.asked.map(|asked| asked.to_string()));
        let digest = digest.map(display);
        let status = self.status.map(|status| status.as_u16());
        let received = ended.received.unwrap_or_default();
        let duration_ms = (ended.after.as_secs_f64() * 100_000.0).round() / 100.0;
        let client = self.client.address.map(display);
        let subject = self.fields.caller.get().map(Caller::subject);
        let code = failure.map(|failure| display(failure.code));
        let auth = failure.and_then(|failure| failure.auth).map(|auth| display(auth.as_str()));
        let reason = failure.map(|failure| failure.reason.as_str());
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    $level, request_id = id, trace_id, %operation, %method, repository, path,
                    digest, status, received, sent, promised, duration_ms, client, subject, code,
                    auth, reason, cause, "{message}"
                )
            };
        }
        match level {
            Level::ERROR => line!(Level::ERROR),
            Level::INFO => line!(Level::INFO),
            _ => line!(Level::DEBUG),
        }
    }
}
