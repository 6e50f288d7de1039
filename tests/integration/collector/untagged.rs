//! Manifests without a tag: kept, unless `collection.untagged_after` is set.

use std::time::Duration;

use longshore::collector::{Class, Fate};
use longshore::store::memory::Operation;

use super::STORE;
use crate::support::app::{OCI_INDEX, OCI_MANIFEST};
use crate::support::collection::{HOUR, LONG, Scene, manifest, referrer};
use crate::support::content::{artifact, descriptor, image, index, spelled};
use crate::support::test_store::StoreKind;
use crate::support::{bytes, sha256};

const AGE: Duration = Duration::from_hours(10 * 24);

async fn scene(policy: bool) -> Scene {
    Scene::start_with(STORE, |settings| {
        settings.collection.untagged_after = policy.then_some(AGE);
    })
    .await
}

/// Pushes an image under a tag or its digest.
async fn push(scene: &Scene, reference: Option<&str>, seed: u64) -> Vec<u8> {
    scene.app.push_blob("a", b"{}").await;
    scene.app.push_blob("a", &bytes(seed, 100)).await;
    let manifest = spelled(&image(OCI_MANIFEST, seed));
    let digest = sha256(&manifest);
    let reference = reference.unwrap_or(&digest);
    scene.app.put_manifest("a", reference, OCI_MANIFEST, &manifest).await.expect(201);
    manifest
}

#[tokio::test(flavor = "multi_thread")]
async fn untagged_manifests_stay_without_a_policy() {
    let scene = scene(false).await;
    let untagged = push(&scene, None, 1).await;
    scene.advance(AGE * 10);
    scene.collect_all().await;
    assert!(scene.is_live(&manifest("a", &untagged)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_takes_what_belongs_to_nothing() {
    let scene = scene(true).await;
    let (tagged, untagged) = (push(&scene, Some("v1"), 1).await, push(&scene, None, 2).await);
    let child = push(&scene, None, 3).await;
    let list = spelled(&index(OCI_INDEX, &[descriptor(OCI_MANIFEST, &child)]));
    scene.app.put_manifest("a", "list", OCI_INDEX, &list).await.expect(201);
    let put = async |tag: &str, body: &[u8]| {
        scene.app.put_manifest("a", tag, OCI_MANIFEST, body).await.expect(201);
    };
    let signature = spelled(&artifact("a/b", &descriptor(OCI_MANIFEST, &tagged), 1));
    put(&sha256(&signature), &signature).await;
    let orphan = spelled(&artifact("a/b", &descriptor(OCI_MANIFEST, &untagged), 2));
    put(&sha256(&orphan), &orphan).await;
    // What cosign pushed before there were subjects.
    let of = |subject: &[u8]| format!("{}.sig", sha256(subject).replace(':', "-"));
    let (kept, lost) = (push(&scene, Some(&of(&tagged)), 4).await, push(&scene, None, 5).await);
    put(&of(&untagged), &lost).await;

    scene.advance(AGE - HOUR);
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Manifest, Fate::Removed), 0, "{report}");
    scene.advance(LONG);
    scene.collect().await;
    let live = |content: &[u8]| scene.is_live(&manifest("a", content));
    let all = [&tagged, &child, &list, &signature, &kept];
    assert!(all.iter().all(|content| live(content)) && !live(&untagged));
    // Its referrer and its signature go after it.
    scene.collect().await;
    assert!(all.iter().all(|content| live(content)) && !live(&orphan) && !live(&lost));
    assert!(!scene.is_live(&referrer("a", &untagged, &orphan)));
    let tags = scene.app.get("/v2/a/tags/list").send().await.json();
    let signature_tag = of(&tagged);
    assert_eq!(tags["tags"], serde_json::json!(["list", signature_tag, "v1"]));

    // An index goes first, its children later.
    scene.delete("a/manifests/list").await;
    scene.collect().await;
    assert!(!live(&list) && live(&child));
    scene.collect().await;
    assert!(!live(&child) && live(&tagged));
}

/// A client that uses the manifest in the moment before it is deleted keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_used_meanwhile_stays() {
    for (operation, below) in
        [(Operation::List, "v1/t/"), (Operation::Read, "v1/m/"), (Operation::Replace, "v1/m/")]
    {
        for uses in ["tag", "index", "head"] {
            let scene = scene(true).await;
            let untagged = push(&scene, None, 1).await;
            scene.advance(AGE + LONG);
            let digest = sha256(&untagged);
            let list = spelled(&index(OCI_INDEX, &[descriptor(OCI_MANIFEST, &untagged)]));
            let meanwhile = async {
                match uses {
                    "tag" => scene.app.put_manifest("a", "v1", OCI_MANIFEST, &untagged).await,
                    "index" => scene.app.put_manifest("a", "list", OCI_INDEX, &list).await,
                    _ => {
                        let path = format!("/v2/a/manifests/{digest}");
                        scene.app.request("HEAD", &path).send().await
                    }
                }
            };
            let run = async { scene.collect().await };
            let (_, used) = scene.store.stalled(operation, below, run, meanwhile).await;
            if !used.status.is_success() && STORE == StoreKind::Memory {
                // It came too late, and knows it.
                continue;
            }
            assert!(used.status.is_success(), "{uses}: {used:?}");
            assert!(scene.is_live(&manifest("a", &untagged)), "{uses} {below}");
        }
    }
}
