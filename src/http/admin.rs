//! The admin port: is the process alive, should it be sent requests, and what does it count.
//!
//! It is a listener of its own, so that it can be reached by those who watch and by nobody else,
//! and answers when the registry's own port is at the bound of its connections.

use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::listener::ACCEPT_PAUSE;
use crate::telemetry::metrics::{self, Metrics};

/// Connections at once; whoever watches needs one.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may live. It serves one request, so that none is kept waiting.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// How long a request may take to say what it wants. Connections that stand open and say nothing
/// must not keep those out that ask whether the process lives.
const HEAD_MAX: Duration = Duration::from_secs(2);
/// How long `longshore healthcheck` waits, at each step.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);
/// What it reads of the answer: the status is in its first bytes.
const HEALTH_BYTES_MAX: u64 = 1024;

/// Whether this process should be sent requests.
///
/// It depends on nothing but the life of the process: it has put its store to the test and listens,
/// and was not told to end. The store and Redis are left out on purpose. All processes share them,
/// so a store that stumbles would take every one of them out of the load balancer at the same
/// moment, and with them what they can still answer: cached manifests, redirects, and a 503 that
/// tells clients to come back. Registries whose health check asks the store have been restarted by
/// their orchestrator in the middle of an outage of the store, and came back to a colder cache.
/// What is wrong with the store is told by metrics and alerts.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// The registry listens.
    pub fn started(&self) {
        self.0.store(READY, Ordering::Release);
    }

    /// The process was told to end.
    pub fn draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    fn answer(&self) -> (StatusCode, &'static str) {
        match self.0.load(Ordering::Acquire) {
            STARTING => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: starting, the store is being put to the test\n",
            ),
            READY => (StatusCode::OK, "ready\n"),
            _ => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: draining, this process was told to end\n",
            ),
        }
    }
}

/// What the admin port tells.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Whether requests should come here.
    pub readiness: Readiness,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether it is told by the names of distribution, too.
    pub aliases: bool,
}

impl Admin {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let known = |path| matches!(path, "/livez" | "/readyz" | "/metrics");
        if !known(request.uri().path()) {
            return text(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            // Whoever can answer this can answer anything: nothing else decides about a restart.
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/readyz" => {
                let (status, reason) = self.readiness.answer();
                text(status, reason)
            }
            _ => {
                let exposition = if self.aliases {
                    self.metrics.exposition_with_aliases()
                } else {
                    self.metrics.exposition()
                };
                let mut response = text(StatusCode::OK, exposition);
                let media_type = HeaderValue::from_static(metrics::MEDIA_TYPE);
                response.headers_mut().insert(CONTENT_TYPE, media_type);
                response
            }
        }
    }

    /// Answers until it is stopped. Nothing is drained: a scrape that is cut off is repeated.
    pub async fn run(self, listener: TcpListener, stopped: CancellationToken, tasks: TaskTracker) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = stopped.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "an admin connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (admin, stopped) = (self.clone(), stopped.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    _ = tokio::time::timeout(CONNECTION_MAX, admin.connection(stream)) => {}
                }
                drop(permit);
            });
        }
    }

    async fn connection(&self, stream: TcpStream) {
        let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
            Ok::<_, Infallible>(self.answer(&request))
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "an admin connection ended early");
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Asks the admin port of a process on this machine whether it is alive. It needs no runtime, so
/// that it can be run every few seconds.
pub fn healthcheck(listen: SocketAddr) -> Result<(), String> {
    let address = SocketAddr::new(reachable(listen.ip()), listen.port());
    let trouble = |error: io::Error| format!("http://{address}/livez: {error}");
    let mut stream =
        std::net::TcpStream::connect_timeout(&address, HEALTH_TIMEOUT).map_err(trouble)?;
    stream.set_read_timeout(Some(HEALTH_TIMEOUT)).map_err(trouble)?;
    stream.set_write_timeout(Some(HEALTH_TIMEOUT)).map_err(trouble)?;
    let request = format!("GET /livez HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(trouble)?;
    let mut answer = Vec::new();
    stream.take(HEALTH_BYTES_MAX).read_to_end(&mut answer).map_err(trouble)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    if status.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    Err(format!("http://{address}/livez: {status:?}"))
}

/// The address at which something that listens everywhere is found.
fn reachable(listen: IpAddr) -> IpAddr {
    match listen {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}
