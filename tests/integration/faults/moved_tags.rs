//! A pull by tag while the tag moves and its former manifest is deleted. The tag points at an
//! existing manifest at every moment, so the answer is never 404.

use std::time::Duration;

use longshore::config::Settings;
use longshore::store::RecordKey;
use longshore::store::memory::{Calls, Operation};

use super::STORE;
use crate::support::App;
use crate::support::test_store::TestStore;

const LATEST: &str = "/v2/a/manifests/latest";

/// A replica that uses for a minute what it remembers, whatever other replicas write.
async fn remembering(store: &TestStore) -> App {
    let mut settings = Settings::default();
    settings.cache.local_ttl = Duration::from_mins(1);
    App::frontend(store.objects.clone(), settings).await
}

/// A replica that remembers nothing.
async fn forgetting(store: &TestStore) -> App {
    App::frontend(store.objects.clone(), Settings::default()).await
}

async fn delete(app: &App, digest: &str) {
    let path = format!("/v2/a/manifests/{digest}");
    app.request("DELETE", &path).send().await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_a_deletion_of_the_former_manifest_overtakes_is_200() {
    let store = TestStore::start(STORE).await;
    let app = forgetting(&store).await;
    let (old, _) = app.push_image("a", "latest", 1).await;
    let moving = async {
        let (new, _) = app.push_image("a", "latest", 2).await;
        delete(&app, &old).await;
        new
    };
    let pulling = app.get(LATEST).send();
    let (reply, new) = store.stalled(Operation::Read, "v1/m/", pulling, moving).await;
    reply.expect(200).with("docker-content-digest", &new);
    app.get(&format!("/v2/a/manifests/{old}")).send().await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_tag_whose_manifest_is_deleted_is_read_again() {
    let store = TestStore::start(STORE).await;
    let writer = forgetting(&store).await;
    let reader = remembering(&store).await;
    let (old, _) = writer.push_image("a", "latest", 1).await;
    // The reader remembers the tag and not the manifest.
    store.fail(Operation::Read, "v1/m/");
    reader.get(LATEST).send().await.expect(503);
    let (new, _) = writer.push_image("a", "latest", 2).await;
    delete(&writer, &old).await;
    reader.get(LATEST).send().await.expect(200).with("docker-content-digest", &new);
    // It remembers what it read.
    let before = store.calls();
    reader.get(LATEST).send().await.expect(200).with("docker-content-digest", &new);
    assert_eq!(store.calls().since(&before), Calls::default());
    // The same with a deleted tag.
    store.fail(Operation::Read, "v1/m/");
    let (last, _) = writer.push_image("a", "last", 3).await;
    reader.get("/v2/a/manifests/last").send().await.expect(503);
    delete(&writer, &last).await;
    reader.get("/v2/a/manifests/last").send().await.expect_error(404, "MANIFEST_UNKNOWN");
}

/// The reader remembers for a second that a manifest does not exist.
#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_absence_does_not_hide_a_tagged_manifest() {
    let store = TestStore::start(STORE).await;
    let writer = forgetting(&store).await;
    let reader = remembering(&store).await;
    let (digest, _) = writer.push_image("b", "latest", 1).await;
    reader.get(&format!("/v2/a/manifests/{digest}")).send().await.expect(404);
    writer.push_image("a", "latest", 1).await;
    reader.get(LATEST).send().await.expect(200).with("docker-content-digest", &digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_points_at_no_manifest_is_404_and_counted() {
    let store = TestStore::start(STORE).await;
    let app = forgetting(&store).await;
    app.push_image("b", "latest", 1).await;
    let key = |name: &str| {
        RecordKey::Tag(name.parse().expect("a name"), "latest".parse().expect("a tag"))
    };
    let body = store.record(&key("b")).expect("the tag").body;
    store.create(&key("a"), body).await;
    let counted = || {
        let text = app.metrics.exposition();
        let value =
            text.lines().find_map(|line| line.strip_prefix("longshore_dangling_tags_total "));
        value.map(str::to_owned)
    };
    app.get("/v2/a/manifests/none").send().await.expect_error(404, "MANIFEST_UNKNOWN");
    assert_eq!(counted().as_deref(), Some("0"));
    for method in ["GET", "HEAD"] {
        app.request(method, LATEST).send().await.expect(404);
    }
    assert_eq!(counted().as_deref(), Some("2"));
    app.push_image("a", "latest", 1).await;
    app.get(LATEST).send().await.expect(200);
}
