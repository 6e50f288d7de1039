//! Data that nothing names, and data that only a link names.

use std::time::Duration;

use longshore::collector::{Class, Fate, Mode};
use longshore::layout::encoding::{Draft, Known, Lineage, Nonce, decode, tombstone, touched};
use longshore::layout::records::{Link, Pointer, Quarantined};
use longshore::store::memory::Operation;
use longshore::store::{Location, RecordKey};

use super::STORE;
use crate::support::app::{OCI_MANIFEST, image_manifest};
use crate::support::collection::{HOUR, LONG, Scene, collector, link, pointer};
use crate::support::{bytes, sha256};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// An object that was written and never named, as by a process that died, and a multipart upload.
async fn leak(scene: &Scene) -> Location {
    let objects = &scene.store.objects;
    let location = Location::new_unique(objects.now());
    objects.put(&location, bytes(7, 1_000).into(), None).await.expect("written");
    objects.start(&Location::new_unique(objects.now())).await.expect("started");
    location
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_nothing_names_is_found() {
    let scene = Scene::start(STORE).await;
    leak(&scene).await;
    let kept = scene.push_large("a", 1).await;
    scene.app.push_blob("a", b"{}").await;
    let manifest = image_manifest(b"{}", &[&kept]);
    scene.app.put_manifest("a", "v1", OCI_MANIFEST, &manifest).await.expect(201);
    scene.advance(LONG);
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Data, Fate::Quarantine), 0, "an upload may last for days");
    assert_eq!(scene.store.open_multiparts(), 0);
    // An upload in parts, and one in one piece, that are named by their sessions only.
    for size in [200_000, 20_000] {
        let start = scene.app.request("POST", "/v2/a/blobs/uploads/").send().await.location();
        scene.app.request("PATCH", &start).body(bytes(8, size)).send().await.expect(202);
    }
    scene.advance(WEEK);
    scene.advance(Duration::from_hours(24));
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Data, Fate::Quarantine), 2, "the session ended as well: {report}");
    scene.advance(LONG);
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Data, Fate::Removed), 2, "{report}");
    assert_eq!((scene.store.data_objects().len(), scene.pull("a", &kept).await), (1, 200));

    // What is leaked on a later day is found, too, and the older days are looked at again.
    leak(&scene).await;
    scene.advance(WEEK + LONG);
    scene.advance(Duration::from_hours(24));
    scene.collect().await;
    scene.advance(LONG);
    scene.collect().await;
    assert_eq!(scene.store.data_objects().len(), 1);
}

/// Rewrites a record with the same content, as its owner does to keep it.
async fn touch(scene: &Scene, key: &RecordKey) {
    let record = scene.store.record(key).expect("it lives");
    let draft = touched(&record.body).unwrap();
    let body = draft.encode(&Lineage::after(&record.body, draft.known()).unwrap());
    scene.store.objects.replace(key, &record.version, body, None).await.expect("touched");
}

/// An upload in one piece whose client waits for days before it ends it, and its content.
async fn slow_upload(scene: &Scene) -> (String, RecordKey, Vec<u8>) {
    let content = bytes(1, 20_000);
    let start = scene.app.request("POST", "/v2/a/blobs/uploads/").send().await.location();
    let patch = scene.app.request("PATCH", &start).body(content.clone());
    let location = patch.send().await.expect(202).location();
    scene.app.settled().await;
    let session: RecordKey = scene.live("u/").pop().expect("a session").parse().unwrap();
    for _ in 0..12 {
        scene.advance(Duration::from_hours(24));
        touch(scene, &session).await;
    }
    (format!("{location}?digest={}", sha256(&content)), session, content)
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_only_a_session_names_is_kept() {
    let scene = Scene::start(STORE).await;
    let (close, session, content) = slow_upload(&scene).await;
    scene.collect().await;
    for _ in 0..2 {
        scene.advance(LONG - HOUR);
        touch(&scene, &session).await;
        scene.advance(2 * HOUR);
        scene.collect().await;
    }
    scene.app.request("PUT", &close).send().await.expect(201);
    assert_eq!(scene.pull("a", &content).await, 200);
}

/// The pointer was deleted, and a request that continues the commit is about to write it again.
#[tokio::test(flavor = "multi_thread")]
async fn data_in_quarantine_stays_while_a_session_names_it() {
    let scene = Scene::start(STORE).await;
    let (close, session, content) = slow_upload(&scene).await;
    let location = scene.store.data_objects()[0].0.parse().unwrap();
    put_location_into_quarantine(&scene, &location, &content).await;
    scene.advance(LONG);
    touch(&scene, &session).await;
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Data, Fate::Removed), 0, "{report}");
    scene.app.request("PUT", &close).send().await.expect(201);
    assert_eq!(scene.pull("a", &content).await, 200);
}

