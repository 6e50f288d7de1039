//! HTTP as a client sees it: each request on a connection of its own, no redirect is followed, and
//! nothing is repeated.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper_rustls::ConfigBuilderExt as _;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::{Address, Place};
use crate::tasks::Tasks;

/// How long opening a connection may take, and TLS on it.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long an answer may take after the request was sent.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long a request with a body of megabytes may take.
const UPLOAD_MAX: Duration = Duration::from_mins(5);
/// Bytes of an answer that are read: the metrics of a process have some hundred thousand.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

type Outgoing = UnsyncBoxBody<Bytes, Infallible>;

/// Sends requests.
pub(super) struct Client {
    tls: TlsConnector,
    tasks: Tasks,
}

/// A request without its body.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    method: Method,
    place: Place,
    headers: HeaderMap,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// When the certificate of the server ends, where it has one.
    pub(super) certificate_ends: Option<SystemTime>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// No connection: a wrong name, nothing listens, a firewall, or TLS failed.
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Broken(String),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection for one request.
struct Opened {
    sender: http1::SendRequest<Outgoing>,
    certificate_ends: Option<SystemTime>,
}

impl Asked {
    pub(super) fn new(method: Method, place: Place) -> Self {
        Self { method, place, headers: HeaderMap::new() }
    }

    pub(super) fn get(place: Place) -> Self {
        Self::new(Method::GET, place)
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// With a login, if there is one.
    pub(super) fn authorized(mut self, login: Option<HeaderValue>) -> Self {
        if let Some(login) = login {
            self.headers.insert(http::header::AUTHORIZATION, login);
        }
        self
    }

    fn with(self, body: Outgoing) -> Result<Request<Outgoing>, Failure> {
        let Self { method, place, headers } = self;
        let request = Request::builder().method(method).uri(&place.path);
        let request = request.header(HOST, place.server.authority()).body(body);
        let mut request = request.map_err(|error| Failure::Broken(error.to_string()))?;
        request.headers_mut().extend(headers);
        Ok(request)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.place)
    }
}

impl Answer {
    /// A header as text, empty if there is none.
    pub(super) fn text(&self, name: impl http::header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether Longshore, or another registry, has written it: a proxy that answers by itself does
    /// not send this header.
    pub(super) fn is_of_registry(&self) -> bool {
        self.headers.contains_key("docker-distribution-api-version")
    }

    /// The status, and with which identifier the log of the registry has the request.
    pub(super) fn seen(&self) -> String {
        match self.text("x-request-id") {
            "" => self.status.as_u16().to_string(),
            id => format!("{}, X-Request-Id {id}", self.status.as_u16()),
        }
    }

    /// The program that has answered, as far as it says so.
    pub(super) fn server(&self) -> String {
        match self.text(http::header::SERVER) {
            "" => "a proxy".to_owned(),
            server => format!("a proxy ({server})"),
        }
    }
}

impl Client {
    /// A client that trusts the authorities of this machine, or those in the file of
    /// `SSL_CERT_FILE`.
    ///
    /// Without any it trusts none, which is enough for addresses without TLS.
    pub(super) fn new() -> Self {
        let config = ClientConfig::builder().with_native_roots().unwrap_or_else(|_| {
            ClientConfig::builder().with_root_certificates(RootCertStore::empty())
        });
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { tls: TlsConnector::from(Arc::new(config)), tasks: Tasks::new() }
    }

    /// Sends a request without a body.
    pub(super) async fn send(&self, asked: Asked) -> Result<Answer, Failure> {
        self.send_with(asked, Bytes::new()).await
    }

    pub(super) async fn send_with(&self, asked: Asked, body: Bytes) -> Result<Answer, Failure> {
        let limit = if body.is_empty() { ANSWER_MAX } else { UPLOAD_MAX };
        let Opened { mut sender, certificate_ends } = self.open(&asked.place.server).await?;
        let request = asked.with(Full::new(body).boxed_unsync())?;
        let answer = timeout(limit, async {
            let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
            whole(response, certificate_ends).await
        });
        answer.await.map_err(|_| Failure::Broken(format!("no answer within {limit:?}")))?
    }

