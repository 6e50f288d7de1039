//! What a run removes, and what it keeps.

use longshore::collector::{Class, Fate, Mode};
use longshore::store::RecordKey;
use serde_json::json;

use super::STORE;
use crate::support::app::{OCI_INDEX, OCI_MANIFEST, image_manifest};
use crate::support::collection::{HOUR, LONG, Scene, link, manifest, pointer, referrer, tag_index};
use crate::support::content::{artifact, descriptor, index, spelled};
use crate::support::{bytes, sha256};

/// Pushes an image with a layer that has a data object, and returns the manifest and the layer.
async fn push_image(scene: &Scene, name: &str, tag: &str, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let layer = scene.push_large(name, seed).await;
    let config = bytes(seed + 1, 100);
    scene.app.push_blob(name, &config).await;
    let manifest = image_manifest(&config, &[&layer]);
    scene.app.put_manifest(name, tag, OCI_MANIFEST, &manifest).await.expect(201);
    (manifest, layer)
}

/// The record of what was sighted is deleted when a repository has no candidate, and is written
/// over its tombstone when there is one again.
#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_collected_again_and_again() {
    let scene = Scene::start(STORE).await;
    for seed in 1..4 {
        let content = scene.push_large("a", seed).await;
        scene.advance(LONG);
        scene.collect().await;
        scene.advance(HOUR);
        let report = scene.collect().await;
        assert_eq!(report.of(Class::Link, Fate::Removed), 1, "{seed}: {report}");
        assert_eq!(scene.pull("a", &content).await, 404);
        assert!(scene.live("g/seen/").is_empty());
    }
}

/// Each step of the way of a blob whose manifest was deleted, and how long it takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_image_is_freed_step_by_step() {
    let scene = Scene::start(STORE).await;
    let (image, layer) = push_image(&scene, "a", "v1", 1).await;
    let (_, kept) = push_image(&scene, "b", "v1", 5).await;
    scene.delete(&format!("a/manifests/{}", sha256(&image))).await;

    // Within the grace: nothing.
    scene.advance(HOUR);
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Link, Fate::Grace), 2, "{report}");
    assert_eq!((report.of(Class::Link, Fate::Removed), scene.pull("a", &layer).await), (0, 200));

    scene.advance(LONG);
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Link, Fate::FirstSighting), 2, "{report}");
    assert_eq!(report.of(Class::TagIndex, Fate::Removed), 1, "{report}");
    assert_eq!(scene.pull("a", &layer).await, 200);

    // The same run can sight a link once only, so the second one removes it.
    scene.advance(HOUR);
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Link, Fate::Removed), 2, "{report}");
    assert_eq!(report.of(Class::Pointer, Fate::Removed), 2, "{report}");
    assert_eq!(report.of(Class::Data, Fate::Quarantine), 1, "{report}");
    assert_eq!((scene.pull("a", &layer).await, scene.store.data_objects().len()), (404, 2));
    assert_eq!(scene.live("g/quarantine/").len(), 1);

    scene.advance(HOUR);
    let report = scene.collect().await;
    assert_eq!((report.of(Class::Data, Fate::Removed), report.freed_bytes()), (0, 0), "{report}");
    scene.advance(LONG);
    let report = scene.collect().await;
    assert_eq!((report.of(Class::Data, Fate::Removed), report.freed_bytes()), (1, 10_000));
    assert_eq!(scene.store.data_objects().len(), 1);
    assert!(scene.live("g/quarantine/").is_empty() && scene.live("g/seen/").is_empty());
    assert_eq!(scene.pull("b", &kept).await, 200);

    let dead = [link("a", &layer), pointer(&layer)];
    assert!(dead.iter().all(|key| scene.store.record(key).is_some()), "too early");
    // The tombstones go as well, where the store has conditional deletion.
    scene.advance(2 * LONG);
    scene.collect().await;
    for key in dead {
        assert_eq!(scene.store.record(&key).is_none(), scene.store.removes(), "{key}");
    }
    assert!(scene.app.get("/v2/b/manifests/v1").send().await.status.is_success());
}

