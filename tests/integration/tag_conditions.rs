//! distribution-spec, "Pushing Manifests with Tags" (end-7b), and preconditions on tags (RFC 9110,
//! section 13), with which independent clients share a tag.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use longshore::store::memory::{Fault, FaultKind, Operation};
use serde_json::json;

use crate::support::app::OCI_MANIFEST;
use crate::support::content::{NOWHERE, image, skip, spelled};
use crate::support::{App, Reply, sha256};

/// Replicas that share one store, opened by the first. A running registry is used under its one
/// address.
async fn two_frontends() -> [App; 2] {
    let first = App::start().await;
    let second = match &first.store {
        Some(store) => App::frontend(store.clone(), longshore::config::Settings::default()).await,
        None => App::start().await,
    };
    [first, second]
}

/// An image that differs from those of other numbers and references no blobs but `{}`.
fn numbered(number: usize) -> Vec<u8> {
    let mut document = image(OCI_MANIFEST, 1);
    document["annotations"] = json!({ "number": number.to_string() });
    spelled(&document)
}

async fn push(
    app: &App,
    path: &str,
    body: &[u8],
    condition: Option<(&'static str, &str)>,
) -> Reply {
    let mut put = app.request("PUT", path).header("content-type", OCI_MANIFEST);
    if let Some((name, value)) = condition {
        put = put.header(name, value);
    }
    put.body(body.to_vec()).send().await
}

#[tokio::test]
async fn one_push_sets_several_tags() {
    let app = App::start().await;
    let repository = app.repository("many");
    app.push_parts(&repository, 1).await;
    let body = numbered(1);
    let digest = sha256(&body);
    let path = format!("/v2/{repository}/manifests/{digest}");
    let reply =
        push(&app, &format!("{path}?tag=v1&tag=v1.2&tag=v1%2E2.3&tag=v1"), &body, None).await;
    let reply = reply.expect(201).with("location", &path).with("docker-content-digest", &digest);
    let said: Vec<_> = reply.headers.get_all("oci-tag").iter().collect();
    assert_eq!(said, ["v1", "v1.2", "v1.2.3"]);
    let list = app.get(&format!("/v2/{repository}/tags/list")).send().await.expect(200).json();
    assert_eq!(list["tags"], json!(["v1", "v1.2", "v1.2.3"]));
    for tag in ["v1", "v1.2", "v1.2.3"] {
        let reply = app.get(&format!("/v2/{repository}/manifests/{tag}")).send().await;
        reply.expect(200).with("docker-content-digest", &digest).with_body(&body);
    }
}

/// The specification demands at least ten; all or nothing is our rule.
#[tokio::test]
async fn too_many_tags_in_one_push_are_refused() {
    let app = App::start_with(|settings| settings.manifests.tags_per_push_max = 12).await;
    if !app.is_ours() {
        return skip("how many tags one push may set is a setting");
    }
    let repository = app.repository("too-many");
    app.push_parts(&repository, 1).await;
    let body = numbered(1);
    let path = |count: usize| {
        let tags: Vec<String> = (0..count).map(|number| format!("tag=t{number:03}")).collect();
        format!("/v2/{repository}/manifests/{}?{}", sha256(&body), tags.join("&"))
    };
    for count in [13, 100] {
        push(&app, &path(count), &body, None).await.expect_envelope(414, &["UNSUPPORTED"]);
    }
    app.get(&format!("/v2/{repository}/tags/list")).send().await.expect(404);
    let reply = push(&app, &path(12), &body, None).await.expect(201);
    assert_eq!(reply.headers.get_all("oci-tag").iter().count(), 12);
}

/// A tag that is repeated counts, too, so no tag has to be looked at before the limit.
#[tokio::test]
async fn too_many_tags_are_refused_before_they_are_looked_at() {
    let app = App::start_with(|settings| settings.manifests.tags_per_push_max = 12).await;
    if !app.is_ours() {
        return skip("how many tags one push may set is a setting");
    }
    let repository = app.repository("unread");
    app.push_parts(&repository, 1).await;
    let body = numbered(1);
    for tag in ["v1", "-invalid-"] {
        for count in [13, 3_000] {
            let tags = vec![format!("tag={tag}"); count].join("&");
            let path = format!("/v2/{repository}/manifests/{}?{tags}", sha256(&body));
            push(&app, &path, &body, None).await.expect_envelope(414, &["UNSUPPORTED"]);
        }
    }
}

#[tokio::test]
async fn invalid_tags_in_a_push_are_refused() {
    let app = App::start().await;
    let repository = app.repository("invalid");
    app.push_parts(&repository, 1).await;
    let body = numbered(1);
    let digest = sha256(&body);
    let long = "t".repeat(129);
    for tag in ["", "-x", ".x", "a%2Fb", "a%20b", "a:b", "%00", "%FF", &long] {
        let path = format!("/v2/{repository}/manifests/{digest}?tag=good&tag={tag}");
        push(&app, &path, &body, None).await.expect_envelope(400, &["MANIFEST_INVALID"]);
    }
    let path = format!("/v2/{repository}/manifests/v1?tag=v2");
    push(&app, &path, &body, None).await.expect_envelope(400, &["UNSUPPORTED"]);
    for reference in ["v1", "v2", "good", &digest] {
        app.get(&format!("/v2/{repository}/manifests/{reference}")).send().await.expect(404);
    }
}

#[tokio::test]
async fn preconditions_of_a_push_are_checked() {
    let app = App::start().await;
    let repository = app.repository("put");
    app.push_parts(&repository, 1).await;
    let (one, two) = (numbered(1), numbered(2));
    let path = format!("/v2/{repository}/manifests/v1");
    let (of_one, of_two) = (format!("\"{}\"", sha256(&one)), format!("\"{}\"", sha256(&two)));
    let both = format!("{of_two}, {of_one}");
    let bare = sha256(&one);
    // The tag is absent, points at one manifest, points at another one.
    let rows = [
        (&two, ("if-match", "*"), 412),
        (&two, ("if-match", &*of_one), 412),
        (&one, ("if-none-match", "*"), 201),
        (&two, ("if-none-match", "*"), 412),
        (&one, ("if-none-match", "*"), 412),
        (&two, ("if-match", &*of_two), 412),
        (&two, ("if-match", "\"garbage\""), 412),
        (&two, ("if-none-match", &*of_one), 412),
        (&one, ("if-match", "*"), 201),
        (&one, ("if-match", &*bare), 201),
        (&two, ("if-match", &*both), 201),
        (&one, ("if-match", &*of_one), 412),
        (&one, ("if-none-match", &*of_one), 201),
        (&two, ("if-match", &*of_one), 201),
    ];
    let mut current: Option<&Vec<u8>> = None;
    for (number, (body, condition, status)) in rows.into_iter().enumerate() {
        let reply = push(&app, &path, body, Some(condition)).await;
        assert_eq!(reply.status, status, "row {number}: {reply:?}");
        if status == 201 {
            current = Some(body);
        } else {
            reply.expect_envelope(412, &["DENIED"]);
        }
        let reply = app.get(&path).send().await;
        match current {
            Some(body) => reply.expect(200).with_body(body),
            None => reply.expect(404),
        };
    }
}

/// The precondition applies to each tag.
#[tokio::test]
async fn preconditions_apply_to_each_tag_of_a_push() {
    let app = App::start().await;
    let repository = app.repository("several");
    app.push_parts(&repository, 1).await;
    let (one, two) = (numbered(1), numbered(2));
    push(&app, &format!("/v2/{repository}/manifests/taken"), &one, None).await.expect(201);
    let path = format!("/v2/{repository}/manifests/{}?tag=free&tag=taken", sha256(&two));
    let reply = push(&app, &path, &two, Some(("if-none-match", "*"))).await;
    reply.expect_envelope(412, &["DENIED"]);
    app.get(&format!("/v2/{repository}/manifests/free")).send().await.expect(404);
    let reply = app.get(&format!("/v2/{repository}/manifests/taken")).send().await;
    reply.expect(200).with_body(&one);
}

#[tokio::test]
async fn preconditions_of_a_deletion_are_checked() {
    let app = App::start().await;
    let repository = app.repository("delete");
    app.push_parts(&repository, 1).await;
    let body = numbered(1);
    let digest = sha256(&body);
    let path = format!("/v2/{repository}/manifests/v1");
    let delete = |path: String, name: &'static str, value: String| {
        let request = app.request("DELETE", &path).header(name, value);
        async move { request.send().await }
    };
    push(&app, &path, &body, None).await.expect(201);
    let other = format!("\"{NOWHERE}\"");
    for (name, value) in
        [("if-match", &other), ("if-none-match", &digest), ("if-none-match", &"*".to_owned())]
    {
        let reply = delete(path.clone(), name, value.clone()).await;
        reply.expect_envelope(412, &["DENIED"]);
        let by_digest = format!("/v2/{repository}/manifests/{digest}");
        let reply = delete(by_digest, name, value.clone()).await;
        reply.expect_envelope(412, &["DENIED"]);
        app.get(&path).send().await.expect(200);
    }
    delete(path.clone(), "if-match", format!("\"{digest}\"")).await.expect(202);
    app.get(&path).send().await.expect(404);
    let reply = delete(path.clone(), "if-match", digest.clone()).await;
    reply.expect_envelope(412, &["DENIED"]);
    app.request("DELETE", &path).send().await.expect_envelope(404, &["MANIFEST_UNKNOWN"]);
    // By digest, if it exists.
    let by_digest = format!("/v2/{repository}/manifests/{digest}");
    delete(by_digest.clone(), "if-match", "*".to_owned()).await.expect(202);
    app.get(&by_digest).send().await.expect(404);
}

