//! Request bodies: streamed with an idle timeout, or read whole up to a limit.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use http_body::Body as _;

use super::error::Error;
use crate::oci::ErrorCode;
use crate::registry::uploads::{Body as Chunks, Interrupted};

/// Bytes of a body that are read and dropped once the answer is known, so that a client which is
/// still sending, or a proxy before it, gets to see the answer instead of a broken connection.
const DRAINED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long the next bytes of such a body are waited for.
const DRAIN_IDLE: Duration = Duration::from_secs(2);
/// The same for a body whose sender may not send it at all. Bounded more tightly, because it is
/// done for everybody.
const DRAINED_UNASKED_BYTES_MAX: usize = 1024 * 1024;
/// How long that may take in all.
const DRAIN_UNASKED: Duration = Duration::from_secs(5);

/// The body of a request while it is read.
pub(super) struct RequestBody {
    /// Its length, where the headers say so.
    pub(super) length: Option<u64>,
    pub(super) chunks: Chunks,
}

impl RequestBody {
    /// A body that ends with an error when nothing arrives for `idle`. It may go on for as long as
    /// it likes otherwise.
    pub(super) fn new(body: Body, idle: Duration) -> Self {
        let length = body.size_hint().exact();
        if body.is_end_stream() {
            // As most are; this box holds nothing and is none.
            return Self { length, chunks: Box::pin(stream::empty()) };
        }
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
        Self { length, chunks: Box::pin(chunks.fuse()) }
    }

    /// Reads it whole. More than `limit` bytes are refused with 413, whether or not they were
    /// announced, and never kept.
    pub(super) async fn whole(&mut self, limit: usize) -> Result<Bytes, Error> {
        if self.length.is_some_and(|bytes| bytes > limit as u64) {
            return Err(too_large(limit));
        }
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunks.next().await {
            let chunk = chunk.map_err(|interrupted| {
                Error::new(StatusCode::BAD_REQUEST, ErrorCode::SizeInvalid, interrupted.0)
            })?;
            if whole.len() + chunk.len() > limit {
                return Err(too_large(limit));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// Reads on for a while, because the answer is known before the body has ended.
    pub(super) async fn read_on(&mut self) {
        self.drain(DRAINED_BYTES_MAX).await;
    }

    /// Reads and drops until so many bytes came, it ended, or nothing came for a moment.
    async fn drain(&mut self, bytes_max: usize) {
        let mut drained = 0;
        while drained < bytes_max {
            match tokio::time::timeout(DRAIN_IDLE, self.chunks.next()).await {
                Ok(Some(Ok(chunk))) => drained += chunk.len(),
                Ok(Some(Err(_)) | None) | Err(_) => return,
            }
        }
    }
}

/// Reads on for a little while in a request that was refused before its body was looked at.
pub(super) async fn read_on_unasked(body: Body) {
    let mut body = RequestBody::new(body, DRAIN_IDLE);
    // Whether it was read to its end makes no difference.
    let _ = tokio::time::timeout(DRAIN_UNASKED, body.drain(DRAINED_UNASKED_BYTES_MAX)).await;
}

fn too_large(limit: usize) -> Error {
    let message = format!("the manifest is larger than {limit} bytes");
    Error::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::ManifestInvalid, message)
}
