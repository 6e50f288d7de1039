//! A replica that stalls between its read and its write: the store refuses the write, because the
//! content may have been collected meanwhile. And the requests that keep old content alive: a HEAD
//! of a blob or of a manifest, and a push that names it.
//!
//! The stall is a slow call during which the clock of the store jumps.

use std::time::Duration;

use longshore::auth::GeneralAccess;
use longshore::config::Settings;
use longshore::layout::encoding::{self, Lineage, Nonce};
use longshore::oci::Digest;
use longshore::store::RecordKey;
use longshore::store::memory::Operation;

use super::STORE;
use crate::schema1::{DOCUMENT, EMPTY_LAYER, SIGNED, SIGNED_AGAIN};
use crate::support::app::{OCI_INDEX, OCI_MANIFEST, image_manifest};
use crate::support::content::{descriptor, index};
use crate::support::test_store::{Hands, TestStore};
use crate::support::{App, Reply, bytes, sha256};

/// A little more than half of the default grace period.
const PAST_HALF_LIFE: Duration = Duration::from_secs(24 * 3600 + 60);
/// More than the default write deadline.
pub(super) const STALL: Duration = Duration::from_secs(301);

pub(super) struct Scene {
    pub(super) app: App,
    pub(super) store: TestStore,
    pub(super) hands: Hands,
    manifest: Vec<u8>,
}

/// A registry with the blobs of an image whose manifest is not pushed yet.
async fn scene() -> Scene {
    scene_with(|_| {}).await
}

/// The same with other settings.
pub(super) async fn scene_with(change: impl FnOnce(&mut Settings)) -> Scene {
    let mut settings = Settings::default();
    change(&mut settings);
    let store = TestStore::start(STORE).await;
    let app = App::frontend(store.objects.clone(), settings).await;
    let (config, layer) = (bytes(1, 100), bytes(2, 100_000));
    app.push_blob("a", &config).await;
    app.push_blob("a", &layer).await;
    let manifest = image_manifest(&config, &[layer]);
    Scene { app, hands: store.hands.clone(), store, manifest }
}

impl Scene {
    async fn push(&self, tag: &str) -> Reply {
        let put = self.app.request("PUT", &format!("/v2/a/manifests/{tag}"));
        put.header("content-type", OCI_MANIFEST).body(self.manifest.clone()).send().await
    }

    /// Sends a request that stalls in a call below this prefix while the clock jumps.
    pub(super) async fn stalled(
        &self,
        operation: Operation,
        below: &str,
        stall: Duration,
        request: impl Future<Output = Reply>,
    ) -> Reply {
        let jump = async { self.hands.advance(stall) };
        let (reply, ()) = self.store.stalled(operation, below, request, jump).await;
        reply
    }

    fn age(&self, key: &RecordKey) -> Option<Duration> {
        let entry = self.store.record(key).filter(|entry| !entry.body.is_empty())?;
        Some(entry.age)
    }

    fn manifest(&self) -> RecordKey {
        RecordKey::Manifest("a".parse().expect("a name"), digest(&self.manifest))
    }

    pub(super) fn link(&self, content: &[u8]) -> RecordKey {
        RecordKey::Link("a".parse().expect("a name"), digest(content))
    }
}

