//! Several ranges of a blob in one response: `multipart/byteranges` (RFC 9110, section 14.6).
//!
//! Each range of the request is a part of its own, in the order of the request, because clients
//! count the parts. Ranges that lie close together are read from the store with one request.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use bytes::{Buf as _, Bytes};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::entropy;
use crate::http::error::Error;
use crate::http::state::Api;
use crate::registry::{self, Blob};

/// The hole between two ranges that is read and dropped, in bytes: that costs less than another
/// request to the store.
const HOLE_BYTES_MAX: u64 = 16 * 1024;

/// The text between the parts of one response.
struct Framing {
    boundary: String,
    size: u64,
}

impl Framing {
    fn head(&self, range: &Range<u64>) -> String {
        let (boundary, first, last, size) =
            (&self.boundary, range.start, range.end.saturating_sub(1), self.size);
        format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\
             Content-Range: bytes {first}-{last}/{size}\r\n\r\n"
        )
    }

    fn tail(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }
}

/// What a response with several ranges has.
pub(super) struct Byteranges {
    pub(super) content_type: String,
    /// Bytes of the body.
    pub(super) length: u64,
    pub(super) body: Body,
}

/// Begins to read ranges that lie within a blob, of which there is at least one.
pub(super) async fn open(
    api: &Arc<Api>,
    blob: Arc<Blob>,
    ranges: Vec<Range<u64>>,
) -> Result<Byteranges, Error> {
    let boundary = hex::encode(entropy::bytes::<16>());
    let content_type = format!("multipart/byteranges; boundary={boundary}");
    let framing = Framing { boundary, size: blob.size };
    let part = |range: &Range<u64>| framing.head(range).len() as u64 + range.end - range.start;
    let length = framing.tail().len() as u64 + ranges.iter().map(part).sum::<u64>();
    let mut reader = Reader {
        api: api.clone(),
        blob,
        framing,
        ranges,
        next: 0,
        left: 0..0,
        ended: false,
        source: stream::empty().boxed(),
        chunk: Bytes::new(),
        at: 0,
        until: 0,
    };
    // Data that is missing is 503, as long as the head was not sent.
    reader.source_from(0).await?;
    let body = Body::from_stream(stream::try_unfold(reader, Reader::next_chunk));
    Ok(Byteranges { content_type, length, body })
}

struct Reader {
    api: Arc<Api>,
    blob: Arc<Blob>,
    framing: Framing,
    ranges: Vec<Range<u64>>,
    /// The range that begins when `left` is empty.
    next: usize,
    /// What is left of the range that is being sent.
    left: Range<u64>,
    ended: bool,
    /// The bytes of the blob up to `until`.
    source: BoxStream<'static, Result<Bytes, axum::Error>>,
    /// Bytes from the source, which lie at `at` in the blob.
    chunk: Bytes,
    at: u64,
    until: u64,
}

impl Reader {
    async fn next_chunk(mut self) -> Result<Option<(Bytes, Self)>, axum::Error> {
        if !self.left.is_empty() {
            let bytes = self.read().await?;
            return Ok(Some((bytes, self)));
        }
        let text = match self.ranges.get(self.next) {
            Some(range) => {
                self.left = range.clone();
                self.next += 1;
                self.framing.head(range)
            }
            None if self.ended => return Ok(None),
            None => {
                self.ended = true;
                self.framing.tail()
            }
        };
        Ok(Some((text.into(), self)))
    }

    /// The next bytes of the range that is being sent.
    async fn read(&mut self) -> Result<Bytes, axum::Error> {
        if self.left.start < self.at || self.until < self.left.end {
            let opened = self.source_from(self.next.saturating_sub(1)).await;
            opened.map_err(axum::Error::new)?;
        }
        loop {
            let hole = clamp(self.left.start.saturating_sub(self.at)).min(self.chunk.len());
            self.chunk.advance(hole);
            self.at += hole as u64;
            if !self.chunk.is_empty() {
                let length = clamp(self.left.end - self.left.start).min(self.chunk.len());
                self.at += length as u64;
                self.left.start += length as u64;
                return Ok(self.chunk.split_to(length));
            }
            let ended = || axum::Error::new("the store sent too few bytes");
            self.chunk = self.source.next().await.ok_or_else(ended)??;
        }
    }

    /// Opens the blob at a range, up to the end of the last range that follows closely.
    async fn source_from(&mut self, first: usize) -> Result<(), registry::Error> {
        let mut ranges = self.ranges.iter().skip(first);
        let Some(mut whole) = ranges.next().cloned() else { return Ok(()) };
        for range in ranges {
            if range.start < whole.end || HOLE_BYTES_MAX < range.start - whole.end {
                break;
            }
            whole.end = range.end;
        }
        (self.at, self.until, self.chunk) = (whole.start, whole.end, Bytes::new());
        let bytes = self.api.registry.blobs.open(&self.blob, Some(whole)).await?;
        self.source = bytes.map_err(axum::Error::new).boxed();
        Ok(())
    }
}

/// As many bytes as a chunk can have.
fn clamp(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
