//! Damage by hand: found, repaired where that is possible, and gone.

use bytes::Bytes;
use longshore::audit::{Class, Repair};
use longshore::store::memory::Operation;
use longshore::store::{Location, RecordKey};
use serde_json::{Value, json};

use super::{
    Bucket, classes, damage, field, large, link_key, manifest_key, pointer_key, push_large,
};
use crate::support::app::OCI_MANIFEST;
use crate::support::content::{artifact, descriptor, spelled};
use crate::support::{bytes, sha256};

/// A bucket with one image that has a large layer, under the tag `v1` of the repository `a`.
async fn with_image() -> (Bucket, String) {
    let bucket = Bucket::start().await;
    let digest = push_large(&bucket.app, "a", "v1", 1).await;
    bucket.settle().await;
    assert_eq!(bucket.audit().await.0, []);
    (bucket, digest)
}

async fn location_of(bucket: &Bucket, key: &RecordKey) -> Location {
    let location = field(bucket, key, "location").await;
    location.as_str().expect("a location").parse().expect("a location")
}

/// Asserts the damage, repairs it, and asserts that it is gone.
async fn is_repaired(bucket: &Bucket, class: Class, key: &str) {
    let (found, summary) = bucket.audit().await;
    assert_eq!(classes(&found), [class], "{found:?}");
    assert_eq!(found[0].key, key);
    assert_eq!((summary.damaged(), summary.repaired, found[0].repair.clone()), (1, 0, None));
    let (found, summary) = bucket.audit_with(true).await;
    assert_eq!(classes(&found), [class], "{found:?}");
    assert_eq!((summary.repaired, found[0].repair.clone()), (1, Some(Repair::Done)), "{found:?}");
    let (found, summary) = bucket.audit_with(true).await;
    assert_eq!((found, summary.damaged()), (vec![], 0), "after the repair");
}

#[tokio::test]
async fn missing_data_is_found_and_a_push_stores_it_again() {
    let (bucket, _) = with_image().await;
    let location = location_of(&bucket, &pointer_key(&large(1))).await;
    bucket.objects().delete(&location).await.expect("deleted");
    let both = [Class::MissingData, Class::DanglingPointer];
    assert_eq!(bucket.classes().await, both);
    let (found, summary) = bucket.audit_with(true).await;
    assert_eq!((classes(&found).as_slice(), summary.repaired), (&both[..], 1));
    assert_eq!(bucket.classes().await, [Class::MissingData], "the pointer is gone");
    bucket.app.push_blob("a", &large(1)).await;
    assert_eq!(bucket.audit().await.0, [], "the push has repaired the link");
    bucket.app.assert_blob("a", &sha256(&large(1)), &large(1)).await;
}

#[tokio::test]
async fn other_sizes_and_etags_are_found() {
    let (bucket, _) = with_image().await;
    for key in [link_key("a", &large(1)), pointer_key(&large(1))] {
        let before = bucket.objects().read(&key).await.expect("a record").body;
        bucket.change(&key, |header, _| header["size"] = json!(149_999)).await;
        assert_eq!(bucket.classes().await, [Class::WrongSize]);
        bucket.overwrite(&key, before.clone()).await;
        bucket.change(&key, |header, _| header["etag"] = json!("0123")).await;
        assert_eq!(bucket.classes().await, [Class::OtherEtag]);
        bucket.overwrite(&key, before.clone()).await;
        assert_eq!(bucket.audit().await.0, []);
    }
    // The data itself has been replaced by as many bytes.
    let location = location_of(&bucket, &pointer_key(&large(1))).await;
    bucket.objects().delete(&location).await.expect("deleted");
    bucket.objects().put(&location, large(2).into(), None).await.expect("written");
    assert_eq!(bucket.classes().await, [Class::OtherEtag]);
}

#[tokio::test]
async fn a_cut_payload_of_a_link_is_found() {
    let (bucket, _) = with_image().await;
    let config = b"{\"large\":1}";
    bucket.change(&link_key("a", config), |_, payload| payload.truncate(3)).await;
    assert_eq!(bucket.classes().await, [Class::WrongSize]);
}

#[tokio::test]
async fn a_lost_row_of_the_tag_index_is_written_again() {
    let (bucket, digest) = with_image().await;
    bucket.lose(&bucket.key("v1/x/a/")).await;
    is_repaired(&bucket, Class::MissingTagIndex, "v1/t/a/_/v1").await;
    // A deletion of the manifest finds the tag again.
    let path = format!("/v2/a/manifests/{digest}");
    bucket.app.request("DELETE", &path).send().await.expect(202);
    bucket.app.get("/v2/a/manifests/v1").send().await.expect(404);
    bucket.settle().await;
    assert_eq!(bucket.audit().await.0, []);
}

#[tokio::test]
async fn a_lost_referrer_is_written_again() {
    let (bucket, subject) = with_image().await;
    let image = bucket.app.get("/v2/a/manifests/v1").send().await.expect(200).body;
    let signature = spelled(&artifact("x/y", &descriptor(OCI_MANIFEST, &image), 1));
    let digest = sha256(&signature);
    bucket.app.push_blob("a", b"{}").await;
    bucket.app.put_manifest("a", &digest, OCI_MANIFEST, &signature).await.expect(201);
    let path = format!("/v2/a/referrers/{subject}");
    let before = bucket.app.get(&path).send().await.expect(200).json();
    assert_eq!(before["manifests"].as_array().map(Vec::len), Some(1));
    let row = bucket.key("v1/r/a/");
    bucket.lose(&row).await;
    assert_eq!(bucket.audit().await.0, [], "a push may be about to write it");
    bucket.settle().await;
    is_repaired(&bucket, Class::MissingReferrer, &manifest_key("a", &digest).to_string()).await;
    assert_eq!(bucket.app.get(&path).send().await.expect(200).json(), before);

    // The row of a manifest that is gone stays: a push may be about to write the manifest.
    bucket.lose(&manifest_key("a", &digest)).await;
    bucket.settle().await;
    let (found, _) = bucket.audit_with(true).await;
    assert_eq!(classes(&found), [Class::StaleReferrer]);
    assert_eq!(found[0].key, row.to_string());
}

