//! A push and a deletion of one manifest at the same time: in the end the manifest, its tag and its
//! place among the referrers are all there or all gone.

use std::cell::Cell;
use std::time::Duration;

use longshore::config::Settings;
use serde_json::json;
use tokio::sync::oneshot;

use super::late_writes::{points_at, push};
use crate::support::app::{OCI_INDEX, OCI_MANIFEST};
use crate::support::content::{artifact, descriptor, index, spelled};
use crate::support::http::Reply;
use crate::support::scripted_s3::{Match, ScriptedS3};
use crate::support::{App, sha256};

/// A manifest that can be pushed, and its digest.
async fn unpushed(app: &App) -> (String, Vec<u8>) {
    app.push_blob("a", b"{}").await;
    let subject = descriptor(OCI_MANIFEST, b"a subject");
    let body = spelled(&artifact("application/x", &subject, 0));
    (sha256(&body), body)
}

async fn delete(app: &App, digest: &str) -> Reply {
    app.request("DELETE", &format!("/v2/a/manifests/{digest}")).send().await
}

/// Asserts that the manifest, its tag and its place among the referrers are all there, or all gone.
async fn is_there(app: &App, digest: &str, there: bool) {
    for reference in ["v1", digest] {
        let reply = app.get(&format!("/v2/a/manifests/{reference}")).send().await;
        reply.expect(if there { 200 } else { 404 });
    }
    if there {
        points_at(app, digest).await;
    }
    let tags = app.get("/v2/a/tags/list").send().await.expect(200).json();
    assert_eq!(tags["tags"], if there { json!(["v1"]) } else { json!([]) });
    let referrers = format!("/v2/a/referrers/{}", sha256(b"a subject"));
    let referrers = app.get(&referrers).send().await.expect(200).json();
    assert_eq!(referrers["manifests"].to_string().contains(digest), there, "{referrers}");
}

/// The last write of a push and the first one of a deletion are under way at once, and the store
/// answers 409 to the push. That decides nothing: the push is not answered before the store has
/// taken its write or refused it, and whichever of the two loses begins again.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_write_of_a_push_is_repeated_while_the_store_is_busy_with_a_deletion() {
    for deletion_first in [false, true] {
        let s3 = ScriptedS3::start().await;
        let app = App::over_s3(&s3, Settings::default()).await;
        let (digest, body) = unpushed(&app).await;
        let (tag, mark) = (s3.hold(Match::put("v1/t/")), s3.hold(Match::put("v1/m/").nth(2)));
        for busy in [3, 4] {
            s3.refuse(Match::put("v1/m/").nth(busy), 409, "ConditionalRequestConflict");
        }
        let touch = s3.hold(Match::put("v1/m/").nth(5));
        let listing = s3.hold_response(Match::list("v1/x/"));
        let (decided, (done, is_done)) = (Cell::new(false), oneshot::channel());
        let pushing = async {
            let pushed = push(&app, &body, None).await;
            assert!(decided.get(), "answered before the store has decided");
            done.send(()).expect("somebody waits");
            pushed
        };
        let deleting = async {
            tag.reached().await;
            let in_turn = async {
                mark.reached().await;
                assert_eq!(tag.release().await, 200);
                touch.reached().await;
                decided.set(true);
                if deletion_first {
                    assert_eq!(mark.release().await, 200);
                    listing.reached().await;
                    assert_eq!(touch.release().await, 412);
                } else {
                    assert_eq!(touch.release().await, 200);
                    assert_eq!(mark.release().await, 412);
                }
                is_done.await.expect("the push ends");
                assert_eq!(listing.release().await, 200);
            };
            tokio::join!(delete(&app, &digest), in_turn).0
        };
        let (pushed, deleted) = tokio::join!(pushing, deleting);
        pushed.expect(201);
        deleted.expect(202);
        // The deletion ended last.
        is_there(&app, &digest, false).await;
    }
}

/// A deletion is completed during a push. If the tag was set before, the deletion has deleted all
/// that the push wrote, and the push is not repeated: it happened before the deletion. If the tag
/// is set after it, the tag points at nothing, and the push is repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_repeated_unless_a_deletion_has_undone_all_of_it() {
    let (last, tag) = (Match::put("v1/m/").nth(2), Match::put("v1/t/"));
    for (held, answer, there) in [(last, 412, false), (tag, 200, true)] {
        let s3 = ScriptedS3::start().await;
        let app = App::over_s3(&s3, Settings::default()).await;
        let (digest, body) = unpushed(&app).await;
        let held = s3.hold(held);
        let deleting = async {
            held.reached().await;
            delete(&app, &digest).await.expect(202);
            held.release().await
        };
        let (pushed, status) = tokio::join!(push(&app, &body, None), deleting);
        assert_eq!(status, answer);
        pushed.expect(201);
        is_there(&app, &digest, there).await;
    }
}

/// The push reads the manifest and then the tag, and finds both as they should be. In between, or
/// after that, somebody deletes the manifest with its tag, and perhaps pushes it again without one.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_would_change_nothing_sees_a_deletion_during_its_reads() {
    for pushed_again in [false, true] {
        let s3 = ScriptedS3::start().await;
        let app = App::over_s3(&s3, Settings::default()).await;
        let (digest, body) = unpushed(&app).await;
        push(&app, &body, None).await.expect(201);
        let read = s3.hold_response(Match::get("v1/t/"));
        let meanwhile = async {
            read.reached().await;
            delete(&app, &digest).await.expect(202);
            if pushed_again {
                app.put_manifest("a", &digest, OCI_MANIFEST, &body).await.expect(201);
            }
            read.release().await
        };
        let (pushed, status) = tokio::join!(push(&app, &body, None), meanwhile);
        assert_eq!(status, 200);
        pushed.expect(201);
        is_there(&app, &digest, true).await;
    }
}

/// The push of an index touches its old child while a deletion marks that child. The touch loses,
/// and the marked child is none that an index may name.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_refused_while_a_deletion_marks_its_child() {
    let s3 = ScriptedS3::start().await;
    let app = App::over_s3(&s3, Settings::default()).await;
    let (digest, body) = unpushed(&app).await;
    push(&app, &body, None).await.expect(201);
    s3.backdate(&format!("v1/m/a/_/{}", digest.replace(':', "/")), Duration::from_hours(25));
    let (touch, listing) = (s3.hold(Match::put("v1/m/")), s3.hold_response(Match::list("v1/x/")));
    let document = spelled(&index(OCI_INDEX, &[descriptor(OCI_MANIFEST, &body)]));
    let put = app.request("PUT", "/v2/a/manifests/index").header("content-type", OCI_INDEX);
    let (refused, is_refused) = oneshot::channel();
    let pushing = async {
        let pushed = put.body(document).send().await;
        pushed.expect_envelope(400, &["MANIFEST_BLOB_UNKNOWN"]);
        refused.send(()).expect("the deletion waits");
    };
    let deleting = async {
        touch.reached().await;
        let in_turn = async {
            listing.reached().await;
            assert_eq!(touch.release().await, 412);
            is_refused.await.expect("the push ends");
            assert_eq!(listing.release().await, 200);
        };
        tokio::join!(delete(&app, &digest), in_turn).0
    };
    let ((), deleted) = tokio::join!(pushing, deleting);
    deleted.expect(202);
    app.get("/v2/a/manifests/index").send().await.expect(404);
}
