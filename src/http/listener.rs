//! Connections: accepted, bounded, served, and drained at a shutdown. Here is what axum leaves to
//! hyper: the timeout of request heads, the bounds of HTTP/2, and graceful shutdown.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tower::Service;

use super::layers::peer::Client;
use super::settings::ListenerSettings;
pub use super::tls::acceptor;
use crate::tasks::Tasks;

/// Bytes of the head of a request that are read before it is refused.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Streams that one HTTP/2 connection may have open.
const HTTP2_STREAMS_MAX: u32 = 250;
/// How long accepting pauses when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the router on a socket until `shutdown` ends, then waits for the requests in flight.
pub async fn run<S, B>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: S,
    settings: &ListenerSettings,
    tasks: Tasks,
    shutdown: impl Future<Output = ()> + Send,
) where
    S: Service<Request, Response = Response<B>, Error = Infallible, Future: Send>,
    S: Clone + Send + Sync + 'static,
    B: HttpBody<Data = Bytes, Error = axum::Error> + Send + 'static,
{
    let graceful = GracefulShutdown::new();
    let (connections_max, drain_timeout) = (settings.connections_max, settings.drain_timeout);
    let (builder, settings) = (builder(settings), settings.clone());
    let serving = Arc::new(Serving { router, builder, settings, tls });
    accept(listener, connections_max, &tasks, shutdown, |stream, peer| {
        let (serving, watcher) = (serving.clone(), graceful.watcher());
        async move {
            if let Err(error) = serving.connection(stream, peer, watcher).await {
                tracing::debug!(error, "connection ended early");
            }
        }
    })
    .await;
    drain(graceful, tasks, drain_timeout).await;
}

/// Accepts connections until `stop` ends, at most `connections_max` at once, and closes the
/// socket. Each is served by a task of its own.
pub(super) async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    connections_max: usize,
    tasks: &Tasks,
    stop: impl Future<Output = ()> + Send,
    serve: impl Fn(TcpStream, IpAddr) -> F,
) {
    let connections = Arc::new(Semaphore::new(connections_max));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => return,
            accepted = accept_one(&listener, &connections) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let served = serve(stream, peer);
                tasks.spawn(async move {
                    served.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What every connection needs.
struct Serving<S> {
    router: S,
    builder: auto::Builder<TokioExecutor>,
    settings: ListenerSettings,
    tls: Option<TlsAcceptor>,
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

impl<S, B> Serving<S>
where
    S: Service<Request, Response = Response<B>, Error = Infallible, Future: Send>,
    S: Clone + Send + Sync + 'static,
    B: HttpBody<Data = Bytes, Error = axum::Error> + Send + 'static,
{
    async fn connection(
        &self,
        stream: TcpStream,
        peer: IpAddr,
        watcher: Watcher,
    ) -> Result<(), ConnectionError> {
        // hyper has no write timeout: a client that stops reading would hold a download open.
        let mut stream = Box::pin(TimeoutStream::new(stream));
        stream.as_mut().set_write_timeout_pinned(Some(self.settings.body_idle_timeout));
        let Some(tls) = &self.tls else {
            return self.requests(stream, peer, false, watcher).await;
        };
        let handshake = tokio::time::timeout(self.settings.header_timeout, tls.accept(stream));
        self.requests(handshake.await??, peer, true, watcher).await
    }

    async fn requests(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: IpAddr,
        encrypted: bool,
        watcher: Watcher,
    ) -> Result<(), ConnectionError> {
        let peer = Client { address: Some(peer), secure: encrypted };
        let service = service_fn(|mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer);
            self.router.clone().call(request.map(Body::new))
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await
    }
}

fn builder(settings: &ListenerSettings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .keep_alive_interval(Some(settings.header_timeout));
    builder
}

async fn accept_one(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, IpAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Small answers must not wait for the acknowledgement of the previous ones.
    stream.set_nodelay(true)?;
    Ok((stream, peer.ip(), permit))
}

/// Waits for connections, and for work that goes on without its client, for up to `timeout`. What
/// is left then is continued by another process: nothing acknowledged is lost.
async fn drain(graceful: GracefulShutdown, tasks: Tasks, timeout: Duration) {
    tracing::info!(timeout_s = timeout.as_secs(), "draining: waiting for requests in flight");
    let drained = tokio::time::timeout(timeout, async {
        graceful.shutdown().await;
        tasks.wait().await;
    });
    if drained.await.is_ok() {
        tracing::info!("drained: shutdown complete");
    } else {
        tracing::warn!(left = tasks.len(), "drain timeout: requests in flight were cut off");
    }
}
