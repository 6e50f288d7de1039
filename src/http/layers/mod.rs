//! What happens around every request, a layer in each file. `router.rs` puts them in order.

pub(super) mod access_log;
pub(super) mod admission;
pub(super) mod metrics;
pub(super) mod peer;
pub(super) mod pieces;
pub(super) mod request_id;
pub(super) mod trace;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::Request;
use axum::response::Response;
use tower::{Layer, Service};
use tracing::Span;

use super::metered_body::{MeteredBody, Observer};

/// A layer that watches requests: `begin` makes an [`Observer`] from the head of each. It costs no
/// allocation, where `axum::middleware::from_fn` costs several for each layer and request.
pub(super) fn observe<Begin>(begin: Begin) -> Observe<Begin> {
    Observe(begin)
}

#[derive(Clone)]
pub(super) struct Observe<Begin>(Begin);

#[derive(Clone)]
pub(super) struct Observed<S, Begin> {
    inner: S,
    begin: Begin,
}

impl<S, Begin: Clone> Layer<S> for Observe<Begin> {
    type Service = Observed<S, Begin>;

    fn layer(&self, inner: S) -> Self::Service {
        Observed { inner, begin: self.0.clone() }
    }
}

impl<S, B, O, Begin> Service<Request> for Observed<S, Begin>
where
    B: http_body::Body,
    S: Service<Request, Response = Response<B>, Future: Unpin>,
    Begin: Fn(&mut Request) -> O,
    O: Observer,
{
    type Response = Response<MeteredBody<B, O>>;
    type Error = S::Error;
    type Future = Observing<S::Future, O>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let observer = (self.begin)(&mut request);
        Observing { response: self.inner.call(request), observer: Some(observer) }
    }
}

/// A response on its way, with its observer.
pub(super) struct Observing<F, O> {
    response: F,
    observer: Option<O>,
}

impl<F, B, E, O> Future for Observing<F, O>
where
    F: Future<Output = Result<Response<B>, E>> + Unpin,
    B: http_body::Body,
    O: Observer,
{
    type Output = Result<Response<MeteredBody<B, O>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { response, observer } = &mut *self;
        let polled = {
            let _entered = observer.as_ref().and_then(Observer::span).map(Span::enter);
            Pin::new(response).poll(cx)
        };
        let response = ready!(polled)?;
        // Nothing polls a future again that has ended.
        let Some(mut observer) = observer.take() else { return Poll::Pending };
        let (mut head, body) = response.into_parts();
        observer.respond(&mut head);
        Poll::Ready(Ok(Response::from_parts(head, MeteredBody::new(body, observer))))
    }
}
