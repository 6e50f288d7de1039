//! Pulling, listing and starting.

use std::sync::Arc;

use longshore::store::memory::{Calls, Memory};
use longshore::store::{ProbeLimits, probe};

use super::{NONE, assert_cost, cold, cost};
use crate::support::app::image_manifest;
use crate::support::{App, Reply, bytes};

async fn asked(memory: &Arc<Memory>, method: &str, path: &str) -> (Calls, Reply) {
    cost(memory, async |app: &App| app.request(method, path).send().await.expect(200)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pulling_blobs() {
    let memory = Arc::new(Memory::new());
    let (small, large) = (bytes(1, 2048), bytes(2, 1024 * 1024));
    let app = cold(&memory).await;
    let inline = format!("/v2/a/blobs/{}", app.push_blob("a", &small).await);
    let stored = format!("/v2/a/blobs/{}", app.push_blob("a", &large).await);
    let one_read = Calls { read: 1, ..NONE };
    for path in [&inline, &stored] {
        assert_cost(asked(&memory, "HEAD", path).await.0, one_read, 1);
    }
    let (calls, reply) = asked(&memory, "GET", &inline).await;
    assert_cost(calls, one_read, 1);
    assert!(reply.body == small);
    // The record, and the blob data.
    let (calls, reply) = asked(&memory, "GET", &stored).await;
    assert_cost(calls, Calls { get: 1, ..one_read }, 2);
    assert!(reply.body == large);
    let ranged = async |app: &App| {
        app.get(&stored).header("range", "bytes=5-9").send().await.expect(206).body
    };
    let (calls, body) = cost(&memory, ranged).await;
    assert_cost(calls, Calls { get: 1, ..one_read }, 2);
    assert_eq!(body, large[5..10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pulling_manifests() {
    let memory = Arc::new(Memory::new());
    let (digest, manifest) = cold(&memory).await.push_image("a", "v1", 1).await;
    for method in ["HEAD", "GET"] {
        let (calls, reply) = asked(&memory, method, "/v2/a/manifests/v1").await;
        assert_cost(calls, Calls { read: 2, ..NONE }, 2);
        assert!(method == "HEAD" || reply.body == manifest);
        let (calls, _) = asked(&memory, method, &format!("/v2/a/manifests/{digest}")).await;
        assert_cost(calls, Calls { read: 1, ..NONE }, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_tags_and_repositories() {
    let memory = Arc::new(Memory::new());
    let app = cold(&memory).await;
    let (_, manifest) = app.push_image("a", "v0", 1).await;
    for tag in 1..1200 {
        let put = app.request("PUT", &format!("/v2/a/manifests/v{tag}"));
        let put = put.header("content-type", crate::support::app::OCI_MANIFEST);
        put.body(manifest.clone()).send().await.expect(201);
    }
    let one_list = Calls { list: 1, ..NONE };
    for path in [
        "/v2/a/tags/list",
        "/v2/a/tags/list?n=10",
        "/v2/a/tags/list?n=999",
        "/v2/a/tags/list?n=999&last=v5",
        "/v2/_catalog",
        "/v2/_catalog?n=1",
    ] {
        let (calls, reply) = asked(&memory, "GET", path).await;
        assert_eq!((calls, path), (one_list, path), "{:?}", reply.header("link"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_referrers() {
    let memory = Arc::new(Memory::new());
    let app = cold(&memory).await;
    let (subject, manifest) = app.push_image("a", "v1", 1).await;
    let empty = async |path: &str| asked(&memory, "GET", path).await.0;
    let path = format!("/v2/a/referrers/{subject}");
    assert_cost(empty(&path).await, Calls { list: 1, ..NONE }, 1);
    app.push_blob("a", b"{}").await;
    for name in ["one", "two", "three"] {
        let mut referrer: serde_json::Value =
            serde_json::from_slice(&image_manifest(b"{}", &[b"{}"])).expect("JSON");
        referrer["subject"] = serde_json::json!({
            "mediaType": crate::support::app::OCI_MANIFEST,
            "digest": subject,
            "size": manifest.len(),
        });
        let put = app.request("PUT", &format!("/v2/a/manifests/{name}"));
        let put = put.header("content-type", crate::support::app::OCI_MANIFEST);
        referrer["annotations"] = serde_json::json!({ "name": name });
        put.body(serde_json::to_vec(&referrer).expect("JSON")).send().await.expect(201);
    }
    // Each record contains a descriptor.
    assert_cost(empty(&path).await, Calls { list: 1, read: 3, ..NONE }, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_up_check_does_not_grow_with_the_store() {
    let memory = Arc::new(Memory::new());
    let expected =
        Calls { list: 1, create: 16, read: 1, replace: 19, put: 1, get: 1, remove: 2, ..NONE };
    let minute = std::time::Duration::from_mins(1);
    let limits = ProbeLimits { clock_skew: minute, write_deadline: minute };
    let before = memory.calls();
    let report = probe(memory.as_ref(), limits).await.expect("a store that works");
    assert!(!report.degraded() && report.capabilities.conditional_delete, "{report}");
    assert_cost(memory.calls().since(&before), expected, 41);
    assert_eq!(memory.records(), [], "the scratch record is removed");
    let app = cold(&memory).await;
    for seed in 0..300 {
        app.push_blob(&format!("r{seed}"), &bytes(seed, 100)).await;
    }
    let before = memory.calls();
    probe(memory.as_ref(), limits).await.expect("a store that works");
    assert_cost(memory.calls().since(&before), expected, 41);
    assert_eq!(memory.data_objects(), []);
}
