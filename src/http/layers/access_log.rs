//! A request from its head to the last byte of its answer: what is counted and logged of it.
//!
//! An [`Exchange`] begins with the head and ends when it is dropped: with the body of the answer,
//! or before there is one, because the client has gone. So nothing can happen to a request that is
//! neither counted nor logged.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body::{Body as _, Frame, SizeHint};
use tracing::Level;

use super::request_id::{self, X_REQUEST_ID};
use crate::http::{Cause, Client, Endpoint, RouteError};
use crate::telemetry::metrics::{self, Label as _, Metrics, Route, Status};

/// One request, while it is answered.
#[derive(Debug)]
pub(in crate::http) struct Exchange {
    metrics: Metrics,
    log: Option<Level>,
    begun: Instant,
    route: Route,
    method: Method,
    uri: Uri,
    id: HeaderValue,
    /// The trace that it is recorded in.
    trace_id: Option<String>,
    client: Client,
    /// Where the log names one.
    repository: Option<String>,
    /// Nothing if it was refused.
    subject: Option<String>,
    /// Bytes of its body so far; nothing if it has none.
    received: Option<Arc<AtomicU64>>,
    /// Nothing until there is an answer.
    status: Option<StatusCode>,
    sent: u64,
    /// Why it could not be answered, or not to the end.
    cause: Option<String>,
}

impl Exchange {
    /// Begins with the head of a request.
    pub(in crate::http) fn begin(
        metrics: &Metrics,
        log: Option<Level>,
        endpoint: &Result<Endpoint, RouteError>,
        request: Request<Body>,
    ) -> (Self, Request<Body>) {
        metrics.http_in_flight.add((), 1);
        let received = (!request.body().is_end_stream()).then(Arc::<AtomicU64>::default);
        let exchange = Self {
            metrics: metrics.clone(),
            log,
            begun: Instant::now(),
            route: endpoint.as_ref().map_or(Route::None, Endpoint::metric_label),
            method: request.method().clone(),
            uri: request.uri().clone(),
            id: request_id::of(request.headers()),
            trace_id: None,
            client: request.extensions().get::<Client>().copied().unwrap_or_default(),
            repository: log.and_then(|_| {
                endpoint.as_ref().ok().and_then(Endpoint::repository).map(ToString::to_string)
            }),
            subject: None,
            received: received.clone(),
            status: None,
            sent: 0,
            cause: None,
        };
        let request = match received {
            None => request,
            Some(bytes) => request.map(|body| Body::new(Received { body, bytes })),
        };
        (exchange, request)
    }

    pub(in crate::http) fn client(&self) -> Client {
        self.client
    }

    /// Notes in which trace it is found.
    pub(in crate::http) fn traced_as(&mut self, trace_id: Option<String>) {
        self.trace_id = trace_id;
    }

    /// Where it is noted who asks, once that is known.
    pub(in crate::http) fn subject(&mut self) -> &mut Option<String> {
        &mut self.subject
    }

    /// Goes on with the body of an answer.
    pub(in crate::http) fn answered(mut self, response: Response) -> http::Response<Observed> {
        let (mut head, body) = response.into_parts();
        self.metrics.http_ttfb.observe((self.route,), self.begun.elapsed());
        self.status = Some(head.status);
        self.cause = head.extensions.remove::<Cause>().map(|Cause(cause)| cause);
        head.headers.insert(X_REQUEST_ID, self.id.clone());
        http::Response::from_parts(head, Observed { body, exchange: self })
    }

    fn count(&self, took: Duration, received: Option<u64>) {
        let (metrics, method) = (&self.metrics, counted_method(&self.method));
        let status = self.status.map_or(Status::None, counted_status);
        metrics.http_requests.inc((self.route, method, status));
        metrics.http_duration.observe((self.route, method), took);
        metrics.http_response_bytes.observe_bytes((self.route,), self.sent);
        if let Some(received) = received {
            metrics.http_request_bytes.observe_bytes((self.route,), received);
        }
        metrics.http_in_flight.sub((), 1);
    }

