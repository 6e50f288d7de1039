//! The connections to the store, shared by the SDK and by our own presigned requests.
//!
//! The SDK's client has one timeout from the start of a request to the first byte of its answer,
//! so it must be longer than the slowest upload and then notices a dead store late; its protection
//! against stalled streams sees a body in memory leave in one piece and learns nothing from it.
//! Here a body goes out in chunks, and whoever is waited for has a limit of its own: a body that
//! makes no progress, a store that has the whole request and does not answer, an answer that stops
//! in the middle. A receiver that is slow to take what has arrived is nobody's failure.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector as SmithyConnector, HttpConnectorFuture, HttpConnectorSettings,
    SharedHttpConnector,
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
use tokio::time::{Instant, Sleep};

use super::metrics::{Asked, count};
use super::{Error, Settings};
use crate::telemetry::metrics::Metrics;

/// What is handed to the connection at once; small enough that progress can be seen.
const CHUNK_BYTES: usize = 128 * 1024;
/// What the kernels at both ends may still hold when the last chunk has left our hands.
const UNSEEN_BYTES: usize = 4 * 1024 * 1024;
/// The slowest path on which those bytes are waited for.
const SLOWEST_BYTES_PER_SECOND: u64 = 256 * 1024;
/// How often a request that is waited for is looked at within the limit that applies to it.
const LOOKS_PER_LIMIT: u32 = 8;
/// Connections kept for the next requests.
const IDLE_CONNECTIONS_MAX: usize = 256;
/// S3 closes idle connections after some 20 seconds; using one at that moment costs a retry.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// Finds peers that vanished without closing, for example behind a NAT.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// The pool of connections.
#[derive(Clone)]
pub(super) struct Transport {
    client: Client<HttpsConnector<HttpConnector>, Outgoing>,
    response_timeout: Duration,
    stall_timeout: Duration,
    metrics: Metrics,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("response_timeout", &self.response_timeout)
            .field("stall_timeout", &self.stall_timeout)
            .finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("the store did not answer within {0:?}")]
    Silent(Duration),
    #[error("the upload made no progress for {0:?}")]
    Stalled(Duration),
    #[error(transparent)]
    Broken(#[from] legacy::Error),
}

impl NoAnswer {
    /// Whether the store may have acted on the request all the same.
    pub(super) fn may_have_arrived(&self) -> bool {
        match self {
            Self::Silent(_) | Self::Stalled(_) => true,
            Self::Broken(error) => !error.is_connect(),
        }
    }
}

impl Transport {
    pub(super) fn new(settings: &Settings, metrics: Metrics) -> Result<Self, Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE_INTERVAL));
        tcp.set_connect_timeout(Some(settings.connect_timeout));
        let tls = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| Error::Refused(format!("no root certificates: {error}")))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(tls);
        Ok(Self {
            client,
            response_timeout: settings.response_timeout,
            stall_timeout: settings.stall_timeout,
            metrics,
        })
    }

    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Answer, NoAnswer> {
        self.send_patiently(request, self.response_timeout).await
    }

    /// Sends a request and counts it. Whoever sends it again comes here again.
    async fn send_patiently(
        &self,
        request: Request<Bytes>,
        response_timeout: Duration,
    ) -> Result<Answer, NoAnswer> {
        let (asked, begun) = (Asked::of(&request), Instant::now());
        let answer = self.send_once(request, response_timeout).await;
        count(&self.metrics, asked, &answer, begun.elapsed());
        answer
    }

    async fn send_once(
        &self,
        request: Request<Bytes>,
        response_timeout: Duration,
    ) -> Result<Answer, NoAnswer> {
        let progress = Progress::new(request.body());
        let unseen = request.body().len().min(UNSEEN_BYTES) as u64;
        let response_timeout =
            response_timeout + Duration::from_millis(unseen * 1000 / SLOWEST_BYTES_PER_SECOND);
        let mut request = request.map(|rest| Outgoing { rest, progress: Arc::clone(&progress) });
        let connection = capture_connection(&mut request);
        let mut response = std::pin::pin!(self.client.request(request));
        let response = loop {
            let (since, sent) = progress.read();
            let limit = if sent { response_timeout } else { self.stall_timeout };
            // Several looks within one limit, because the limit changes when the last chunk leaves.
            let wake = (Instant::now() + limit / LOOKS_PER_LIMIT).min(since + limit);
            match tokio::time::timeout_at(wake, &mut response).await {
                Ok(response) => break response?,
                Err(_) if progress.read() != (since, sent) || Instant::now() < since + limit => {}
                Err(_) if sent => return Err(NoAnswer::Silent(limit)),
                Err(_) => return Err(NoAnswer::Stalled(limit)),
            }
        };
        if response.status().is_server_error() {
            // Behind one name there may be many machines, and the next may be well.
            if let Some(connected) = connection.connection_metadata().as_ref() {
                connected.poison();
            }
        }
        Ok(response.map(|body| Watched::new(body, self.stall_timeout)))
    }
}

/// An answer whose body ends in an error if the store stops in the middle of it.
pub(super) type Answer = Response<Watched>;

/// When a request last moved, and whether it has left whole.
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

/// The body of an answer. Its clock runs only while we ask for more and none is there.
pub(super) struct Watched {
    body: Incoming,
    stall_timeout: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

/// The store stopped sending in the middle of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the download made no progress for {0:?}")]
struct Stalled(Duration);

impl Watched {
    fn new(body: Incoming, stall_timeout: Duration) -> Self {
        Self { body, stall_timeout, waiting: None }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        // What is there is taken before the clock is read: time that the receiver spent elsewhere
        // does not count against the store.
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

impl HttpClient for Transport {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            transport: self.clone(),
            response_timeout: settings.read_timeout().unwrap_or(self.response_timeout),
        })
    }
}

/// The transport as the SDK wants it. The SDK's read timeout is our response timeout.
#[derive(Debug)]
struct Connector {
    transport: Transport,
    response_timeout: Duration,
}

impl SmithyConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let transport = self.transport.clone();
        let response_timeout = self.response_timeout;
        HttpConnectorFuture::new(async move {
            let request =
                request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (head, body) = request.into_parts();
            // Every body we send is one buffer in memory, and collecting one buffer copies nothing.
            let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
            let response = transport
                .send_patiently(Request::from_parts(head, body), response_timeout)
                .await
                .map_err(connector_error)?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Says to the SDK what may be tried again: all of it.
fn connector_error(error: NoAnswer) -> ConnectorError {
    match error {
        NoAnswer::Silent(_) | NoAnswer::Stalled(_) => ConnectorError::timeout(error.into()),
        NoAnswer::Broken(_) => ConnectorError::io(error.into()),
    }
}
