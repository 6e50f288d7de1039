//! One connection: what is in flight on it, and when the registry gives it up.
//!
//! A connection ends when no request arrives for `header_timeout`, counted from the accept and
//! again from the end of the last response, or when its client takes nothing of what was sent for
//! `response_idle_timeout`. hyper has neither limit: its timeout for request heads begins when it
//! knows the version of HTTP, and an idle HTTP/2 connection lives for ever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::moment::Moment;
use super::response_budget::ResponseBudget;
use super::settings::ListenerSettings;

/// Bytes that the kernel holds of a connection before it has sent them. The kernel takes more when
/// half of them have left: a client that reads as much within the idle timeout makes progress.
/// Without this limit the kernel holds megabytes, and takes more when a third of them has left.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// A limit that has passed is noticed after this part of it.
const CHECKS_PER_LIMIT: u32 = 4;
/// The shortest time between two checks.
const CHECK_MIN: Duration = Duration::from_millis(10);
/// Connections are short when less than this part of them is free.
const FREE_PART: usize = 8;

/// How long the registry waits for its clients.
#[derive(Debug)]
pub(super) struct Patience {
    pub(super) header_timeout: Duration,
    body_idle_timeout: Duration,
    response_idle_timeout: Duration,
    connections_max: usize,
    pub(super) connections: Arc<Semaphore>,
    budget: Arc<ResponseBudget>,
}

impl Patience {
    pub(super) fn new(settings: &ListenerSettings, budget: Arc<ResponseBudget>) -> Self {
        Self {
            header_timeout: settings.header_timeout,
            body_idle_timeout: settings.body_idle_timeout,
            response_idle_timeout: settings.response_idle_timeout,
            connections_max: settings.connections_max,
            connections: Arc::new(Semaphore::new(settings.connections_max)),
            budget,
        }
    }

    /// How long a client may take nothing of a response. Others need the room of a client that
    /// pauses when connections or memory are short.
    pub(super) fn response_idle(&self) -> Duration {
        let free = self.connections.available_permits();
        if free.saturating_mul(FREE_PART) < self.connections_max || self.budget.is_short() {
            self.response_idle_timeout.min(self.body_idle_timeout)
        } else {
            self.response_idle_timeout
        }
    }

    /// Waits until the limits should be checked again.
    pub(super) async fn pause(&self) {
        let shortest = self.header_timeout.min(self.body_idle_timeout);
        let shortest = shortest.min(self.response_idle_timeout);
        tokio::time::sleep((shortest / CHECKS_PER_LIMIT).max(CHECK_MIN)).await;
    }
}

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// No request is in flight. One that is on its way may still arrive.
    Idle,
    /// Its client sends no request, or takes nothing of what was sent.
    Stalled,
}

/// What is in flight on a connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Whether there was a request.
    asked: AtomicBool,
    /// Requests whose response has not left.
    in_flight: AtomicUsize,
    /// Since when there are none.
    idle: Moment,
    /// Since when the socket takes no more bytes.
    blocked: Moment,
    /// Whether the registry has given the connection up.
    cut: AtomicBool,
}

impl Activity {
    pub(super) fn begin(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.idle.set();
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn was_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Waits until the connection that was accepted at `begun` has to end. `closing`: it accepts no
    /// more requests.
    pub(super) async fn watch(&self, patience: &Patience, begun: Instant, closing: bool) -> End {
        loop {
            patience.pause().await;
            match self.check(patience, begun) {
                Some(End::Stalled) => {
                    self.cut.store(true, Ordering::Relaxed);
                    return End::Stalled;
                }
                Some(End::Idle) if !closing => return End::Idle,
                Some(End::Idle) | None => {}
            }
        }
    }

    fn check(&self, patience: &Patience, begun: Instant) -> Option<End> {
        if !self.asked.load(Ordering::Relaxed) {
            return (begun.elapsed() >= patience.header_timeout).then_some(End::Stalled);
        }
        if let Some(blocked) = self.blocked.elapsed() {
            return (blocked >= patience.response_idle()).then_some(End::Stalled);
        }
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let idle = self.idle.elapsed()?;
        if idle >= patience.header_timeout * 2 {
            Some(End::Stalled)
        } else {
            (idle >= patience.header_timeout).then_some(End::Idle)
        }
    }
}

/// A socket that notes when it takes no more bytes.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        // A kernel without this option only makes slow readers look like stalled ones.
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
        Self { stream, activity }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.activity.blocked.set_if_none(),
            Poll::Ready(_) => self.activity.blocked.clear(),
        }
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
