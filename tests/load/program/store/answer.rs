//! Answers of the store, and their bodies.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::{Instant, sleep_until};

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What is said, not yet how fast.
pub(crate) struct Answer {
    status: StatusCode,
    headers: Vec<(header::HeaderName, String)>,
    pieces: Vec<Bytes>,
    length: u64,
    head_only: bool,
}

impl Answer {
    fn new(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), pieces: Vec::new(), length: 0, head_only: false }
    }

    pub(crate) fn ok() -> Self {
        Self::new(StatusCode::OK)
    }

    pub(crate) fn empty() -> Self {
        Self::new(StatusCode::NO_CONTENT)
    }

    pub(crate) fn refused(status: StatusCode, code: &str) -> Self {
        let mut answer = Self::xml(&format!("<Error><Code>{code}</Code></Error>"));
        answer.status = status;
        answer
    }

    /// Says in words, too, what a refusal is about.
    pub(crate) fn message(self, message: &str) -> Self {
        let text = self.pieces.first().map(|text| String::from_utf8_lossy(text).into_owned());
        let said = format!("<Message>{message}</Message></Error>");
        let text = text.unwrap_or_default().replace("</Error>", &said);
        Self::text(self.status, "application/xml", text)
    }

    pub(crate) fn xml(inner: &str) -> Self {
        let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{inner}");
        Self::text(StatusCode::OK, "application/xml", text)
    }

    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Self::text(StatusCode::OK, "application/json", value.to_string())
    }

    fn text(status: StatusCode, media_type: &str, text: String) -> Self {
        let length = text.len() as u64;
        let answer = Self::new(status).header(header::CONTENT_TYPE, media_type);
        answer.content(vec![Bytes::from(text)], length)
    }

    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn header(mut self, name: header::HeaderName, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn modified(self, at: SystemTime) -> Self {
        self.header(header::LAST_MODIFIED, &httpdate::fmt_http_date(at))
    }

    pub(crate) fn content(mut self, pieces: Vec<Bytes>, length: u64) -> Self {
        (self.pieces, self.length) = (pieces, length);
        self
    }

    /// The same headers, and nothing else.
    pub(crate) fn without_body(mut self, without: bool) -> Self {
        self.head_only = without;
        self
    }

    /// At so many bytes a second, if that is limited.
    pub(crate) fn into_response(self, rate: Option<f64>) -> Response<Body> {
        let pieces = if self.head_only { Vec::new() } else { self.pieces };
        let frames =
            stream::unfold((pieces.into_iter(), Instant::now()), move |state| async move {
                let (mut pieces, mut due) = state;
                let piece = pieces.next()?;
                if let Some(rate) = rate {
                    #[expect(clippy::cast_precision_loss, reason = "a piece")]
                    let takes = piece.len() as f64 / rate;
                    due = due.max(Instant::now()) + Duration::from_secs_f64(takes);
                    sleep_until(due).await;
                }
                Some((Ok(Frame::data(piece)), (pieces, due)))
            });
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, self.length.into());
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        if self.status == StatusCode::NO_CONTENT {
            headers.remove(header::CONTENT_LENGTH);
        }
        response
    }
}

impl From<Answer> for Response<Body> {
    fn from(answer: Answer) -> Self {
        answer.into_response(None)
    }
}
