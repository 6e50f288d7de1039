//! Request bodies: streamed, or drained.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::registry::uploads::{Body as Chunks, Interrupted};

/// Bytes of a body that are read and dropped once the response is known, so that a client which is
/// still sending, or a proxy before it, sees the response instead of a broken connection.
const DRAINED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long draining waits for the next bytes.
const DRAIN_IDLE: Duration = Duration::from_secs(2);
/// The same limit for a request that was refused. It is lower, because anybody can send one.
const REFUSED_BYTES_MAX: usize = 1024 * 1024;
/// How long draining a refused request may take in all.
const REFUSED_TIME_MAX: Duration = Duration::from_secs(5);

/// The body of a request while it is read. The body timeout is a layer of the router.
pub(super) struct RequestBody {
    /// Its length, where the headers say so.
    pub(super) length: Option<u64>,
    pub(super) chunks: Chunks,
}

impl RequestBody {
    pub(super) fn new(body: Body) -> Self {
        let length = body.size_hint().exact();
        if body.is_end_stream() {
            // Most requests have no body, and this box allocates nothing.
            return Self { length, chunks: Box::pin(stream::empty()) };
        }
        let chunks = body.into_data_stream().map_err(|error| Interrupted(error.to_string()));
        // Reading on after the end finds the end again.
        Self { length, chunks: Box::pin(chunks.fuse()) }
    }

    /// Reads and drops what is left for a while, because the response is known before the body has
    /// ended.
    pub(super) async fn drain(&mut self) {
        self.drain_up_to(DRAINED_BYTES_MAX).await;
    }

    /// Drains the body of a request that was refused before its body was read.
    pub(super) async fn drain_refused(mut self) {
        // Whether the body was read to its end makes no difference.
        let drained = self.drain_up_to(REFUSED_BYTES_MAX);
        let _ = tokio::time::timeout(REFUSED_TIME_MAX, drained).await;
    }

    async fn drain_up_to(&mut self, bytes_max: usize) {
        let mut drained = 0;
        while drained < bytes_max {
            match tokio::time::timeout(DRAIN_IDLE, self.chunks.next()).await {
                Ok(Some(Ok(chunk))) => drained += chunk.len(),
                Ok(Some(Err(_)) | None) | Err(_) => return,
            }
        }
    }
}
