//! The HTTP client, used by the SDK and for our own presigned requests.
//!
//! The SDK's client has one timeout from the start of a request to the first byte of its answer. It
//! would have to be longer than the slowest upload, and then notices a dead store late. The SDK's
//! stalled stream protection sees a body in memory leave in one piece, so it detects no stall.
//! This client sends a body in chunks and has three timeouts: an upload that makes no progress, a
//! store that has the whole request and does not answer, and an answer that stops in the middle.
//! Time that the reader of an answer spends elsewhere does not count.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{
    HttpClient as SdkHttpClient, HttpConnector as SdkConnector, HttpConnectorFuture,
    HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, Sleep};

use super::error::SendError;
use super::metrics::{RequestLabels, compare_clocks, count};
use super::retry::next_attempt;
use super::settings::Settings;
use crate::http_proxy::{Proxies, ProxyConnector};
use crate::store::Error;
use crate::telemetry::metrics::Metrics;

/// Bytes of a body that the connection gets at once; small enough to see progress.
const CHUNK_BYTES: usize = 128 * 1024;
/// Bytes that the kernels at both ends may still buffer when the last chunk was handed over.
const KERNEL_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// The slowest network for which the timeout allows while those bytes are sent.
const SLOWEST_BYTES_PER_SECOND: u64 = 256 * 1024;
/// How often the progress of a request is checked within its timeout.
const CHECKS_PER_TIMEOUT: u32 = 8;
/// Idle connections that stay open for the next requests.
const IDLE_CONNECTIONS_MAX: usize = 256;
/// S3 closes idle connections after some 20 seconds; using one at that moment costs a retry.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// Finds peers that vanished without closing, for example behind a NAT.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// A pool of connections.
#[derive(Clone)]
pub(super) struct HttpClient {
    client: Client<HttpsConnector<ProxyConnector>, Outgoing>,
    proxies: Proxies,
    response_timeout: Duration,
    stall_timeout: Duration,
    metrics: Metrics,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("response_timeout", &self.response_timeout)
            .field("stall_timeout", &self.stall_timeout)
            .finish_non_exhaustive()
    }
}

impl HttpClient {
    pub(super) fn new(
        settings: &Settings,
        proxies: Proxies,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE_INTERVAL));
        tcp.set_connect_timeout(Some(settings.connect_timeout));
        let tls = HttpsConnectorBuilder::new();
        // Reading the root certificates takes milliseconds, and a plain endpoint needs none.
        let plain = settings.endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));
        let tls = if plain {
            let trusts_none =
                ClientConfig::builder().with_root_certificates(RootCertStore::empty());
            tls.with_tls_config(trusts_none.with_no_client_auth())
        } else {
            tls.with_native_roots()
                .map_err(|error| Error::Refused(format!("no root certificates: {error}")))?
        };
        let tls = tls
            .https_or_http()
            // Each request in flight has a connection of its own: the probe relies on that.
            .enable_http1()
            .wrap_connector(ProxyConnector::new(tcp, proxies.clone()));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(tls);
        Ok(Self {
            client,
            proxies,
            response_timeout: settings.response_timeout,
            stall_timeout: settings.stall_timeout,
            metrics,
        })
    }

    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Answer, SendError> {
        self.send_with_timeout(request, self.response_timeout).await
    }

    /// Sends a request once, and counts it.
    async fn send_with_timeout(
        &self,
        request: Request<Bytes>,
        response_timeout: Duration,
    ) -> Result<Answer, SendError> {
        let (labels, started) = (RequestLabels::of(&request, next_attempt()), Instant::now());
        let answer = self.send_once(request, response_timeout).await;
        let status = answer.as_ref().map(Response::status);
        count(&self.metrics, labels, status, started.elapsed());
        if let Ok(answer) = &answer {
            compare_clocks(&self.metrics, answer.headers());
        }
        answer
    }

    async fn send_once(
        &self,
        request: Request<Bytes>,
        response_timeout: Duration,
    ) -> Result<Answer, SendError> {
        let progress = Progress::new(request.body());
        let buffered = request.body().len().min(KERNEL_BUFFER_BYTES) as u64;
        let response_timeout =
            response_timeout + Duration::from_millis(buffered * 1000 / SLOWEST_BYTES_PER_SECOND);
        let mut request = request.map(|rest| Outgoing { rest, progress: Arc::clone(&progress) });
        self.proxies.authorize(&mut request);
        let connection = capture_connection(&mut request);
        let mut response = std::pin::pin!(self.client.request(request));
        let response = loop {
            let (since, sent) = progress.read();
            let limit = if sent { response_timeout } else { self.stall_timeout };
            // Several checks within one timeout, because it changes when the last chunk is sent.
            let wake = (Instant::now() + limit / CHECKS_PER_TIMEOUT).min(since + limit);
            match tokio::time::timeout_at(wake, &mut response).await {
                Ok(response) => break response.map_err(connection_error)?,
                Err(_) if progress.read() != (since, sent) || Instant::now() < since + limit => {}
                Err(_) if sent => return Err(SendError::ResponseTimeout(limit)),
                Err(_) => return Err(SendError::UploadStalled(limit)),
            }
        };
        if response.status().is_server_error() {
            // One name may stand for many servers, and the next one may work.
            if let Some(connected) = connection.connection_metadata().as_ref() {
                connected.poison();
            }
        }
        Ok(response.map(|body| StallTimeoutBody::new(body, self.stall_timeout)))
    }
}