/// The upload ends while the collector compares, after it has listed the data.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_read_before_pointers() {
    let scene = Scene::start(STORE).await;
    let (close, _, content) = slow_upload(&scene).await;
    // The first listing of the sessions is that of the first phase.
    scene.store.delay(Operation::List, "v1/u/", 1, Duration::ZERO);
    scene.store.delay(Operation::List, "v1/u/", 2, Duration::from_secs(2));
    let put = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        scene.app.request("PUT", &close).send().await.expect(201);
        scene.app.settled().await;
    };
    let collector = collector(&scene.settings, scene.store.objects.clone());
    let (collected, ()) = tokio::join!(collector.run(Mode::Collect), put);
    collected.expect("a run");
    scene.store.heal();
    scene.app.push_blob("a", b"{}").await;
    let manifest = image_manifest(b"{}", &[&content]);
    scene.app.put_manifest("a", "v1", OCI_MANIFEST, &manifest).await.expect(201);
    scene.collect_all().await;
    assert_eq!(scene.pull("a", &content).await, 200);
}

/// A commit has written the pointer, and not yet the link.
#[tokio::test(flavor = "multi_thread")]
async fn data_that_only_a_pointer_names_is_kept() {
    let scene = Scene::start(STORE).await;
    let content = scene.push_large("a", 1).await;
    scene.delete(&format!("a/blobs/{}", sha256(&content))).await;
    scene.advance(HOUR);
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Pointer, Fate::Grace), 1, "{report}");
    assert!(scene.is_live(&pointer(&content)) && scene.live("g/quarantine/").is_empty());
    put_into_quarantine(&scene, &content).await;
    scene.advance(LONG);
    touch(&scene, &pointer(&content)).await;
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Data, Fate::Named), 1, "{report}");
    assert!(scene.store.data_objects().len() == 1 && scene.live("g/quarantine/").is_empty());
}

/// Another collector puts the data into quarantine again and deletes the pointer, while this one is
/// about to end an earlier quarantine.
#[tokio::test(flavor = "multi_thread")]
async fn a_quarantine_that_begins_again_meanwhile_is_not_ended() {
    let scene = Scene::start(STORE).await;
    let content = scene.push_large("a", 1).await;
    scene.delete(&format!("a/blobs/{}", sha256(&content))).await;
    let row = put_into_quarantine(&scene, &content).await;
    scene.advance(LONG);
    let other = async {
        touch(&scene, &row).await;
        let key = pointer(&content);
        let record = scene.store.record(&key).expect("the pointer");
        let lineage = Lineage::after(&record.body, Known::All).unwrap();
        let body = tombstone(Nonce::random(), &lineage);
        scene.store.objects.replace(&key, &record.version, body, None).await.expect("deleted");
    };
    let run = async { scene.collect().await };
    let (report, ()) = scene.store.stalled(Operation::Read, "v1/p/", run, other).await;
    assert_eq!(report.of(Class::Data, Fate::Changed), 1, "{report}");
    assert_eq!(scene.store.data_objects().len(), 1);
}

/// Writes a row of the quarantine for the data of a blob, where its pointer says that it is.
async fn put_into_quarantine(scene: &Scene, content: &[u8]) -> RecordKey {
    let record = scene.store.record(&pointer(content)).expect("the pointer");
    let location = decode::<Pointer>(&record.body).unwrap().0.location.unwrap();
    put_location_into_quarantine(scene, &location, content).await
}

