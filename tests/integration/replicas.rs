//! Three replicas over one store, without Redis: each request of a client goes to the next replica,
//! and every replica sees acknowledged writes at once.
//!
//! Over a store in memory, or over the bucket of `LONGSHORE_TEST_S3`.

use std::sync::Arc;

use longshore::config::Settings;
use longshore::store::ObjectStore;
use longshore::store::memory::Memory;

use crate::support::app::{OCI_MANIFEST, image_manifest};
use crate::support::persistent::{Flow, Persistent};
use crate::support::{App, bytes, sha256, store_from_environment};

const MIB: usize = 1024 * 1024;

/// Three replicas with small parts.
async fn frontends() -> Vec<App> {
    let store: Arc<dyn ObjectStore> = match store_from_environment().await {
        Some(store) => store,
        None => Arc::new(Memory::new()),
    };
    let mut apps = Vec::new();
    for _ in 0..3 {
        let mut settings = Settings::default();
        settings.uploads.part_bytes = 5 * MIB;
        apps.push(App::frontend(store.clone(), settings).await);
    }
    apps
}

fn in_turn(apps: &[App]) -> Persistent {
    Persistent::new(apps.iter().map(|app| app.client.clone()))
}

async fn put(app: &App, path: &str, manifest: &[u8]) -> u16 {
    let put = app.request("PUT", path).header("content-type", OCI_MANIFEST);
    put.body(manifest.to_vec()).send().await.status.as_u16()
}

