//! The parts of a multipart upload, and their sizes.
//!
//! S3 takes at most 10,000 parts, of 5 MiB to 5 GiB each except the last. The size doubles every
//! thousand parts, so that the first parts are sent early and the last one ends beyond 5 TiB: with
//! the default of 16 MiB, ten thousand parts hold 7.8 TiB.

use std::time::Instant;

use bytes::Bytes;

use crate::store::{BlobStore, Error, Location, MultipartId, Part};
use crate::telemetry::metrics::Metrics;

/// Sends one part.
pub(super) async fn send(
    store: &dyn BlobStore,
    metrics: &Metrics,
    (location, upload): (&Location, &MultipartId),
    number: u32,
    bytes: Bytes,
) -> Result<Part, Error> {
    let begun = Instant::now();
    let part = store.put_part(location, upload, number, bytes).await?;
    metrics.upload_part_duration.observe((), begun.elapsed());
    metrics.upload_part_bytes.observe_bytes((), part.size);
    Ok(part)
}

/// Bytes that an upload may buffer before it has to reserve memory: most blobs are smaller, and the
/// number of concurrent uploads is bounded.
pub(super) const UNRESERVED_BYTES_MAX: usize = 64 * 1024;
/// Parts that S3 takes in one upload (Amazon S3 multipart upload limits).
pub(super) const PARTS_MAX: u32 = 10_000;
/// The smallest part that is not the last, in bytes (same source).
pub const PART_BYTES_MIN: usize = 5 * 1024 * 1024;
/// The largest part, in bytes (same source).
#[cfg(test)]
const PART_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// After so many parts of one size the size doubles.
const PARTS_PER_SIZE: u32 = 1_000;
/// The last doubling: from here on all parts have one size.
const DOUBLINGS_MAX: u32 = 7;

/// The size that part `number` (from 1) should have, in bytes.
pub fn part_bytes(first: usize, number: u32) -> usize {
    first << (number.saturating_sub(1) / PARTS_PER_SIZE).min(DOUBLINGS_MAX)
}

/// The size below which part `number` must not stay unless it is the last, in bytes. Early parts
/// may be sent small when memory is short; later ones may not, or the numbers would run out.
pub(super) fn part_bytes_min(first: usize, number: u32) -> usize {
    if number <= PARTS_PER_SIZE { PART_BYTES_MIN } else { part_bytes(first, number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn ten_thousand_parts_pass_five_tebibytes() {
        let total: u64 = (1..=PARTS_MAX).map(|number| part_bytes(16 << 20, number) as u64).sum();
        assert!(total > 5 * MIB * MIB, "{total}");
    }

    #[test]
    fn every_size_is_one_that_s3_takes() {
        for first in [5usize << 20, 16 << 20, 40 << 20] {
            for number in 1..=PARTS_MAX {
                let (least, wanted) = (part_bytes_min(first, number), part_bytes(first, number));
                assert!(PART_BYTES_MIN <= least && least <= wanted, "{number}");
                assert!(wanted as u64 <= PART_BYTES_MAX, "{number}");
            }
        }
    }

    #[test]
    fn sizes_never_shrink() {
        for number in 2..=PARTS_MAX {
            assert!(part_bytes(16 << 20, number - 1) <= part_bytes(16 << 20, number));
        }
    }
}
