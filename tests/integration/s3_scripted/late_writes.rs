//! Writes whose response is lost, and that arrive late or twice: each happens once, and none undoes
//! what was acknowledged after it.

use std::sync::Arc;
use std::time::Duration;

use longshore::config::Settings;
use serde_json::json;

use crate::support::app::OCI_MANIFEST;
use crate::support::content::{artifact, descriptor, spelled};
use crate::support::http::Reply;
use crate::support::scripted_s3::{Match, ScriptedS3};
use crate::support::{App, sha256};

const TAG: &str = "/v2/a/manifests/v1";

/// Manifests without blobs that are in the store: three different ones.
pub(super) async fn manifests(app: &App) -> [(String, Vec<u8>); 3] {
    app.push_blob("a", b"{}").await;
    let subject = descriptor(OCI_MANIFEST, b"a subject");
    let mut pushed = Vec::new();
    for n in 0..3 {
        let body = spelled(&artifact("application/x", &subject, n));
        let digest = sha256(&body);
        app.put_manifest("a", &digest, OCI_MANIFEST, &body).await.expect(201);
        pushed.push((digest, body));
    }
    pushed.try_into().expect("three")
}

pub(super) async fn push(app: &App, body: &[u8], condition: Option<(&'static str, &str)>) -> Reply {
    let mut put = app.request("PUT", TAG).header("content-type", OCI_MANIFEST).body(body.to_vec());
    if let Some((name, value)) = condition {
        put = put.header(name, value);
    }
    put.send().await
}

pub(super) async fn points_at(app: &App, digest: &str) {
    app.get(TAG).send().await.expect(200).with("docker-content-digest", digest);
}

/// The store has created the tag, the response is lost, and before the request is repeated another
/// client has moved the tag under a condition. The first push is a success and moves nothing back.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_response_was_lost_does_not_undo_the_next_one() {
    for condition in [None, Some(("if-none-match", "*"))] {
        let s3 = ScriptedS3::start().await;
        let app = Arc::new(App::over_s3(&s3, Settings::default()).await);
        let [(first, first_body), (second, second_body), _] = manifests(&app).await;
        s3.drop_response(Match::put("v1/t/"));
        let repeated = s3.hold(Match::put("v1/t/").nth(2));
        let pushing = push(&app, &first_body, condition);
        let moving = async {
            repeated.reached().await;
            points_at(&app, &first).await;
            let only_if = format!("\"{first}\"");
            push(&app, &second_body, Some(("if-match", &only_if))).await.expect(201);
            repeated.release().await
        };
        let (pushed, status) = tokio::join!(pushing, moving);
        assert_eq!(status, 412);
        pushed.expect(201);
        points_at(&app, &second).await;
    }
}

/// The same with a deletion: what was created after it stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_whose_response_was_lost_does_not_delete_the_next_tag() {
    let s3 = ScriptedS3::start().await;
    let app = App::over_s3(&s3, Settings::default()).await;
    let [(_, first_body), (second, second_body), _] = manifests(&app).await;
    push(&app, &first_body, None).await.expect(201);
    s3.drop_response(Match::put("v1/t/"));
    let repeated = s3.hold(Match::put("v1/t/").nth(2));
    let deleting = app.request("DELETE", TAG).send();
    let creating = async {
        repeated.reached().await;
        push(&app, &second_body, Some(("if-none-match", "*"))).await.expect(201);
        repeated.release().await
    };
    let (deleted, status) = tokio::join!(deleting, creating);
    assert_eq!(status, 412);
    deleted.expect(202);
    points_at(&app, &second).await;
}

/// A proxy repeats the write that brought a deleted tag back, after the tag was deleted again.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_write_does_not_bring_a_deleted_tag_back() {
    let s3 = ScriptedS3::start().await;
    let app = App::over_s3(&s3, Settings::default()).await;
    let [(first, first_body), ..] = manifests(&app).await;
    push(&app, &first_body, None).await.expect(201);
    app.request("DELETE", TAG).send().await.expect(202);
    // The first write expects no record, the second one the tombstone.
    let again = s3.repeat(Match::put("v1/t/").nth(2));
    push(&app, &first_body, None).await.expect(201);
    points_at(&app, &first).await;
    app.request("DELETE", TAG).send().await.expect(202);
    assert_eq!(again.release().await, 412);
    app.get(TAG).send().await.expect_error(404, "MANIFEST_UNKNOWN");
}

/// One of two tags conflicts while the write of the other one is under way. That one happens, and
/// the process that sent it does not serve what it remembers from before.
#[tokio::test(flavor = "multi_thread")]
async fn a_tag_whose_sibling_failed_is_seen() {
    let s3 = ScriptedS3::start().await;
    let mut settings = Settings::default();
    settings.cache.local_ttl = Duration::from_mins(1);
    let (app, other) =
        (App::over_s3(&s3, settings).await, App::over_s3(&s3, Settings::default()).await);
    let [(first, first_body), (second, second_body), (_, third_body)] = manifests(&app).await;
    for tag in ["b", "c"] {
        app.put_manifest("a", tag, OCI_MANIFEST, &first_body).await.expect(201);
    }
    let (b, c) = (s3.hold(Match::put("v1/t/a/_/b")), s3.hold(Match::put("v1/t/a/_/c")));
    let path = format!("/v2/a/manifests/{second}?tag=b&tag=c");
    let pushing = app.request("PUT", &path).header("content-type", OCI_MANIFEST);
    let pushing = pushing.header("if-match", format!("\"{first}\"")).body(second_body).send();
    let meanwhile = async {
        c.reached().await;
        b.reached().await;
        other.put_manifest("a", "b", OCI_MANIFEST, &third_body).await.expect(201);
        assert_eq!(b.release().await, 412);
        let read = app.get("/v2/a/manifests/c").send().await;
        read.expect(200).with("docker-content-digest", &first);
        assert_eq!(c.release().await, 200);
    };
    let (pushed, ()) = tokio::join!(pushing, meanwhile);
    pushed.expect(412);
    app.settled().await;
    let read = app.get("/v2/a/manifests/c").send().await;
    read.expect(200).with("docker-content-digest", &second);
}

