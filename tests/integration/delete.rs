//! distribution-spec, "Content Management" (end-9): deleted content is gone at once, and a
//! concurrent push is whole or gone as a whole.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use longshore::config::Settings;
use longshore::store::memory::{Fault, FaultKind, Memory, Operation};
use serde_json::json;

use crate::support::app::{OCI_INDEX, OCI_MANIFEST};
use crate::support::content::{NOWHERE, artifact, descriptor, image, skip, spelled};
use crate::support::{App, Reply, sha256, sha512};

fn path(repository: &str, reference: &str) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}

async fn delete(app: &App, repository: &str, reference: &str) -> Reply {
    app.request("DELETE", &path(repository, reference)).send().await
}

async fn tags(app: &App, repository: &str) -> serde_json::Value {
    let list = app.get(&format!("/v2/{repository}/tags/list")).send().await.expect(200).json();
    list["tags"].clone()
}

#[tokio::test]
async fn deleting_a_tag_keeps_its_manifest() {
    let app = App::start().await;
    let repository = app.repository("tag");
    let (digest, body) = app.push_small(&repository, "v1", 1).await;
    app.put_manifest(&repository, "v2", OCI_MANIFEST, &body).await.expect(201);
    delete(&app, &repository, "v1").await.expect(202).with("content-length", "0").with_body(b"");
    let gone = app.get(&path(&repository, "v1")).send().await;
    gone.expect_envelope(404, &["MANIFEST_UNKNOWN"]);
    app.request("HEAD", &path(&repository, "v1")).send().await.expect(404);
    delete(&app, &repository, "v1").await.expect_envelope(404, &["MANIFEST_UNKNOWN"]);
    assert_eq!(tags(&app, &repository).await, json!(["v2"]));
    for reference in ["v2", &digest] {
        app.get(&path(&repository, reference)).send().await.expect(200).with_body(&body);
    }
    delete(&app, &repository, "v2").await.expect(202);
    app.get(&path(&repository, &digest)).send().await.expect(200).with_body(&body);
}

#[tokio::test]
async fn deleting_a_manifest_deletes_its_tags() {
    let app = App::start().await;
    let repository = app.repository("digest");
    let (digest, body) = app.push_small(&repository, "a", 1).await;
    for tag in ["b", "c", "moved"] {
        app.put_manifest(&repository, tag, OCI_MANIFEST, &body).await.expect(201);
    }
    let (_, other) = app.push_small(&repository, "moved", 2).await;
    delete(&app, &repository, &digest).await.expect(202).with("content-length", "0").with_body(b"");
    for reference in ["a", "b", "c", &digest] {
        let gone = app.get(&path(&repository, reference)).send().await;
        gone.expect_envelope(404, &["MANIFEST_UNKNOWN"]);
        app.request("HEAD", &path(&repository, reference)).send().await.expect(404);
        delete(&app, &repository, reference).await.expect_envelope(404, &["MANIFEST_UNKNOWN"]);
    }
    // A tag that points elsewhere stays, and so do the blobs.
    assert_eq!(tags(&app, &repository).await, json!(["moved"]));
    app.get(&path(&repository, "moved")).send().await.expect(200).with_body(&other);
    app.get(&format!("/v2/{repository}/blobs/{}", sha256(b"{}"))).send().await.expect(200);
    // After another push it exists again, with only the tag of that push.
    app.push_small(&repository, "b", 1).await;
    app.get(&path(&repository, &digest)).send().await.expect(200).with_body(&body);
    assert_eq!(tags(&app, &repository).await, json!(["b", "moved"]));
}

/// More tags than one page of a listing.
#[tokio::test]
async fn deleting_a_manifest_deletes_more_tags_than_a_listing_page() {
    let app = App::start().await;
    let repository = app.repository("many");
    let (digest, body) = app.push_small(&repository, "first", 1).await;
    for chunk in 0..3 {
        let query: Vec<String> = (0..60).map(|tag| format!("tag=t{chunk}-{tag}")).collect();
        let reference = format!("{digest}?{}", query.join("&"));
        app.put_manifest(&repository, &reference, OCI_MANIFEST, &body).await.expect(201);
    }
    assert_eq!(tags(&app, &repository).await.as_array().map(Vec::len), Some(181));
    delete(&app, &repository, &digest).await.expect(202);
    assert_eq!(tags(&app, &repository).await, json!([]));
}

