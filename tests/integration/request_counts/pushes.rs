//! Pushing blobs. No push reads blob data or copies it: `get_bytes` is zero in every count, and the
//! store has no copy.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use longshore::config::Settings;
use longshore::oci::{Algorithm, Hasher};
use longshore::store::memory::{Calls, Memory};

use super::{NONE, assert_cost, cold, cost};
use crate::support::metered::Metered;
use crate::support::{App, bytes, sha256};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The flow of Docker: POST, one PATCH, PUT.
async fn push_in_three(app: &App, repository: &str, content: &[u8]) {
    let path = format!("/v2/{repository}/blobs/uploads/");
    let location = app.request("POST", &path).send().await.expect(202).location();
    let patch = app.request("PATCH", &location).chunked(content, 64 * KIB);
    let location = patch.send().await.expect(202).location();
    let close = format!("{location}?digest={}", sha256(content));
    app.request("PUT", &close).send().await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_a_small_blob_in_three_requests() {
    let memory = Arc::new(Memory::new());
    let content = bytes(1, 2 * KIB);
    let (calls, ()) = cost(&memory, async |app| push_in_three(app, "a", &content).await).await;
    // Session, link, pointer; the session is read once and deleted.
    assert_cost(calls, Calls { create: 3, read: 1, replace: 1, ..NONE }, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_a_small_blob_in_one_body() {
    let memory = Arc::new(Memory::new());
    let content = bytes(2, 2 * KIB);
    let (calls, _) = cost(&memory, async |app| app.push_blob("a", &content).await).await;
    assert_cost(calls, Calls { create: 2, ..NONE }, 2);
    let content = bytes(3, 2 * KIB);
    let (calls, ()) = cost(&memory, async |app| {
        let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&content));
        app.request("POST", &path).body(content.clone()).send().await.expect(201);
    })
    .await;
    assert_cost(calls, Calls { create: 2, ..NONE }, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_a_blob_below_a_part_in_one_body() {
    let memory = Arc::new(Memory::new());
    let content = bytes(4, 3 * MIB);
    let (calls, _) = cost(&memory, async |app| app.push_blob("a", &content).await).await;
    assert_cost(calls, Calls { put: 1, create: 2, ..NONE }, 3);
}

/// A blob smaller than a part is written once, and never read.
#[tokio::test(flavor = "multi_thread")]
async fn pushing_a_blob_below_a_part_in_three_requests() {
    for size in [65 * KIB, 3 * MIB, 15 * MIB] {
        let memory = Arc::new(Memory::new());
        let store = Arc::new(Metered::over(memory.clone()));
        let app = App::frontend(store.clone(), Settings::default()).await;
        app.push_blob("a", b"the repository is known").await;
        app.settled().await;
        let (before, sent) = (memory.calls(), store.sent());
        let content = bytes(50, size);
        push_in_three(&app, "a", &content).await;
        app.settled().await;
        let calls = memory.calls().since(&before);
        // Session, pointer and link; commit and deletion of the session.
        let expected = Calls { put: 1, create: 3, read: 1, replace: 2, ..NONE };
        assert_cost(calls, expected, 7);
        let beside = store.sent() - sent - size as u64;
        assert!(beside < 4 * KIB as u64, "{beside} bytes were sent beside the content");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_twenty_mebibytes_in_three_requests() {
    let memory = Arc::new(Memory::new());
    let content = bytes(5, 20 * MIB);
    let (calls, ()) = cost(&memory, async |app| push_in_three(app, "a", &content).await).await;
    // Reserved part numbers, tail, commit and deletion of the session; two parts; pointer and link.
    let expected =
        Calls { start: 1, put_part: 2, complete: 1, create: 3, read: 1, replace: 3, ..NONE };
    assert_cost(calls, expected, 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_a_gibibyte_in_three_requests() {
    let parts = 64;
    let memory = Arc::new(Memory::new().with_part_bytes_min(0));
    let store = Arc::new(Metered::over(memory.clone()).forgetting_parts());
    let app = App::frontend(store.clone(), Settings::default()).await;
    let chunk = Bytes::from(bytes(6, MIB));
    let mut hasher = Hasher::new(Algorithm::Sha256);
    (0..1024).for_each(|_| hasher.update(&chunk));
    let before = memory.calls();
    let location = app.request("POST", "/v2/a/blobs/uploads/").send().await.location();
    let body = stream::iter((0..1024).map(move |_| chunk.clone()));
    let location = app.request("PATCH", &location).stream(body).send().await.expect(202).location();
    let close = format!("{location}?digest={}", hasher.finish());
    app.request("PUT", &close).send().await.expect(201);
    app.settled().await;
    let calls = memory.calls().since(&before);
    let expected =
        Calls { start: 1, put_part: parts, complete: 1, create: 3, read: 1, replace: 3, ..NONE };
    assert_cost(calls, expected, parts + 9);
    let beside = store.sent() - 1024 * MIB as u64;
    assert!(beside < 64 * KIB as u64, "{beside} bytes were sent beside the content");
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_an_existing_blob_keeps_one_copy() {
    let memory = Arc::new(Memory::new());
    let content = bytes(7, 20 * MIB);
    cold(&memory).await.push_blob("a", &content).await;
    let kept = memory.data_objects();
    assert_eq!(kept.len(), 1);

    let (calls, ()) = cost(&memory, async |app| push_in_three(app, "a", &content).await).await;
    // Each conflict at pointer and link causes one read; the data that is there is looked at; the
    // duplicate is deleted.
    let expected = Calls {
        start: 1,
        put_part: 2,
        complete: 1,
        create: 3,
        read: 3,
        replace: 3,
        head: 1,
        delete: 1,
        ..NONE
    };
    assert_cost(calls, expected, 15);
    assert_eq!(memory.data_objects(), kept);

    let (calls, _) = cost(&memory, async |app| app.push_blob("b", &content).await).await;
    let expected = Calls {
        start: 1,
        put_part: 2,
        complete: 1,
        create: 3,
        read: 1,
        replace: 2,
        head: 1,
        delete: 1,
        ..NONE
    };
    assert_cost(calls, expected, 12);
    assert_eq!(memory.data_objects(), kept);
    assert_eq!(memory.open_multiparts(), 0);

    let small = bytes(8, 3 * MIB);
    cold(&memory).await.push_blob("a", &small).await;
    let (calls, _) = cost(&memory, async |app| app.push_blob("a", &small).await).await;
    assert_cost(calls, Calls { put: 1, create: 2, read: 2, head: 1, delete: 1, ..NONE }, 7);
    assert_eq!(memory.data_objects().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_copies_no_data() {
    let memory = Arc::new(Memory::new());
    let stored = cold(&memory).await.push_blob("a", &bytes(9, MIB)).await;
    let inline = cold(&memory).await.push_blob("a", &bytes(10, KIB)).await;
    let mount = async |target: &str, query: String| {
        let path = format!("/v2/{target}/blobs/uploads/?{query}");
        let mounted = async |app: &App| app.request("POST", &path).send().await.expect(201);
        cost(&memory, mounted).await.0
    };
    let expected = Calls { read: 2, head: 1, create: 1, ..NONE };
    assert_cost(mount("b", format!("mount={stored}&from=a")).await, expected, 4);
    assert_cost(mount("c", format!("mount={stored}")).await, expected, 4);
    // The pointer beside an inline link is a hint, which is written again; a read tells whether the
    // one that is there is live.
    let expected = Calls { read: 3, create: 2, ..NONE };
    assert_cost(mount("b", format!("mount={inline}&from=a")).await, expected, 5);
    assert_eq!(memory.data_objects().len(), 1);
}

/// The session stores the tail of each chunk that is smaller than a part (5 MiB), so that the
/// offset is durable: the data of small chunks is written more than once.
async fn sent_per_byte(total: usize, chunk: usize) -> f64 {
    let store = Arc::new(Metered::over(Arc::new(Memory::new())));
    let app = App::frontend(store.clone(), Settings::default()).await;
    let content = bytes(11, total);
    let mut location = app.request("POST", "/v2/a/blobs/uploads/").send().await.location();
    for (index, piece) in content.chunks(chunk).enumerate() {
        let first = index * chunk;
        let range = format!("{first}-{}", first + piece.len() - 1);
        let patch = app.request("PATCH", &location).header("content-range", range);
        location = patch.body(piece.to_vec()).send().await.expect(202).location();
    }
    let close = format!("{location}?digest={}", sha256(&content));
    app.request("PUT", &close).send().await.expect(201);
    app.settled().await;
    #[expect(clippy::cast_precision_loss, reason = "a ratio of small numbers")]
    let ratio = store.sent() as f64 / total as f64;
    println!("{total} bytes in chunks of {chunk}: {ratio:.2} bytes sent for each");
    ratio
}

#[tokio::test(flavor = "multi_thread")]
async fn small_chunks_are_written_a_bounded_number_of_times() {
    // Of each five chunks: four tails, the last of them once more with the reserved part numbers,
    // and the part: (1 + 2 + 3 + 4 + 4 + 5) / 5.
    let ratio = sent_per_byte(20 * MIB, MIB).await;
    assert!((3.8..3.81).contains(&ratio), "{ratio}");
    // A chunk that is a part is written once.
    let ratio = sent_per_byte(20 * MIB, 5 * MIB).await;
    assert!((1.0..1.01).contains(&ratio), "{ratio}");
    // The worst case of real clients: 80 chunks per part, so half a part on average for each.
    let ratio = sent_per_byte(5 * MIB, 64 * KIB).await;
    assert!(ratio < 42.0, "{ratio}");
}
