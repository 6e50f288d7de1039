//! A shared cache that stalls: a process never serves an older value than what it has written
//! itself, once the write was acknowledged.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use longshore::config::Settings;
use longshore::store::memory::Calls;
use longshore::telemetry::metrics::Metrics;
use tokio::sync::Notify;

use super::STORE;
use crate::cache::stalling::Stalling;
use crate::cache::tag;
use crate::support::App;
use crate::support::app::OCI_MANIFEST;
use crate::support::test_store::TestStore;

/// A replica that remembers for a minute, and that has a tag in both caches.
async fn replica() -> (Arc<Stalling>, App, String) {
    let cache = Arc::new(Stalling::default());
    let mut settings = Settings::default();
    settings.cache.local_ttl = Duration::from_mins(1);
    settings.store.url = "s3://shared".parse().expect("the URL of a bucket");
    let store = TestStore::start(STORE).await.objects;
    let app = App::sharing(store, Some(cache.clone()), settings, Metrics::default()).await;
    let (old, _) = app.push_image("a", "latest", 1).await;
    assert_eq!(tag(&app, "a", "latest").await.as_ref(), Some(&old));
    (cache, app, old)
}

/// Moves the tag, and returns its new digest. With the condition it is written, and its key deleted
/// from the cache, exactly once.
async fn move_tag(app: &App, old: &str) -> String {
    let (new, manifest) = app.push_image("a", "next", 2).await;
    let put = app.request("PUT", "/v2/a/manifests/latest").header("content-type", OCI_MANIFEST);
    put.header("if-match", format!("\"{old}\"")).body(manifest).send().await.expect(201);
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_read_while_its_deletion_stalled_is_not_kept() {
    let (cache, app, old) = replica().await;
    cache.deletion.armed.store(true, Ordering::SeqCst);
    let reading = async {
        cache.deletion.reached.notified().await;
        // Not acknowledged yet: the former value is right.
        assert_eq!(tag(&app, "a", "latest").await.as_ref(), Some(&old));
        cache.deletion.go_on.notify_one();
    };
    let (new, ()) = tokio::join!(move_tag(&app, &old), reading);
    assert_eq!(tag(&app, "a", "latest").await.as_ref(), Some(&new), "it was acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_a_lookup_that_began_while_a_deletion_stalled() {
    let (cache, app, old) = replica().await;
    cache.deletion.armed.store(true, Ordering::SeqCst);
    let acknowledged = Notify::new();
    let pushing = async {
        let new = move_tag(&app, &old).await;
        acknowledged.notify_one();
        new
    };
    let slow = async {
        cache.deletion.reached.notified().await;
        cache.answer.armed.store(true, Ordering::SeqCst);
        tag(&app, "a", "latest").await
    };
    let later = async {
        cache.answer.reached.notified().await;
        cache.deletion.go_on.notify_one();
        acknowledged.notified().await;
        let answer = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cache.answer.go_on.notify_one();
        };
        tokio::join!(tag(&app, "a", "latest"), answer).0
    };
    let (new, slow, later) = tokio::join!(pushing, slow, later);
    assert_eq!(slow.as_ref(), Some(&old), "it began before the acknowledgement");
    assert_eq!(later.as_ref(), Some(&new), "it began after the acknowledgement");
    assert_eq!(tag(&app, "a", "latest").await, Some(new));
}

/// Both replicas know from the shared cache that the manifest is young.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_young_manifest_in_the_shared_cache_needs_no_lease() {
    let cache = Arc::new(Stalling::default());
    let store = TestStore::start(STORE).await;
    let replica = || {
        let mut settings = Settings::default();
        settings.store.url = "s3://shared".parse().expect("the URL of a bucket");
        App::sharing(store.objects.clone(), Some(cache.clone()), settings, Metrics::default())
    };
    let (one, other) = (replica().await, replica().await);
    let (digest, _) = one.push_image("a", "latest", 1).await;
    assert!(tag(&one, "a", "latest").await.is_some());
    let before = store.calls();
    for app in [&one, &other] {
        for reference in ["latest", &digest] {
            let path = format!("/v2/a/manifests/{reference}");
            app.request("HEAD", &path).send().await.expect(200);
        }
    }
    assert_eq!(store.calls().since(&before), Calls::default());
}