/// Exactly one of a thousand succeeds, at whichever replica.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_thousand_conditional_pushes_of_a_tag_succeeds() {
    let frontends = two_frontends().await;
    let repository = frontends[0].repository("race");
    frontends[0].push_parts(&repository, 1).await;
    let path = format!("/v2/{repository}/manifests/winner");
    if let Some(memory) = &frontends[0].memory {
        // The memory store is so fast that few requests overlap: delay it, so that hundreds of them
        // see no tag.
        let delay = FaultKind::Delay(Duration::from_millis(500));
        memory.inject(Fault::on(Operation::Create, delay).below("v1/t/").always());
    }
    let bodies: Vec<Vec<u8>> = (0..1_000).map(numbered).collect();
    let pushes = bodies.iter().enumerate().map(|(number, body)| {
        push(&frontends[number % 2], &path, body, Some(("if-none-match", "*")))
    });
    let replies = join_all(pushes).await;
    let mut winners = Vec::new();
    for (reply, body) in replies.into_iter().zip(&bodies) {
        if reply.status == 201 {
            winners.push(body);
        } else {
            reply.expect_envelope(412, &["DENIED"]);
        }
    }
    let [winner] = winners.as_slice() else { panic!("{} pushes won", winners.len()) };
    for app in &frontends {
        app.get(&path).send().await.expect(200).with_body(winner);
    }
}