/// Content of which something needs each part stays for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_stays() {
    let scene = Scene::start(STORE).await;
    let (image, layer) = push_image(&scene, "a", "v1", 1).await;
    // The old image stays without its tag, an index keeps its children, and a referrer is listed.
    push_image(&scene, "a", "v1", 5).await;
    let list = spelled(&index(OCI_INDEX, &[descriptor(OCI_MANIFEST, &image)]));
    scene.app.put_manifest("a", "list", OCI_INDEX, &list).await.expect(201);
    scene.app.push_blob("a", b"{}").await;
    let signature = spelled(&artifact("a/b", &descriptor(OCI_MANIFEST, &image), 1));
    let path = sha256(&signature);
    scene.app.put_manifest("a", &path, OCI_MANIFEST, &signature).await.expect(201);
    // An external layer that the repository has.
    let external = scene.push_large("a", 9).await;
    let mut layers: serde_json::Value =
        serde_json::from_slice(&image_manifest(b"{}", &[&external])).unwrap();
    layers["layers"][0]["urls"] = json!(["https://example.com/layer"]);
    layers["layers"][0]["mediaType"] =
        json!("application/vnd.oci.image.layer.nondistributable.v1.tar");
    scene.app.put_manifest("a", "external", OCI_MANIFEST, &spelled(&layers)).await.expect(201);
    scene.app.settled().await;
    let before = (scene.live("l/"), scene.live("m/"), scene.live("t/"), scene.live("p/"));
    let data = scene.store.data_objects();

    scene.collect_all().await;
    assert_eq!((scene.live("l/"), scene.live("m/"), scene.live("t/"), scene.live("p/")), before);
    assert_eq!(scene.store.data_objects(), data);
    for content in [&layer, &external] {
        assert_eq!(scene.pull("a", content).await, 200);
    }
    // Only the row of the tag that moved is gone.
    assert!(!scene.is_live(&tag_index("a", &image, "v1")) && scene.live("x/").len() == 3);
    let referrers = scene.app.get(&format!("/v2/a/referrers/{}", sha256(&image))).send().await;
    assert_eq!(referrers.json()["manifests"].as_array().map(Vec::len), Some(1));
}

/// The data of a blob stays as long as any repository has it.
#[tokio::test(flavor = "multi_thread")]
async fn repositories_share_data() {
    let scene = Scene::start(STORE).await;
    let (image, layer) = push_image(&scene, "a", "v1", 1).await;
    let path = format!("/v2/b/blobs/uploads/?mount={}&from=a", sha256(&layer));
    scene.app.request("POST", &path).send().await.expect(201);
    let keeping = image_manifest(b"{}", &[&layer]);
    scene.app.push_blob("b", b"{}").await;
    scene.app.put_manifest("b", "v1", OCI_MANIFEST, &keeping).await.expect(201);
    scene.delete(&format!("a/manifests/{}", sha256(&image))).await;
    scene.collect_all().await;
    assert_eq!((scene.pull("a", &layer).await, scene.pull("b", &layer).await), (404, 200));
    scene.delete(&format!("b/manifests/{}", sha256(&keeping))).await;
    scene.collect_all().await;
    assert_eq!((scene.pull("b", &layer).await, scene.store.data_objects().len()), (404, 0));
    assert!(scene.live("p/").is_empty() && scene.live("l/").is_empty(), "{:?}", scene.live("p/"));
    // And content that was collected can be pushed again.
    assert_eq!(scene.push_large("a", 1).await, layer);
    assert_eq!(scene.pull("a", &layer).await, 200);
}

/// Uploads that their clients have left, in each of their forms.
#[tokio::test(flavor = "multi_thread")]
async fn abandoned_uploads_are_freed() {
    let scene = Scene::start(STORE).await;
    let begin = || async {
        let start = scene.app.request("POST", "/v2/a/blobs/uploads/").send().await;
        start.expect(202).location()
    };
    for (size, range) in [(300_000, None), (20_000, None), (100, Some("0-99"))] {
        let location = begin().await;
        let patch = scene.app.request("PATCH", &location).body(bytes(1, size));
        let patch = match range {
            Some(range) => patch.header("content-range", range),
            None => patch,
        };
        patch.send().await.expect(202);
    }
    let cancelled = begin().await;
    scene.app.request("PATCH", &cancelled).body(bytes(2, 100)).send().await.expect(202);
    scene.app.request("DELETE", &cancelled).send().await.expect(204);
    scene.app.settled().await;
    assert_eq!((scene.live("u/").len(), scene.store.open_multiparts()), (3, 1));
    assert_eq!(scene.store.data_objects().len(), 1);

    scene.advance(HOUR);
    scene.collect().await;
    assert_eq!((scene.live("u/").len(), scene.store.open_multiparts()), (3, 1));

    scene.advance(LONG);
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Session, Fate::Removed), 3, "{report}");
    assert_eq!((scene.live("u/").len(), scene.store.open_multiparts()), (0, 0));
    scene.advance(LONG);
    scene.collect().await;
    assert_eq!(scene.store.data_objects(), vec![]);
    // Nothing of them is left, on any store.
    let sessions = scene.store.records().into_iter().filter(|(key, _)| key.starts_with("v1/u/"));
    assert_eq!(sessions.count(), 0);
}

