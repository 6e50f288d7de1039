//! What is counted of each request.

use std::time::Instant;

use axum::extract::Request;
use http::response;

use crate::http::endpoint::Parsed;
use crate::http::metered_body::{Observer, Received};
use crate::http::transfer::Transfer;
use crate::telemetry::metrics::{Label as _, Method, Metrics, Operation, Status};

/// Counts one request, from its head to the last byte of its response.
#[derive(Debug)]
pub(in crate::http) struct RequestMetrics {
    metrics: Metrics,
    begun: Instant,
    operation: Operation,
    method: Method,
    received: Option<Received>,
    status: Status,
    transfer: Transfer,
}

pub(in crate::http) fn count(metrics: Metrics) -> impl Fn(&mut Request) -> RequestMetrics + Clone {
    move |request: &mut Request| {
        metrics.http_in_flight.add((), 1);
        let (method, extensions) = (request.method(), request.extensions());
        RequestMetrics {
            metrics: metrics.clone(),
            begun: Instant::now(),
            operation: Parsed::label(extensions),
            method: Method::of(method.as_str()).unwrap_or(Method::Other),
            received: extensions.get::<Received>().cloned(),
            status: Status::None,
            transfer: Transfer::of(extensions),
        }
    }
}

impl Observer for RequestMetrics {
    fn respond(&mut self, head: &mut response::Parts) {
        self.metrics.http_ttfb.observe((self.operation,), self.begun.elapsed());
        self.status = Status::of(head.status.as_str()).unwrap_or(Status::Other);
        self.transfer.begin(head);
    }

    fn count(&mut self, bytes: u64) {
        self.transfer.sent += bytes;
    }

    fn end(&mut self) {
        self.transfer.end();
    }

    fn fail(&mut self, _: &axum::Error) {
        self.transfer.fail();
    }
}

impl Drop for RequestMetrics {
    fn drop(&mut self) {
        let (metrics, operation, method) = (&self.metrics, self.operation, self.method);
        metrics.http_requests.inc((operation, method, self.status));
        metrics.http_duration.observe((operation, method), self.begun.elapsed());
        metrics.http_response_bytes.observe_bytes((operation,), self.transfer.sent);
        if let Some(by) = self.transfer.broken() {
            metrics.http_broken.inc((by,));
        }
        if let Some(received) = &self.received {
            metrics.http_request_bytes.observe_bytes((operation,), received.bytes());
        }
        metrics.http_in_flight.sub((), 1);
    }
}