/// 409 means that the store decides about another write: it is no lost race.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_busy_with_a_key_is_asked_again() {
    let s3 = ScriptedS3::start().await;
    let app = App::over_s3(&s3, Settings::default()).await;
    let [(first, first_body), ..] = manifests(&app).await;
    for prefix in ["v1/m/", "v1/t/", "v1/x/", "v1/l/", "v1/p/"] {
        s3.refuse(Match::put(prefix), 409, "ConditionalRequestConflict");
    }
    // The write that marks the session as committing.
    s3.refuse(Match::put("v1/u/").nth(2), 409, "ConditionalRequestConflict");
    push(&app, &first_body, None).await.expect(201);
    points_at(&app, &first).await;
    let content = crate::support::bytes(5, 100_000);
    let location = app.start_upload("a", "").await;
    let location = app.patch(&location, &content).await.expect(202).location();
    app.close(&location, &sha256(&content), b"").await.expect(201);
    app.assert_blob("a", &sha256(&content), &content).await;
    app.request("DELETE", TAG).send().await.expect(202);
    app.get(TAG).send().await.expect(404);
}

/// A deletion that is cut off in the middle leaves no image that can be pulled in part, and can be
/// finished.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_cut_off_is_finished_or_undone() {
    for revived in [false, true] {
        let s3 = ScriptedS3::start().await;
        let app = App::over_s3(&s3, Settings::default()).await;
        let [(digest, body), ..] = manifests(&app).await;
        push(&app, &body, None).await.expect(201);
        let path = format!("/v2/a/manifests/{digest}");
        let referrers = format!("/v2/a/referrers/{}", sha256(b"a subject"));
        let referring = async || {
            let reply = app.get(&referrers).send().await.expect(200);
            reply.json()["manifests"].to_string().contains(&digest)
        };
        assert!(referring().await);
        // The mark is written, and the tombstone is not.
        s3.refuse(Match::put("v1/m/").nth(2).always(), 400, "InvalidRequest");
        app.request("DELETE", &path).send().await.expect(503);
        app.get(&path).send().await.expect_error(404, "MANIFEST_UNKNOWN");
        app.get(TAG).send().await.expect_error(404, "MANIFEST_UNKNOWN");
        assert!(!referring().await);
        s3.heal();
        if revived {
            push(&app, &body, None).await.expect(201);
            points_at(&app, &digest).await;
            assert!(referring().await);
        } else {
            app.request("DELETE", &path).send().await.expect(202);
            app.request("DELETE", &path).send().await.expect(404);
            assert_eq!(app.get("/v2/a/tags/list").send().await.json()["tags"], json!([]));
        }
    }
}

/// While a deletion is under way another client pushes the manifest again. The deletion then fails:
/// it has deleted nothing of that push.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_fails_keeps_what_was_pushed_meanwhile() {
    let s3 = ScriptedS3::start().await;
    let app = App::over_s3(&s3, Settings::default()).await;
    let [(digest, body), ..] = manifests(&app).await;
    push(&app, &body, None).await.expect(201);
    let path = format!("/v2/a/manifests/{digest}");
    let listing = s3.hold_response(Match::list("v1/x/"));
    let deleting = app.request("DELETE", &path).send();
    let pushing = async {
        listing.reached().await;
        push(&app, &body, None).await.expect(201);
        s3.refuse(Match::put("v1/m/").always(), 400, "InvalidRequest");
        listing.release().await
    };
    let (deleted, status) = tokio::join!(deleting, pushing);
    assert_eq!(status, 200);
    deleted.expect(503);
    points_at(&app, &digest).await;
    let referrers = format!("/v2/a/referrers/{}", sha256(b"a subject"));
    let reply = app.get(&referrers).send().await.expect(200);
    assert!(reply.json()["manifests"].to_string().contains(&digest), "{reply:?}");
}

/// The write of a chunk is lost, and before it is repeated other requests have written the session
/// more often than a record can tell of. The offset says all that the client has to know.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_whose_outcome_is_unknown_is_told_the_offset() {
    let s3 = ScriptedS3::start().await;
    let app = App::over_s3(&s3, Settings::default()).await;
    let content = crate::support::bytes(6, 100);
    let location = app.start_upload("a", "").await;
    let location = app.patch_at(&location, 0, &content[..10]).await.expect(202).location();
    s3.drop_request(Match::put("v1/u/"));
    let repeated = s3.hold(Match::put("v1/u/").nth(2));
    let chunk = app.patch_at(&location, 10, &content[10..20]);
    let others = async {
        repeated.reached().await;
        for first in (10..60).step_by(10) {
            app.patch_at(&location, first, &content[first..first + 10]).await.expect(202);
        }
        repeated.release().await
    };
    let (reply, status) = tokio::join!(chunk, others);
    assert_eq!(status, 412);
    reply.expect(416).stands_at(60);
    app.patch_at(&location, 60, &content[60..]).await.expect(202);
    app.close(&location, &sha256(&content), b"").await.expect(201);
    app.assert_blob("a", &sha256(&content), &content).await;
}