/// Different manifests over existing blobs.
async fn manifests(app: &App, count: u64) -> Vec<Vec<u8>> {
    let layer = bytes(0, 1_000);
    app.push_blob("a", &layer).await;
    let mut manifests = Vec::new();
    for number in 0..count {
        let config = format!("{{\"number\":{number}}}").into_bytes();
        app.push_blob("a", &config).await;
        manifests.push(image_manifest(&config, &[&layer]));
    }
    manifests
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_continues_at_any_replica() {
    let apps = frontends().await;
    let client = in_turn(&apps);
    for (seed, size, flow) in [
        (1, 10_000, Flow::Chunks(999)),
        (2, 13 * MIB + 7, Flow::Chunks(3 * MIB + 1)),
        (3, 26 * MIB, Flow::Chunks(6 * MIB)),
        (4, 17 * MIB, Flow::Patch),
        (5, 12 * MIB, Flow::Put),
        (6, 2 * MIB, Flow::Post),
        (2, 13 * MIB + 7, Flow::Chunks(4 * MIB)),
    ] {
        let content = bytes(seed, size);
        let digest = client.push_blob("a", &content, flow).await;
        for app in &apps {
            let pulled = app.get(&format!("/v2/a/blobs/{digest}")).send().await.expect(200);
            assert!(pulled.body == content, "{flow:?}");
        }
    }
    assert_eq!(*client.troubles.lock().expect("no panic"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_returns_the_same_upload_status() {
    let apps = frontends().await;
    let content = bytes(1, 6 * MIB);
    let start = apps[0].request("POST", "/v2/a/blobs/uploads/").send().await.location();
    let patch = apps[1].request("PATCH", &start).body(content[..4 * MIB].to_vec());
    let location = patch.send().await.expect(202).location();
    for app in &apps {
        let status = app.get(&location).send().await.expect(204);
        assert_eq!(status.header("range"), Some(format!("0-{}", 4 * MIB - 1).as_str()));
    }
    // The final PUT carries the last chunk, at a third replica.
    let close = format!("{location}?digest={}", sha256(&content));
    let put = apps[2].request("PUT", &close).body(content[4 * MIB..].to_vec());
    put.send().await.expect(201);
    // A repeated request gets the same response, at every replica.
    for app in &apps {
        app.request("PUT", &close).send().await.expect(201);
        app.get(&location).send().await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    }
    let start = apps[0].request("POST", "/v2/a/blobs/uploads/").send().await.location();
    let patch = apps[1].request("PATCH", &start).body(content.clone());
    let location = patch.send().await.expect(202).location();
    apps[2].request("DELETE", &location).send().await.expect(204);
    for app in &apps {
        for path in [&location, &start] {
            let late = app.request("PATCH", path).body("late").send().await;
            late.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_writers_at_different_replicas_wins() {
    let apps = frontends().await;
    for (seed, size) in [(1, 100_000), (2, 6 * MIB), (3, 11 * MIB)] {
        let content = bytes(seed, 2 * size);
        let mut location = apps[0].request("POST", "/v2/a/blobs/uploads/").send().await.location();
        for half in [0..size, size..2 * size] {
            let range = format!("{}-{}", half.start, half.end - 1);
            let send = |app: &App| {
                let patch = app.client.clone();
                let (path, body) = (location.clone(), content[half.clone()].to_vec());
                let range = range.clone();
                async move {
                    let patch = patch.request("PATCH", &path).header("content-range", range);
                    patch.body(body).send().await
                }
            };
            let replies = tokio::join!(send(&apps[0]), send(&apps[1]), send(&apps[2]));
            let mut winners = 0;
            for reply in [replies.0, replies.1, replies.2] {
                match reply.status.as_u16() {
                    202 => {
                        winners += 1;
                        location = reply.location();
                    }
                    416 => assert!(reply.header("range").is_some(), "{reply:?}"),
                    _ => panic!("{reply:?}"),
                }
            }
            assert_eq!(winners, 1, "{range}");
        }
        let close = format!("{location}?digest={}", sha256(&content));
        apps[0].request("PUT", &close).send().await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_is_seen_by_every_replica() {
    let apps = frontends().await;
    let manifests = manifests(&apps[0], 5).await;
    for round in 0..20 {
        let manifest = &manifests[round % manifests.len()];
        assert_eq!(put(&apps[round % 3], "/v2/a/manifests/moving", manifest).await, 201);
        for app in &apps {
            let reply = app.get("/v2/a/manifests/moving").send().await.expect(200);
            assert!(reply.body == *manifest, "round {round}");
            let listed = app.get("/v2/a/tags/list").send().await.expect(200).json();
            assert_eq!(listed["tags"], serde_json::json!(["moving"]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_seen_by_every_replica() {
    let apps = frontends().await;
    let manifests = manifests(&apps[0], 3).await;
    for (round, manifest) in manifests.iter().enumerate() {
        let by_digest = format!("/v2/a/manifests/{}", sha256(manifest));
        let deleting = &apps[(round + 1) % 3];
        assert_eq!(put(&apps[round], "/v2/a/manifests/one", manifest).await, 201);
        assert_eq!(put(&apps[round], "/v2/a/manifests/two", manifest).await, 201);
        deleting.request("DELETE", "/v2/a/manifests/one").send().await.expect(202);
        for app in &apps {
            app.get("/v2/a/manifests/one").send().await.expect(404);
            app.get("/v2/a/manifests/two").send().await.expect(200);
        }
        deleting.request("DELETE", &by_digest).send().await.expect(202);
        for app in &apps {
            app.get("/v2/a/manifests/two").send().await.expect(404);
            app.get(&by_digest).send().await.expect(404);
            let listed = app.get("/v2/a/tags/list").send().await.expect(200).json();
            assert_eq!(listed["tags"], serde_json::json!([]));
        }
    }
    let digest = apps[0].push_blob("a", &bytes(9, 200_000)).await;
    let path = format!("/v2/a/blobs/{digest}");
    apps[1].request("DELETE", &path).send().await.expect(202);
    for app in &apps {
        app.get(&path).send().await.expect(404);
        app.request("HEAD", &path).send().await.expect(404);
    }
    // It can be pushed again, and then exists at every replica.
    apps[2].push_blob("a", &bytes(9, 200_000)).await;
    for app in &apps {
        app.get(&path).send().await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_conditional_creates_of_a_tag_succeeds() {
    let apps = frontends().await;
    let manifests = manifests(&apps[0], 12).await;
    let mut racing = tokio::task::JoinSet::new();
    for (number, manifest) in manifests.iter().enumerate() {
        let (client, manifest) = (apps[number % 3].client.clone(), manifest.clone());
        racing.spawn(async move {
            let put = client.request("PUT", "/v2/a/manifests/first").header("if-none-match", "*");
            let put = put.header("content-type", OCI_MANIFEST).body(manifest.clone());
            (put.send().await.status.as_u16(), manifest)
        });
    }
    let (won, lost): (Vec<_>, Vec<_>) =
        racing.join_all().await.into_iter().partition(|(status, _)| *status == 201);
    assert_eq!(won.len(), 1);
    assert!(lost.iter().all(|(status, _)| *status == 412), "{lost:?}");
    for app in &apps {
        assert!(app.get("/v2/a/manifests/first").send().await.expect(200).body == won[0].1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pushes_at_every_replica_store_one_copy() {
    let memory = Arc::new(Memory::new());
    let mut apps = Vec::new();
    for _ in 0..3 {
        apps.push(App::over_memory(memory.clone(), Settings::default()).await);
    }
    let content = Arc::new(bytes(1, 300_000));
    let mut racing = tokio::task::JoinSet::new();
    for number in 0..24 {
        let (client, content) = (apps[number % 3].client.clone(), content.clone());
        racing.spawn(async move {
            let flow = [Flow::Post, Flow::Put, Flow::Patch][number / 3 % 3];
            let client = Persistent::new([client]);
            client.push_blob(&format!("r{}", number % 5), &content, flow).await
        });
    }
    racing.join_all().await;
    for app in &apps {
        app.settled().await;
    }
    assert_eq!(memory.data_objects().len(), 1, "{:?}", memory.data_objects());
}
