//! Deletions that fail in the middle, or whose client goes away: once a deletion is acknowledged,
//! no cache brings back what it deleted.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use longshore::config::Settings;
use longshore::telemetry::metrics::Metrics;

use super::stalling::Stalling;
use super::tag;
use crate::support::App;
use crate::support::app::OCI_MANIFEST;
use crate::support::http::Reply;
use crate::support::scripted_s3::{Match, ScriptedS3};

/// The keys of the tags.
const ONE: &str = "v1/t/a/_/one";
const OTHER: &str = "v1/t/a/_/other";

/// A manifest with two tags, all of which are in the caches of two replicas.
struct Scene {
    s3: ScriptedS3,
    /// It keeps values in its memory for a minute, and in the shared cache.
    app: App,
    /// It takes all values from the shared cache.
    replica: App,
    digest: String,
    body: Vec<u8>,
}

async fn scene() -> Scene {
    let s3 = ScriptedS3::start().await;
    let shared = Arc::new(Stalling::default());
    let start = async |local_ttl: Duration| {
        let mut settings = Settings::default();
        settings.cache.local_ttl = local_ttl;
        settings.store.url = "s3://shared".parse().expect("the URL of a bucket");
        let metrics = Metrics::default();
        let store = Arc::new(s3.store(&metrics).await);
        App::sharing(store, Some(shared.clone()), settings, metrics).await
    };
    let (app, replica) = (start(Duration::from_mins(1)).await, start(Duration::ZERO).await);
    let (digest, body) = app.push_image("a", "one", 1).await;
    app.put_manifest("a", "other", OCI_MANIFEST, &body).await.expect(201);
    let scene = Scene { s3, app, replica, digest, body };
    let found = Some(&scene.digest);
    scene.say("one", found).await;
    scene.say("other", found).await;
    scene.say(&scene.digest, found).await;
    scene
}

impl Scene {
    /// Asserts what both replicas say of a tag or a digest.
    async fn say(&self, reference: &str, found: Option<&String>) {
        for app in [&self.app, &self.replica] {
            assert_eq!(tag(app, "a", reference).await.as_ref(), found, "{reference}");
        }
    }

    async fn delete(&self) -> Reply {
        let path = format!("/v2/a/manifests/{}", self.digest);
        self.app.request("DELETE", &path).send().await
    }

    /// Asserts that the tags are gone, also when the manifest is there again: a tag that a cache
    /// still has would then be served.
    async fn is_deleted(&self) {
        self.say(&self.digest, None).await;
        self.app.put_manifest("a", &self.digest, OCI_MANIFEST, &self.body).await.expect(201);
        self.say("one", None).await;
        self.say("other", None).await;
        self.say(&self.digest, Some(&self.digest)).await;
    }
}

/// One tag cannot be deleted, because somebody damages its record, while the deletion of the other
/// one is under way. That one happens, so the repeated request of the client does not write it
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_was_deleted_beside_one_that_was_not_is_in_no_cache() {
    let scene = scene().await;
    let (one, other) = (scene.s3.hold(Match::put(ONE)), scene.s3.hold(Match::put(OTHER)));
    let record = scene.s3.object(ONE).expect("a tag");
    let released = Cell::new(false);
    let deleting = async {
        let deleted = scene.delete().await;
        assert!(released.get(), "answered while the store had a write of the request");
        deleted
    };
    let releasing = async {
        other.reached().await;
        one.reached().await;
        scene.s3.put(ONE, "damaged, and longer than a tombstone is\n");
        assert_eq!(one.release().await, 412);
        // Time for an answer that would come too early.
        tokio::time::sleep(Duration::from_millis(300)).await;
        released.set(true);
        other.release().await
    };
    let (deleted, status) = tokio::join!(deleting, releasing);
    assert_eq!(status, 200);
    deleted.expect(503);
    scene.app.settled().await;
    scene.s3.put(ONE, record);
    scene.delete().await.expect(202);
    assert_eq!(scene.s3.arrived(&Match::put(OTHER)), 2, "pushed, and deleted once");
    scene.is_deleted().await;
}

/// The store has deleted the tag, and the response is lost. The request that is repeated finds the
/// tag deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_tag_whose_deletion_was_reported_as_failed_is_in_no_cache() {
    let scene = scene().await;
    scene.s3.drop_response(Match::put(OTHER));
    scene.s3.refuse(Match::put(OTHER).nth(2), 400, "InvalidRequest");
    scene.delete().await.expect(503);
    scene.delete().await.expect(202);
    assert_eq!(scene.s3.arrived(&Match::put(OTHER)), 3, "pushed, and deleted in two attempts");
    scene.is_deleted().await;
}

/// The client goes away while the deletion of a tag is under way. The deletion is carried through.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_whose_client_went_away_leaves_nothing_in_a_cache() {
    let scene = scene().await;
    let held = scene.s3.hold(Match::put(OTHER));
    tokio::select! {
        deleted = scene.delete() => panic!("answered too early: {deleted:?}"),
        () = held.reached() => {}
    }
    // The registry sees that the connection is closed.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(held.release().await, 200);
    scene.app.settled().await;
    scene.delete().await.expect_error(404, "MANIFEST_UNKNOWN");
    scene.is_deleted().await;
}

/// Another process deleted them and was stopped before it could invalidate the caches, so its
/// clients heard nothing. They ask again, elsewhere, and hear 404.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_deletion_that_finds_nothing_invalidates_the_caches() {
    let scene = scene().await;
    let content = crate::support::bytes(1, 300);
    let blob = format!("/v2/a/blobs/{}", scene.app.push_blob("a", &content).await);
    for app in [&scene.app, &scene.replica] {
        app.request("HEAD", &blob).send().await.expect(200);
    }
    let store = Arc::new(scene.s3.store(&Metrics::default()).await);
    let stopped = App::frontend(store, Settings::default()).await;
    let manifest = format!("/v2/a/manifests/{}", scene.digest);
    for path in ["/v2/a/manifests/one", &manifest, &blob] {
        stopped.request("DELETE", path).send().await.expect(202);
    }
    for path in ["/v2/a/manifests/one", &manifest, &blob] {
        scene.app.request("DELETE", path).send().await.expect(404);
        for app in [&scene.app, &scene.replica] {
            app.request("HEAD", path).send().await.expect(404);
        }
    }
}