pub(super) type Answer = Response<StallTimeoutBody>;

/// When a request last made progress, and whether it was sent completely.
#[derive(Debug)]
struct Progress(Mutex<(Instant, bool)>);

impl Progress {
    fn new(body: &Bytes) -> Arc<Self> {
        Arc::new(Self(Mutex::new((Instant::now(), body.is_empty()))))
    }

    fn read(&self) -> (Instant, bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self, sent: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), sent);
    }
}

/// The body of a request, in chunks that share its memory.
struct Outgoing {
    rest: Bytes,
    progress: Arc<Progress>,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.rest.len().min(CHUNK_BYTES);
        let chunk = self.rest.split_to(size);
        self.progress.moved(self.rest.is_empty());
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// The body of an answer, with a timeout that runs only while we wait for more of it.
pub(super) struct StallTimeoutBody {
    body: Incoming,
    stall_timeout: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

/// The store stopped sending in the middle of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the download made no progress for {0:?}")]
struct Stalled(Duration);

impl StallTimeoutBody {
    fn new(body: Incoming, stall_timeout: Duration) -> Self {
        Self { body, stall_timeout, waiting: None }
    }
}

impl Body for StallTimeoutBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        // The body is polled before the timeout: time that the reader spent elsewhere does not
        // count against the store.
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let limit = self.stall_timeout;
        let sleep = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Stalled(limit).into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl SdkHttpClient for HttpClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            http: self.clone(),
            response_timeout: settings.read_timeout().unwrap_or(self.response_timeout),
        })
    }
}

/// The client for the SDK, whose read timeout is our response timeout.
#[derive(Debug)]
struct Connector {
    http: HttpClient,
    response_timeout: Duration,
}

impl SdkConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.http.clone();
        let response_timeout = self.response_timeout;
        HttpConnectorFuture::new(async move {
            let request =
                request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (head, body) = request.into_parts();
            // Every body we send is one buffer in memory, and collecting one buffer copies nothing.
            let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
            let response = http
                .send_with_timeout(Request::from_parts(head, body), response_timeout)
                .await
                .map_err(connector_error)?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn connection_error(error: legacy::Error) -> SendError {
    if error.is_connect() {
        SendError::NotConnected(error.into())
    } else {
        SendError::ConnectionLost(error.into())
    }
}

/// Both kinds of error make the SDK retry.
fn connector_error(error: SendError) -> ConnectorError {
    match error {
        SendError::ResponseTimeout(_) | SendError::UploadStalled(_) => {
            ConnectorError::timeout(error.into())
        }
        SendError::NotConnected(_) | SendError::ConnectionLost(_) => {
            ConnectorError::io(error.into())
        }
    }
}
