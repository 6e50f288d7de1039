//! What is no damage.

use std::sync::Arc;
use std::time::Duration;

use longshore::audit::{Audit, AuditSettings, Class, Finding, ScrubSettings};
use longshore::config::Settings;
use longshore::registry::Sparse;
use longshore::store::Location;
use longshore::usage::{self, Explanation, Grouping, Sum};
use longshore::walk::Walk;
use serde_json::json;

use super::{Bucket, LONG, classes, damage, large, link_key, push_large};
use crate::support::app::{OCI_INDEX, OCI_MANIFEST};
use crate::support::content::{descriptor, image, index, spelled};
use crate::support::scripted_s3::ScriptedS3;
use crate::support::test_store::{PART_BYTES, StoreKind, small_parts};
use crate::support::{App, sha256};

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_damage_has_no_findings() {
    for kind in [StoreKind::Memory, StoreKind::ScriptedS3] {
        let bucket = Bucket::over(kind).await;
        assert_eq!(bucket.audit().await.0, [], "an empty bucket");
        bucket.fill().await;
        assert_eq!(bucket.audit().await.0, [], "at once");
        bucket.settle().await;
        let (findings, summary) = bucket.audit().await;
        assert_eq!(findings, []);
        for (kind, least) in [
            ("data objects", 4),
            ("links", 15),
            ("manifests", 8),
            ("pointers", 3),
            ("referrers", 1),
            ("repositories", 4),
            ("tag index rows", 6),
            ("tags", 5),
            ("upload sessions", 2),
        ] {
            let count = summary.checked.get(kind).copied().unwrap_or_default();
            assert!(count >= least, "{count} {kind}: {summary:?}");
        }
        let (findings, _) = bucket.scrub(ScrubSettings::default()).await;
        assert_eq!(findings, []);
    }
}

/// A week later the data of the deleted blob still has its pointer; what has no name is no damage.
#[tokio::test]
async fn data_without_a_name_is_information_once_it_is_old() {
    let bucket = Bucket::start().await;
    push_large(&bucket.app, "a", "v1", 1).await;
    let location = Location::new_unique(bucket.objects().now());
    bucket.objects().put(&location, large(9).into(), None).await.expect("written");
    bucket.settle().await;
    assert_eq!(bucket.audit().await.0, [], "it may still get a name");
    bucket.store.hands.advance(LONG);
    let (findings, summary) = bucket.audit().await;
    assert_eq!(classes(&findings), [Class::UnnamedData]);
    assert_eq!(findings[0].key, location.to_string());
    assert_eq!((summary.unnamed_bytes, summary.damaged()), (150_000, 0));
}

#[tokio::test]
async fn sparse_manifests_and_external_layers_are_information() {
    let mut bucket = Bucket::start().await;
    bucket.settings.manifests.sparse = Sparse::All;
    let sparse = App::frontend(bucket.objects(), bucket.settings.clone()).await;
    let lacking = spelled(&image(OCI_MANIFEST, 1));
    sparse.put_manifest("a", "sparse", OCI_MANIFEST, &lacking).await.expect(201);
    let listing = spelled(&index(OCI_INDEX, &[descriptor(OCI_MANIFEST, b"elsewhere")]));
    sparse.put_manifest("a", "index", OCI_INDEX, &listing).await.expect(201);
    sparse.push_parts("a", 2).await;
    let mut external = image(OCI_MANIFEST, 2);
    let layers = external["layers"].as_array_mut().expect("layers");
    layers.push(json!({
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": sha256(b"far away"),
        "size": 8,
        "urls": ["https://example.com/layer"],
    }));
    let external = spelled(&external);
    sparse.put_manifest("a", "external", OCI_MANIFEST, &external).await.expect(201);
    bucket.settle().await;
    let (findings, _) = bucket.audit().await;
    assert_eq!(classes(&findings), [Class::SparseManifest, Class::ExternalLayer]);
    assert_eq!(damage(&findings), Vec::<&Finding>::new());

    // Where it is not allowed, it is damage.
    bucket.settings.manifests.sparse = Sparse::Indexes;
    let found = bucket.classes().await;
    assert_eq!(found, [Class::MissingReference, Class::SparseManifest, Class::ExternalLayer]);
}

#[tokio::test]
async fn records_of_a_later_release_are_information() {
    let bucket = Bucket::start().await;
    push_large(&bucket.app, "a", "v1", 1).await;
    bucket.settle().await;
    let key = link_key("a", &large(1));
    bucket.change(&key, |header, _| header["location"] = json!("x:other/key")).await;
    let found = bucket.classes().await;
    assert_eq!(found, [Class::OtherBucket]);
    bucket
        .change(&key, |header, _| {
            header.insert("need_read".to_owned(), json!(["fog"]));
        })
        .await;
    let found = bucket.classes().await;
    assert_eq!(found, [Class::NewerRecord]);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_keys_are_information() {
    let s3 = ScriptedS3::start().await;
    s3.set_part_bytes_min(PART_BYTES);
    let app = App::over_s3(&s3, small_parts()).await;
    push_large(&app, "a", "v1", 1).await;
    app.settled().await;
    let foreign = [
        "README",
        "v1/d/today/x",
        "v1/g/unknown",
        "v1/l/a/_/x",
        "v1/t/A/_/b",
        "v1/u/z",
        "v1/~",
        "v2",
    ];
    for key in foreign {
        s3.put(key, vec![7_u8; 100]);
    }
    let walk = Arc::new(Walk::new(app.store.clone().expect("it runs here"), None));
    let settings = AuditSettings::new(&Settings::default().collection, Sparse::None);
    let mut found = Vec::new();
    let mut sink = |finding: Finding| found.push(finding);
    let audit = Audit::new(walk.clone(), settings, None);
    audit.run(&mut sink).await.expect("the store answers");
    assert_eq!(classes(&found), [Class::ForeignKey]);
    let mut keys: Vec<String> = found.into_iter().map(|finding| finding.key).collect();
    keys.sort_unstable();
    assert_eq!(keys, foreign);
    let grace = Duration::from_hours(1);
    let explained = Explanation::new(walk, grace, Grouping::Bucket).run().await;
    let explained = explained.expect("the store answers");
    let sum = Sum { objects: foreign.len() as u64, bytes: foreign.len() as u64 * 100 };
    assert_eq!(explained.classes[&usage::Class::Foreign], sum);
}
