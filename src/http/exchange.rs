//! One request with its response, and the deadline of a response that its client does not take.
//!
//! HTTP/2 has a window for each stream. While it is closed, hyper writes nothing of that response,
//! so the socket does not block and nothing polls the body. So each stream is a task that is
//! dropped, which resets the stream, when its response makes no progress.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};

use super::connection::{Activity, Patience};
use super::headers::content_length;
use super::moment::Moment;
use crate::tasks::Tasks;

/// Bytes of a response that HTTP/1 gets at once, and so may hold.
const HTTP1_PIECE_BYTES_MAX: usize = 128 * 1024;
/// The same for a stream of HTTP/2: as many as a frame has. Taking a piece is progress.
const HTTP2_PIECE_BYTES_MAX: usize = 16 * 1024;

tokio::task_local! {
    /// The exchange of the HTTP/2 stream that this task serves.
    static STREAM: OnceLock<Arc<Exchange>>;
}

/// One request with its response, until the last byte of it has left.
#[derive(Debug)]
pub(super) struct Exchange {
    connection: Arc<Activity>,
    /// Since when the transport, and so the client, does not ask for more of the response.
    untaken: Moment,
    cut: AtomicBool,
}

impl Exchange {
    pub(super) fn begin(connection: Arc<Activity>) -> Self {
        connection.begin();
        Self { connection, untaken: Moment::default(), cut: AtomicBool::new(false) }
    }

    /// Names the exchange of the stream that this task serves. HTTP/1 has no such tasks.
    pub(super) fn enter(self: &Arc<Self>) {
        let _ = STREAM.try_with(|stream| stream.set(self.clone()));
    }

    /// Whether the registry ended it because the client took nothing.
    pub(super) fn was_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed) || self.connection.was_cut()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.end();
    }
}

/// Runs the streams of HTTP/2 connections, and drops those whose response is not taken.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) tasks: Tasks,
    pub(super) patience: Arc<Patience>,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let patience = self.patience.clone();
        let bounded = async move {
            tokio::select! {
                biased;
                _ = stream => {}
                () = stalled(&patience) => {}
            }
        };
        self.tasks.spawn(STREAM.scope(OnceLock::new(), bounded));
    }
}

/// Waits until the client has taken nothing of the response for too long.
async fn stalled(patience: &Patience) {
    loop {
        patience.pause().await;
        let exchange = STREAM.with(|stream| stream.get().cloned());
        let Some(exchange) = exchange else { continue };
        if exchange.untaken.elapsed().is_some_and(|since| since >= patience.response_idle()) {
            exchange.cut.store(true, Ordering::Relaxed);
            return;
        }
    }
}

/// The body of a response as the transport gets it: in pieces, so that the transport holds little,
/// and so that a body whose frame is large ends only when most of it has left.
#[derive(Debug)]
pub(super) struct Pieces<B> {
    body: B,
    exchange: Option<Arc<Exchange>>,
    http2: bool,
    /// The rest of a frame.
    rest: Bytes,
    /// Bytes that are still to come, where the length is known.
    left: Option<u64>,
}

impl<B: Body> Pieces<B> {
    pub(super) fn of(
        response: Response<B>,
        exchange: Option<Arc<Exchange>>,
        http2: bool,
    ) -> Response<Self> {
        if let Some(exchange) = &exchange {
            exchange.untaken.set();
        }
        let left =
            response.body().size_hint().exact().or_else(|| content_length(response.headers()));
        response.map(|body| Self { body, exchange, http2, rest: Bytes::new(), left })
    }

    /// The next piece of what is there.
    ///
    /// hyper gives a piece to HTTP/2 as soon as the window has room for one byte, and forgets a
    /// stream after its last piece. So the last piece has one byte: the exchange lasts until the
    /// client has opened its window for the whole body.
    fn piece(&mut self) -> Bytes {
        let size_max = if self.http2 { HTTP2_PIECE_BYTES_MAX } else { HTTP1_PIECE_BYTES_MAX };
        let mut size = self.rest.len().min(size_max);
        let last = self.left.is_none_or(|left| left == size as u64) && size == self.rest.len();
        if self.http2 && last && size > 1 {
            size -= 1;
        }
        self.left = self.left.map(|left| left.saturating_sub(size as u64));
        self.rest.split_to(size)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // While the store is waited for, the client is not.
        if let Some(exchange) = &self.exchange {
            exchange.untaken.clear();
        }
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                ended => return Poll::Ready(ended),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = self.piece();
        if let Some(exchange) = &self.exchange {
            exchange.untaken.set();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && (self.body.is_end_stream() || self.left == Some(0))
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}