pub(super) fn digest(content: &[u8]) -> Digest {
    sha256(content).parse().expect("a digest")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_write_after_its_lease_is_refused() {
    for (operation, below) in [
        (Operation::Read, "v1/l/"),
        (Operation::Create, "v1/m/"),
        (Operation::Create, "v1/x/"),
        (Operation::Create, "v1/c/"),
        (Operation::Create, "v1/t/"),
    ] {
        let scene = scene().await;
        let reply = scene.stalled(operation, below, STALL, scene.push("v1")).await;
        let reply = reply.expect_error(503, "UNAVAILABLE");
        assert!(reply.header("retry-after").is_some(), "{below}: {reply:?}");
        // The store refused the stalled write itself, not only a later one.
        let refused = if operation == Operation::Read { "v1/m/" } else { below };
        let entries = scene.store.records();
        assert!(entries.iter().all(|(key, _)| !key.starts_with(refused)), "{below}");
        scene.app.get("/v2/a/manifests/v1").send().await.expect(404);
        // A short stall is harmless.
        let short = Duration::from_secs(299);
        scene.stalled(operation, below, short, scene.push("v1")).await.expect(201);
        scene.app.get("/v2/a/manifests/v1").send().await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_write_after_the_lease_of_its_manifest_is_refused() {
    let scene = scene().await;
    scene.push("v1").await.expect(201);
    // Again: the manifest is touched at once, and reading the reverse index stalls for days. A
    // collector of untagged manifests may have deleted the manifest before the tag is written.
    let days = Duration::from_secs(3 * 24 * 3600);
    scene.app.request("DELETE", "/v2/a/manifests/v1").send().await.expect(202);
    let reply = scene.stalled(Operation::Read, "v1/x/", days, scene.push("v1")).await;
    reply.expect_error(503, "UNAVAILABLE");
    scene.app.get("/v2/a/manifests/v1").send().await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referrer_write_after_its_lease_is_refused() {
    let mut scene = scene().await;
    scene.push("v1").await.expect(201);
    let subject = sha256(&scene.manifest);
    let mut referrer: serde_json::Value = serde_json::from_slice(&scene.manifest).expect("JSON");
    referrer["subject"] = serde_json::json!({
        "mediaType": OCI_MANIFEST, "digest": subject, "size": scene.manifest.len(),
    });
    scene.manifest = serde_json::to_vec(&referrer).expect("JSON");
    let reply = scene.stalled(Operation::Create, "v1/r/", STALL, scene.push("s")).await;
    reply.expect_error(503, "UNAVAILABLE");
    let list = scene.app.get(&format!("/v2/a/referrers/{subject}")).send().await.expect(200);
    assert_eq!(list.json()["manifests"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_write_after_the_lease_of_its_blob_is_refused() {
    let scene = scene().await;
    for (content, operation, below) in [
        // One object: the link waits for the pointer.
        (bytes(3, 100_000), Operation::Create, "v1/l/b/"),
        (bytes(4, 100_000), Operation::Create, "v1/p/"),
        // The blob exists already: the pointer is read.
        (bytes(2, 100_000), Operation::Read, "v1/p/"),
        // Inline, in the link.
        (bytes(5, 100), Operation::Create, "v1/l/b/"),
        // In several parts.
        (bytes(6, 6 << 20), Operation::Create, "v1/l/b/"),
    ] {
        let path = format!("/v2/b/blobs/uploads/?digest={}", sha256(&content));
        let push = || async { scene.app.request("POST", &path).body(content.clone()).send().await };
        let reply = scene.stalled(operation, below, STALL, push()).await;
        reply.expect_error(503, "UNAVAILABLE");
        let blob = format!("/v2/b/blobs/{}", sha256(&content));
        scene.app.get(&blob).send().await.expect_error(404, "BLOB_UNKNOWN");
        push().await.expect(201);
        assert!(scene.app.get(&blob).send().await.expect(200).body == content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_after_the_lease_of_its_source_is_refused() {
    let scene = scene().await;
    for content in [bytes(1, 100), bytes(2, 100_000)] {
        let path = format!("/v2/b/blobs/uploads/?mount={}&from=a", sha256(&content));
        let mount = || async { scene.app.request("POST", &path).send().await };
        for (operation, below) in [(Operation::Read, "v1/l/a/"), (Operation::Create, "v1/l/b/")] {
            let reply = scene.stalled(operation, below, STALL, mount()).await;
            reply.expect_error(503, "UNAVAILABLE");
        }
        mount().await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_an_old_blob_touches_its_link() {
    let scene = scene().await;
    for content in [bytes(1, 100), bytes(2, 100_000)] {
        let path = format!("/v2/a/blobs/{}", sha256(&content));
        let link = scene.link(&content);
        let before = scene.store.calls();
        scene.app.request("HEAD", &path).send().await.expect(200);
        assert_eq!(scene.store.calls().since(&before).total(), 1, "a young link is only read");
        scene.hands.advance(PAST_HALF_LIFE);
        // A GET does not touch the link.
        assert!(scene.app.get(&path).send().await.expect(200).body == content);
        assert_eq!(scene.age(&link), Some(PAST_HALF_LIFE));
        scene.app.request("HEAD", &path).send().await.expect(200);
        assert_eq!(scene.age(&link), Some(Duration::ZERO));
        assert!(scene.app.get(&path).send().await.expect(200).body == content);
        scene.push("again").await.expect(201);
    }
}

/// The number of calls of a HEAD of a manifest.
async fn head(app: &App, store: &TestStore, reference: &str) -> u64 {
    let before = store.calls();
    app.request("HEAD", &format!("/v2/a/manifests/{reference}")).send().await.expect(200);
    store.calls().since(&before).total()
}

/// A client that may push may be about to name the manifest in an index.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_an_old_manifest_touches_it() {
    let scene = scene().await;
    scene.push("v1").await.expect(201);
    let (key, digest) = (scene.manifest(), sha256(&scene.manifest));
    for (reference, calls) in [("v1", 2), (digest.as_str(), 1)] {
        let path = format!("/v2/a/manifests/{reference}");
        assert_eq!(head(&scene.app, &scene.store, reference).await, calls);
        scene.hands.advance(PAST_HALF_LIFE);
        // A GET does not touch the manifest.
        assert!(scene.app.get(&path).send().await.expect(200).body == scene.manifest);
        assert_eq!(scene.age(&key), Some(PAST_HALF_LIFE));
        // It is read again for its version, and replaced.
        assert_eq!(head(&scene.app, &scene.store, reference).await, calls + 2);
        assert_eq!(scene.age(&key), Some(Duration::ZERO));
        assert_eq!(head(&scene.app, &scene.store, reference).await, calls);
        assert!(scene.app.get(&path).send().await.expect(200).body == scene.manifest);
    }
}

/// The cache knows whether a manifest is old.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_cached_manifest_touches_it_once() {
    let scene = scene().await;
    scene.push("v1").await.expect(201);
    scene.hands.advance(PAST_HALF_LIFE);
    let app = App::over(scene.store.objects.clone(), Settings::default()).await;
    app.get("/v2/a/manifests/v1").send().await.expect(200);
    assert_eq!(scene.age(&scene.manifest()), Some(PAST_HALF_LIFE));
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(head(&app, &scene.store, "v1").await);
    }
    assert_eq!(calls, [2, 1, 0, 0], "read and touch; read the new version; cached");
    assert_eq!(scene.age(&scene.manifest()), Some(Duration::ZERO));
}

/// A client that may only pull relies on nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_caller_who_may_not_push_does_not_touch_the_manifest() {
    let scene = scene().await;
    scene.push("v1").await.expect(201);
    scene.hands.advance(PAST_HALF_LIFE);
    let mut settings = Settings::default();
    settings.access.anonymous = Some(GeneralAccess::Pull);
    let app = App::frontend(scene.store.objects.clone(), settings).await;
    assert_eq!(head(&app, &scene.store, "v1").await, 2);
    assert_eq!(scene.age(&scene.manifest()), Some(PAST_HALF_LIFE));
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_a_manifest_touches_the_blobs_that_it_names() {
    let scene = scene().await;
    scene.hands.advance(PAST_HALF_LIFE);
    scene.push("v1").await.expect(201);
    for content in [bytes(1, 100), bytes(2, 100_000)] {
        assert_eq!(scene.age(&scene.link(&content)), Some(Duration::ZERO));
    }
    // Also the children of an index.
    let index = index(OCI_INDEX, &[descriptor(OCI_MANIFEST, &scene.manifest)]);
    let child = scene.manifest();
    scene.hands.advance(PAST_HALF_LIFE);
    assert_eq!(scene.age(&child), Some(PAST_HALF_LIFE));
    let put = scene.app.request("PUT", "/v2/a/manifests/list");
    let put = put.header("content-type", OCI_INDEX);
    put.body(serde_json::to_vec(&index).expect("JSON")).send().await.expect(201);
    assert_eq!(scene.age(&child), Some(Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_or_mounting_an_old_blob_touches_its_pointer() {
    let scene = scene().await;
    let content = bytes(2, 100_000);
    let pointer = RecordKey::Pointer(digest(&content));
    scene.hands.advance(PAST_HALF_LIFE);
    scene.app.push_blob("b", &content).await;
    assert_eq!(scene.age(&pointer), Some(Duration::ZERO));
    scene.hands.advance(PAST_HALF_LIFE);
    let path = format!("/v2/c/blobs/uploads/?mount={}&from=a", sha256(&content));
    scene.app.request("POST", &path).send().await.expect(201);
    assert_eq!(scene.age(&pointer), Some(Duration::ZERO));
    scene.app.settled().await;
    assert_eq!(scene.store.data_objects().len(), 1);
}

/// A layer with URLs need not be in the registry; one that is there is kept, and the record of the
/// manifest names it for the collector.
#[tokio::test(flavor = "multi_thread")]
async fn pushing_a_manifest_touches_its_external_layers() {
    let scene = scene().await;
    let (config, there, elsewhere) = (bytes(1, 100), bytes(2, 100_000), bytes(3, 10));
    let layer = |content: &[u8]| {
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "digest": sha256(content),
            "size": content.len(),
            "urls": ["https://example.com/layer"],
        })
    };
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&image_manifest(&config, &[] as &[Vec<u8>])).expect("JSON");
    manifest["layers"] = serde_json::json!([layer(&there), layer(&elsewhere)]);
    let manifest = serde_json::to_vec(&manifest).expect("JSON");
    scene.hands.advance(PAST_HALF_LIFE);
    scene.app.put_manifest("a", "v1", OCI_MANIFEST, &manifest).await.expect(201);
    assert_eq!(scene.age(&scene.link(&there)), Some(Duration::ZERO));
    let key = RecordKey::Manifest("a".parse().expect("a name"), digest(&manifest));
    let body = scene.store.record(&key).expect("it was pushed").body;
    let (header, _) = encoding::decode::<serde_json::Value>(&body).expect("a record of ours");
    let reference =
        |content: &[u8]| serde_json::json!({ "digest": sha256(content), "size": content.len() });
    assert_eq!(header["references"], serde_json::json!([reference(&config)]));
    let external = serde_json::json!([reference(&there), reference(&elsewhere)]);
    assert_eq!(header["external"], external);
}

/// An index can list blobs, such as the layers of a build cache. The record of the index names
/// them for the collector.
#[tokio::test(flavor = "multi_thread")]
async fn pushing_an_index_touches_the_blobs_that_it_lists() {
    let scene = scene().await;
    let (config, layer, there, elsewhere) =
        (bytes(1, 100), bytes(2, 100_000), bytes(3, 100), bytes(4, 100));
    scene.app.push_blob("a", &there).await;
    let external = |content: &[u8]| {
        let kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let mut layer = descriptor(kind, content);
        layer["urls"] = serde_json::json!(["https://example.com/layer"]);
        layer
    };
    let listed = [
        descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", &layer),
        descriptor("application/vnd.buildkit.cacheconfig.v0", &config),
        external(&there),
        external(&elsewhere),
    ];
    let cache = serde_json::to_vec(&index(OCI_INDEX, &listed)).expect("JSON");
    scene.hands.advance(PAST_HALF_LIFE);
    scene.app.put_manifest("a", "buildcache", OCI_INDEX, &cache).await.expect(201);
    for content in [&config, &layer, &there] {
        assert_eq!(scene.age(&scene.link(content)), Some(Duration::ZERO));
    }
    let key = RecordKey::Manifest("a".parse().expect("a name"), digest(&cache));
    let body = scene.store.record(&key).expect("it was pushed").body;
    let (header, _) = encoding::decode::<serde_json::Value>(&body).expect("a record of ours");
    let reference =
        |content: &[u8]| serde_json::json!({ "digest": sha256(content), "size": content.len() });
    let references = serde_json::json!([reference(&layer), reference(&config)]);
    assert_eq!(header["references"], references);
    let external = serde_json::json!([reference(&there), reference(&elsewhere)]);
    assert_eq!(header["external"], external);
}

/// A push of the same payload with another signature renews the manifest that is there, and changes
/// no byte of it.
#[tokio::test(flavor = "multi_thread")]
async fn another_signature_of_an_old_manifest_renews_the_first_one() {
    let scene = scene_with(|settings| settings.manifests.schema1_push = Some(true)).await;
    let put = async |reference: &str, document: &str| {
        scene.app.put_manifest("a", reference, SIGNED, document.as_bytes()).await.expect(201)
    };
    scene.app.push_blob("a", &EMPTY_LAYER).await;
    let pushed = put("v1", DOCUMENT).await;
    let named = pushed.header("docker-content-digest").expect("a digest").to_owned();
    let manifest = RecordKey::Manifest("a".parse().expect("a name"), named.parse().expect("one"));
    for reference in ["v1", &named, "v2"] {
        scene.hands.advance(PAST_HALF_LIFE);
        assert_eq!(scene.age(&manifest), Some(PAST_HALF_LIFE));
        put(reference, SIGNED_AGAIN).await;
        assert_eq!(scene.age(&manifest), Some(Duration::ZERO));
        let got = scene.app.get(&format!("/v2/a/manifests/{named}")).send().await.expect(200);
        assert_eq!(got.body, DOCUMENT);
    }
}

/// The pointer beside a small blob helps mounts that name no source. It comes back with the next
/// push after it was deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pointer_comes_back_with_the_next_push() {
    let scene = scene().await;
    let content = bytes(1, 100);
    let pointer = RecordKey::Pointer(digest(&content));
    let record = scene.store.record(&pointer).expect("it was pushed");
    let tombstone = encoding::tombstone(Nonce::random(), &Lineage::default());
    let deleted = scene.store.objects.replace(&pointer, &record.version, tombstone, None).await;
    deleted.expect("the version is right");
    let mount = async |target: &str| {
        let path = format!("/v2/{target}/blobs/uploads/?mount={}", sha256(&content));
        scene.app.request("POST", &path).send().await
    };
    mount("b").await.expect(202);
    scene.app.push_blob("a", &content).await;
    mount("c").await.expect(201);
}

/// A child that is being deleted is missing, like one that was deleted.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_cannot_name_a_manifest_that_is_being_deleted() {
    let scene = scene().await;
    scene.push("v1").await.expect(201);
    // The deletion writes its mark and no tombstone.
    scene.store.fail(Operation::List, "v1/x/");
    let path = format!("/v2/a/manifests/{}", sha256(&scene.manifest));
    scene.app.request("DELETE", &path).send().await.expect(503);
    let index = index(OCI_INDEX, &[descriptor(OCI_MANIFEST, &scene.manifest)]);
    let index = serde_json::to_vec(&index).expect("JSON");
    let put = async || scene.app.put_manifest("a", "list", OCI_INDEX, &index).await;
    put().await.expect_error(400, "MANIFEST_BLOB_UNKNOWN");
    scene.app.request("HEAD", &path).send().await.expect(404);
    scene.push("v1").await.expect(201);
    put().await.expect(201);
}