    /// The only line of a request, with the cause if it failed. The query is left out: clients put
    /// secrets there, and what it means is theirs to know.
    fn log(&self, took: Duration, received: Option<u64>) {
        let Self { method, repository, subject, sent, .. } = self;
        let (endpoint, path) = (self.route.as_str(), self.uri.path());
        let status = self.status.map(|status| status.as_u16());
        let milliseconds = took.as_secs_f64() * 1000.0;
        let client = self.client.address.map(tracing::field::display);
        let (subject, repository) = (subject.as_deref(), repository.as_deref());
        let received = received.unwrap_or_default();
        let (id, trace_id) = (self.id.to_str().unwrap_or_default(), self.trace_id.as_deref());
        macro_rules! line {
            ($level:expr, $message:literal $(, $cause:ident)?) => {
                tracing::event!(
                    $level, request_id = id, trace_id, endpoint, %method, repository, path, status,
                    received, sent, milliseconds, client, subject $(, $cause)?, $message
                )
            };
        }
        let gone = self.status.is_none();
        match (&self.cause, self.log) {
            (Some(cause), _) => line!(Level::ERROR, "failed", cause),
            (None, Some(Level::INFO)) if gone => line!(Level::INFO, "the client went away"),
            (None, Some(Level::INFO)) => line!(Level::INFO, "answered"),
            (None, Some(_)) if gone => line!(Level::DEBUG, "the client went away"),
            (None, Some(_)) => line!(Level::DEBUG, "answered"),
            (None, None) => {}
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let received = self.received.as_ref().map(|bytes| bytes.load(Ordering::Relaxed));
        // The metrics and the log say the same.
        let took = self.begun.elapsed();
        self.count(took, received);
        self.log(took, received);
    }
}

/// The body of a request, counted as it is read.
struct Received {
    body: Body,
    bytes: Arc<AtomicU64>,
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, and with it the rest of the exchange.
#[derive(Debug)]
pub struct Observed {
    body: Body,
    exchange: Exchange,
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.exchange.sent += data.len() as u64;
                }
            }
            // The head is gone, so this line is the only place where it can be said.
            Poll::Ready(Some(Err(error))) => self.exchange.cause = Some(chain(error)),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An error and what caused it, in one line.
pub(in crate::http) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let words = error.to_string();
        // Errors that only pass on another one say the same.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = error.source();
    }
    text
}

fn counted_method(method: &Method) -> metrics::Method {
    match *method {
        Method::GET => metrics::Method::Get,
        Method::HEAD => metrics::Method::Head,
        Method::POST => metrics::Method::Post,
        Method::PUT => metrics::Method::Put,
        Method::PATCH => metrics::Method::Patch,
        Method::DELETE => metrics::Method::Delete,
        _ => metrics::Method::Other,
    }
}

fn counted_status(status: StatusCode) -> Status {
    match status {
        StatusCode::OK => Status::Ok,
        StatusCode::CREATED => Status::Created,
        StatusCode::ACCEPTED => Status::Accepted,
        StatusCode::NO_CONTENT => Status::NoContent,
        StatusCode::PARTIAL_CONTENT => Status::PartialContent,
        StatusCode::NOT_MODIFIED => Status::NotModified,
        StatusCode::TEMPORARY_REDIRECT => Status::TemporaryRedirect,
        StatusCode::BAD_REQUEST => Status::BadRequest,
        StatusCode::UNAUTHORIZED => Status::Unauthorized,
        StatusCode::FORBIDDEN => Status::Forbidden,
        StatusCode::NOT_FOUND => Status::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Status::MethodNotAllowed,
        StatusCode::PRECONDITION_FAILED => Status::PreconditionFailed,
        StatusCode::PAYLOAD_TOO_LARGE => Status::PayloadTooLarge,
        StatusCode::RANGE_NOT_SATISFIABLE => Status::RangeNotSatisfiable,
        StatusCode::TOO_MANY_REQUESTS => Status::TooManyRequests,
        StatusCode::INTERNAL_SERVER_ERROR => Status::InternalServerError,
        StatusCode::SERVICE_UNAVAILABLE => Status::ServiceUnavailable,
        _ => Status::Other,
    }
}
