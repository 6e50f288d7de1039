//! Uploads that stall, and collectors that end old sessions meanwhile: nothing names a data object
//! that a collector may have deleted.

use std::time::Duration;

use bytes::Bytes;
use longshore::store::memory::Operation;
use longshore::store::{RecordKey, Version};
use serde_json::Value;

use super::leases::{STALL, Scene, digest, scene_with};
use crate::support::exchange::{session_key, with_query};
use crate::support::test_store::{PART_BYTES, small_parts};
use crate::support::{bytes, sha256};

/// A registry with small parts.
async fn scene() -> Scene {
    scene_with(|settings| *settings = small_parts()).await
}

/// Asserts that nothing names a data object of this content.
fn assert_unnamed(scene: &Scene, content: &[u8], case: &str) {
    let pointer = RecordKey::Pointer(digest(content));
    assert!(scene.store.record(&pointer).is_none(), "{case}: a pointer");
    assert!(scene.store.record(&scene.link(content)).is_none(), "{case}: a link");
}

/// A data object has no name before its pointer. If the pointer comes late, a collector may have
/// deleted the object.
#[tokio::test(flavor = "multi_thread")]
async fn a_pointer_write_after_its_deadline_is_refused() {
    for (case, size, patched) in [
        ("one object", 20_000, 0),
        ("a single object", 20_000, 20_000),
        ("parts", 150_000, 0),
        ("parts of a session", 150_000, 150_000),
        ("the tail of a session", 20_000, 50),
    ] {
        for (operation, below) in [(Operation::Create, "v1/p/"), (Operation::Put, "v1/d/")] {
            let whole = size < PART_BYTES && patched < size;
            if operation == Operation::Put && !whole {
                continue;
            }
            let (scene, content) = (scene().await, bytes(8, size));
            let mut location = scene.app.start_upload("a", "").await;
            if patched > 0 {
                let patch = scene.app.patch(&location, &content[..patched]).await;
                location = patch.expect(202).location();
            }
            let name = sha256(&content);
            let close = || scene.app.close(&location, &name, &content[patched..]);
            let reply = scene.stalled(operation, below, STALL, close()).await;
            reply.expect_error(503, "UNAVAILABLE");
            assert_unnamed(&scene, &content, case);
            close().await.expect(201);
            scene.app.assert_blob("a", &name, &content).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_names_its_object_late_is_refused() {
    for (operation, below) in [(Operation::Put, "v1/d/"), (Operation::Create, "v1/u/")] {
        let (scene, content) = (scene().await, bytes(8, 20_000));
        let location = scene.app.start_upload("a", "").await;
        let patch = || scene.app.patch(&location, &content);
        let reply = scene.stalled(operation, below, STALL, patch()).await;
        reply.expect_error(503, "UNAVAILABLE");
        assert!(scene.store.record(&session_key(&location)).is_none(), "{below}");
        let next = patch().await.expect(202).location();
        scene.app.close(&next, &sha256(&content), b"").await.expect(201);
    }
}

/// When a session has ended and its tombstone was collected, a late duplicate of the request that
/// created it finds no record.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_not_created_late() {
    for size in [50, 150_000] {
        let (scene, content) = (scene().await, bytes(8, size));
        let location = scene.app.start_upload("a", "").await;
        let patch = || scene.app.patch(&location, &content);
        let reply = scene.stalled(Operation::Create, "v1/u/", STALL, patch()).await;
        reply.expect_error(503, "UNAVAILABLE");
        assert!(scene.store.record(&session_key(&location)).is_none(), "{size} bytes");
        let next = patch().await.expect(202).location();
        scene.app.close(&next, &sha256(&content), b"").await.expect(201);
    }
}

/// Completing a large object takes longer than the write deadline. The session is touched before
/// its object gets another name, so that a collector which saw it before does not end it.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_completion_touches_its_session() {
    let (scene, content) = (scene().await, bytes(8, 150_000));
    let location = scene.app.start_upload("a", "").await;
    let location = scene.app.patch(&location, &content).await.expect(202).location();
    let (name, key) = (sha256(&content), session_key(&location));
    let jump = async {
        scene.hands.advance(STALL);
        let body = scene.store.record(&key).expect("a session").body;
        let line = body.split(|byte| *byte == b'\n').next().expect("a line");
        let line: Value = serde_json::from_slice(line).expect("JSON");
        line["nonce"].as_str().expect("a nonce").to_owned()
    };
    let close = scene.app.close(&location, &name, b"");
    let (reply, committing) = scene.store.stalled(Operation::Complete, "v1/d/", close, jump).await;
    reply.expect(201);
    scene.app.assert_blob("a", &name, &content).await;
    scene.app.settled().await;
    // A tombstone is its own nonce and those of the two writes before it.
    let tombstone = scene.store.record(&key).expect("a tombstone").body;
    assert_eq!(hex::encode(&tombstone[24..]), committing, "one write is between the two");
}

/// A commit that failed at its pointer, three days ago. Returns the location of its session.
async fn old_commit(scene: &Scene, content: &[u8]) -> String {
    let location = scene.app.start_upload("a", "").await;
    let location = scene.app.patch(&location, content).await.expect(202).location();
    scene.store.fail(Operation::Create, "v1/p/");
    scene.app.close(&location, &sha256(content), b"").await.expect(503);
    scene.hands.advance(Duration::from_secs(3 * 24 * 3600));
    location
}

/// What a collector does with a session that looks abandoned: ends the version that it has listed,
/// and then deletes the data. Returns whether it was the first to change the session.
async fn collect(scene: &Scene, key: &RecordKey, listed: &Version) -> bool {
    let objects = &scene.store.objects;
    let ended = objects.replace(key, listed, Bytes::new(), None).await.is_ok();
    if ended {
        for (location, _) in scene.store.data_objects() {
            let location = location.parse().expect("a location");
            objects.delete(&location).await.expect("deleted");
        }
    }
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_commit_and_a_collector_do_not_both_win() {
    // The collector changes the session after the request has read it, and before the request
    // touches the session or writes the pointer.
    for (operation, below, wins) in
        [(Operation::Replace, "v1/u/", true), (Operation::Create, "v1/p/", false)]
    {
        for size in [20_000, 150_000] {
            let (scene, content) = (scene().await, bytes(8, size));
            let location = old_commit(&scene, &content).await;
            let (name, key) = (sha256(&content), session_key(&location));
            let listed = scene.store.record(&key).expect("a session").version;
            let collector = collect(&scene, &key, &listed);
            let close = scene.app.close(&location, &name, b"");
            let (reply, ended) = scene.store.stalled(operation, below, close, collector).await;
            assert_eq!(ended, wins, "{below} {size}: {reply:?}");
            if ended {
                reply.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
                assert_unnamed(&scene, &content, below);
            } else {
                reply.expect(201);
                scene.app.assert_blob("a", &name, &content).await;
            }
        }
    }
}

/// A session does not look abandoned while a client sends slowly, however few parts that makes.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_chunk_touches_its_session() {
    let quarter = Duration::from_secs(13 * 3600);
    for (method, begun, size) in
        [("PATCH", 0, 100_000), ("PATCH", 50, 100), ("PUT", 0, 100_000), ("PUT", 50, 100)]
    {
        let scene = scene().await;
        let content: &'static [u8] = Vec::leak(bytes(7, begun + 3 * size));
        let digest = sha256(content);
        let mut location = scene.app.start_upload("a", "").await;
        if begun > 0 {
            let patch = scene.app.patch(&location, &content[..begun]).await;
            location = patch.expect(202).location();
        }
        let path = match method {
            "PUT" => with_query(&location, &format!("digest={digest}")),
            _ => location.clone(),
        };
        let chunks: Vec<&[u8]> = content[begun..].chunks(size).collect();
        let pause = Duration::from_millis(300);
        let request = scene.app.request(method, &path).slowly(&chunks, pause);
        let key = session_key(&location);
        let jump = async {
            // After the first and the second chunk.
            tokio::time::sleep(pause * 3 / 2).await;
            let before = scene.store.record(&key).expect("a session").version;
            scene.hands.advance(quarter);
            tokio::time::sleep(pause).await;
            let record = scene.store.record(&key).expect("a session");
            assert_ne!(record.version, before);
            assert_eq!(record.age, Duration::ZERO, "{method} {begun}");
        };
        let (reply, ()) = tokio::join!(request.send(), jump);
        if method == "PATCH" {
            let location = reply.expect(202).stands_at(content.len()).location();
            scene.app.close(&location, &digest, b"").await.expect(201);
        } else {
            reply.expect(201);
        }
        scene.app.assert_blob("a", &digest, content).await;
    }
}
