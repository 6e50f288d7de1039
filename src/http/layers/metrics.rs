//! What is counted of each request.

use std::time::Instant;

use axum::extract::Request;
use http::{StatusCode, response};

use crate::http::endpoint::Parsed;
use crate::http::metered_body::{Observer, Received};
use crate::telemetry::metrics::{Method, Metrics, Operation, Status};

/// Counts one request, from its head to the last byte of its response.
#[derive(Debug)]
pub(in crate::http) struct RequestMetrics {
    metrics: Metrics,
    begun: Instant,
    operation: Operation,
    method: Method,
    received: Option<Received>,
    status: Status,
    sent: u64,
}

pub(in crate::http) fn count(metrics: Metrics) -> impl Fn(&mut Request) -> RequestMetrics + Clone {
    move |request: &mut Request| {
        metrics.http_in_flight.add((), 1);
        let (method, extensions) = (request.method(), request.extensions());
        RequestMetrics {
            metrics: metrics.clone(),
            begun: Instant::now(),
            operation: Parsed::label(extensions),
            method: label_of_method(method),
            received: extensions.get::<Received>().cloned(),
            status: Status::None,
            sent: 0,
        }
    }
}

impl Observer for RequestMetrics {
    fn respond(&mut self, head: &mut response::Parts) {
        self.metrics.http_ttfb.observe((self.operation,), self.begun.elapsed());
        self.status = label_of_status(head.status);
    }

    fn count(&mut self, bytes: u64) {
        self.sent += bytes;
    }
}

impl Drop for RequestMetrics {
    fn drop(&mut self) {
        let (metrics, operation, method) = (&self.metrics, self.operation, self.method);
        metrics.http_requests.inc((operation, method, self.status));
        metrics.http_duration.observe((operation, method), self.begun.elapsed());
        metrics.http_response_bytes.observe_bytes((operation,), self.sent);
        if let Some(received) = &self.received {
            metrics.http_request_bytes.observe_bytes((operation,), received.bytes());
        }
        metrics.http_in_flight.sub((), 1);
    }
}

fn label_of_method(method: &http::Method) -> Method {
    match *method {
        http::Method::GET => Method::Get,
        http::Method::HEAD => Method::Head,
        http::Method::POST => Method::Post,
        http::Method::PUT => Method::Put,
        http::Method::PATCH => Method::Patch,
        http::Method::DELETE => Method::Delete,
        _ => Method::Other,
    }
}

fn label_of_status(status: StatusCode) -> Status {
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