    /// Announces a body of this length, sends one byte of it, and waits for an answer. If there is
    /// none within `patience`, sends the rest. `None` if the answer came before that.
    pub(super) async fn hold_body(
        &self,
        asked: Asked,
        length: usize,
        patience: Duration,
    ) -> Result<Option<Answer>, Failure> {
        let Opened { mut sender, certificate_ends } = self.open(&asked.place.server).await?;
        let (release, released) = oneshot::channel::<()>();
        let first = stream::once(async { Bytes::from_static(b"\0") });
        let rest = stream::once(async move {
            let _ = released.await;
            Bytes::from(vec![0; length - 1])
        });
        let request = asked.header(CONTENT_LENGTH, &length.to_string());
        let mut answer = std::pin::pin!(async move {
            let request = request.with(streamed(first.chain(rest)))?;
            let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
            whole(response, certificate_ends).await
        });
        if let Ok(answer) = timeout(patience, &mut answer).await {
            return answer.map(|_| None);
        }
        let _ = release.send(());
        let answer = timeout(ANSWER_MAX, answer).await;
        let none = |_| Failure::Broken(format!("no answer within {ANSWER_MAX:?} after the body"));
        answer.map_err(none)?.map(Some)
    }

    /// Announces a body of this length and sends nothing of it. `None` if no answer comes within
    /// `patience`: then nothing on the way objects to the length.
    pub(super) async fn announce_body(
        &self,
        asked: Asked,
        length: u64,
        patience: Duration,
    ) -> Result<Option<Answer>, Failure> {
        let Opened { mut sender, certificate_ends } = self.open(&asked.place.server).await?;
        let request = asked.header(CONTENT_LENGTH, &length.to_string());
        let request = request.with(streamed(stream::pending()))?;
        let answer = timeout(patience, async {
            let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
            whole(response, certificate_ends).await
        });
        answer.await.ok().transpose()
    }

    async fn open(&self, server: &Address) -> Result<Opened, Failure> {
        let (host, port) = (server.host_name(), server.port);
        let unreachable = |error: &Cause| Failure::Unreachable(reason(error));
        let late = |what: &str| Failure::Unreachable(format!("no {what} within {CONNECT_MAX:?}"));
        let opening = timeout(CONNECT_MAX, TcpStream::connect((host, port)));
        let tcp = opening.await.map_err(|_| late("connection"))?;
        let tcp = tcp.map_err(|error| unreachable(&error))?;
        let mut certificate_ends = None;
        let stream: Box<dyn Stream> = if server.secure {
            let name =
                ServerName::try_from(host.to_owned()).map_err(|error| unreachable(&error))?;
            let opening = timeout(CONNECT_MAX, self.tls.connect(name, tcp));
            let tls = opening.await.map_err(|_| late("TLS"))?;
            let tls =
                tls.map_err(|error| Failure::Unreachable(format!("TLS: {}", reason(&error))))?;
            let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
            certificate_ends = certificate.and_then(|certificate| ends(certificate));
            Box::new(tls)
        } else {
            Box::new(tcp)
        };
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        // An error of the connection is also one of its request.
        self.tasks.spawn(async move { drop(connection.await) });
        Ok(Opened { sender, certificate_ends })
    }
}

fn streamed(chunks: impl stream::Stream<Item = Bytes> + Send + 'static) -> Outgoing {
    StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync()
}

async fn whole(
    response: Response<Incoming>,
    certificate_ends: Option<SystemTime>,
) -> Result<Answer, Failure> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| Failure::Broken(reason(error.as_ref())))?.to_bytes();
    let (status, headers) = (parts.status, parts.headers);
    Ok(Answer { status, headers, body, certificate_ends })
}

fn broken(error: &hyper::Error) -> Failure {
    Failure::Broken(reason(error))
}

/// An error, and what caused another.
type Cause = dyn StdError + 'static;

/// An error with its causes.
fn reason(error: &Cause) -> String {
    let (mut causes, mut next) = (Vec::new(), Some(error));
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    // Some errors repeat their cause.
    causes.dedup_by(|cause, error| error.contains(cause.as_str()));
    causes.join(": ")
}

/// When a certificate ends. Nothing if it cannot be read.
fn ends(certificate: &[u8]) -> Option<SystemTime> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}
