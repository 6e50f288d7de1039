//! One page of a list: how many rows it has, and where the next one is.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_TYPE, LINK};
use serde_json::{Value, json};

use crate::http::authorized::Context;
use crate::http::error::Error;
use crate::http::headers::value;
use crate::http::query::{Query, encoded};

/// How many rows the client wants; more than a page holds is the page.
pub(super) fn count(cx: &Context, query: &Query<'_>) -> Result<usize, Error> {
    let max = cx.api.settings.lists.page_max;
    let Some(text) = query.one("n") else { return Ok(max) };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = "n must be a number of rows";
        return Err(Error::unsupported(StatusCode::BAD_REQUEST, message)
            .detail(json!({ "n": encoded(text) })));
    }
    Ok(text.parse().unwrap_or(usize::MAX).min(max))
}

pub(super) fn response(body: &Value, media_type: &str, next: Option<String>) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, value(media_type));
    if let Some(next) = next {
        headers.insert(LINK, value(&format!("<{next}>; rel=\"next\"")));
    }
    response
}
