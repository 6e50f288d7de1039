//! What happens around every request, a part in each file. `router.rs` puts them in order.

pub(super) mod access_log;
pub(super) mod metrics;
pub(super) mod peer;
pub(super) mod pieces;
pub(super) mod request_id;
pub(super) mod trace;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::response::Response;
use http::response;
use tower::{Layer, Service};
use tracing::Span;

use self::access_log::{AccessLog, LogFields};
use self::metrics::RequestMetrics;
use self::peer::Client;
use self::trace::RequestSpan;
use super::endpoint::{Endpoint, RouteError};
use super::limits::{Account, Direction};
use super::metered_body::{MeteredBody, Observer, Received};
use super::response_budget::Reservation;
use super::transfer::Transfer;
use crate::telemetry::metrics::Operation;

/// What is known of a request before it is authorized: an extension of the request.
#[derive(Clone, Debug)]
pub(super) struct RequestInfo {
    pub(super) client: Client,
    pub(super) endpoint: Result<Endpoint, RouteError>,
    /// The memory that the response may occupy. Nothing if the request is refused for want of it.
    pub(super) reservation: Option<Arc<Reservation>>,
    /// What the request is charged to.
    pub(super) account: Account,
    pub(super) log_fields: Arc<LogFields>,
}

impl RequestInfo {
    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref().ok()
    }

    /// The name of the operation in metrics and logs.
    pub(super) fn operation(&self) -> Operation {
        let endpoint = self.endpoint();
        endpoint.map_or(Operation::Unmatched, |endpoint| endpoint.operation.row().label)
    }
}

/// What is recorded of one request, from its head to the last byte of its response, or until its
/// client has gone.
pub(super) struct Watch {
    pub(super) begun: Instant,
    pub(super) received: Option<Received>,
    pub(super) account: Account,
    pub(super) transfer: Transfer,
    /// Held as long, and not read.
    pub(super) _reservation: Option<Arc<Reservation>>,
    pub(super) metrics: RequestMetrics,
    pub(super) log: AccessLog,
    pub(super) span: RequestSpan,
}

/// How a request ended.
struct Ended<'a> {
    after: Duration,
    /// Bytes of the body of the request, if it had one.
    received: Option<u64>,
    transfer: &'a Transfer,
}

impl Observer for Box<Watch> {
    fn respond(&mut self, head: &mut response::Parts) {
        // First, because the log takes the failure out of the response.
        self.span.respond(head);
        self.log.respond(head);
        self.metrics.respond(head.status, self.begun.elapsed());
        self.transfer.begin(head);
    }

    fn count(&mut self, bytes: u64) {
        self.transfer.sent += bytes;
        self.account.count(Direction::Download, bytes);
    }

    fn end(&mut self) {
        self.transfer.end();
    }

    fn fail(&mut self, error: &axum::Error) {
        self.span.fail(error);
        self.log.fail(error);
        self.transfer.fail();
    }

    fn span(&self) -> Option<&Span> {
        Some(self.span.span())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let received = self.received.as_ref().map(Received::bytes);
        let ended = Ended { after: self.begun.elapsed(), received, transfer: &self.transfer };
        self.log.write(&ended);
        // After the log, so that nothing is counted that is not logged.
        self.metrics.end(&ended);
    }
}

/// The layer that watches requests: `begin` makes the [`Watch`] of each from its head. One layer
/// for all of it, because each layer moves the request and the response once more.
pub(super) fn watch<Begin>(begin: Begin) -> WatchLayer<Begin> {
    WatchLayer(begin)
}

#[derive(Clone)]
pub(super) struct WatchLayer<Begin>(Begin);

#[derive(Clone)]
pub(super) struct Watched<S, Begin> {
    inner: S,
    begin: Begin,
}

impl<S, Begin: Clone> Layer<S> for WatchLayer<Begin> {
    type Service = Watched<S, Begin>;

    fn layer(&self, inner: S) -> Self::Service {
        Watched { inner, begin: self.0.clone() }
    }
}

impl<S, B, Begin> Service<Request> for Watched<S, Begin>
where
    B: http_body::Body,
    S: Service<Request, Response = Response<B>, Future: Unpin>,
    Begin: Fn(&mut Request) -> Box<Watch>,
{
    type Response = Response<MeteredBody<B, Box<Watch>>>;
    type Error = S::Error;
    type Future = Watching<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let watch = (self.begin)(&mut request);
        Watching { response: self.inner.call(request), watch: Some(watch) }
    }
}

/// A response on its way.
pub(super) struct Watching<F> {
    response: F,
    watch: Option<Box<Watch>>,
}

impl<F, B, E> Future for Watching<F>
where
    F: Future<Output = Result<Response<B>, E>> + Unpin,
    B: http_body::Body,
{
    type Output = Result<Response<MeteredBody<B, Box<Watch>>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { response, watch } = &mut *self;
        let polled = {
            let _entered = watch.as_ref().and_then(Observer::span).map(Span::enter);
            Pin::new(response).poll(cx)
        };
        let response = ready!(polled)?;
        // Nothing polls a future again that has ended.
        let Some(mut watch) = watch.take() else { return Poll::Pending };
        let (mut head, body) = response.into_parts();
        watch.respond(&mut head);
        Poll::Ready(Ok(Response::from_parts(head, MeteredBody::new(body, watch))))
    }
}