#[tokio::test]
async fn a_lost_repository_is_written_again() {
    let (bucket, _) = with_image().await;
    bucket.lose(&bucket.key("v1/c/")).await;
    is_repaired(&bucket, Class::MissingRepository, "v1/c/a!").await;
    let catalog = bucket.app.get("/v2/_catalog").send().await.expect(200).json();
    assert_eq!(catalog["repositories"], json!(["a"]));
}

#[tokio::test]
async fn a_deletion_that_was_cut_off_is_finished() {
    let (bucket, digest) = with_image().await;
    bucket.store.fail(Operation::Replace, "v1/t/");
    let path = format!("/v2/a/manifests/{digest}");
    bucket.app.request("DELETE", &path).send().await.expect(503);
    bucket.store.heal();
    assert_eq!(bucket.audit().await.0, [], "it may go on");
    bucket.settle().await;
    is_repaired(&bucket, Class::HalfDeleted, &manifest_key("a", &digest).to_string()).await;
    for path in [path, "/v2/a/manifests/v1".to_owned()] {
        bucket.app.get(&path).send().await.expect(404);
    }
    let tags = bucket.app.get("/v2/a/tags/list").send().await.expect(200).json();
    assert_eq!(tags["tags"], json!([]));
}

#[tokio::test]
async fn tags_that_point_at_nothing_or_describe_another_manifest_are_found() {
    let (bucket, digest) = with_image().await;
    let tag = bucket.key("v1/t/a/");
    bucket.change(&tag, |header, _| header["size"] = json!(1)).await;
    bucket.settle().await;
    assert_eq!(bucket.classes().await, [Class::WrongTag]);
    let other = json!("application/vnd.docker.distribution.manifest.v2+json");
    let size = bucket.app.get("/v2/a/manifests/v1").send().await.expect(200).body.len();
    let change = |header: &mut serde_json::Map<String, Value>, _: &mut Vec<u8>| {
        header["size"] = json!(size);
        header["media_type"] = other;
    };
    bucket.change(&tag, change).await;
    bucket.settle().await;
    assert_eq!(bucket.classes().await, [Class::OtherMediaType]);
    bucket.lose(&manifest_key("a", &digest)).await;
    let (found, _) = bucket.audit_with(true).await;
    assert_eq!(classes(&found), [Class::DanglingTag]);
    assert_eq!(found[0].repair, None, "the tag is all that is left of it");
}

#[tokio::test]
async fn missing_and_deleted_references_are_found() {
    let (bucket, digest) = with_image().await;
    let config = b"{\"large\":1}";
    bucket.lose(&link_key("a", config)).await;
    let (found, _) = bucket.audit().await;
    assert_eq!(classes(&found), [Class::MissingReference]);
    assert_eq!(found[0].key, manifest_key("a", &digest).to_string());
    assert!(found[0].what.contains(&sha256(config)), "{found:?}");
    bucket.app.push_blob("a", config).await;
    let blob = format!("/v2/a/blobs/{}", sha256(&large(1)));
    bucket.app.request("DELETE", &blob).send().await.expect(202);
    assert_eq!(bucket.classes().await, [Class::DeletedReference]);
}

#[tokio::test]
async fn a_link_that_no_pointer_stands_for_is_found() {
    let (bucket, _) = with_image().await;
    let pointer = pointer_key(&large(1));
    let elsewhere = Location::new_unique(bucket.objects().now());
    let etag = bucket.objects().put(&elsewhere, large(1).into(), None).await.expect("written").0;
    let moved = |header: &mut serde_json::Map<String, Value>, _: &mut Vec<u8>| {
        header["location"] = json!(elsewhere.to_string());
        header["etag"] = json!(etag);
    };
    bucket.change(&pointer, moved).await;
    assert_eq!(bucket.classes().await, [Class::UnpointedLink]);
    bucket.lose(&pointer).await;
    let (found, _) = bucket.audit().await;
    assert_eq!(classes(&found), [Class::UnpointedLink]);
    bucket.app.push_blob("a", &large(1)).await;
    assert_eq!(bucket.audit().await.0, [], "a push writes the pointer again");
}

#[tokio::test]
async fn records_that_cannot_be_read_are_found() {
    let bucket = Bucket::start().await;
    bucket.fill().await;
    bucket.settle().await;
    let keys = bucket.store.records().into_iter();
    let keys: Vec<_> = keys.filter(|(_, body)| body.len() > 36).map(|(key, _)| key).collect();
    for kind in ["c", "l", "m", "p", "r", "t", "u", "x"] {
        let below = format!("v1/{kind}/");
        let key = keys.iter().find(|key| key.starts_with(&below)).expect("one of each kind");
        let parsed: RecordKey = key.parse().expect("a key");
        let before = bucket.objects().read(&parsed).await.expect("a record").body;
        bucket.overwrite(&parsed, Bytes::from(bytes(1, 99))).await;
        let (found, _) = bucket.audit().await;
        let found: Vec<_> =
            damage(&found).into_iter().filter(|found| found.key == *key).cloned().collect();
        assert_eq!(classes(&found), [Class::DamagedRecord], "{key}");
        bucket.overwrite(&parsed, before).await;
    }
    bucket.settle().await;
    assert_eq!(bucket.audit().await.0, []);
}