/// An upload session that is older than the grace and goes on is not abandoned.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_goes_on_is_kept() {
    let scene = Scene::start(STORE).await;
    let start = scene.app.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202);
    let content = bytes(1, 300_000);
    let mut location = start.location();
    for part in content.chunks(100_000) {
        scene.advance(LONG - HOUR);
        let patch = scene.app.request("PATCH", &location).body(part.to_vec());
        location = patch.send().await.expect(202).location();
        scene.collect().await;
    }
    let close = format!("{location}?digest={}", sha256(&content));
    scene.app.request("PUT", &close).send().await.expect(201);
    scene.collect().await;
    assert_eq!(scene.pull("a", &content).await, 200);
}

/// Rows of referrers, both ways.
#[tokio::test(flavor = "multi_thread")]
async fn referrers_are_repaired_and_removed() {
    let scene = Scene::start(STORE).await;
    let (image, _) = push_image(&scene, "a", "v1", 1).await;
    scene.app.push_blob("a", b"{}").await;
    let signature = spelled(&artifact("a/b", &descriptor(OCI_MANIFEST, &image), 1));
    let path = sha256(&signature);
    scene.app.put_manifest("a", &path, OCI_MANIFEST, &signature).await.expect(201);
    let (row, of) = (referrer("a", &image, &signature), manifest("a", &signature));
    let listed = || async {
        let path = format!("/v2/a/referrers/{}", sha256(&image));
        scene.app.get(&path).send().await.expect(200).json()["manifests"].clone()
    };
    let before = listed().await;

    scene.store.remove(&row).await;
    scene.advance(LONG);
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Referrer, Fate::Repaired), 1, "{report}");
    assert_eq!(listed().await, before);

    scene.store.remove(&of).await;
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Referrer, Fate::Grace), 1, "{report}");
    scene.advance(LONG);
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Referrer, Fate::Removed), 1, "{report}");
    assert_eq!(listed().await, json!([]));
}

/// A deletion whose process died is finished.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_was_cut_off_is_finished() {
    let scene = Scene::start(STORE).await;
    let (image, _) = push_image(&scene, "a", "v1", 1).await;
    let key = manifest("a", &image);
    scene.store.fail_always(longshore::store::memory::Operation::List);
    let path = format!("/v2/a/manifests/{}", sha256(&image));
    let cut = scene.app.request("DELETE", &path).send().await;
    assert!(cut.status.is_server_error());
    scene.store.heal();
    assert!(scene.is_live(&key));
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Manifest, Fate::Grace), 1, "{report}");
    scene.advance(LONG);
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Manifest, Fate::Removed), 1, "{report}");
    assert!(!scene.is_live(&key) && scene.live("t/").is_empty());
}

/// A dry run decides the same, and writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing() {
    let scene = Scene::start(STORE).await;
    let (image, _) = push_image(&scene, "a", "v1", 1).await;
    scene.delete(&format!("a/manifests/{}", sha256(&image))).await;
    let location = scene.app.request("POST", "/v2/a/blobs/uploads/").send().await.location();
    scene.app.request("PATCH", &location).body(bytes(1, 300_000)).send().await.expect(202);
    scene.push_large("b", 7).await;
    for step in 0..6 {
        scene.app.settled().await;
        let (records, data) = (scene.store.records(), scene.store.data_objects());
        let open = scene.store.open_multiparts();
        let dry = scene.try_collect(Mode::DryRun).await.expect("a dry run");
        assert_eq!((scene.store.records(), scene.store.data_objects()), (records, data), "{step}");
        assert_eq!(scene.store.open_multiparts(), open, "{step}");
        let real = scene.collect().await;
        // Links that go make pointers follow in the same run, which a dry run cannot see.
        for class in [Class::Session, Class::Link, Class::TagIndex, Class::Multipart] {
            for fate in [Fate::Removed, Fate::Grace, Fate::FirstSighting] {
                assert_eq!(dry.of(class, fate), real.of(class, fate), "{step}\n{dry}\n{real}");
            }
        }
        scene.advance(if step % 2 == 0 { LONG } else { HOUR });
    }
    assert_eq!(scene.store.data_objects(), vec![]);
}

/// The requests of a run are a contract: listings, a read of each manifest, and little else.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_unused_nothing_costs_listings_and_a_read_of_each_manifest() {
    let scene = Scene::start(STORE).await;
    let mut cost = Vec::new();
    for images in 1..=3 {
        push_image(&scene, "a", &format!("v{images}"), images * 10).await;
        scene.advance(LONG);
        scene.collect().await;
        cost.push(scene.collect().await.requests());
    }
    assert_eq!((cost[1] - cost[0], cost[2] - cost[1]), (1, 1), "{cost:?}");
    // Nine listings of records, two of data and uploads, the shared settings, and the writes of
    // the lease and of the state.
    assert!(cost[0] <= 30, "{cost:?}");
    assert!(scene.is_live(&RecordKey::CollectorRun) && !scene.is_live(&RecordKey::Collector));
}
