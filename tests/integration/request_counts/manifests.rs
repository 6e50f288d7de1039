//! Pushing and deleting manifests.

use std::sync::Arc;

use longshore::store::memory::{Calls, Memory};

use super::{NONE, assert_cost, cold, cost};
use crate::support::app::{OCI_INDEX, OCI_MANIFEST, image_manifest};
use crate::support::content::{descriptor, index, spelled};
use crate::support::{App, bytes, sha256};

/// An image of a config and two layers whose blobs exist.
async fn image(app: &App) -> Vec<u8> {
    let config = b"{\"a\":1}".to_vec();
    let layers = [bytes(1, 200_000), bytes(2, 200_000)];
    for blob in [&config, &layers[0], &layers[1]] {
        app.push_blob("a", blob).await;
    }
    image_manifest(&config, &layers)
}

async fn put(app: &App, reference: &str, manifest: &[u8]) {
    let put = app.request("PUT", &format!("/v2/a/manifests/{reference}"));
    let put = put.header("content-type", OCI_MANIFEST).body(manifest.to_vec());
    put.send().await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_a_manifest_with_three_blobs_by_tag() {
    let memory = Arc::new(Memory::new());
    let manifest = image(&cold(&memory).await).await;
    let (calls, ()) = cost(&memory, async |app| put(app, "v1", &manifest).await).await;
    // Three leases; manifest, reverse index, catalog marker, tag; and the touch at the end of a
    // push.
    assert_cost(calls, Calls { read: 3, create: 4, replace: 1, ..NONE }, 8);

    // Again, on a replica that does not know the repository: every create is a conflict and a read,
    // and the tag is read, and the manifest again. Nothing changes, so nothing is written.
    let (calls, ()) = cost(&memory, async |app| put(app, "v1", &manifest).await).await;
    assert_cost(calls, Calls { read: 8, create: 3, ..NONE }, 11);

    // Another tag of the same manifest, which is touched.
    let (calls, ()) = cost(&memory, async |app| put(app, "v2", &manifest).await).await;
    assert_cost(calls, Calls { read: 6, create: 4, replace: 2, ..NONE }, 12);

    // A replica that knows the repository does not write the marker.
    let app = cold(&memory).await;
    put(&app, "v3", &manifest).await;
    let before = memory.calls();
    put(&app, "v3", &manifest).await;
    let calls = memory.calls().since(&before);
    assert_cost(calls, Calls { read: 7, create: 2, ..NONE }, 9);
}

/// An index costs one read for each manifest or blob that it lists. A manifest that it lists by a
/// type that is no manifest's is looked for among the blobs first, past the cache as well.
#[tokio::test(flavor = "multi_thread")]
async fn pushing_an_index_by_tag() {
    for (child_type, blobs, reads) in [
        (OCI_MANIFEST, false, 2),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", true, 2),
        ("application/vnd.example.unknown", false, 6),
    ] {
        let memory = Arc::new(Memory::new());
        let app = cold(&memory).await;
        let mut children = Vec::new();
        for seed in 1..=2 {
            let content = if blobs {
                let content = bytes(seed, 200_000);
                app.push_blob("a", &content).await;
                content
            } else {
                app.push_small("a", &format!("child-{seed}"), seed).await.1
            };
            children.push(descriptor(child_type, &content));
        }
        // The repository is created by its first manifest.
        app.push_small("a", "other", 3).await;
        let index = spelled(&index(OCI_INDEX, &children));
        let (calls, ()) = cost(&memory, async |app| {
            app.put_manifest("a", "v1", OCI_INDEX, &index).await.expect(201);
        })
        .await;
        // The new replica does not know that the repository exists.
        assert_cost(calls, Calls { read: reads + 1, create: 4, replace: 1, ..NONE }, reads + 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_a_manifest_by_digest() {
    let memory = Arc::new(Memory::new());
    let manifest = image(&cold(&memory).await).await;
    let digest = sha256(&manifest);
    let (calls, ()) = cost(&memory, async |app| put(app, &digest, &manifest).await).await;
    assert_cost(calls, Calls { read: 3, create: 2, ..NONE }, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_tags_manifests_and_blobs() {
    let memory = Arc::new(Memory::new());
    let manifest = image(&cold(&memory).await).await;
    let app = cold(&memory).await;
    for tag in ["v1", "v2", "v3"] {
        put(&app, tag, &manifest).await;
    }
    let deleted = async |path: String| {
        let act = async |app: &App| app.request("DELETE", &path).send().await.expect(202);
        cost(&memory, act).await.0
    };
    let calls = deleted("/v2/a/manifests/v1".to_owned()).await;
    assert_cost(calls, Calls { read: 1, replace: 1, ..NONE }, 2);
    // The manifest, which is doomed, its three tags (one is deleted already), the manifest itself.
    let calls = deleted(format!("/v2/a/manifests/{}", sha256(&manifest))).await;
    assert_cost(calls, Calls { read: 5, list: 1, replace: 4, ..NONE }, 10);
    let calls = deleted(format!("/v2/a/blobs/{}", sha256(&bytes(1, 200_000)))).await;
    assert_cost(calls, Calls { read: 1, replace: 1, ..NONE }, 2);
}
