//! Connections: accepted, bounded, served, and drained at a shutdown. Here is what axum leaves to
//! hyper: the bounds of request heads and of HTTP/2, and graceful shutdown.

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
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::connection::{Activity, End, Patience, Socket};
use super::exchange::{Exchange, Streams};
use super::layers::peer::Client;
use super::response_budget::ResponseBudget;
use super::settings::ListenerSettings;
use super::tls::Tls;
use crate::auth::ClientCertificate;
use crate::clock::{Clock as _, SystemClock};
use crate::tasks::Tasks;

/// Bytes of the head of a request that are read before it is refused.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Streams that one HTTP/2 connection may have open.
const HTTP2_STREAMS_MAX: u32 = 100;
/// Bytes of a response that one HTTP/2 stream may hold beyond a piece of it.
const HTTP2_SEND_BYTES_MAX: usize = 128 * 1024;
/// How long accepting pauses when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the router on a socket until `shutdown` ends, then waits for the requests in flight.
pub async fn run<S, B>(
    listener: TcpListener,
    tls: Option<Tls>,
    router: S,
    settings: &ListenerSettings,
    budget: Arc<ResponseBudget>,
    tasks: Tasks,
    shutdown: impl Future<Output = ()> + Send,
) where
    S: Service<Request, Response = Response<B>, Error = Infallible, Future: Send>,
    S: Clone + Send + Sync + 'static,
    B: HttpBody<Data = Bytes, Error = axum::Error> + Send + Unpin + 'static,
{
    let patience = Arc::new(Patience::new(settings, budget));
    let connections = patience.connections.clone();
    let builder = builder(settings, Streams { tasks: tasks.clone(), patience: patience.clone() });
    let stopping = CancellationToken::new();
    let serving = Serving { router, builder, patience, tls, stopping: stopping.clone() };
    let serving = Arc::new(serving);
    accept(listener, connections, &tasks, shutdown, |stream, peer| {
        let serving = serving.clone();
        async move {
            if let Err(error) = serving.connection(stream, peer).await {
                tracing::debug!(error, "connection ended early");
            }
        }
    })
    .await;
    stopping.cancel();
    drain(tasks, settings.drain_timeout).await;
}

/// Accepts connections until `stop` ends, at most as many at once as there are permits, and closes
/// the socket. Each is served by a task of its own.
pub(super) async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    connections: Arc<Semaphore>,
    tasks: &Tasks,
    stop: impl Future<Output = ()> + Send,
    serve: impl Fn(TcpStream, IpAddr) -> F,
) {
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
    builder: auto::Builder<Streams>,
    patience: Arc<Patience>,
    tls: Option<Tls>,
    /// No more requests are accepted.
    stopping: CancellationToken,
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

impl<S, B> Serving<S>
where
    S: Service<Request, Response = Response<B>, Error = Infallible, Future: Send>,
    S: Clone + Send + Sync + 'static,
    B: HttpBody<Data = Bytes, Error = axum::Error> + Send + Unpin + 'static,
{
    async fn connection(&self, stream: TcpStream, peer: IpAddr) -> Result<(), ConnectionError> {
        let (begun, activity) = (Instant::now(), Arc::new(Activity::default()));
        let stream = Socket::new(stream, activity.clone());
        let client = Client { address: Some(peer), secure: self.tls.is_some() };
        let Some(tls) = &self.tls else {
            return self.requests(stream, client, None, &activity, begun).await;
        };
        let deadline = begun + self.patience.header_timeout;
        let accepted = tokio::time::timeout_at(deadline, tls.accept(stream, peer)).await?;
        let (stream, certificate) = accepted?;
        self.requests(stream, client, certificate, &activity, begun).await
    }

    /// Serves the requests of a connection that began at `begun`.
    async fn requests(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        client: Client,
        certificate: Option<Arc<ClientCertificate>>,
        activity: &Arc<Activity>,
        begun: Instant,
    ) -> Result<(), ConnectionError> {
        let service = service_fn(|mut request: hyper::Request<Incoming>| {
            let exchange = Arc::new(Exchange::begin(activity.clone()));
            request.extensions_mut().insert(client);
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            request.extensions_mut().insert(exchange.clone());
            let response = self.router.clone().call(request.map(Body::new));
            async move {
                exchange.enter();
                response.await
            }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut closing = false;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return ended,
                () = self.stopping.cancelled(), if !closing => {}
                () = expired(certificate.as_deref()), if !closing => {}
                end = activity.watch(&self.patience, begun, closing) => match end {
                    End::Idle => {}
                    End::Stalled => return Err("the client made no progress".into()),
                },
            }
            closing = true;
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// Waits until the certificate of a client has expired. It comes again with a new one.
async fn expired(certificate: Option<&ClientCertificate>) {
    let Some(certificate) = certificate else { return std::future::pending().await };
    let left = certificate.end().duration_since(SystemClock.now());
    tokio::time::sleep(left.unwrap_or_default()).await;
}

fn builder(settings: &ListenerSettings, streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_send_buf_size(HTTP2_SEND_BYTES_MAX)
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
async fn drain(tasks: Tasks, timeout: Duration) {
    tracing::info!(timeout_s = timeout.as_secs(), "draining: waiting for requests in flight");
    if tokio::time::timeout(timeout, tasks.wait()).await.is_ok() {
        tracing::info!("drained: shutdown complete");
    } else {
        tracing::warn!(left = tasks.len(), "drain timeout: requests in flight were cut off");
    }
}
