//! Conflicts that a write meets, and what they tell about the write.

use std::time::Duration;

use longshore::config::Settings;

use super::late_writes::{manifests, points_at, push};
use crate::support::app::OCI_MANIFEST;
use crate::support::content::{image, spelled};
use crate::support::scripted_s3::{Match, ScriptedS3};
use crate::support::{App, bytes, sha256};

/// The key of the tag that [`push`] sets.
const TAG_KEY: &str = "v1/t/a/_/v1";

/// The first attempt of a write is lost on the way, and the second one meets a record whose former
/// versions are not all known. A record from before the first attempt has not replaced it, so the
/// write did not happen; a younger one may have.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_with_an_older_record_is_a_lost_race() {
    let s3 = ScriptedS3::start().await;
    let app = App::over_s3(&s3, Settings::default()).await;
    for seed in 1..4 {
        app.push_small("a", "v1", seed).await;
    }
    let (last, _) = app.push_small("a", "v1", 4).await;
    // A manifest that is new: its push expects a new tag, too.
    let unpushed = async |seed| {
        app.push_parts("a", seed).await;
        spelled(&image(OCI_MANIFEST, seed))
    };
    let body = unpushed(5).await;
    s3.drop_request(Match::put(TAG_KEY));
    push(&app, &body, None).await.expect_error(503, "UNAVAILABLE");
    points_at(&app, &last).await;

    s3.backdate(TAG_KEY, Duration::from_mins(1));
    let body = unpushed(6).await;
    s3.drop_request(Match::put(TAG_KEY));
    let before = s3.arrived(&Match::put(TAG_KEY));
    push(&app, &body, None).await.expect(201);
    points_at(&app, &sha256(&body)).await;
    assert_eq!(s3.arrived(&Match::put(TAG_KEY)) - before, 3, "lost, refused, and over the record");
}

/// The store answers 412, although the record still has the version that the write expects.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_repeated_after_412_while_its_condition_holds() {
    let s3 = ScriptedS3::start().await;
    let app = App::over_s3(&s3, Settings::default()).await;
    let [(_, first_body), (second, second_body), _] = manifests(&app).await;
    push(&app, &first_body, None).await.expect(201);
    s3.refuse(Match::put(TAG_KEY), 412, "PreconditionFailed");
    push(&app, &second_body, None).await.expect(201);
    points_at(&app, &second).await;

    let content = bytes(1, 100);
    let location = app.start_upload("a", "").await;
    let location = app.patch(&location, &content[..50]).await.expect(202).location();
    s3.refuse(Match::put("v1/u/"), 412, "PreconditionFailed");
    let location = app.patch(&location, &content[50..]).await.expect(202).location();
    app.close(&location, &sha256(&content), b"").await.expect(201);
    app.assert_blob("a", &sha256(&content), &content).await;
}
