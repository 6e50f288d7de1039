//! Requests of clients between two steps of a run: a request that comes in time keeps the content.

use longshore::store::memory::Operation;

use super::STORE;
use crate::support::app::{OCI_MANIFEST, image_manifest};
use crate::support::collection::{HOUR, LONG, Scene, link, pointer};
use crate::support::test_store::StoreKind;
use crate::support::{Reply, bytes, sha256};

/// A blob of `a` that the next run will remove, unless a request uses it.
async fn candidate(scene: &Scene) -> Vec<u8> {
    let layer = scene.push_large("a", 1).await;
    scene.advance(LONG);
    scene.collect().await;
    scene.advance(HOUR);
    layer
}

/// Runs the collector, and a request of a client while the collector's first call of this kind is
/// under way.
async fn between<R>(
    scene: &Scene,
    (operation, below): (Operation, &str),
    request: impl Future<Output = R>,
) -> R {
    let collection = async { scene.collect().await };
    let (_, reply) = scene.store.stalled(operation, below, collection, request).await;
    reply
}

/// Whether a request came in time. The scripted S3 holds the collector for as long as it takes; the
/// store in memory only for a moment, and a late request is refused and loses nothing.
fn in_time(reply: &Reply, status: u16) -> bool {
    let in_time = reply.status == status;
    assert!(in_time || STORE == StoreKind::Memory, "{reply:?}");
    in_time
}

/// Frees all that nothing needs, and shows that the manifest can be pulled whole.
async fn assert_kept(scene: &Scene, name: &str, layer: &[u8]) {
    scene.collect_all().await;
    assert!(scene.app.get(&format!("/v2/{name}/manifests/v1")).send().await.status.is_success());
    assert_eq!(scene.pull(name, layer).await, 200);
}

/// The link was listed, and its deletion is on its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_pushed_before_the_link_is_deleted_keeps_it() {
    for (operation, below) in [
        (Operation::Replace, "v1/l/"),
        (Operation::Read, "v1/l/"),
        (Operation::List, "v1/l/"),
        (Operation::List, "v1/x/"),
    ] {
        let scene = Scene::start(STORE).await;
        let layer = candidate(&scene).await;
        scene.app.push_blob("a", b"{}").await;
        let manifest = image_manifest(b"{}", &[&layer]);
        let push = scene.app.put_manifest("a", "v1", OCI_MANIFEST, &manifest);
        let pushed = between(&scene, (operation, below), push).await;
        if !in_time(&pushed, 201) {
            continue;
        }
        assert_kept(&scene, "a", &layer).await;
    }
}

/// A client that asks for the blob before it pushes the manifest relies on the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_blob_keeps_it() {
    let scene = Scene::start(STORE).await;
    let layer = candidate(&scene).await;
    let path = format!("/v2/a/blobs/{}", sha256(&layer));
    let head = scene.app.request("HEAD", &path).send();
    if !in_time(&between(&scene, (Operation::List, "v1/l/"), head).await, 200) {
        return;
    }
    assert_eq!(scene.pull("a", &layer).await, 200);
    scene.app.push_blob("a", b"{}").await;
    let manifest = image_manifest(b"{}", &[&layer]);
    scene.app.put_manifest("a", "v1", OCI_MANIFEST, &manifest).await.expect(201);
    assert_kept(&scene, "a", &layer).await;
}

/// The pointer of a blob without any link was listed, and its deletion is on its way.
#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_pushed_again_before_the_pointer_is_deleted_keeps_its_data() {
    for (operation, below) in [
        (Operation::Replace, "v1/p/"),
        (Operation::Create, "v1/g/quarantine/"),
        (Operation::Read, "v1/p/"),
        (Operation::List, "v1/p/"),
        (Operation::List, "v1/l/"),
    ] {
        let scene = Scene::start(STORE).await;
        let layer = scene.push_large("a", 1).await;
        scene.delete(&format!("a/blobs/{}", sha256(&layer))).await;
        scene.advance(LONG);
        let push = scene.app.push_blob("b", &layer);
        between(&scene, (operation, below), push).await;
        scene.app.push_blob("b", b"{}").await;
        let manifest = image_manifest(b"{}", &[&layer]);
        scene.app.put_manifest("b", "v1", OCI_MANIFEST, &manifest).await.expect(201);
        assert_kept(&scene, "b", &layer).await;
    }
}

