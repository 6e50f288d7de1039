//! Concurrent requests on one session: one wins, the others get 416 with the current offset.

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::exchange::{created, with_query};
use crate::support::{App, Reply, bytes, sha256, sha512};

const MIB: usize = 1024 * 1024;

/// The digest of the content that was accepted. Asserts that the others were refused.
#[track_caller]
fn winner(replies: Vec<Reply>, contents: &[Vec<u8>]) -> &[u8] {
    let mut winner = None;
    for (reply, content) in replies.into_iter().zip(contents) {
        match reply.status.as_u16() {
            202 => {
                reply.stands_at(content.len());
                assert!(winner.replace(content).is_none(), "two chunks took one place");
            }
            416 => {
                reply.expect_error(416, "BLOB_UPLOAD_INVALID");
            }
            status => panic!("{status}: {reply:?}"),
        }
    }
    winner.expect("one request wins")
}

#[tokio::test]
async fn one_of_two_concurrent_first_chunks_wins() {
    for size in [500, 100_000, 17 * MIB] {
        let app = App::start().await;
        let repository = app.repository("first");
        let contents = [bytes(500, size), bytes(501, size)];
        let location = app.start_upload(&repository, "").await;
        let patches = contents.iter().map(|content| app.patch_at(&location, 0, content));
        let replies = join_all(patches).await;
        let content = winner(replies, &contents);
        app.get(&location).send().await.expect(204).stands_at(size);
        let digest = sha256(content);
        created(app.close(&location, &digest, b"").await, &repository, &digest);
        app.assert_blob(&repository, &digest, content).await;
        app.settled().await;
        if let Some(memory) = &app.memory {
            assert_eq!(memory.open_multiparts(), 0);
            assert!(memory.data_objects().len() <= 1);
        }
    }
}

#[tokio::test]
async fn one_of_several_concurrent_later_chunks_wins() {
    for size in [500, 17 * MIB] {
        let app = App::start().await;
        let repository = app.repository("later");
        let contents: Vec<Vec<u8>> = (0..3).map(|seed| bytes(510 + seed, size)).collect();
        let location = app.start_upload(&repository, "").await;
        let location = app.patch(&location, b"abc").await.expect(202).location();
        let patches = contents.iter().map(|content| app.patch_at(&location, 3, content));
        let replies = join_all(patches).await;
        let moved: Vec<Vec<u8>> =
            contents.iter().map(|content| [&b"abc"[..], content].concat()).collect();
        let content = winner(replies, &moved);
        let digest = sha256(content);
        created(app.close(&location, &digest, b"").await, &repository, &digest);
        app.assert_blob(&repository, &digest, content).await;
    }
}

/// A writer of the same blob that does not know of the others: asks for the offset, sends the next
/// chunk, and trusts the response.
async fn writer(app: &App, location: &str, content: &[u8], sizes: &[usize]) {
    let (mut offset, mut turn) = (0, 0);
    while offset < content.len() {
        let last = (offset + sizes[turn % sizes.len()]).min(content.len());
        turn += 1;
        let reply = app.patch_at(location, offset, &content[offset..last]).await;
        let status = reply.status.as_u16();
        assert!(matches!(status, 202 | 416), "{reply:?}");
        let now = usize::try_from(reply.offset()).expect("a small number");
        if status == 202 {
            assert_eq!(now, last, "an accepted chunk is all there");
        }
        assert!(now >= offset, "the offset went back from {offset} to {now}");
        offset = now;
    }
}

