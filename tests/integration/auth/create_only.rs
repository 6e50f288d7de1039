//! Callers with `create` and without `push`: they cannot move an existing tag.

use super::{As as _, Guarded, manifest, push, with_passwords};
use crate::support::app::OCI_INDEX;
use crate::support::sha256;

async fn registry() -> Guarded {
    let rules = "
        [[access.rules]]
        subject = 'user:creator'
        repositories = '**'
        actions = ['pull', 'create']
        [[access.rules]]
        subject = 'user:owner'
        repositories = '**'
        actions = ['pull', 'push', 'delete']";
    with_passwords(&["creator", "owner"], rules).await
}

#[tokio::test]
async fn a_caller_with_create_cannot_move_a_tag() {
    let app = registry().await;
    for tag in ["v1", "latest"] {
        push(&app, "a", tag, "first").user("creator").send().await.expect(201);
        // Neither with another manifest nor with the same one.
        for seed in ["second", "first"] {
            let again = push(&app, "a", tag, seed).user("creator").send().await;
            again.expect_error(403, "DENIED");
        }
        let read = app.get(&format!("/v2/a/manifests/{tag}")).user("creator").send().await;
        assert_eq!(read.expect(200).body, manifest("first"));
    }
    push(&app, "a", "v1", "second").user("owner").send().await.expect(201);
    // A deleted tag can be created again.
    app.request("DELETE", "/v2/a/manifests/v1").user("creator").send().await.expect(403);
    app.request("DELETE", "/v2/a/manifests/v1").user("owner").send().await.expect(202);
    push(&app, "a", "v1", "third").user("creator").send().await.expect(201);
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
