//! Final requests that meet a commit which has begun, or that break off after many parts.

use std::time::Duration;

use longshore::store::memory::Operation;

use super::STORE;
use crate::push_chunked::interrupted::goes_away_in;
use crate::support::exchange::{created, with_query};
use crate::support::test_store::{PART_BYTES, TestStore, small_parts};
use crate::support::{App, bytes, sha256};

/// A request that has read the session before another one began to commit it, and then finds that
/// its own content is wrong, or cancels, must not delete the parts of the commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_has_begun_keeps_its_parts() {
    let content = bytes(560, 150_000);
    let digest = sha256(&content);
    for (method, more, status) in [("PUT", &b"x"[..], 400), ("DELETE", b"", 503)] {
        let store = TestStore::start(STORE).await;
        let app = App::frontend(store.objects.clone(), small_parts()).await;
        let location = app.start_upload("a", "").await;
        let location = app.patch(&location, &content).await.expect(202).location();
        // The right request becomes committing after 400 ms and is complete after 1,200 ms. The
        // other one reads the session at 200 ms, and its end of the session arrives at 800 ms.
        store.delay(Operation::Replace, "v1/u/", 1, Duration::from_millis(400));
        store.delay(Operation::Replace, "v1/u/", 2, Duration::from_millis(600));
        store.delay(Operation::Complete, "v1/d/", 1, Duration::from_millis(800));
        let other = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let path = with_query(&location, &format!("digest={digest}"));
            app.request(method, &path).body(more.to_vec()).send().await
        };
        let (right, other) = tokio::join!(app.close(&location, &digest, b""), other);
        assert_eq!(other.status.as_u16(), status, "{method}: {other:?}");
        created(right, "a", &digest);
        app.assert_blob("a", &digest, &content).await;
        app.settled().await;
        assert_eq!(store.open_multiparts(), 0);
    }
}

/// A final PUT without a range that sent more parts than one reservation of part numbers has
/// acknowledges nothing when it breaks off, and succeeds when the client repeats it.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_final_put_of_many_parts_can_be_repeated() {
    for acknowledged in [0, 100, 40_000] {
        let store = TestStore::start(STORE).await;
        let app = App::frontend(store.objects.clone(), small_parts()).await;
        let content = bytes(409, 140 * PART_BYTES + 5);
        let digest = sha256(&content);
        let mut location = app.start_upload("a", "").await;
        if acknowledged > 0 {
            let patch = app.patch(&location, &content[..acknowledged]).await;
            location = patch.expect(202).location();
        }
        let close = with_query(&location, &format!("digest={digest}"));
        for sent in [70 * PART_BYTES, 135 * PART_BYTES] {
            goes_away_in(app.request("PUT", &close), &content[acknowledged..sent]).await;
            app.settled().await;
            app.get(&location).send().await.expect(204).stands_at(acknowledged);
        }
        created(app.close(&location, &digest, &content[acknowledged..]).await, "a", &digest);
        app.assert_blob("a", &digest, &content).await;
        app.settled().await;
        let sizes: Vec<u64> = store.data_objects().into_iter().map(|(_, size)| size).collect();
        assert_eq!(sizes, [content.len() as u64]);
        assert_eq!(store.open_multiparts(), 0);
    }
}
