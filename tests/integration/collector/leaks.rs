//! Data that nothing names, and data that only a link names.

use std::time::Duration;

use longshore::collector::{Class, Fate};
use longshore::layout::encoding::{Draft, Lineage, decode};
use longshore::layout::records::{Link, Pointer, Quarantined};
use longshore::store::memory::Operation;
use longshore::store::{Location, RecordKey};

use super::STORE;
use crate::support::app::{OCI_MANIFEST, image_manifest};
use crate::support::collection::{HOUR, LONG, Scene, link, pointer};
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

/// A push that names the object while the listings are read.
#[tokio::test(flavor = "multi_thread")]
async fn data_that_moves_from_its_session_to_its_pointer_is_not_missed() {
    for below in ["v1/d/", "v1/u/", "v1/p/", "v1/l/"] {
        let scene = Scene::start(STORE).await;
        leak(&scene).await;
        let content = bytes(1, 20_000);
        let start = scene.app.request("POST", "/v2/a/blobs/uploads/").send().await.location();
        let patch = scene.app.request("PATCH", &start).body(content.clone());
        let location = patch.send().await.expect(202).location();
        // The client goes on every day, for longer than any upload of one piece takes.
        scene.app.settled().await;
        let session = scene.live("u/").pop().expect("a session").parse::<RecordKey>().unwrap();
        for _ in 0..12 {
            scene.advance(Duration::from_hours(24));
            let record = scene.store.record(&session).expect("it lives");
            let draft = longshore::layout::encoding::touched(&record.body).unwrap();
            let lineage = Lineage::after(&record.body, draft.known()).unwrap();
            let body = draft.encode(&lineage);
            scene.store.objects.replace(&session, &record.version, body, None).await.unwrap();
        }
        let close = format!("{location}?digest={}", sha256(&content));
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
    let record = scene.store.record(&pointer(&content)).expect("the pointer");
    let location = decode::<Pointer>(&record.body).unwrap().0.location.unwrap();
    let (day, id) = location.parts().unwrap();
    let row = Quarantined { digest: Some(sha256(&content).parse().unwrap()), size: None, since: 0 };
    let body = Draft::new(&row, bytes::Bytes::new()).encode(&Lineage::default());
    scene.store.create(&RecordKey::Quarantined(day, id), body).await;
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
