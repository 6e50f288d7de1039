//! What is counted of each request.

use std::time::Duration;

use http::StatusCode;

use super::{Ended, RequestInfo};
use crate::telemetry::metrics::{Label as _, Method, Metrics, Operation, Status};

/// Counts one request, from its head to the last byte of its response.
#[derive(Debug)]
pub(in crate::http) struct RequestMetrics {
    metrics: Metrics,
    operation: Operation,
    method: Method,
    status: Status,
}

impl RequestMetrics {
    pub(in crate::http) fn begin(
        metrics: &Metrics,
        method: &http::Method,
        info: &RequestInfo,
    ) -> Self {
        metrics.http_in_flight.add((), 1);
        Self {
            metrics: metrics.clone(),
            operation: info.operation(),
            method: Method::of(method.as_str()).unwrap_or(Method::Other),
            status: Status::None,
        }
    }

    pub(super) fn respond(&mut self, status: StatusCode, after: Duration) {
        self.metrics.http_ttfb.observe((self.operation,), after);
        self.status = Status::of(status.as_str()).unwrap_or(Status::Other);
    }

    pub(super) fn end(&self, ended: &Ended<'_>) {
        let Self { metrics, operation, method, status } = self;
        let (operation, method) = (*operation, *method);
        metrics.http_requests.inc((operation, method, *status));
        metrics.http_duration.observe((operation, method), ended.after);
        metrics.http_response_bytes.observe_bytes((operation,), ended.transfer.sent);
        if let Some(by) = ended.transfer.broken() {
            metrics.http_broken.inc((by,));
        }
        if let Some(received) = ended.received {
            metrics.http_request_bytes.observe_bytes((operation,), received);
        }
        metrics.http_in_flight.sub((), 1);
    }
}
