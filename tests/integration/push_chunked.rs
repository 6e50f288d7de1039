//! Pushing a blob in chunks: distribution-spec "Pushing a blob in chunks", "Resuming an upload",
//! "Cancel a blob upload" (end-4a, end-4c, end-5, end-6, end-13, end-14).
//!
//! This file has the protocol; `sizes` has chunks of all sizes, `sessions` the end of a session,
//! `single_write` uploads that begin as a single object, `interrupted` clients that disconnect,
//! `races` concurrent requests, `final_puts` final requests that meet a commit or break off, and
//! `later_release` sessions that this release does not understand.

mod final_puts;
pub(crate) mod interrupted;
mod later_release;
mod races;
mod sessions;
mod single_write;
mod sizes;

use crate::STORE;
use crate::support::exchange::{created, with_query};
use crate::support::{App, Reply, bytes, sha256};

const MIB: usize = 1024 * 1024;

/// Asserts that a chunk was refused because of its position, and that the session returns its
/// offset.
#[track_caller]
fn refused_at(reply: Reply, offset: usize) {
    let reply = reply.expect_error(416, "BLOB_UPLOAD_INVALID").stands_at(offset);
    reply.has("docker-distribution-api-version", "registry/2.0");
}

#[tokio::test]
async fn chunks_with_content_range_are_appended() {
    let app = App::start().await;
    let repository = app.repository("chunks");
    let content = bytes(100, 3_000);
    let mut location = app.start_upload(&repository, "").await;
    for first in [0, 1_000, 2_000] {
        let reply = app.patch_at(&location, first, &content[first..first + 1_000]).await;
        let reply = reply.expect(202).stands_at(first + 1_000).has("content-length", "0").says(b"");
        location = reply.location();
        app.get(&location).send().await.expect(204).stands_at(first + 1_000).says(b"");
    }
    let digest = sha256(&content);
    app.assert_no_blob(&repository, &digest).await;
    created(app.close(&location, &digest, b"").await, &repository, &digest);
    app.assert_blob(&repository, &digest, &content).await;
}

/// Docker and skopeo push this way: one PATCH with a body of unknown length.
#[tokio::test]
async fn chunks_without_content_range_are_appended() {
    let app = App::start().await;
    let repository = app.repository("streamed");
    let content = bytes(101, 300_000);
    let mut location = app.start_upload(&repository, "").await;
    for (first, last) in [(0, 100_000), (100_000, 100_001), (100_001, 300_000)] {
        let patch = app.request("PATCH", &location).chunked(&content[first..last], 10_000);
        location = patch.send().await.expect(202).stands_at(last).location();
    }
    let digest = sha256(&content);
    created(app.close(&location, &digest, b"").await, &repository, &digest);
    app.assert_blob(&repository, &digest, &content).await;
}

#[tokio::test]
async fn the_final_put_may_carry_the_last_chunk() {
    let app = App::start().await;
    let repository = app.repository("last-chunk");
    for (seed, with_range) in [(102, true), (103, false)] {
        let content = bytes(seed, 200_000);
        let digest = sha256(&content);
        let location = app.start_upload(&repository, "").await;
        let location = app.patch_at(&location, 0, &content[..150_000]).await.location();
        let put = app.request("PUT", &with_query(&location, &format!("digest={digest}")));
        let put = if with_range { put.chunk_at(150_000, 50_000) } else { put };
        let reply = put.body(content[150_000..].to_vec()).send().await;
        created(reply, &repository, &digest);
        app.assert_blob(&repository, &digest, &content).await;
    }
}

#[tokio::test]
async fn a_put_of_the_whole_blob_may_carry_a_content_range() {
    let app = App::start().await;
    let repository = app.repository("put-range");
    let content = bytes(104, 2_000);
    let digest = sha256(&content);
    let location = app.start_upload(&repository, "").await;
    let put = app.request("PUT", &with_query(&location, &format!("digest={digest}")));
    created(put.chunk_at(0, 2_000).body(content).send().await, &repository, &digest);
}