/// Without a precondition every push succeeds, and the tag points at one of the pushed images.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_pushes_of_a_tag_all_succeed() {
    let frontends = two_frontends().await;
    let repository = frontends[0].repository("last-one");
    frontends[0].push_parts(&repository, 1).await;
    let path = format!("/v2/{repository}/manifests/moving");
    let bodies: Vec<Vec<u8>> = (0..100).map(numbered).collect();
    let pushes = bodies
        .iter()
        .enumerate()
        .map(|(number, body)| push(&frontends[number % 2], &path, body, None));
    for reply in join_all(pushes).await {
        reply.expect(201);
    }
    let digests: HashMap<String, &Vec<u8>> =
        bodies.iter().map(|body| (sha256(body), body)).collect();
    let reply = frontends[0].get(&path).send().await.expect(200);
    let digest = reply.header("docker-content-digest").expect("a digest").to_owned();
    let body = digests.get(&digest).expect("one of the hundred");
    reply.with_body(body);
    let reply = frontends[1].get(&path).send().await.expect(200);
    reply.with("docker-content-digest", &digest);
    let list = frontends[1].get(&format!("/v2/{repository}/tags/list")).send().await.expect(200);
    assert_eq!(list.json()["tags"], json!(["moving"]));
    // All of them exist by digest.
    for digest in digests.keys() {
        let path = format!("/v2/{repository}/manifests/{digest}");
        frontends[1].request("HEAD", &path).send().await.expect(200);
    }
}

/// The same image at all replicas concurrently, as a build farm pushes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_pushes_of_the_same_image_succeed() {
    let frontends = two_frontends().await;
    let repository = frontends[0].repository("same");
    frontends[0].push_parts(&repository, 1).await;
    let path = format!("/v2/{repository}/manifests/v1");
    let body = numbered(1);
    let pushes = (0..100).map(|number| push(&frontends[number % 2], &path, &body, None));
    for reply in join_all(pushes).await {
        reply.expect(201).with("docker-content-digest", &sha256(&body));
    }
    frontends[1].get(&path).send().await.expect(200).with_body(&body);
}
