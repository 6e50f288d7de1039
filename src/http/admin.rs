//! The admin port: whether the process is alive, whether it is ready for requests, its metrics.
//!
//! It is a listener of its own, so that only monitoring can reach it, and responds when the
//! registry's port has as many connections as it may.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, StatusCode};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::listener::accept;
use crate::tasks::Tasks;
use crate::telemetry::metrics::{self, Metrics};

/// Connections at once; monitoring needs one.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may live. It serves one request, so that none is kept waiting.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// How long the head of a request may take. Idle connections must not keep a liveness probe out.
const HEAD_MAX: Duration = Duration::from_secs(2);
/// How long `longshore healthcheck` waits, at each step.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);
/// What it reads of the answer: the status is in its first bytes.
const HEALTH_BYTES_MAX: u64 = 1024;

/// Whether this process should be sent requests.
///
/// It depends on the process alone: the store has passed the check at the start, the registry
/// listens, and no shutdown was requested. The store and Redis are left out on purpose. All
/// processes share them, so an outage of the store would take every process out of the load
/// balancer at the same moment, and with them what they can still serve: cached manifests,
/// redirects, and a 503 that tells clients to come back. Registries whose health check asks the
/// store have been restarted by their orchestrator in the middle of an outage of the store, and
/// came back to a colder cache. Metrics and alerts show what is wrong with the store.
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

    /// A shutdown was requested.
    pub fn draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    /// Whether a shutdown was requested.
    pub(super) fn is_draining(&self) -> bool {
        self.0.load(Ordering::Acquire) == DRAINING
    }

    fn status(&self) -> (StatusCode, &'static str) {
        match self.0.load(Ordering::Acquire) {
            STARTING => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: starting, the store check is running\n",
            ),
            READY => (StatusCode::OK, "ready\n"),
            _ => {
                (StatusCode::SERVICE_UNAVAILABLE, "not ready: draining, a shutdown was requested\n")
            }
        }
    }
}

/// The state of the admin port.
#[derive(Clone, Debug)]
pub struct Admin {
    pub readiness: Readiness,
    pub metrics: Metrics,
    /// Whether `/metrics` has the names of distribution, too.
    pub aliases: bool,
}

impl Admin {
    fn router(self) -> Router {
        Router::new()
            // It looks at nothing: a process that responds need not be restarted.
            .route("/livez", get(async || text(StatusCode::OK, "alive\n")))
            .route("/readyz", get(readyz))
            .route("/metrics", get(exposition))
            .method_not_allowed_fallback(async || {
                ([(ALLOW, "GET, HEAD")], text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n"))
            })
            .fallback(async || {
                text(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n")
            })
            .with_state(self)
    }

    /// Serves until it is stopped. Nothing is drained: a scrape that is cut off is repeated.
    pub async fn run(self, listener: TcpListener, stopped: CancellationToken, tasks: Tasks) {
        let router = self.router();
        let stop = stopped.clone().cancelled_owned();
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        accept(listener, connections, &tasks, stop, |stream, _| {
            let (service, stopped) = (TowerToHyperService::new(router.clone()), stopped.clone());
            async move {
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_MAX)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    () = stopped.cancelled() => {}
                    _ = tokio::time::timeout(CONNECTION_MAX, connection) => {}
                }
            }
        })
        .await;
    }
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let (status, reason) = admin.readiness.status();
    text(status, reason)
}

async fn exposition(State(admin): State<Admin>) -> impl IntoResponse {
    let exposition = if admin.aliases {
        admin.metrics.exposition_with_aliases()
    } else {
        admin.metrics.exposition()
    };
    let (status, headers, body) = text(StatusCode::OK, exposition);
    (status, headers, [(CONTENT_TYPE, metrics::MEDIA_TYPE)], body)
}

type Text<B> = (StatusCode, [(HeaderName, &'static str); 2], B);

fn text<B: Into<Bytes>>(status: StatusCode, body: B) -> Text<Bytes> {
    let media_type = (CONTENT_TYPE, "text/plain; charset=utf-8");
    (status, [media_type, (CACHE_CONTROL, "no-store")], body.into())
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