#[tokio::test]
async fn a_chunk_out_of_order_is_416_and_the_session_continues() {
    let app = App::start().await;
    let repository = app.repository("order");
    let content = bytes(105, 4_000);
    let digest = sha256(&content);
    let location = app.start_upload(&repository, "").await;
    // Before the first byte. The location of the answer is as good as that of the start.
    let early = app.patch_at(&location, 1_000, &content[1_000..2_000]).await;
    let location = early.location();
    refused_at(early, 0);
    app.get(&location).send().await.expect(204).stands_at(0);
    let location = app.patch_at(&location, 0, &content[..1_000]).await.expect(202).location();
    // A gap, an overlap, a restart.
    refused_at(app.patch_at(&location, 2_000, &content[2_000..3_000]).await, 1_000);
    refused_at(app.patch_at(&location, 999, &content[999..2_000]).await, 1_000);
    refused_at(app.patch_at(&location, 0, &content[..1_000]).await, 1_000);
    // The same for the last chunk.
    let close = with_query(&location, &format!("digest={digest}"));
    let late = app.request("PUT", &close).chunk_at(2_000, 2_000).body(content[2_000..].to_vec());
    refused_at(late.send().await, 1_000);
    app.get(&close).send().await.expect(204).stands_at(1_000);
    let rest = app.request("PUT", &close).chunk_at(1_000, 3_000).body(content[1_000..].to_vec());
    created(rest.send().await, &repository, &digest);
    app.assert_blob(&repository, &digest, &content).await;
}

/// The response has to reach a client that is still sending.
#[tokio::test]
async fn a_client_sending_a_large_chunk_out_of_order_receives_the_416() {
    let app = App::start().await;
    let repository = app.repository("large-order");
    let content = bytes(106, 17 * 1024 * 1024);
    let location = app.start_upload(&repository, "").await;
    let location = app.patch(&location, b"0123456789").await.expect(202).location();
    for _ in 0..5 {
        refused_at(app.patch_at(&location, 11, &content).await, 10);
    }
    let digest = sha256(b"0123456789");
    created(app.close(&location, &digest, b"").await, &repository, &digest);
}

/// The offset in the URL is not used: the server knows the offset.
#[tokio::test]
async fn the_first_location_is_valid_for_the_whole_upload() {
    let app = App::start().await;
    let repository = app.repository("stale");
    let content = bytes(107, 5_000);
    let digest = sha256(&content);
    let stale = app.start_upload(&repository, "").await;
    app.patch_at(&stale, 0, &content[..1_000]).await.expect(202).stands_at(1_000);
    app.get(&stale).send().await.expect(204).stands_at(1_000);
    refused_at(app.patch_at(&stale, 0, &content[..1_000]).await, 1_000);
    app.patch_at(&stale, 1_000, &content[1_000..2_000]).await.expect(202).stands_at(2_000);
    // Without a range, with chunked encoding.
    app.patch(&stale, &content[2_000..3_000]).await.expect(202).stands_at(3_000);
    let streamed = app.request("PATCH", &stale).chunked(&content[3_000..4_000], 100);
    streamed.send().await.expect(202).stands_at(4_000);
    refused_at(app.patch_at(&stale, 0, &content).await, 4_000);
    let with_digest = with_query(&stale, &format!("digest={digest}"));
    app.get(&with_digest).send().await.expect(204).stands_at(4_000);
    created(app.close(&stale, &digest, &content[4_000..]).await, &repository, &digest);
    app.assert_blob(&repository, &digest, &content).await;
}