async fn writers(seed: u64, total: usize, sizes: [&[usize]; 3]) {
    let app = App::start().await;
    let repository = app.repository("writers");
    let content = bytes(seed, total);
    let location = app.start_upload(&repository, "").await;
    let observer = async {
        let mut offset = 0;
        while offset < total as u64 {
            let now = app.get(&location).send().await.expect(204).offset();
            assert!(now >= offset, "the offset went back from {offset} to {now}");
            offset = now;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let [one, two, three] = sizes;
    tokio::join!(
        observer,
        writer(&app, &location, &content, one),
        writer(&app, &location, &content, two),
        writer(&app, &location, &content, three),
    );
    let digest = sha256(&content);
    created(app.close(&location, &digest, b"").await, &repository, &digest);
    app.assert_blob(&repository, &digest, &content).await;
    app.settled().await;
    if let Some(memory) = &app.memory {
        assert_eq!(memory.open_multiparts(), 0);
        assert!(memory.data_objects().len() <= 1);
    }
}

#[tokio::test]
async fn concurrent_writers_of_small_chunks_complete_the_blob() {
    writers(520, 20_000, [&[700], &[1_000, 3], &[251]]).await;
}

#[tokio::test]
async fn concurrent_writers_of_large_chunks_complete_the_blob() {
    writers(521, 40 * MIB, [&[7 * MIB], &[3 * MIB, 18 * MIB], &[6 * MIB, 1_000]]).await;
}

/// Chunks without a range are appended: accepted ones follow one another completely.
#[tokio::test]
async fn concurrent_chunks_without_a_range_do_not_mix() {
    let app = App::start().await;
    let repository = app.repository("streams");
    let pieces: Vec<Vec<u8>> = (b'a'..=b'f').map(|letter| vec![letter; 5_000]).collect();
    let location = app.start_upload(&repository, "").await;
    let patches =
        pieces.iter().map(|piece| app.request("PATCH", &location).chunked(piece, 500).send());
    let replies = join_all(patches).await;
    let mut accepted: Vec<(u64, &Vec<u8>)> = Vec::new();
    for (reply, piece) in replies.iter().zip(&pieces) {
        match reply.status.as_u16() {
            202 => accepted.push((reply.offset(), piece)),
            416 => {}
            status => panic!("{status}: {reply:?}"),
        }
    }
    accepted.sort();
    let content: Vec<u8> = accepted.iter().flat_map(|(_, piece)| piece.iter().copied()).collect();
    assert!(!content.is_empty(), "one request wins");
    app.get(&location).send().await.expect(204).stands_at(content.len());
    let digest = sha256(&content);
    created(app.close(&location, &digest, b"").await, &repository, &digest);
    app.assert_blob(&repository, &digest, &content).await;
}

#[tokio::test]
async fn concurrent_final_puts_store_one_blob() {
    for size in [500, 100_000, 17 * MIB] {
        let app = App::start().await;
        let repository = app.repository("finals");
        let content = bytes(530, size);
        let digest = sha256(&content);
        let location = app.start_upload(&repository, "").await;
        let location = app.patch(&location, &content[..100]).await.expect(202).location();
        let puts = (0..4).map(|_| app.close(&location, &digest, &content[100..]));
        let mut succeeded = 0;
        for reply in join_all(puts).await {
            match reply.status.as_u16() {
                201 => succeeded += 1,
                404 | 416 => {}
                status => panic!("{status}: {reply:?}"),
            }
        }
        assert!(succeeded >= 1, "one request wins");
        created(app.close(&location, &digest, &content[100..]).await, &repository, &digest);
        app.assert_blob(&repository, &digest, &content).await;
        app.settled().await;
        if let Some(memory) = &app.memory {
            assert_eq!(memory.open_multiparts(), 0);
            assert!(memory.data_objects().len() <= 1, "{:?}", memory.data_objects());
        }
    }
}

/// Either the chunk is stored and the session continues, or the session is gone.
#[tokio::test]
async fn a_chunk_concurrent_with_a_cancel_is_stored_or_404() {
    for size in [500, 17 * MIB] {
        let app = App::start().await;
        let repository = app.repository("cancel");
        let location = app.start_upload(&repository, "").await;
        let location = app.patch(&location, b"abc").await.expect(202).location();
        let chunk = bytes(540, size);
        let (patched, cancelled) = tokio::join!(
            app.patch_at(&location, 3, &chunk),
            app.request("DELETE", &location).send()
        );
        let (patched, cancelled) = (patched.status.as_u16(), cancelled.status.as_u16());
        assert!(matches!(patched, 202 | 404), "{patched}");
        // 503 asks the client to retry: the chunk was first.
        assert!(matches!(cancelled, 204 | 503), "{cancelled}");
        let status = app.get(&location).send().await;
        if cancelled == 204 {
            status.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        } else {
            status.expect(204);
            app.request("DELETE", &location).send().await.expect(204);
        }
        app.assert_nothing_stored().await;
    }
}

/// Both name the right digest, and one of them names a wrong one as well, which the server can
/// refute only by reading the data back. The published blob is always correct.
#[tokio::test]
async fn a_final_put_concurrent_with_a_wrong_one_stores_the_right_blob() {
    for seed in 550..554 {
        let app = App::start().await;
        let (repository, other) = (app.repository("verdict"), app.repository("later"));
        let content = bytes(seed, 17 * MIB);
        let (right, wrong) = (sha256(&content), sha512(b"something else"));
        let location = app.start_upload(&repository, "?digest-algorithm=sha256").await;
        let location = app.patch(&location, &content).await.expect(202).location();
        let both = with_query(&location, &format!("digest={right}"));
        let (refuted, plain) =
            tokio::join!(app.close(&both, &wrong, b""), app.close(&location, &right, b""));
        let (refuted, plain) = (refuted.status.as_u16(), plain.status.as_u16());
        assert!(matches!(refuted, 201 | 400 | 404 | 416), "{refuted}");
        assert!(matches!(plain, 201 | 404 | 416), "{plain}");
        app.settled().await;
        if plain == 201 {
            app.assert_blob(&repository, &right, &content).await;
        } else {
            app.assert_no_blob(&repository, &right).await;
        }
        // A client that pushes the same content now may get a duplicate of the existing blob.
        app.push_blob(&other, &content).await;
        app.settled().await;
        app.assert_blob(&other, &right, &content).await;
    }
}
