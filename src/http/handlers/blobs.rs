//! Blobs: pulled whole or in ranges, by redirect or through this process, and removed.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION,
};
use http::{HeaderValue, StatusCode};

use super::byteranges;
use crate::http::authorized::Context;
use crate::http::error::Error;
use crate::http::headers::{
    self, DOCKER_CONTENT_DIGEST, Precondition, Selection, name_content, shared_value, value,
};
use crate::oci::{Digest, ErrorCode};
use crate::registry::{Blob, Content};
use crate::telemetry::metrics::{ServeMode, ServeReason};

/// A blob never changes under its digest, and has the length that its manifest says.
const CACHE_FOREVER: &str = "max-age=31536000, immutable, no-transform";
/// The same for a blob that needs a login.
const KEEP_FOREVER: &str = "private, max-age=31536000, immutable, no-transform";

/// Pulling blobs — end-2, `GET /v2/<name>/blobs/<digest>`.
pub(super) async fn get(cx: &Context, digest: &Digest) -> Result<Response, Error> {
    let blob = cx.api.registry.blobs.get(cx.repository()?, digest).await?;
    if let Some(answer) = conditional(cx, &blob)? {
        return Ok(answer);
    }
    let selection = headers::selection(&cx.headers, digest, blob.size);
    let several = matches!(selection, Selection::Parts(_));
    let serve = |mode, reason| cx.api.metrics.blob_serves.inc((mode, reason));
    let (redirects, reason) = cx.api.settings.blobs.redirects(cx.client.address);
    // Stores answer one range, or all of the blob to a request for several.
    if redirects
        && !several
        && let Some(url) = signed_url(cx, &blob).await?
    {
        serve(ServeMode::Redirect, reason);
        return Ok(redirect(&blob, url));
    }
    let reason = match blob.content {
        Content::Inline(_) => ServeReason::Inline,
        Content::Stored(_) if redirects && several => ServeReason::SeveralRanges,
        Content::Stored(_) if redirects => ServeReason::NoPresignedUrls,
        Content::Stored(_) => reason,
    };
    let bytes = match &selection {
        Selection::Unsatisfiable => return Err(unsatisfiable(&blob)),
        Selection::Part(range) => range.end - range.start,
        Selection::Whole | Selection::Parts(_) => blob.size,
    };
    // Before a stream from the store is opened.
    if !cx.reservation.cover_stream(bytes) {
        return Err(Error::too_busy());
    }
    let response = match selection {
        Selection::Whole => stream(cx, &blob, None).await?,
        Selection::Part(range) => stream(cx, &blob, Some(range)).await?,
        Selection::Parts(ranges) => {
            let several = Box::pin(byteranges::open(&cx.api, blob.clone(), ranges)).await?;
            let mut response = partial(cx, &blob, several.body, several.length);
            response.headers_mut().insert(CONTENT_TYPE, value(&several.content_type));
            response
        }
        Selection::Unsatisfiable => return Err(unsatisfiable(&blob)),
    };
    let part = response.status() == StatusCode::PARTIAL_CONTENT;
    serve(if part { ServeMode::Range } else { ServeMode::Proxy }, reason);
    Ok(response)
}

/// The blob, or one range of it, through this process.
async fn stream(cx: &Context, blob: &Blob, range: Option<Range<u64>>) -> Result<Response, Error> {
    let bytes = cx.api.registry.blobs.open(blob, range.clone()).await?;
    let body = Body::from_stream(bytes);
    let Some(Range { start, end }) = range else {
        let mut response = partial(cx, blob, body, blob.size);
        *response.status_mut() = StatusCode::OK;
        return Ok(response);
    };
    let mut response = partial(cx, blob, body, end - start);
    let of = format!("bytes {start}-{}/{}", end - 1, blob.size);
    response.headers_mut().insert(CONTENT_RANGE, value(&of));
    Ok(response)
}

/// 206 with a body of this length.
fn partial(cx: &Context, blob: &Blob, body: Body, length: u64) -> Response {
    let mut response = headers::content_response(body);
    describe(cx, &mut response, blob);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

/// Checking if content exists in the registry — end-2, `HEAD /v2/<name>/blobs/<digest>`. Never a
/// redirect: a URL that is signed for GET refuses HEAD.
pub(super) async fn head(cx: &Context, digest: &Digest) -> Result<Response, Error> {
    let blob = cx.api.registry.blobs.get_for_push(cx.repository()?, digest).await?;
    if let Some(answer) = conditional(cx, &blob)? {
        return Ok(answer);
    }
    let mut response = headers::content_response(Body::empty());
    describe(cx, &mut response, &blob);
    response.headers_mut().insert(CONTENT_LENGTH, blob.size.into());
    Ok(response)
}

/// Deleting blobs — end-10, `DELETE /v2/<name>/blobs/<digest>`.
pub(super) async fn delete(cx: &Context, digest: &Digest) -> Result<Response, Error> {
    if !cx.api.settings.blobs.delete {
        let message = "deleting blobs is switched off (blobs.delete)";
        return Err(Error::not_allowed("GET, HEAD", message));
    }
    cx.api.registry.blobs.delete(cx.repository()?, digest).await?;
    Ok(accepted())
}

/// 202 without a body.
pub(super) fn accepted() -> Response {
    (StatusCode::ACCEPTED, [(CONTENT_LENGTH, "0")]).into_response()
}

fn describe(cx: &Context, response: &mut Response, blob: &Blob) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    name_content(headers, format!("\"{}\"", blob.digest).into());
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let caching = if cx.is_public() { CACHE_FOREVER } else { KEEP_FOREVER };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
}

/// 304 or 412, where the conditions of the request demand it.
fn conditional(cx: &Context, blob: &Blob) -> Result<Option<Response>, Error> {
    match headers::precondition(&cx.headers, &blob.digest) {
        Precondition::Holds => Ok(None),
        Precondition::NotModified => {
            let mut response = headers::content_response(Body::empty());
            describe(cx, &mut response, blob);
            response.headers_mut().remove(CONTENT_TYPE);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            Ok(Some(response))
        }
        Precondition::Failed => {
            let message = "the blob has another digest than If-Match names";
            Err(Error::new(StatusCode::PRECONDITION_FAILED, ErrorCode::Denied, message))
        }
    }
}

fn unsatisfiable(blob: &Blob) -> Error {
    let message = format!("the range lies outside the {} bytes of the blob", blob.size);
    Error::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::SizeInvalid, message)
        .header(CONTENT_RANGE, value(&format!("bytes */{}", blob.size)))
}

/// The signature is dated to the beginning of a time step, so that the URL of a blob repeats and
/// caches can hit; it is good for the step and the whole time to live after it.
async fn signed_url(cx: &Context, blob: &Blob) -> Result<Option<String>, Error> {
    let step = cx.api.settings.blobs.redirect_step.as_secs().max(1);
    let now = cx.api.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let dated = SystemTime::UNIX_EPOCH + Duration::from_secs(now - now % step);
    let valid_for = cx.api.settings.blobs.redirect_ttl + Duration::from_secs(step);
    Ok(cx.api.registry.blobs.redirect_url(blob, dated, valid_for).await?)
}

fn redirect(blob: &Blob, url: String) -> Response {
    let mut response = headers::content_response(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let headers = response.headers_mut();
    headers.insert(LOCATION, shared_value(url.into()));
    headers.insert(DOCKER_CONTENT_DIGEST, shared_value(blob.digest.to_string().into()));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    // The URL is a credential.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
