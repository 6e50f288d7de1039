//! A pull by tag while the tag moves and its former manifest is deleted. The tag points at an
//! existing manifest at every moment, so the answer is never 404.

use std::sync::Arc;
use std::time::Duration;

use longshore::config::Settings;
use longshore::store::memory::{Calls, Fault, FaultKind, Memory, Operation};
use longshore::store::{RecordKey, RecordStore as _};

use crate::support::App;

const LATEST: &str = "/v2/a/manifests/latest";

/// A replica that uses for a minute what it remembers, whatever other replicas write.
async fn remembering(memory: &Arc<Memory>) -> App {
    let mut settings = Settings::default();
    settings.cache.local_ttl = Duration::from_mins(1);
    App::over_memory(memory.clone(), settings).await
}

async fn delete(app: &App, digest: &str) {
    let path = format!("/v2/a/manifests/{digest}");
    app.request("DELETE", &path).send().await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_a_deletion_of_the_former_manifest_overtakes_is_200() {
    let memory = Arc::new(Memory::new());
    let app = App::over_memory(memory.clone(), Settings::default()).await;
    let (old, _) = app.push_image("a", "latest", 1).await;
    let delay = FaultKind::Delay(Duration::from_secs(1));
    memory.inject(Fault::on(Operation::Read, delay).below("v1/m/"));
    let before = memory.calls();
    let moving = async {
        while memory.calls().since(&before).read < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (new, _) = app.push_image("a", "latest", 2).await;
        delete(&app, &old).await;
        new
    };
    let (reply, new) = tokio::join!(app.get(LATEST).send(), moving);
    reply.expect(200).with("docker-content-digest", &new);
    app.get(&format!("/v2/a/manifests/{old}")).send().await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_tag_whose_manifest_is_deleted_is_read_again() {
    let memory = Arc::new(Memory::new());
    let writer = App::over_memory(memory.clone(), Settings::default()).await;
    let reader = remembering(&memory).await;
    let (old, _) = writer.push_image("a", "latest", 1).await;
    // The reader remembers the tag and not the manifest.
    memory.inject(Fault::on(Operation::Read, FaultKind::FailBefore).below("v1/m/"));
    reader.get(LATEST).send().await.expect(503);
    let (new, _) = writer.push_image("a", "latest", 2).await;
    delete(&writer, &old).await;
    reader.get(LATEST).send().await.expect(200).with("docker-content-digest", &new);
    // It remembers what it read.
    let before = memory.calls();
    reader.get(LATEST).send().await.expect(200).with("docker-content-digest", &new);
    assert_eq!(memory.calls().since(&before), Calls::default());
    // The same with a deleted tag.
    memory.inject(Fault::on(Operation::Read, FaultKind::FailBefore).below("v1/m/"));
    let (last, _) = writer.push_image("a", "last", 3).await;
    reader.get("/v2/a/manifests/last").send().await.expect(503);
    delete(&writer, &last).await;
    reader.get("/v2/a/manifests/last").send().await.expect_error(404, "MANIFEST_UNKNOWN");
}

/// The reader remembers for a second that a manifest does not exist.
#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_absence_does_not_hide_a_tagged_manifest() {
    let memory = Arc::new(Memory::new());
    let writer = App::over_memory(memory.clone(), Settings::default()).await;
    let reader = remembering(&memory).await;
    let (digest, _) = writer.push_image("b", "latest", 1).await;
    reader.get(&format!("/v2/a/manifests/{digest}")).send().await.expect(404);
    writer.push_image("a", "latest", 1).await;
    reader.get(LATEST).send().await.expect(200).with("docker-content-digest", &digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_points_at_no_manifest_is_404_and_counted() {
    let memory = Arc::new(Memory::new());
    let app = App::over_memory(memory.clone(), Settings::default()).await;
    app.push_image("b", "latest", 1).await;
    let key = |name: &str| {
        RecordKey::Tag(name.parse().expect("a name"), "latest".parse().expect("a tag"))
    };
    let body = memory.record(&key("b")).expect("the tag").body;
    memory.create(&key("a"), body, None).await.expect("a new tag");
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