#[tokio::test]
async fn deleting_the_sha512_digest_of_a_manifest_keeps_the_sha256_one() {
    let app = App::start().await;
    let repository = app.repository("two");
    let (short, body) = app.push_small(&repository, "v1", 1).await;
    let long = sha512(&body);
    app.put_manifest(&repository, &format!("{long}?tag=v2"), OCI_MANIFEST, &body).await.expect(201);
    delete(&app, &repository, &long).await.expect(202);
    assert_eq!(tags(&app, &repository).await, json!(["v1"]));
    app.get(&path(&repository, &short)).send().await.expect(200);
    app.get(&path(&repository, &long)).send().await.expect(404);
}

#[tokio::test]
async fn a_child_of_an_index_can_be_deleted() {
    let app = App::start().await;
    let repository = app.repository("index");
    let index = app.push_type(&repository, OCI_INDEX, "v1", 1).await;
    let json: serde_json::Value = serde_json::from_slice(&index).expect("JSON");
    let child = json["manifests"][0]["digest"].as_str().expect("a digest").to_owned();
    delete(&app, &repository, &child).await.expect(202);
    app.get(&path(&repository, &child)).send().await.expect(404);
    app.get(&path(&repository, "v1")).send().await.expect(200).with_body(&index);
    // The deleted child is missing for the next push.
    let reply = app.put_manifest(&repository, "v2", OCI_INDEX, &index).await;
    reply.expect_envelope(400, &["MANIFEST_BLOB_UNKNOWN"]);
}

#[tokio::test]
async fn deleting_an_unknown_tag_or_manifest_is_404() {
    let app = App::start().await;
    let repository = app.repository("unknown");
    for _ in 0..2 {
        for reference in ["none", NOWHERE] {
            let reply = delete(&app, &repository, reference).await;
            reply.expect_envelope(404, &["MANIFEST_UNKNOWN"]);
        }
        app.push_small(&repository, "v1", 1).await;
    }
}

/// A deletion in one repository does not affect another (CVE-2026-35172).
#[tokio::test]
async fn deleting_in_one_repository_keeps_the_manifest_of_another() {
    let app = App::start().await;
    let (one, two) = (app.repository("one"), app.repository("two"));
    let (digest, body) = app.push_small(&one, "v1", 1).await;
    app.push_small(&two, "v1", 1).await;
    delete(&app, &one, &digest).await.expect(202);
    app.get(&path(&two, "v1")).send().await.expect(200).with_body(&body);
    app.get(&path(&one, &digest)).send().await.expect(404);
    app.get(&path(&one, "v1")).send().await.expect(404);
}

/// CVE-2026-41888: neither tags nor manifests.
#[tokio::test]
async fn disabled_deletion_is_405() {
    let app = App::start_with(|settings| settings.manifests.delete = false).await;
    if !app.is_ours() {
        return skip("whether manifests can be deleted is a setting");
    }
    let repository = app.repository("disabled");
    let (digest, _) = app.push_small(&repository, "v1", 1).await;
    for reference in ["v1", &digest, "none", NOWHERE] {
        delete(&app, &repository, reference).await.expect_envelope(405, &["UNSUPPORTED"]);
    }
    for reference in ["v1", &digest] {
        app.get(&path(&repository, reference)).send().await.expect(200);
    }
}

