//! Blobs whose pointer changes while it is leased, or whose data is missing.

use std::time::Duration;

use longshore::config::Settings;
use longshore::layout::encoding::{self, Lineage, Nonce};
use longshore::store::{Location, RecordStore as _};
use longshore::telemetry::metrics::Metrics;
use serde_json::json;

use super::repairs::{header, repaired};
use crate::support::http::Reply;
use crate::support::scripted_s3::{Match, ScriptedS3};
use crate::support::{App, bytes};

/// More than half of the default grace period: such a record is touched before it is relied on.
const PAST_HALF_LIFE: Duration = Duration::from_hours(25);

/// What another writer does to a pointer while a request touches it.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// Points it at another copy of the data.
    Moved,
    Deleted,
}

/// A blob in the repository `a` whose pointer is old.
struct Scene {
    s3: ScriptedS3,
    app: App,
    content: Vec<u8>,
    digest: String,
    /// The key of the pointer.
    pointer: String,
    /// Where it points.
    location: String,
}

async fn scene() -> Scene {
    let s3 = ScriptedS3::start().await;
    let app = App::over_s3(&s3, Settings::default()).await;
    let content = bytes(1, 200_000);
    let digest = app.push_blob("a", &content).await;
    let [pointer] = s3.keys("v1/p/").try_into().expect("one pointer");
    s3.backdate(&pointer, PAST_HALF_LIFE);
    let location = located(&s3, "v1/p/");
    Scene { s3, app, content, digest, pointer, location }
}

/// The location in the only record below a prefix.
fn located(s3: &ScriptedS3, prefix: &str) -> String {
    header(s3, prefix)["location"].as_str().expect("a location").to_owned()
}

impl Scene {
    /// Changes the pointer. Returns where it points now.
    async fn change(&self, change: Change) -> Option<String> {
        let (body, location) = match change {
            Change::Moved => {
                let now = self.s3.store(&Metrics::default()).await.now();
                let location = Location::new_unique(now).to_string();
                self.s3.put(&location, self.content.clone());
                let mut pointer = header(&self.s3, &self.pointer);
                pointer["location"] = json!(location);
                let body = encoding::encode(&pointer, b"", Nonce::random(), &Lineage::default());
                (body, Some(location))
            }
            Change::Deleted => (encoding::tombstone(Nonce::random(), &Lineage::default()), None),
        };
        self.s3.put(&self.pointer, body);
        location
    }

    /// Sends a request, and changes the pointer before its `nth` write of the pointer takes
    /// effect. Returns also where the pointer pointed then.
    async fn changing(
        &self,
        change: Change,
        nth: usize,
        request: impl Future<Output = Reply>,
    ) -> (Reply, Option<String>) {
        let touch = self.s3.hold(Match::put("v1/p/").nth(nth));
        let changing = async {
            touch.reached().await;
            let location = self.change(change).await;
            assert_eq!(touch.release().await, 412);
            location
        };
        let (reply, location) = tokio::join!(request, changing);
        self.app.settled().await;
        (reply, location)
    }

    async fn mount(&self, query: &str) -> Reply {
        let path = format!("/v2/b/blobs/uploads/?mount={}{query}", self.digest);
        self.app.request("POST", &path).send().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_uses_the_pointer_that_its_lease_returned() {
    for change in [Change::Moved, Change::Deleted] {
        let scene = scene().await;
        let path = format!("/v2/b/blobs/uploads/?digest={}", scene.digest);
        let push = scene.app.request("POST", &path).body(scene.content.clone());
        // The first write expects no pointer, the second one touches it.
        let (pushed, moved) = scene.changing(change, 2, push.send()).await;
        pushed.expect(201);
        // Without another pointer the push uses its own data.
        let pointed = moved.clone().unwrap_or_else(|| located(&scene.s3, "v1/p/"));
        assert_ne!(pointed, scene.location);
        assert_eq!(located(&scene.s3, "v1/p/"), pointed, "{change:?}");
        assert_eq!(located(&scene.s3, "v1/l/b/"), pointed, "{change:?}");
        assert_eq!(scene.s3.keys("v1/d/").len(), 2, "{change:?}");
        // What no pointer names may be collected.
        assert!(scene.s3.remove(&scene.location));
        scene.app.assert_blob("b", &scene.digest, &scene.content).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_does_not_use_a_pointer_that_changed_during_its_lease() {
    for change in [Change::Moved, Change::Deleted] {
        for query in ["&from=a", ""] {
            let scene = scene().await;
            let (mounted, _) = scene.changing(change, 1, scene.mount(query)).await;
            let location = mounted.expect(202).lacks("docker-content-digest").location();
            scene.app.assert_no_blob("b", &scene.digest).await;
            assert_eq!(scene.s3.keys("v1/l/b/"), [""; 0]);
            let closed = scene.app.close(&location, &scene.digest, &scene.content).await;
            closed.expect(201);
            assert_eq!(located(&scene.s3, "v1/l/b/"), located(&scene.s3, "v1/p/"));
            scene.app.assert_blob("b", &scene.digest, &scene.content).await;
        }
    }
}

/// The client uploads the blob instead, which repairs the pointer.
#[tokio::test(flavor = "multi_thread")]
async fn a_mount_of_a_blob_whose_data_is_missing_starts_an_upload() {
    for query in ["&from=a", ""] {
        let scene = scene().await;
        assert!(scene.s3.remove(&scene.location));
        let mounted = scene.mount(query).await.expect(202).stands_at(0);
        let location = mounted.lacks("docker-content-digest").location();
        scene.app.assert_no_blob("b", &scene.digest).await;
        scene.app.close(&location, &scene.digest, &scene.content).await.expect(201);
        scene.app.settled().await;
        scene.app.assert_blob("b", &scene.digest, &scene.content).await;
        assert_ne!(located(&scene.s3, "v1/p/"), scene.location);
        scene.mount(query).await.expect(201);
    }
}

/// The data of a link was deleted behind the registry's back, and the same content comes again as
/// an inline blob: the link contains it then.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_an_inline_blob_repairs_a_link_to_nothing() {
    let s3 = ScriptedS3::start().await;
    let mut settings = Settings::default();
    settings.uploads.inline_bytes = 1_000;
    let (stored, app) =
        (App::over_s3(&s3, settings).await, App::over_s3(&s3, Settings::default()).await);
    let content = bytes(1, 2_000);
    let digest = stored.push_blob("a", &content).await;
    let location = located(&s3, "v1/l/a/");
    // While the data is there the link stays as it is.
    app.push_blob("a", &content).await;
    assert_eq!(located(&s3, "v1/l/a/"), location);
    assert_eq!(repaired(&app).as_deref(), Some("0"));
    assert!(s3.remove(&location));
    app.blob("a", &digest).await.expect(503);

    app.push_blob("a", &content).await;
    let link = header(&s3, "v1/l/a/");
    assert!(link.get("location").is_none() && link.get("etag").is_none(), "{link}");
    assert_eq!(repaired(&app).as_deref(), Some("1"));
    for replica in [&app, &stored] {
        replica.assert_blob("a", &digest, &content).await;
    }
}
