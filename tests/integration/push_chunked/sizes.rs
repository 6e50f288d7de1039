//! Chunks of all sizes, below and above the minimum size of a part.

use crate::support::exchange::created;
use crate::support::{App, bytes, sha256, sha512};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Pushes in chunks of these sizes, repeatedly until the end, and reads the blob back.
async fn push(seed: u64, total: usize, sizes: &[usize], announced: &str, use_sha512: bool) {
    let app = App::start().await;
    let repository = app.repository("sizes");
    let content = bytes(seed, total);
    let digest = if use_sha512 { sha512(&content) } else { sha256(&content) };
    let mut location = app.start_upload(&repository, announced).await;
    let (mut first, mut index) = (0, 0);
    while first < total {
        let last = (first + sizes[index % sizes.len()]).min(total);
        let chunk = &content[first..last];
        // Every third chunk has no range: both kinds can be combined.
        let reply = if index % 3 == 2 {
            app.request("PATCH", &location).chunked(chunk, 300_000).send().await
        } else {
            app.patch_at(&location, first, chunk).await
        };
        location = reply.expect(202).stands_at(last).location();
        (first, index) = (last, index + 1);
    }
    created(app.close(&location, &digest, b"").await, &repository, &digest);
    app.assert_blob(&repository, &digest, &content).await;
    app.settled().await;
    if let Some(memory) = &app.memory {
        assert_eq!(memory.open_multiparts(), 0);
        assert!(memory.data_objects().len() <= 1, "{:?}", memory.data_objects());
    }
}

#[tokio::test]
async fn chunks_of_one_byte() {
    push(200, 40, &[1], "", false).await;
}

#[tokio::test]
async fn chunks_of_64_kib() {
    push(201, 20 * 64 * KIB + 1, &[64 * KIB], "", false).await;
}

#[tokio::test]
async fn chunks_of_just_less_than_5_mib() {
    push(202, 22 * MIB, &[5 * MIB - 1], "", false).await;
}

#[tokio::test]
async fn chunks_of_5_mib() {
    push(203, 20 * MIB, &[5 * MIB], "", false).await;
}

#[tokio::test]
async fn chunks_of_just_more_than_5_mib() {
    push(204, 22 * MIB, &[5 * MIB + 1], "", false).await;
}

#[tokio::test]
async fn chunks_of_17_mib() {
    push(205, 36 * MIB, &[17 * MIB], "", false).await;
}

#[tokio::test]
async fn chunks_of_a_part_and_one_byte() {
    push(206, 32 * MIB + 2, &[16 * MIB, 1], "", false).await;
}

#[tokio::test]
async fn chunks_of_alternating_sizes() {
    push(207, 40 * MIB, &[1, 17 * MIB, 100, 5 * MIB - 1, 64 * KIB, 2, 6 * MIB], "", false).await;
}

#[tokio::test]
async fn a_sha512_digest_that_was_not_announced_is_accepted() {
    push(208, 1_000, &[300], "", true).await;
    push(209, 18 * MIB, &[7 * MIB, 1_000], "", true).await;
}

#[tokio::test]
async fn an_announced_sha512_digest_is_accepted() {
    push(210, 1_000, &[300], "?digest-algorithm=sha512", true).await;
    push(211, 18 * MIB, &[7 * MIB, 1_000], "?digest-algorithm=sha512", true).await;
}

/// The announcement is not stored, so the server computes the digest in another way.
#[tokio::test]
async fn a_digest_of_another_algorithm_than_announced_is_accepted() {
    push(212, 1_000, &[300], "?digest-algorithm=sha256", true).await;
    push(213, 18 * MIB, &[7 * MIB, 1_000], "?digest-algorithm=sha256", true).await;
    push(214, 18 * MIB, &[7 * MIB, 1_000], "?digest-algorithm=sha512", false).await;
}

/// Sent parts were hashed with SHA-256 only, so the server reads the object back before it commits.
#[tokio::test]
async fn a_large_blob_with_an_unannounced_sha512_digest_is_read_back() {
    push(215, 70 * MIB, &[30 * MIB], "", true).await;
    push(216, 20 * MIB, &[20 * MIB], "", true).await;
}
