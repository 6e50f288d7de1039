//! The one wrapper around bodies, of requests and of responses.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use bytes::Bytes;
use http::response;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tracing::Span;

use super::limits::{Account, Direction};

/// What watches a request. It is dropped when the last byte of the response has left, or when the
/// client has gone, with or without a response.
pub(super) trait Observer: Unpin {
    /// The head of the response, which is sent next.
    fn respond(&mut self, _: &mut response::Parts) {}

    /// So many bytes of the body passed.
    fn count(&mut self, _: u64) {}

    /// The body has no more bytes.
    fn end(&mut self) {}

    /// The body breaks off.
    fn fail(&mut self, _: &axum::Error) {}

    /// The span that making the response and reading its body belong to.
    fn span(&self) -> Option<&Span> {
        None
    }
}

/// A body that is counted, and that fails when it makes no progress, if it has a timeout.
#[derive(Debug)]
pub(super) struct MeteredBody<B, O> {
    body: B,
    observer: O,
    timeout: Option<IdleTimer>,
    failed: bool,
}

/// Runs while the body is pending, and starts again with each frame.
#[derive(Debug)]
struct IdleTimer {
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    running: bool,
}

impl IdleTimer {
    /// Passes a result on, or fails if there was none for too long.
    fn check<T>(&mut self, cx: &mut Context<'_>, polled: Poll<T>) -> Poll<Result<T, axum::Error>> {
        if let Poll::Ready(result) = polled {
            self.running = false;
            return Poll::Ready(Ok(result));
        }
        if !self.running {
            self.running = true;
            self.deadline.as_mut().reset(Instant::now() + self.idle);
        }
        ready!(self.deadline.as_mut().poll(cx));
        let reason = format!("nothing arrived for {} s", self.idle.as_secs());
        Poll::Ready(Err(axum::Error::new(reason)))
    }
}

impl<B: http_body::Body, O: Observer> MeteredBody<B, O> {
    pub(super) fn new(body: B, mut observer: O) -> Self {
        if body.is_end_stream() {
            observer.end();
        }
        Self { body, observer, timeout: None, failed: false }
    }

    pub(super) fn with_timeout(mut self, idle: Duration) -> Self {
        let deadline = Box::pin(tokio::time::sleep(idle));
        self.timeout = Some(IdleTimer { idle, deadline, running: false });
        self
    }
}

impl<B, O> http_body::Body for MeteredBody<B, O>
where
    B: http_body::Body<Data = Bytes, Error = axum::Error> + Unpin,
    O: Observer,
{
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, observer, timeout, failed } = &mut *self;
        if *failed {
            return Poll::Ready(None);
        }
        let polled = {
            let _entered = observer.span().map(Span::enter);
            Pin::new(&mut *body).poll_frame(cx)
        };
        let frame = match timeout {
            None => ready!(polled),
            Some(timer) => ready!(timer.check(cx, polled)).unwrap_or_else(|error| Some(Err(error))),
        };
        match &frame {
            Some(Ok(frame)) => {
                observer.count(frame.data_ref().map_or(0, |data| data.len() as u64));
                if body.is_end_stream() {
                    observer.end();
                }
            }
            Some(Err(error)) => {
                *failed = true;
                observer.fail(error);
            }
            None => observer.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.failed || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Has the body of a request fail when nothing arrives for `idle`; the whole of it may take any
/// time.
pub(super) fn bound(idle: Duration) -> impl Fn(Request) -> Request + Clone {
    move |mut request: Request| {
        if request.body().is_end_stream() {
            return request;
        }
        let received = Received::default();
        request.extensions_mut().insert(received.clone());
        request.map(|body| Body::new(MeteredBody::new(body, received).with_timeout(idle)))
    }
}

/// How many bytes of the body of a request have arrived. Absent for a request without a body.
#[derive(Clone, Debug, Default)]
pub(super) struct Received(Arc<Arrived>);

#[derive(Debug, Default)]
struct Arrived {
    bytes: AtomicU64,
    account: OnceLock<Account>,
}

impl Received {
    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// What arrives from now on is charged to this.
    pub(super) fn charge_to(&self, account: Account) {
        self.0.account.get_or_init(|| account);
    }
}

impl Observer for Received {
    fn count(&mut self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(account) = self.0.account.get() {
            account.count(Direction::Upload, bytes);
        }
    }
}
