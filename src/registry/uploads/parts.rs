//! The parts of a multipart upload, and their sizes.
//!
//! S3 takes at most 10,000 parts, of 5 MiB to 5 GiB each except the last. The size doubles every
//! thousand parts, so that the first parts are sent early and all of them together hold a large
//! blob: 7.8 TiB with the default of 16 MiB, if a part of 2 GiB fits into the upload memory. The
//! default memory of 512 MiB holds the first 6,000 parts, which are 984 GiB.
//!
//! Some stores want all parts but the last of one length (Cloudflare R2). With
//! `uploads.equal_parts` no part grows, and none is sent that is not full: the end of a chunk waits
//! in the session.

use std::time::Instant;

use bytes::Bytes;

use crate::registry::settings::UploadSettings;
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
const PART_BYTES_MAX: usize = 5 * 1024 * 1024 * 1024;
/// After so many parts of one size the size doubles.
const PARTS_PER_SIZE: u32 = 1_000;
/// The last doubling: from here on all parts have one size.
const DOUBLINGS_MAX: u32 = 7;
/// The longest tail that a session record keeps, in bytes. Every store takes larger records.
pub const TAIL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The size that part `number` (from 1) should have where parts grow, in bytes.
pub fn part_bytes(first: usize, number: u32) -> usize {
    let doublings = (number.saturating_sub(1) / PARTS_PER_SIZE).min(DOUBLINGS_MAX);
    (first << doublings).min(PART_BYTES_MAX)
}

/// How long the parts of every upload are, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum PartSizes {
    /// The first parts have this size.
    Growing(usize),
    /// All parts but the last have this size.
    Equal(usize),
}

impl PartSizes {
    pub(super) fn new(limits: &UploadSettings) -> Self {
        let size = limits.part_bytes;
        if limits.equal_parts { Self::Equal(size) } else { Self::Growing(size) }
    }

    /// The size that part `number` should have.
    pub(super) fn wanted(self, number: u32) -> usize {
        match self {
            Self::Growing(first) => part_bytes(first, number),
            Self::Equal(size) => size,
        }
    }

    /// The size below which part `number` must not stay unless it is the last. Early parts may be
    /// sent small when memory is short; later ones may not, or the numbers would run out.
    pub(super) fn least(self, number: u32) -> usize {
        match self {
            Self::Growing(_) if number <= PARTS_PER_SIZE => PART_BYTES_MIN,
            Self::Growing(_) | Self::Equal(_) => self.wanted(number),
        }
    }

    /// The length from which the bytes at the end of a request become part `number`; a shorter rest
    /// is the tail of the session record. Such a part spends a number on few bytes, which is
    /// cheaper than writing them again with each request. The second half of the numbers is for
    /// longer parts, so that a client with small chunks does not run out of numbers early.
    pub(super) fn least_at_end(self, number: u32) -> usize {
        match self {
            Self::Growing(_) if number <= PARTS_MAX / 2 => PART_BYTES_MIN,
            Self::Growing(_) => TAIL_BYTES_MAX,
            Self::Equal(size) => size,
        }
    }

    /// The largest blob: the sum of all parts of which each fits into the upload memory. An upload
    /// reaches it if it comes in one request and memory is never short.
    pub(super) fn blob_bytes_max(self, buffer_bytes: usize) -> u64 {
        let sizes = (1..=PARTS_MAX).step_by(PARTS_PER_SIZE as usize);
        sizes
            .map(|number| self.wanted(number))
            .take_while(|size| *size <= buffer_bytes)
            .map(|size| size as u64 * u64::from(PARTS_PER_SIZE))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// The number of parts of a blob, `None` if there are not enough numbers or not enough memory.
    fn parts_of(blob: u64, first: usize, buffer_bytes: usize) -> Option<u32> {
        let mut left = blob;
        for number in 1..=PARTS_MAX {
            let size = part_bytes(first, number);
            if left == 0 {
                return Some(number - 1);
            }
            if size > buffer_bytes {
                return None;
            }
            left -= left.min(size as u64);
        }
        (left == 0).then_some(PARTS_MAX)
    }

    #[test]
    fn the_largest_blob_has_a_part_for_every_byte() {
        for (first_mib, buffer_mib, parts, mib) in [
            (16, 512, 6_000, 1_008_000),
            (16, 1_024, 7_000, 2_032_000),
            (16, 2_048, 10_000, 8_176_000),
            (16, 1 << 20, 10_000, 8_176_000),
            (5, 20, 3_000, 35_000),
            // Parts of 5 GiB from number 4,001 on.
            (1_024, 1 << 20, 10_000, (1 + 2 + 4) * 1_024_000 + 7 * 5 * 1_024_000),
        ] {
            let (first, buffer) = (first_mib << 20, buffer_mib << 20);
            let largest = PartSizes::Growing(first).blob_bytes_max(buffer);
            assert_eq!(largest, mib * MIB, "{first_mib} {buffer_mib}");
            assert_eq!(parts_of(largest, first, buffer), Some(parts));
            assert_eq!(parts_of(largest + 1, first, buffer), None);
        }
        assert!(PartSizes::Growing(16 << 20).blob_bytes_max(2 << 30) > 5 * MIB * MIB);
        let equal = PartSizes::Equal(16 << 20);
        assert_eq!(equal.blob_bytes_max(512 << 20), 160_000 * MIB);
        assert_eq!(equal.blob_bytes_max(15 << 20), 0);
    }

    /// How much a client can send in chunks of one size.
    fn sent_in_chunks(chunk: usize) -> u64 {
        let (mut number, mut buffered, mut sent) = (1, 0, 0);
        while number <= PARTS_MAX {
            buffered += chunk;
            sent += chunk as u64;
            while buffered >= part_bytes(16 << 20, number) {
                buffered -= part_bytes(16 << 20, number);
                number += 1;
            }
            if buffered >= PartSizes::Growing(16 << 20).least_at_end(number) {
                buffered = 0;
                number += 1;
            }
        }
        sent
    }

    #[test]
    fn chunks_of_every_size_pass_336_gibibytes() {
        for chunk in [1usize, 4, 5, 6, 10, 16, 20, 63, 65, 100, 500] {
            let sent = sent_in_chunks(chunk << 20);
            assert!(sent > 336 * 1024 * MIB, "{chunk} MiB: {} GiB", sent / MIB / 1024);
        }
    }

    #[test]
    fn every_size_is_one_that_s3_takes() {
        for first in [5usize << 20, 16 << 20, 40 << 20, 1 << 30] {
            for number in 1..=PARTS_MAX {
                let sizes = PartSizes::Growing(first);
                let (least, wanted) = (sizes.least(number), sizes.wanted(number));
                assert!(PART_BYTES_MIN <= least && least <= wanted, "{number}");
                assert!(wanted <= PART_BYTES_MAX, "{number}");
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
