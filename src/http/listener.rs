//! Sockets: connections are accepted, bounded, and drained when the time comes.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

pub use super::admin::{Admin, Readiness, healthcheck};
use super::layers::peer as client;
pub use super::tls::acceptor;
use super::write_timeout::WriteTimeout;
use crate::http::Api;

/// Bytes of the head of a request that are read before it is refused.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Streams that one HTTP/2 connection may have open.
const HTTP2_STREAMS_MAX: u32 = 250;
/// How long accepting pauses when the process has no descriptor left.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the operator decides about sockets.
#[derive(Clone)]
pub struct Settings {
    /// How long a client may take to send the head of a request.
    pub header_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub body_idle_timeout: Duration,
    /// How long requests in flight may go on once the process is told to stop.
    pub drain_timeout: Duration,
    /// Connections at once; more wait to be accepted.
    pub connections_max: usize,
    /// Proxies whose word counts about whom they ask for.
    pub trusted_proxies: Vec<IpNet>,
    /// Set where connections are encrypted.
    pub tls: Option<TlsAcceptor>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("header_timeout", &self.header_timeout)
            .field("body_idle_timeout", &self.body_idle_timeout)
            .field("drain_timeout", &self.drain_timeout)
            .field("connections_max", &self.connections_max)
            .field("trusted_proxies", &self.trusted_proxies)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

/// Serves the API on a socket until `shutdown` ends, then lets what is in flight finish.
pub async fn run(
    listener: TcpListener,
    api: Arc<Api>,
    settings: Settings,
    tasks: TaskTracker,
    shutdown: impl Future<Output = ()> + Send,
) {
    let connections = Arc::new(Semaphore::new(settings.connections_max));
    let graceful = GracefulShutdown::new();
    let drain_timeout = settings.drain_timeout;
    let serving = Arc::new(Serving { api, builder: builder(&settings), settings });
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (serving, watcher) = (serving.clone(), graceful.watcher());
        tasks.spawn(async move {
            if let Err(error) = serving.connection(stream, peer, watcher).await {
                tracing::debug!(error, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    drain(graceful, tasks, drain_timeout).await;
}

/// What every connection needs.
struct Serving {
    api: Arc<Api>,
    builder: auto::Builder<TokioExecutor>,
    settings: Settings,
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

impl Serving {
    async fn connection(
        &self,
        stream: TcpStream,
        peer: IpAddr,
        watcher: Watcher,
    ) -> Result<(), ConnectionError> {
        let stream = WriteTimeout::new(stream, self.settings.body_idle_timeout);
        let Some(tls) = &self.settings.tls else {
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
        let trusted = &self.settings.trusted_proxies;
        let service = service_fn(|mut request: hyper::Request<Incoming>| {
            let client = client::client(peer, encrypted, request.headers(), trusted);
            request.extensions_mut().insert(client);
            let api = self.api.clone();
            async move { Ok::<_, Infallible>(api.answer(request.map(Body::new)).await) }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await
    }
}

fn builder(settings: &Settings) -> auto::Builder<TokioExecutor> {
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

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, IpAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Small answers must not wait for the acknowledgement of the previous ones.
    stream.set_nodelay(true)?;
    Ok((stream, peer.ip(), permit))
}

/// Waits for connections and for work that outlives its request, as long as the operator allows.
/// What is left then is continued by another process: nothing acknowledged is lost.
async fn drain(graceful: GracefulShutdown, tasks: TaskTracker, timeout: Duration) {
    tracing::info!(seconds = timeout.as_secs(), "draining");
    let drained = tokio::time::timeout(timeout, async {
        graceful.shutdown().await;
        tasks.close();
        tasks.wait().await;
    });
    if drained.await.is_ok() {
        tracing::info!("drained");
    } else {
        tracing::warn!(left = tasks.len(), "requests were cut off by the drain timeout");
    }
}
