//! An HTTP client that sends paths and headers unchanged.

use std::fmt;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

type Body = BoxBody<Bytes, std::io::Error>;

/// A client of one registry.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    pooled: Pooled<HttpConnector, Body>,
}

/// A request.
pub struct Request<'a> {
    client: &'a Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Body,
}

/// A response.
#[derive(Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(500)];
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        write!(f, "\n{}", String::from_utf8_lossy(shown))
    }
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

impl Client {
    pub fn new(base: &str) -> Self {
        let pooled = Pooled::builder(TokioExecutor::new()).build_http();
        Self { base: base.trim_end_matches('/').to_owned(), pooled }
    }

    pub fn request(&self, method: &str, path: &str) -> Request<'_> {
        Request {
            client: self,
            method: method.parse().expect("a method"),
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: full(Bytes::new()),
        }
    }
}

impl Request<'_> {
    pub fn header(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        self.headers.append(name, value.as_ref().parse().expect("a header value"));
        self
    }

    /// A body with a `Content-Length`.
    pub fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body = full(bytes.into());
        self
    }

    /// A body with `Transfer-Encoding: chunked`.
    pub fn chunked(mut self, bytes: &[u8], size: usize) -> Self {
        let chunks: Vec<Bytes> = bytes.chunks(size.max(1)).map(Bytes::copy_from_slice).collect();
        let frames = stream::iter(chunks.into_iter().map(|chunk| Ok(Frame::data(chunk))));
        self.body = BodyExt::boxed(StreamBody::new(frames));
        self
    }

    /// A chunked body with a pause after each chunk.
    pub fn slowly(mut self, chunks: &[&'static [u8]], pause: std::time::Duration) -> Self {
        let chunks = stream::iter(chunks.to_vec()).then(move |chunk| async move {
            tokio::time::sleep(pause).await;
            Ok(Frame::data(Bytes::from_static(chunk)))
        });
        self.body = BodyExt::boxed(StreamBody::new(Box::pin(chunks)));
        self
    }

    /// A body of unknown length that is generated while it is sent.
    pub fn stream(mut self, chunks: impl Stream<Item = Bytes> + Send + Sync + 'static) -> Self {
        self.body = BodyExt::boxed(StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))));
        self
    }

    /// A chunked body that breaks with an error after the last chunk.
    pub fn broken_after(mut self, bytes: &[u8]) -> Self {
        let first = Bytes::copy_from_slice(bytes);
        let frames = stream::iter([Ok(Frame::data(first))]).chain(stream::once(async {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            Err(std::io::Error::other("the client goes away"))
        }));
        self.body = BodyExt::boxed(StreamBody::new(Box::pin(frames)).map_err(|error| error));
        self
    }

    /// Sends the request. The path may be an absolute URL of this registry, as in `Location`.
    pub async fn try_send(self) -> Result<Reply, String> {
        let base = &self.client.base;
        let path = self.path.strip_prefix(base.as_str()).unwrap_or(&self.path);
        let uri: Uri = format!("{base}{path}").parse().map_err(|error| format!("{error}"))?;
        let mut request = http::Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers;
        let response =
            self.client.pooled.request(request).await.map_err(|error| format!("{error:?}"))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }

    pub async fn send(self) -> Reply {
        let said = format!("{} {}", self.method, self.path);
        self.try_send().await.unwrap_or_else(|error| panic!("{said}: {error}"))
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// Asserts the status and the first error code.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Self {
        let reply = self.expect(status);
        let json = reply.json();
        assert_eq!(json["errors"][0]["code"], code, "{reply:?}");
        reply
    }

    /// The body as text.
    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts an error response: status, type, codes in order, and a message for each.
    #[track_caller]
    pub fn expect_envelope(self, status: u16, codes: &[&str]) -> Self {
        let reply = self.expect(status);
        assert_eq!(reply.header("content-type"), Some("application/json"), "{reply:?}");
        assert_eq!(reply.header("docker-distribution-api-version"), Some("registry/2.0"));
        let json = reply.json();
        let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["errors"], "{reply:?}");
        let errors = json["errors"].as_array().expect("an array");
        let found: Vec<&str> = errors.iter().filter_map(|error| error["code"].as_str()).collect();
        assert_eq!(found, codes, "{reply:?}");
        for error in errors {
            assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{reply:?}");
        }
        reply
    }

    /// Asserts a header.
    #[track_caller]
    pub fn with(self, name: &str, value: &str) -> Self {
        assert_eq!(self.header(name), Some(value), "{name}: {self:?}");
        self
    }

    /// Asserts that a header is not there.
    #[track_caller]
    pub fn without(self, name: &str) -> Self {
        assert_eq!(self.header(name), None, "{name}: {self:?}");
        self
    }

    /// Asserts the body, to the byte.
    #[track_caller]
    pub fn with_body(self, body: &[u8]) -> Self {
        assert!(self.body == body, "another body than {}: {self:?}", body.escape_ascii());
        self
    }

    /// The target of a `Link` to the next page.
    #[track_caller]
    pub fn next(&self) -> Option<String> {
        let link = self.header("link")?;
        let target = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
        Some(target.unwrap_or_else(|| panic!("a Link of another form: {self:?}")).to_owned())
    }

    /// The headers about the content, sorted, without those that change with the time.
    pub fn described(&self) -> Vec<(String, String)> {
        let moment = ["date", "transfer-encoding", "x-request-id"];
        let mut described: Vec<(String, String)> = self
            .headers
            .iter()
            .filter(|(name, _)| !moment.contains(&name.as_str()))
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        described.sort();
        described
    }

    /// The `Location` header.
    #[track_caller]
    pub fn location(&self) -> String {
        self.header("location").unwrap_or_else(|| panic!("no Location: {self:?}")).to_owned()
    }
}
