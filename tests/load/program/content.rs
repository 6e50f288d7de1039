//! Bodies that nothing can compress and nobody has: made and hashed before anything is timed.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::connection::Body;

/// Random bytes that all blobs share.
const BLOCK_BYTES: usize = 8 * 1024 * 1024;
/// How much of a blob is handed over at once. Each of these pieces begins with bytes of its own.
const PIECE_BYTES: u64 = 256 * 1024;
/// Bytes of their own.
const MARK_BYTES: u64 = 32;

/// Random numbers, xorshift64*: fast, and nothing here is a secret.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn fill(&mut self, size: usize) -> Bytes {
        let mut bytes = BytesMut::with_capacity(size + 8);
        while bytes.len() < size {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(size);
        bytes.freeze()
    }
}

/// A seed that no other run had.
pub(crate) fn fresh_seed() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the process number has to do; it is as good for one machine.
    if getrandom::fill(&mut bytes).is_err() {
        return u64::from(std::process::id());
    }
    u64::from_le_bytes(bytes)
}

/// Where blobs come from.
#[derive(Clone)]
pub(crate) struct Source {
    block: Bytes,
    seed: u64,
}

/// A blob: what it hashes to is known.
#[derive(Clone)]
pub(crate) struct Blob {
    source: Source,
    number: u64,
    pub(crate) size: u64,
    pub(crate) digest: Arc<str>,
}

impl Source {
    pub(crate) fn new(seed: u64) -> Self {
        Self { block: Random::new(seed).fill(BLOCK_BYTES), seed }
    }

    pub(crate) fn blob(&self, number: u64, size: u64) -> Blob {
        let mut blob = Blob { source: self.clone(), number, size, digest: "".into() };
        let mut hasher = Sha256::new();
        blob.pieces(0..size).for_each(|piece| hasher.update(&piece));
        blob.digest = format!("sha256:{}", hex::encode(hasher.finalize())).into();
        blob
    }
}

impl Blob {
    /// The bytes of a part, in pieces that share their memory with those of all blobs.
    fn pieces(&self, range: std::ops::Range<u64>) -> impl Iterator<Item = Bytes> + use<> {
        let (source, number, end) = (self.source.clone(), self.number, range.end);
        let mut at = range.start;
        let mut mark_left = Bytes::new();
        std::iter::from_fn(move || {
            if !mark_left.is_empty() {
                return Some(std::mem::take(&mut mark_left));
            }
            if at >= end {
                return None;
            }
            let piece = at / PIECE_BYTES;
            let size = (PIECE_BYTES - at % PIECE_BYTES).min(end - at);
            let within = at % PIECE_BYTES;
            at += size;
            // The offset differs from piece to piece, so that no two of them are alike.
            let offset = (piece * 4099 * MARK_BYTES) % (BLOCK_BYTES as u64 - PIECE_BYTES);
            let from = usize::try_from(offset + within).unwrap_or(0);
            let length = usize::try_from(size).unwrap_or(0);
            let shared = source.block.slice(from..from + length);
            let marked = MARK_BYTES.saturating_sub(within).min(size);
            if marked == 0 {
                return Some(shared);
            }
            let mixed = source.seed ^ number.wrapping_mul(0x9e37_79b9) ^ (piece << 40);
            let mark = Random::new(mixed).fill(usize::try_from(MARK_BYTES).unwrap_or(32));
            let (first, marked) = (within, usize::try_from(marked).unwrap_or(0));
            let first = usize::try_from(first).unwrap_or(0);
            mark_left = shared.slice(marked..);
            Some(mark.slice(first..first + marked))
        })
    }

    /// A part as one buffer.
    pub(crate) fn bytes(&self, range: std::ops::Range<u64>) -> Bytes {
        let size = usize::try_from(range.end - range.start).unwrap_or(0);
        let mut bytes = BytesMut::with_capacity(size);
        self.pieces(range).for_each(|piece| bytes.extend_from_slice(&piece));
        bytes.freeze()
    }

    /// A part as the body of a request of unknown length.
    pub(crate) fn body(&self, range: std::ops::Range<u64>) -> Body {
        let frames = self.pieces(range).map(|piece| Ok(Frame::data(piece)));
        StreamBody::new(stream::iter(frames)).boxed()
    }
}

/// Bytes that one core hashes in a second, the best of a few tries.
pub(crate) fn hash_rate() -> String {
    let block = Random::new(1).fill(BLOCK_BYTES);
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let begun = Instant::now();
        for _ in 0..8 {
            std::hint::black_box(Sha256::digest(&block));
        }
        best = best.min(begun.elapsed().as_secs_f64());
    }
    #[expect(clippy::cast_precision_loss, reason = "64 MiB")]
    let rate = (8 * BLOCK_BYTES) as f64 / best;
    json!({ "bytes_per_second": rate, "cpu_seconds_per_gib": f64::from(1 << 30) / rate })
        .to_string()
}
