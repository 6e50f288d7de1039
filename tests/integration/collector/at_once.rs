//! Removals do not wait for each other: a store is 10 to 60 ms away, and a run may have a hundred
//! thousand of them.

use std::time::Duration;

use longshore::store::Location;
use longshore::store::memory::Operation;

use super::STORE;
use crate::support::app::OCI_MANIFEST;
use crate::support::bytes;
use crate::support::collection::{HOUR, LONG, Scene};
use crate::support::content::{image, spelled};
use crate::support::test_store::StoreKind;

/// What each test removes: fewer than the collector removes at once.
const COUNT: usize = 6;
/// How long the others have. The store answers at once.
const POLLS: u32 = 20;

/// Whether `left` counts down to one while the first request of this kind is stalled in a run.
async fn others_go_first(
    scene: &Scene,
    (operation, below): (Operation, &str),
    left: impl Fn() -> usize + Sync,
) -> bool {
    let run = async { scene.collect().await };
    let others = async {
        for _ in 0..POLLS {
            if left() == 1 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    };
    let (_, gone) = scene.store.stalled(operation, below, run, others).await;
    assert_eq!(left(), 0, "the stalled one goes as well");
    gone
}

#[tokio::test(flavor = "multi_thread")]
async fn data_whose_quarantine_has_ended() {
    let scene = Scene::start(STORE).await;
    for seed in 0..COUNT {
        scene.push_large("a", seed as u64 + 1).await;
    }
    for pause in [LONG, HOUR, LONG] {
        scene.advance(pause);
        if pause == LONG && scene.live("g/quarantine/").len() == COUNT {
            break;
        }
        scene.collect().await;
    }
    let left = || scene.live("g/quarantine/").len();
    assert_eq!(left(), COUNT);
    assert!(others_go_first(&scene, (Operation::Delete, "v1/d/"), left).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_nothing_names() {
    let scene = Scene::start(STORE).await;
    let objects = &scene.store.objects;
    for seed in 0..COUNT {
        let location = Location::new_unique(objects.now());
        objects.put(&location, bytes(seed as u64, 1_000).into(), None).await.expect("written");
    }
    scene.advance(Duration::from_hours(8 * 24) + LONG);
    let left = || COUNT - scene.live("g/quarantine/").len();
    assert_eq!(left(), COUNT);
    assert!(others_go_first(&scene, (Operation::Create, "v1/g/quarantine/"), left).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_without_a_tag() {
    let age = Duration::from_hours(10 * 24);
    let scene = Scene::start_with(StoreKind::Memory, |settings| {
        settings.collection.untagged_after = Some(age);
    })
    .await;
    scene.app.push_blob("a", b"{}").await;
    for seed in 1..=COUNT as u64 {
        scene.app.push_blob("a", &bytes(seed, 100)).await;
        let manifest = spelled(&image(OCI_MANIFEST, seed));
        let reference = crate::support::sha256(&manifest);
        scene.app.put_manifest("a", &reference, OCI_MANIFEST, &manifest).await.expect(201);
    }
    scene.advance(age + LONG);
    let left = || scene.live("m/a/").len();
    assert_eq!(left(), COUNT);
    assert!(others_go_first(&scene, (Operation::Replace, "v1/m/"), left).await);
}
