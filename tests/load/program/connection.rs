//! One connection of a client: HTTP/1.1, kept open, without a pool, without retries.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use crate::Failure;

pub(crate) type Body = BoxBody<Bytes, std::convert::Infallible>;

pub(crate) fn empty() -> Body {
    Empty::new().boxed()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

impl Answer {
    /// Fails unless the status is the one that is wanted.
    pub(crate) fn expect(self, wanted: u16, what: &str) -> Result<Self, Failure> {
        if self.status.as_u16() == wanted {
            return Ok(self);
        }
        Err(format!("{what}: {} instead of {wanted}", self.status).into())
    }

    /// The path that `Location` names, whether it is absolute or not.
    pub(crate) fn location(&self) -> Result<String, Failure> {
        let location = self.headers.get(header::LOCATION).ok_or("an answer without Location")?;
        let uri: http::Uri = location.to_str()?.parse()?;
        Ok(uri.path_and_query().ok_or("a Location without a path")?.to_string())
    }

    /// The host and port that an absolute `Location` names.
    pub(crate) fn host(&self) -> Result<String, Failure> {
        let location = self.headers.get(header::LOCATION).ok_or("an answer without Location")?;
        let uri: http::Uri = location.to_str()?.parse()?;
        Ok(uri.authority().ok_or("a Location without a host")?.to_string())
    }
}

pub(crate) struct Connection {
    address: String,
    sender: Option<SendRequest<Body>>,
    tasks: TaskTracker,
}

impl Connection {
    /// To `host:port`; opened when it is first used.
    pub(crate) fn to(address: &str) -> Self {
        Self { address: address.to_owned(), sender: None, tasks: TaskTracker::new() }
    }

    async fn sender(&mut self) -> Result<&mut SendRequest<Body>, Failure> {
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            self.tasks.spawn(connection);
            self.sender = Some(sender);
        }
        let sender = self.sender.as_mut().ok_or("no connection")?;
        sender.ready().await?;
        Ok(sender)
    }

    /// Sends a request with an empty body.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Answer, Failure> {
        self.send(method, path, headers, empty()).await
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Answer, Failure> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse()?;
        request.headers_mut().clone_from(headers);
        request.headers_mut().insert(header::HOST, self.address.parse()?);
        let sent = self.sender().await?.send_request(request).await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => {
                self.sender = None;
                return Err(error.into());
            }
        };
        let (head, mut body) = response.into_parts();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok(Answer { status: head.status, headers: head.headers })
    }
}

/// Reads `name: value` as curl takes it.
pub(crate) fn headers(lines: &[String]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a header without a colon")?;
        headers.append(name.trim().parse::<http::HeaderName>()?, value.trim().parse()?);
    }
    Ok(headers)
}
