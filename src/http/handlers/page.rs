//! One page of a list: how many rows it has, and where the next one is.

use std::fmt::Display;

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LINK};
use serde_json::{Value, json};

use crate::http::authorized::Context;
use crate::http::error::Error;
use crate::http::headers::value;
use crate::http::query::{Query, encoded};

/// How many rows the client wants; more than a page holds is the page, and so is `?n=`.
pub(super) fn count(cx: &Context, query: &Query<'_>) -> Result<usize, Error> {
    let max = cx.api.settings.lists.page_max;
    let Some(text) = query.one("n").filter(|text| !text.is_empty()) else { return Ok(max) };
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = "n must be a number of rows";
        return Err(Error::unsupported(StatusCode::BAD_REQUEST, message)
            .detail(json!({ "n": encoded(text) })));
    }
    Ok(text.parse().unwrap_or(usize::MAX).min(max))
}

/// The URL of the page after this one, if there is one.
pub(super) fn next<T: Display>(last: Option<T>, path: &str, count: usize) -> Option<String> {
    Some(format!("{path}?n={count}&last={}", encoded(&last?.to_string())))
}

pub(super) fn response(
    cx: &Context,
    body: &Value,
    media_type: &str,
    next: Option<String>,
) -> Response {
    let link = next.map(|next| [(LINK, value(&format!("<{next}>; rel=\"next\"")))]);
    let private = (!cx.is_public()).then_some([(CACHE_CONTROL, "private")]);
    ([(CONTENT_TYPE, value(media_type))], link, private, body.to_string()).into_response()
}
