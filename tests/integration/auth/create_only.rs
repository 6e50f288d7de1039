//! Callers with `create` and without `push`: they cannot move an existing tag.

use std::sync::Arc;
use std::time::Duration;

use longshore::store::memory::{Fault, FaultKind, Memory, Operation};

use super::{As as _, Guarded, manifest, push, with_passwords_over};
use crate::schema1::{DOCUMENT, EMPTY_LAYER, SIGNED, SIGNED_AGAIN};
use crate::support::app::OCI_INDEX;
use crate::support::sha256;

async fn registry() -> Guarded {
    registry_over(Arc::new(Memory::new())).await
}

async fn registry_over(memory: Arc<Memory>) -> Guarded {
    let rules = "
        manifests.schema1_push = true
        [[access.rules]]
        subject = 'user:creator'
        repositories = '**'
        actions = ['pull', 'create']
        [[access.rules]]
        subject = 'user:owner'
        repositories = '**'
        actions = ['pull', 'push', 'delete']";
    with_passwords_over(memory, &["creator", "owner"], rules).await
}

#[tokio::test]
async fn a_caller_with_create_cannot_move_a_tag() {
    let app = registry().await;
    for tag in ["v1", "latest"] {
        push(&app, "a", tag, "first").user("creator").send().await.expect(201);
        let other = push(&app, "a", tag, "second").user("creator").send().await;
        other.expect_error(403, "DENIED");
        let read = app.get(&format!("/v2/a/manifests/{tag}")).user("creator").send().await;
        assert_eq!(read.expect(200).body, manifest("first"));
    }
    push(&app, "a", "v1", "second").user("owner").send().await.expect(201);
    // A deleted tag can be created again.
    app.request("DELETE", "/v2/a/manifests/v1").user("creator").send().await.expect(403);
    app.request("DELETE", "/v2/a/manifests/v1").user("owner").send().await.expect(202);
    push(&app, "a", "v1", "third").user("creator").send().await.expect(201);
}

/// A client whose answer was lost sends its push again, and so does a job that is run again.
#[tokio::test]
async fn a_push_that_moves_no_tag_can_be_repeated() {
    let app = registry().await;
    let digest = sha256(&manifest("first"));
    let by_digest = |query: &str| {
        app.request("PUT", &format!("/v2/a/manifests/{digest}{query}"))
            .header("content-type", OCI_INDEX)
            .body(manifest("first"))
            .user("creator")
    };
    for _ in 0..2 {
        let put = push(&app, "a", "v1", "first").user("creator").send().await.expect(201);
        put.with("docker-content-digest", &digest);
    }
    for _ in 0..2 {
        by_digest("?tag=v1&tag=v2").send().await.expect(201);
    }
    // Also under a condition that holds.
    for (name, value, status) in [
        ("if-match", "*", 201),
        ("if-match", digest.as_str(), 201),
        ("if-none-match", "\"sha256:0\"", 201),
        ("if-none-match", "*", 403),
        ("if-none-match", digest.as_str(), 403),
        ("if-match", "\"sha256:0\"", 403),
    ] {
        let again = push(&app, "a", "v1", "first").user("creator").header(name, value);
        let reply = again.send().await;
        assert_eq!(reply.status.as_u16(), status, "{name}: {value}: {reply:?}");
    }
    // The tag has to be there for `If-Match`.
    let new = push(&app, "a", "v9", "first").user("creator").header("if-match", "*");
    new.send().await.expect_error(403, "DENIED");
    // One tag that would move keeps the others from being set.
    push(&app, "a", "moved", "second").user("owner").send().await.expect(201);
    by_digest("?tag=v1&tag=new&tag=moved").send().await.expect_error(403, "DENIED");
    app.get("/v2/a/manifests/new").user("creator").send().await.expect(404);
    let moved = app.get("/v2/a/manifests/moved").user("creator").send().await.expect(200);
    assert_eq!(moved.body, manifest("second"));
}