/// After a concurrent push and deletion that were both acknowledged, either everything from the
/// push exists, or nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_concurrent_with_a_deletion_is_whole_or_gone() {
    let app = App::start().await;
    let repository = app.repository("race");
    let rounds = if app.memory.is_some() { 400 } else { 40 };
    app.push_blob(&repository, b"{}").await;
    let (subject_digest, subject) = app.push_small(&repository, "subject", 1).await;
    let subject = descriptor(OCI_MANIFEST, &subject);
    let mut outcomes = [0, 0];
    for round in 0..rounds {
        let body = spelled(&artifact("application/x", &subject, round));
        let digest = sha256(&body);
        app.put_manifest(&repository, "v1", OCI_MANIFEST, &body).await.expect(201);
        if round % 2 == 0 {
            // In every second round the tag was deleted before, not only moved.
            delete(&app, &repository, "v1").await.expect(202);
        }
        let push = async {
            tokio::time::sleep(Duration::from_micros(round * 37 % 1_500)).await;
            app.put_manifest(&repository, "v1", OCI_MANIFEST, &body).await
        };
        let removal = async {
            tokio::time::sleep(Duration::from_micros(round * 53 % 1_500)).await;
            delete(&app, &repository, &digest).await
        };
        let (pushed, removed) = tokio::join!(push, removal);
        pushed.expect(201);
        removed.expect(202);
        let by_digest = app.get(&path(&repository, &digest)).send().await.status == 200;
        let by_tag = app.get(&path(&repository, "v1")).send().await.status == 200;
        let listed = tags(&app, &repository).await.as_array().expect("tags").contains(&json!("v1"));
        let referrers = app.get(&format!("/v2/{repository}/referrers/{subject_digest}"));
        let referring = String::from_utf8_lossy(&referrers.send().await.body).contains(&digest);
        let seen = [by_digest, by_tag, listed, referring];
        assert!(seen == [true; 4] || seen == [false; 4], "round {round}: {seen:?}");
        outcomes[usize::from(by_digest)] += 1;
        if by_digest {
            delete(&app, &repository, &digest).await.expect(202);
        }
    }
    let [gone, there] = outcomes;
    writeln!(io::stderr(), "gone {gone}, there {there}").expect("stderr can be written");
}

/// The same with the worst timing: the tag, or the referrer, is written only after the deletion has
/// completed.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_between_the_writes_of_a_push_is_consistent() {
    for (round, below) in ["v1/t/", "v1/t/", "v1/r/", "v1/x/"].into_iter().enumerate() {
        let app = App::over_memory(Arc::new(Memory::new()), Settings::default()).await;
        let memory = app.memory.as_ref().expect("a memory store");
        app.push_blob("a", b"{}").await;
        let subject = descriptor(OCI_MANIFEST, b"a subject");
        let body = spelled(&artifact("application/x", &subject, 1));
        let digest = sha256(&body);
        app.put_manifest("a", "v1", OCI_MANIFEST, &body).await.expect(201);
        if round == 0 {
            delete(&app, "a", "v1").await.expect(202);
        }
        // The first write below the prefix is delayed. The deletion replaces records as well.
        for operation in [Operation::Create, Operation::Replace] {
            let delay = FaultKind::Delay(Duration::from_millis(150));
            memory.inject(Fault::on(operation, delay).below(below));
        }
        let removal = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            delete(&app, "a", &digest).await
        };
        let push = app.put_manifest("a", "v1", OCI_MANIFEST, &body);
        let (pushed, removed) = tokio::join!(push, removal);
        pushed.expect(201);
        removed.expect(202);
        let by_digest = app.get(&path("a", &digest)).send().await.status == 200;
        let by_tag = app.get(&path("a", "v1")).send().await.status == 200;
        let listed = tags(&app, "a").await == json!(["v1"]);
        let referrers = app.get(&format!("/v2/a/referrers/{}", sha256(b"a subject"))).send().await;
        let referring = referrers.json()["manifests"] != json!([]);
        let seen = [by_digest, by_tag, listed, referring];
        assert!(seen == [true; 4] || seen == [false; 4], "{below} held: {seen:?}");
    }
}

/// The same with two tags of one manifest that are pushed concurrently.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_another_tag_concurrent_with_a_deletion_is_consistent() {
    let app = App::start().await;
    let repository = app.repository("other-tag");
    app.push_parts(&repository, 1).await;
    let body = spelled(&image(OCI_MANIFEST, 1));
    let digest = sha256(&body);
    for round in 0..(if app.memory.is_some() { 200 } else { 20 }) {
        app.put_manifest(&repository, "old", OCI_MANIFEST, &body).await.expect(201);
        let tag = format!("new-{round}");
        let (pushed, removed) = tokio::join!(
            app.put_manifest(&repository, &tag, OCI_MANIFEST, &body),
            delete(&app, &repository, &digest),
        );
        pushed.expect(201);
        removed.expect(202);
        let by_digest = app.get(&path(&repository, &digest)).send().await.status == 200;
        let by_tag = app.get(&path(&repository, &tag)).send().await.status == 200;
        let expected = if by_tag { json!([tag]) } else { json!([]) };
        assert_eq!(by_digest, by_tag, "round {round}");
        assert_eq!(tags(&app, &repository).await, expected, "round {round}");
        if by_digest {
            delete(&app, &repository, &digest).await.expect(202);
        }
    }
}
