//! What the server answers.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// A response, without its date.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    body: Bytes,
}

impl Answer {
    pub(super) fn new(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("a status");
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// An error of S3.
    pub(super) fn error(status: u16, code: &str) -> Self {
        Self::failed(status, code, "scripted")
    }

    pub(super) fn failed(status: u16, code: &str, message: &str) -> Self {
        if status == 304 {
            return Self::new(status);
        }
        Self::new(status)
            .xml(&format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"))
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }

    pub(super) fn xml(self, elements: &str) -> Self {
        let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{elements}");
        self.with(header::CONTENT_TYPE, "application/xml").body(Bytes::from(text))
    }

    /// The same without its body, as an answer to HEAD.
    pub(super) fn without_body(self) -> Self {
        let length = self.body.len().to_string();
        self.with(header::CONTENT_LENGTH, length).body(Bytes::new())
    }

    pub(super) fn into_response(self, date: SystemTime) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let date = httpdate::fmt_http_date(date);
        for (name, value) in self.headers.into_iter().chain([(header::DATE, date)]) {
            let value = HeaderValue::try_from(value).expect("a header value");
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Text of an element of XML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
