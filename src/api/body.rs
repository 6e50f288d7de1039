//! Request bodies: streamed with an idle timeout, or read whole up to a limit.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use http_body::Body as _;

use super::error::Error;
use crate::oci::ErrorCode;
use crate::registry::uploads::{Body as Received, Interrupted, drain, drain_up_to};

/// Bytes of a body that are read and dropped when its sender may not send it at all.
const DRAINED_UNASKED_BYTES_MAX: usize = 1024 * 1024;
const DRAIN_UNASKED: Duration = Duration::from_secs(5);
/// How long the next bytes of such a body are waited for.
const DRAIN_IDLE: Duration = Duration::from_secs(2);

/// The length of a body, where its headers say so.
pub(super) fn length(body: &Body) -> Option<u64> {
    body.size_hint().exact()
}

/// A body as a stream that ends with an error when nothing arrives for `idle`. It may go on for as
/// long as it likes otherwise.
pub(super) fn received(body: Body, idle: Duration) -> Received {
    let chunks = body.into_data_stream();
    let chunks = stream::unfold(Some(chunks), move |chunks| async move {
        let mut chunks = chunks?;
        match tokio::time::timeout(idle, chunks.next()).await {
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(chunks))),
            Ok(Some(Err(error))) => Some((Err(Interrupted(error.to_string())), None)),
            Ok(None) => None,
            Err(_) => {
                let reason = format!("nothing arrived for {} s", idle.as_secs());
                Some((Err(Interrupted(reason)), None))
            }
        }
    });
    // Whoever reads on after the end finds the end again.
    Box::pin(chunks.fuse())
}

/// Reads a body whole. More than `limit` bytes are refused with 413, whether or not they were
/// announced, and never kept.
pub(super) async fn read_at_most(body: Body, limit: usize, idle: Duration) -> Result<Bytes, Error> {
    let announced = length(&body);
    let mut chunks = received(body, idle);
    if announced.is_some_and(|bytes| bytes > limit as u64) {
        drain(&mut chunks).await;
        return Err(too_large(limit));
    }
    let mut whole = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|interrupted| {
            Error::new(StatusCode::BAD_REQUEST, ErrorCode::SizeInvalid, interrupted.0)
        })?;
        if whole.len() + chunk.len() > limit {
            drain(&mut chunks).await;
            return Err(too_large(limit));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

fn too_large(limit: usize) -> Error {
    let message = format!("the manifest is larger than {limit} bytes");
    Error::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::ManifestInvalid, message)
}

/// Reads on in the body of a request that was refused for what its head says, so that its client,
/// or a proxy before it, sees the answer and not a broken connection.
pub(super) async fn read_on(body: Body, idle: Duration) {
    if !body.is_end_stream() {
        drain(&mut received(body, idle)).await;
    }
}

/// Reads on for a little while in a request that was refused before its body was looked at, or a
/// client that sends without waiting would find a broken connection and not the answer. Bounded
/// more tightly, because it is done for everybody.
pub(super) async fn drain_refused(body: Body) {
    if body.is_end_stream() {
        return;
    }
    let mut chunks = received(body, DRAIN_IDLE);
    let drained = drain_up_to(&mut chunks, DRAINED_UNASKED_BYTES_MAX);
    // Whether it was read to its end makes no difference.
    let _ = tokio::time::timeout(DRAIN_UNASKED, drained).await;
}