/// The data is in quarantine when the content is pushed again: other data, and no harm.
#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_pushed_again_during_its_quarantine_is_kept() {
    let scene = Scene::start(STORE).await;
    let layer = scene.push_large("a", 1).await;
    scene.delete(&format!("a/blobs/{}", sha256(&layer))).await;
    scene.advance(LONG);
    scene.collect().await;
    assert!(!scene.is_live(&pointer(&layer)) && scene.live("g/quarantine/").len() == 1);
    scene.app.push_blob("b", &layer).await;
    scene.app.push_blob("b", b"{}").await;
    let manifest = image_manifest(b"{}", &[&layer]);
    scene.app.put_manifest("b", "v1", OCI_MANIFEST, &manifest).await.expect(201);
    assert_kept(&scene, "b", &layer).await;
    assert_eq!(scene.store.data_objects().len(), 1);
}

/// A mount of a blob whose link in the source is being removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_mount_during_a_run_keeps_the_data() {
    for (operation, below) in
        [(Operation::Replace, "v1/l/a"), (Operation::List, "v1/p/"), (Operation::Read, "v1/p/")]
    {
        let scene = Scene::start(STORE).await;
        let layer = candidate(&scene).await;
        let path = format!("/v2/b/blobs/uploads/?mount={}&from=a", sha256(&layer));
        let mount = scene.app.request("POST", &path).send();
        let mounted = between(&scene, (operation, below), mount).await;
        if mounted.status != 201 {
            continue;
        }
        scene.app.push_blob("b", b"{}").await;
        let manifest = image_manifest(b"{}", &[&layer]);
        scene.app.put_manifest("b", "v1", OCI_MANIFEST, &manifest).await.expect(201);
        assert_kept(&scene, "b", &layer).await;
    }
}

/// A session that is older than the grace is continued when the collector is about to end it.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_continued_before_its_session_ends_is_kept() {
    for (operation, below) in
        [(Operation::List, "v1/u/"), (Operation::Read, "v1/u/"), (Operation::Replace, "v1/u/")]
    {
        for size in [20_000, 200_000] {
            let scene = Scene::start(STORE).await;
            let content = bytes(1, size);
            let start = scene.app.request("POST", "/v2/a/blobs/uploads/").send().await;
            let patch = scene.app.request("PATCH", &start.location()).body(content.clone());
            let location = patch.send().await.expect(202).location();
            scene.app.settled().await;
            scene.advance(LONG);
            let close = format!("{location}?digest={}", sha256(&content));
            let put = scene.app.request("PUT", &close).send();
            let reply = between(&scene, (operation, below), put).await;
            if !in_time(&reply, 201) {
                continue;
            }
            scene.collect().await;
            scene.advance(LONG - HOUR);
            scene.collect().await;
            assert_eq!(scene.pull("a", &content).await, 200, "{operation:?} {size}");
        }
    }
}

/// A link that was sighted once, used, and left again, is sighted anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_another_version_begins_anew() {
    let scene = Scene::start(STORE).await;
    let layer = candidate(&scene).await;
    let path = format!("/v2/a/blobs/{}", sha256(&layer));
    scene.app.request("HEAD", &path).send().await.expect(200);
    scene.advance(LONG);
    scene.collect().await;
    assert!(scene.is_live(&link("a", &layer)));
    scene.advance(HOUR);
    scene.collect().await;
    assert!(!scene.is_live(&link("a", &layer)));
}