/// Some clients keep only the path of a location, and scripts add the digest in one fixed way.
#[tokio::test]
async fn a_location_has_no_query_and_takes_the_digest_however_it_is_added() {
    let app = App::start().await;
    let repository = app.repository("scripts");
    let digest = sha256(b"0123456789");
    for added in ["?digest=", "&digest=", "?x?digest=", "?_state=x&digest=", "&x=y&digest="] {
        for announced in ["", "?digest-algorithm=sha256"] {
            let start = app.start_upload(&repository, announced).await;
            let again = app.get(&start).send().await.expect(204).location();
            let begun = app.patch(&start, b"01234").await.expect(202).location();
            let after = app.get(&begun).send().await.expect(204).location();
            for location in [&start, &again, &begun, &after] {
                assert!(!location.contains(['?', '&']), "{location}");
            }
            let put = app.request("PUT", &format!("{after}{added}{digest}")).body("56789");
            created(put.send().await, &repository, &digest);
        }
    }
    // What is no digest is refused, and the session goes on.
    let location = app.start_upload(&repository, "").await;
    let location = app.patch(&location, b"0123456789").await.expect(202).location();
    for added in ["&digest", "&digest=", "&x=digest=sha256", "%26digest=x", ""] {
        let put = app.request("PUT", &format!("{location}{added}"));
        put.send().await.expect_error(400, "DIGEST_INVALID");
    }
    created(app.close(&location, &digest, b"").await, &repository, &digest);
}

/// The server reads more than a part before it learns that the session exists already.
#[tokio::test]
async fn the_first_location_is_valid_for_large_chunks() {
    let app = App::start().await;
    let repository = app.repository("stale-large");
    let content = bytes(108, 40 * MIB + 5);
    let digest = sha256(&content);
    let stale = app.start_upload(&repository, "").await;
    app.patch(&stale, &content[..10]).await.expect(202).stands_at(10);
    let streamed = app.request("PATCH", &stale).chunked(&content[10..20 * MIB], 777_777);
    streamed.send().await.expect(202).stands_at(20 * MIB);
    created(app.close(&stale, &digest, &content[20 * MIB..]).await, &repository, &digest);
    app.assert_blob(&repository, &digest, &content).await;
    app.settled().await;
    if let Some(memory) = &app.memory {
        assert_eq!(memory.open_multiparts(), 0);
    }
}

#[tokio::test]
async fn an_invalid_content_range_is_400() {
    let app = App::start().await;
    let repository = app.repository("malformed");
    let location = app.start_upload(&repository, "").await;
    let location = app.patch(&location, b"0123456789").await.expect(202).location();
    let digest = sha256(b"0123456789abcde");
    let close = with_query(&location, &format!("digest={digest}"));
    for range in ["10", "10-", "-14", "a-b", "10-14-20", "bytes=10-14", "+10-14", "items 10-14/*"] {
        for (method, path) in [("PATCH", &location), ("PUT", &close)] {
            let request = app.request(method, path).header("content-range", range);
            request.body("abcde").send().await.expect_error(400, "BLOB_UPLOAD_INVALID");
        }
        app.get(&location).send().await.expect(204).stands_at(10);
    }
    let reversed = app.request("PATCH", &location).header("content-range", "14-10").body("abcde");
    refused_at(reversed.send().await, 10);
    let reversed = app.request("PUT", &close).header("content-range", "14-10").body("abcde");
    refused_at(reversed.send().await, 10);
    created(app.close(&location, &digest, b"abcde").await, &repository, &digest);
}

/// A body of another length than its `Content-Range` is refused.
#[tokio::test]
async fn a_content_range_must_match_the_length_of_the_body() {
    let app = App::start().await;
    let repository = app.repository("lengths");
    let location = app.start_upload(&repository, "").await;
    for written in [false, true] {
        let first = if written { 4 } else { 0 };
        for length in [1, 4, 6, 1_000_000] {
            let request = || app.request("PATCH", &location).chunk_at(first, length);
            request().body("abcde").send().await.expect_error(400, "SIZE_INVALID");
            request().chunked(b"abcde", 2).send().await.expect_error(400, "SIZE_INVALID");
            app.get(&location).send().await.expect(204).stands_at(first);
        }
        let huge = app.request("PATCH", &location);
        let huge = huge.header("content-range", format!("{first}-{}", u64::MAX)).body("abcde");
        huge.send().await.expect_error(400, "SIZE_INVALID");
        if !written {
            app.patch_at(&location, 0, b"0123").await.expect(202).stands_at(4);
        }
    }
    let digest = sha256(b"0123abcde");
    let close = with_query(&location, &format!("digest={digest}"));
    let put = app.request("PUT", &close).chunk_at(4, 6).body("abcde");
    put.send().await.expect_error(400, "SIZE_INVALID");
    app.get(&location).send().await.expect(204).stands_at(4);
    let put = app.request("PUT", &close).chunk_at(4, 5).chunked(b"abcde", 1);
    created(put.send().await, &repository, &digest);
}