/// The store decides the condition together with the write.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_push_does_not_move_back_a_tag_that_has_just_moved() {
    let memory = Arc::new(Memory::new());
    let app = registry_over(memory.clone()).await;
    push(&app, "a", "v1", "first").user("creator").send().await.expect(201);
    // A tag that is new makes the push write, after it has read that the other one stays.
    let delay = FaultKind::Delay(Duration::from_millis(500));
    memory.inject(Fault::on(Operation::Replace, delay).below("v1/m/"));
    let path = format!("/v2/a/manifests/{}?tag=v1&tag=v2", sha256(&manifest("first")));
    let repeated = app.request("PUT", &path).header("content-type", OCI_INDEX);
    let repeated = repeated.body(manifest("first")).user("creator").send();
    let moving = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        push(&app, "a", "v1", "second").user("owner").send().await.expect(201);
    };
    let (repeated, ()) = tokio::join!(repeated, moving);
    repeated.expect_error(403, "DENIED");
    let v1 = app.get("/v2/a/manifests/v1").user("owner").send().await.expect(200);
    assert_eq!(v1.body, manifest("second"));
}

/// The digest of a signed manifest does not cover its signatures.
#[tokio::test]
async fn a_create_only_caller_cannot_replace_signatures() {
    let app = registry().await;
    let put = async |reference: &str, document: &'static str, user: &str| {
        let put = app.request("PUT", &format!("/v2/a/manifests/{reference}"));
        put.header("content-type", SIGNED).body(document).user(user).send().await
    };
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&EMPTY_LAYER));
    app.request("POST", &path).user("owner").body(&EMPTY_LAYER[..]).send().await.expect(201);
    let pushed = put("v1", DOCUMENT, "owner").await.expect(201);
    let digest = pushed.header("docker-content-digest").expect("a digest").to_owned();
    for reference in [digest.as_str(), "v1", "v2", &format!("{digest}?tag=v1&tag=v3")] {
        let again = put(reference, SIGNED_AGAIN, "creator").await.expect(201);
        assert_eq!(again.header("docker-content-digest"), Some(digest.as_str()));
        for served in ["v1", &digest] {
            let path = format!("/v2/a/manifests/{served}");
            let got = app.get(&path).user("creator").send().await.expect(200);
            assert_eq!(got.body, DOCUMENT, "{reference}");
        }
    }
}

#[tokio::test]
async fn preconditions_do_not_let_a_create_only_caller_move_a_tag() {
    let app = registry().await;
    push(&app, "a", "v1", "first").user("owner").send().await.expect(201);
    let digest = sha256(&manifest("first"));
    for (name, value) in [
        ("if-match", "*"),
        ("if-match", digest.as_str()),
        ("if-none-match", "*"),
        ("if-none-match", "sha256:0"),
    ] {
        let request = push(&app, "a", "v1", "second").user("creator").header(name, value);
        request.send().await.expect_error(403, "DENIED");
    }
}

#[tokio::test]
async fn a_push_of_several_tags_is_refused_if_one_exists() {
    let app = registry().await;
    push(&app, "a", "v1", "first").user("owner").send().await.expect(201);
    let digest = sha256(&manifest("second"));
    let put = |query: &str, user: &str| {
        app.request("PUT", &format!("/v2/a/manifests/{digest}{query}"))
            .header("content-type", OCI_INDEX)
            .body(manifest("second"))
            .user(user)
    };
    put("?tag=v1", "creator").send().await.expect_error(403, "DENIED");
    put("?tag=v2&tag=v1", "creator").send().await.expect_error(403, "DENIED");
    let v1 = app.get("/v2/a/manifests/v1").user("owner").send().await.expect(200);
    assert_eq!(v1.body, manifest("first"));
    put("", "creator").send().await.expect(201);
    app.get("/v2/a/manifests/v2").user("creator").send().await.expect(404);
    put("?tag=v3&tag=v4", "creator").send().await.expect(201);
    put("?tag=v1&tag=v3", "owner").send().await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_concurrent_creates_of_a_tag_succeeds() {
    let app = registry().await;
    for round in 0..20 {
        let tag = format!("v{round}");
        let pushes = (0..8)
            .map(|seed| push(&app, "a", &tag, &format!("seed {seed}")).user("creator").try_send());
        let replies = futures_util::future::join_all(pushes).await;
        let mut statuses: Vec<u16> =
            replies.iter().map(|reply| reply.as_ref().expect("a reply").status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 403, 403, 403, 403, 403, 403, 403]);
    }
}

#[tokio::test]
async fn a_create_only_caller_pushes_blobs_and_cannot_delete_them() {
    let app = registry().await;
    let digest = sha256(b"blob");
    for _ in 0..2 {
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        let post = app.request("POST", &path).user("creator").body(&b"blob"[..]);
        post.send().await.expect(201);
    }
    let path = format!("/v2/a/blobs/{digest}");
    app.request("DELETE", &path).user("creator").send().await.expect_error(403, "DENIED");
}
