//! Every byte of a bucket has a class.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longshore::layout::encoding::{Draft, Lineage};
use longshore::layout::records::Quarantined;
use longshore::store::memory::Operation;
use longshore::store::{Location, RecordKey};
use longshore::usage::{Class, Explained, Explanation, Grouping, SEVERAL, Sum};
use longshore::walk::Walk;

use super::{Bucket, LONG, large, push_large};
use crate::support::test_store::{PART_BYTES, StoreKind};
use crate::support::{App, bytes, sha256};

const GRACE: Duration = Duration::from_hours(48);

async fn explain(bucket: &Bucket, grouping: Grouping) -> Explained {
    let explanation = Explanation::new(bucket.walk(), GRACE, grouping);
    explanation.run().await.expect("the store answers")
}

/// Asserts that all numbers add up to those of the bucket.
#[track_caller]
fn adds_up(explained: &Explained, objects: u64, bytes: u64) {
    assert_eq!(explained.total, Sum { objects, bytes });
    let add = |sums: &mut dyn Iterator<Item = &Sum>| {
        sums.fold(Sum::default(), |all, sum| Sum {
            objects: all.objects + sum.objects,
            bytes: all.bytes + sum.bytes,
        })
    };
    assert_eq!(add(&mut explained.classes.values()), explained.total);
    if !explained.groups.is_empty() {
        let groups = explained.groups.values().flat_map(BTreeMap::values);
        assert_eq!(add(&mut groups.into_iter()), explained.total);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classes_add_up_to_the_bucket() {
    for kind in [StoreKind::Memory, StoreKind::ScriptedS3] {
        let bucket = Bucket::over(kind).await;
        bucket.fill().await;
        let (records, data) = (bucket.store.records(), bucket.store.data_objects());
        let objects = (records.len() + data.len()) as u64;
        let of_records: u64 = records.iter().map(|(_, body)| body.len() as u64).sum();
        let bytes = of_records + data.iter().map(|(_, size)| size).sum::<u64>();
        for grouping in [Grouping::Bucket, Grouping::Namespace, Grouping::Repository] {
            adds_up(&explain(&bucket, grouping).await, objects, bytes);
        }
    }
}

/// The same over the store that the environment selects, whose lists the test adds up itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_classes_add_up_in_any_store() {
    let app = App::start().await;
    let Some(store) = app.store.clone() else { return };
    push_large(&app, "a/b", "v1", 1).await;
    app.push_image("a/c", "v1", 2).await;
    app.request("DELETE", "/v2/a/c/manifests/v1").send().await.expect(202);
    app.settled().await;
    let (mut sum, mut after) = (Sum::default(), None);
    loop {
        let page = store.list_objects(after.as_deref(), 7).await.expect("listed");
        for row in &page.rows {
            sum.objects += 1;
            sum.bytes += row.size;
        }
        after = page.rows.last().map(|row| row.key.clone());
        if !page.more {
            break;
        }
    }
    let walk = Arc::new(Walk::new(store, None));
    let explained = Explanation::new(walk, GRACE, Grouping::Repository).run().await;
    let explained = explained.expect("the store answers");
    adds_up(&explained, sum.objects, sum.bytes);
    assert_eq!(explained.classes[&Class::Live].bytes, 150_000);
    assert_eq!(explained.groups["a/b"][&Class::Live].bytes, 150_000);
    assert_eq!(explained.groups["a/c"][&Class::Tombstones].objects, 1, "the tag");
}

#[tokio::test]
async fn each_object_is_in_its_class() {
    let bucket = Bucket::start().await;
    let app = &bucket.app;
    push_large(app, "team/a", "v1", 1).await;
    push_large(app, "team/b", "v1", 2).await;
    push_large(app, "team/c", "v1", 2).await;
    push_large(app, "team/c", "v3", 3).await;
    push_large(app, "other", "v1", 3).await;
    let gone = app.push_blob("other", &large(4)).await;
    app.request("DELETE", &format!("/v2/other/blobs/{gone}")).send().await.expect(202);
    app.push_blob("other", &large(5)).await;
    let store = bucket.objects();
    let put = async |seed: u64, length: usize| {
        let location = Location::new_unique(store.now());
        store.put(&location, bytes(seed, length).into(), None).await.expect("written");
        location
    };
    let (day, id) = put(90, 1_000).await.parts().expect("a location");
    put(91, 2_000).await;
    let header = Quarantined { digest: None, size: None, since: 0 };
    let draft = Draft::new(&header, bytes::Bytes::new());
    let key = RecordKey::Quarantined(day, id);
    store.create(&key, draft.encode(&Lineage::default()), None).await.expect("created");
    bucket.settle().await;
    bucket.store.hands.advance(LONG);
    app.push_blob("other", &large(6)).await;
    put(92, 3_000).await;
    for length in [50_000, 200_000] {
        let location = app.start_upload("e", "").await;
        app.patch(&location, &bytes(80, length)).await.expect(202);
    }

    let explained = explain(&bucket, Grouping::Namespace).await;
    let sum = |objects: u64, bytes: u64| Some(Sum { objects, bytes });
    let of = |class: Class| explained.classes.get(&class).copied();
    assert_eq!(of(Class::Live), sum(1, 150_000));
    assert_eq!(of(Class::Shared), sum(2, 300_000));
    assert_eq!(of(Class::Unreferenced), sum(2, 300_000));
    assert_eq!(of(Class::Grace), sum(2, 153_000));
    assert_eq!(of(Class::Uploads), sum(1, 50_000));
    assert_eq!(of(Class::Quarantine), sum(1, 1_000));
    assert_eq!(of(Class::Unnamed), sum(1, 2_000));
    assert_eq!(of(Class::Foreign), None);
    assert_eq!(of(Class::OtherRecords).map(|sum| sum.objects), Some(1));
    assert_eq!(of(Class::Sessions).map(|sum| sum.objects), Some(2));
    let bytes = 200_000 / PART_BYTES as u64 * PART_BYTES as u64;
    assert_eq!(
        (explained.multiparts, explained.unknown_multiparts),
        (Sum { objects: 1, bytes }, 0)
    );
    // One is shared in its namespace, one by two namespaces.
    let group = |name: &str, class| explained.groups.get(name)?.get(&class).copied();
    assert_eq!(group("team", Class::Shared), sum(1, 150_000));
    assert_eq!(group(SEVERAL, Class::Shared), sum(1, 150_000));
    assert_eq!(group("other", Class::Unreferenced), sum(1, 150_000));
    assert_eq!(group("other", Class::Tombstones), sum(1, 36), "the link of the deleted blob");
    assert_eq!(group("", Class::Unreferenced), sum(1, 150_000));

    // A doomed manifest names nothing any more.
    bucket.store.fail(Operation::Replace, "v1/t/");
    let tag = app.get("/v2/team/a/manifests/v1").send().await.expect(200);
    let path = format!("/v2/team/a/manifests/{}", sha256(&tag.body));
    app.request("DELETE", &path).send().await.expect(503);
    bucket.store.heal();
    let explained = explain(&bucket, Grouping::Bucket).await;
    assert_eq!(explained.classes.get(&Class::Live), None);
}