/// Where the session stands is said before how long the chunk is, and before how long a blob may
/// be: a client that lost an answer goes on from there.
#[tokio::test]
async fn a_chunk_out_of_order_and_of_another_length_is_416() {
    let app = App::start().await;
    let repository = app.repository("order-first");
    let start = app.start_upload(&repository, "").await;
    let location = app.patch(&start, b"0123456789").await.expect(202).location();
    let digest = sha256(b"0123456789");
    // The location of the start does not know yet that there are bytes.
    for location in [&location, &start] {
        let close = with_query(location, &format!("digest={digest}"));
        for (method, path) in [("PATCH", location), ("PUT", &close)] {
            for (first, length) in [(0, 3), (0, 8), (9, 4), (11, 1_000_000), (11, usize::MAX - 11)]
            {
                let request = app.request(method, path).chunk_at(first, length);
                refused_at(request.body("abcde").send().await, 10);
            }
        }
    }
    app.request("PATCH", &location)
        .chunk_at(10, 4)
        .body("abcde")
        .send()
        .await
        .expect_error(400, "SIZE_INVALID");
    created(app.close(&location, &digest, b"").await, &repository, &digest);
}

/// Some clients spell the header as RFC 9110 does.
#[tokio::test]
async fn a_content_range_may_have_a_unit_and_a_size() {
    let app = App::start().await;
    let repository = app.repository("spelled");
    let location = app.start_upload(&repository, "").await;
    for (first, range) in [(0, "bytes 0-4/*"), (5, "bytes 5-9/10"), (10, " 10-14 ")] {
        let patch = app.request("PATCH", &location).header("content-range", range).body("abcde");
        patch.send().await.expect(202).stands_at(first + 5);
    }
}

/// The `Content-Type` of a chunk is ignored.
#[tokio::test]
async fn chunks_may_have_any_type_or_none() {
    let app = App::start().await;
    let repository = app.repository("types");
    let location = app.start_upload(&repository, "").await;
    for (index, media) in ["application/octet-stream", "text/plain", "garbage"].iter().enumerate() {
        let patch = app.request("PATCH", &location).header("content-type", media).body("x");
        patch.send().await.expect(202).stands_at(index + 1);
    }
    let digest = sha256(b"xxx");
    created(app.close(&location, &digest, b"").await, &repository, &digest);
}

#[tokio::test]
async fn an_empty_chunk_changes_nothing() {
    let app = App::start().await;
    let repository = app.repository("empty-chunk");
    let location = app.start_upload(&repository, "").await;
    let location = app.patch(&location, b"").await.expect(202).stands_at(0).location();
    let location = app.patch(&location, b"abc").await.expect(202).stands_at(3).location();
    let location = app.patch(&location, b"").await.expect(202).stands_at(3).location();
    app.request("PATCH", &location).chunked(b"", 1).send().await.expect(202).stands_at(3);
    let digest = sha256(b"abc");
    created(app.close(&location, &digest, b"").await, &repository, &digest);
}

#[tokio::test]
async fn the_empty_blob_can_be_pushed_in_chunks() {
    let app = App::start().await;
    let repository = app.repository("empty-blob");
    let digest = sha256(b"");
    let location = app.start_upload(&repository, "").await;
    let location = app.patch(&location, b"").await.expect(202).stands_at(0).location();
    created(app.close(&location, &digest, b"").await, &repository, &digest);
    app.assert_blob(&repository, &digest, b"").await;
}