async fn put_location_into_quarantine(
    scene: &Scene,
    location: &Location,
    content: &[u8],
) -> RecordKey {
    let (day, id) = location.parts().unwrap();
    let digest = Some(sha256(content).parse().unwrap());
    let row = Quarantined { digest, size: None, since: 0 };
    let body = Draft::new(&row, bytes::Bytes::new()).encode(&Lineage::default());
    let key = RecordKey::Quarantined(day, id);
    scene.store.create(&key, body).await;
    key
}

/// A push that names the object while the listings are read.
#[tokio::test(flavor = "multi_thread")]
async fn data_that_moves_from_its_session_to_its_pointer_is_not_missed() {
    for below in ["v1/d/", "v1/u/", "v1/p/", "v1/l/"] {
        let scene = Scene::start(STORE).await;
        leak(&scene).await;
        let (close, _, content) = slow_upload(&scene).await;
        let put = scene.app.request("PUT", &close).send();
        let operation = if below == "v1/d/" { Operation::ListData } else { Operation::List };
        if below == "v1/d/" && !scene.store.removes() {
            continue;
        }
        let collection = async { scene.collect().await };
        let (_, put) = scene.store.stalled(operation, below, collection, put).await;
        put.expect(201);
        scene.app.push_blob("a", b"{}").await;
        let manifest = image_manifest(b"{}", &[&content]);
        scene.app.put_manifest("a", "v1", OCI_MANIFEST, &manifest).await.expect(201);
        scene.collect_all().await;
        assert_eq!(scene.pull("a", &content).await, 200, "{below}");
    }
}

/// A row of the quarantine that a crash has left does not shorten the next quarantine.
#[tokio::test(flavor = "multi_thread")]
async fn a_quarantine_begins_with_the_end_of_the_last_name() {
    let scene = Scene::start(STORE).await;
    let content = scene.push_large("a", 1).await;
    scene.delete(&format!("a/blobs/{}", sha256(&content))).await;
    scene.advance(HOUR);
    put_into_quarantine(&scene, &content).await;
    scene.advance(LONG - HOUR);
    scene.collect().await;
    assert!(!scene.is_live(&pointer(&content)));
    scene.advance(HOUR);
    scene.collect().await;
    assert_eq!(scene.store.data_objects().len(), 1);
    scene.advance(LONG);
    scene.collect().await;
    assert_eq!(scene.store.data_objects().len(), 0);
}

/// After a repair, or a restored backup, a link may name other data than the pointer.
#[tokio::test(flavor = "multi_thread")]
async fn data_that_only_a_link_names_is_kept() {
    for known in [false, true] {
        let scene = Scene::start(STORE).await;
        let content = scene.push_large("a", 1).await;
        scene.app.push_blob("a", b"{}").await;
        let manifest = image_manifest(b"{}", &[&content]);
        scene.app.put_manifest("a", "v1", OCI_MANIFEST, &manifest).await.expect(201);
        scene.app.settled().await;
        let key = pointer(&content);
        let record = scene.store.record(&key).expect("the pointer");
        let (mut header, payload) = decode::<Pointer>(&record.body).expect("ours");
        let old = header.location.replace(Location::new_unique(scene.store.objects.now()));
        let other = header.location.clone().unwrap();
        scene.store.objects.put(&other, content.clone().into(), None).await.expect("written");
        let draft = Draft::new(&header, payload);
        let body = draft.encode(&Lineage::after(&record.body, draft.known()).unwrap());
        scene.store.objects.replace(&key, &record.version, body, None).await.expect("written");
        if known {
            // In quarantine, with the digest.
            let (day, id) = old.clone().unwrap().parts().unwrap();
            let digest = Some(sha256(&content).parse().unwrap());
            let row = Quarantined { digest, size: None, since: 0 };
            let body = Draft::new(&row, bytes::Bytes::new()).encode(&Lineage::default());
            scene.store.create(&RecordKey::Quarantined(day, id), body).await;
        }
        scene.advance(WEEK);
        scene.collect_all().await;
        let link = scene.store.record(&link("a", &content)).expect("the link");
        assert_eq!(decode::<Link>(&link.body).unwrap().0.location, old);
        assert_eq!(scene.pull("a", &content).await, 200, "{known}");
        assert_eq!(scene.store.data_objects().len(), 2);
    }
}
