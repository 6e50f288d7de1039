//! Cuts the body of each response into pieces, for the transport and for everything that counts
//! what the transport has taken.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::Request;
use axum::response::Response;
use http::Version;
use tower::{Layer, Service};

use crate::http::exchange::{Exchange, Pieces};

#[derive(Clone, Copy)]
pub(in crate::http) struct InPieces;

#[derive(Clone)]
pub(in crate::http) struct CutResponses<S>(S);

/// A response on its way, of the exchange that the listener has begun.
pub(in crate::http) struct Cutting<F> {
    response: F,
    exchange: Option<Arc<Exchange>>,
    http2: bool,
}

impl<S> Layer<S> for InPieces {
    type Service = CutResponses<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CutResponses(inner)
    }
}

impl<S, B> Service<Request> for CutResponses<S>
where
    S: Service<Request, Response = Response<B>, Future: Unpin>,
    B: http_body::Body,
{
    type Response = Response<Pieces<B>>;
    type Error = S::Error;
    type Future = Cutting<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let exchange = request.extensions().get().cloned();
        let http2 = request.version() == Version::HTTP_2;
        Cutting { response: self.0.call(request), exchange, http2 }
    }
}

impl<F, B, E> Future for Cutting<F>
where
    F: Future<Output = Result<Response<B>, E>> + Unpin,
    B: http_body::Body,
{
    type Output = Result<Response<Pieces<B>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(Pin::new(&mut self.response).poll(cx))?;
        Poll::Ready(Ok(Pieces::of(response, self.exchange.take(), self.http2)))
    }
}
