//! A registry and its garbage collector over one store, whose clock the test sets.

use std::sync::Arc;
use std::time::Duration;

use longshore::app;
use longshore::collector::{Collector, Error, Mode, Report};
use longshore::config::Settings;
use longshore::layout::encoding::is_tombstone;
use longshore::oci::{Digest, Tag};
use longshore::shared_cache::Cache;
use longshore::store::{ObjectStore, RecordKey};
use longshore::tasks::Tasks;
use longshore::telemetry::metrics::Metrics;

use super::test_store::{StoreKind, TestStore};
use super::{App, bytes, sha256};

/// More than the grace and the quarantine of the default settings.
pub(crate) const LONG: Duration = Duration::from_secs(2 * 24 * 3600 + 60);
/// A little more than an hour.
pub(crate) const HOUR: Duration = Duration::from_secs(3_660);

/// See the [module documentation](self).
pub(crate) struct Scene {
    pub(crate) app: App,
    pub(crate) store: TestStore,
    pub(crate) settings: Settings,
}

/// A collector over a store, as `longshore gc` has one.
pub(crate) fn collector(settings: &Settings, store: Arc<dyn ObjectStore>) -> Collector {
    collector_sharing(settings, store, None, &Metrics::default())
}

/// The same, with the shared cache and the metrics of the registry.
pub(crate) fn collector_sharing(
    settings: &Settings,
    store: Arc<dyn ObjectStore>,
    shared: Option<Arc<dyn Cache>>,
    metrics: &Metrics,
) -> Collector {
    let tasks = Tasks::new();
    let mut settings = settings.clone();
    settings.store.url = "s3://shared".parse().expect("the URL of a bucket");
    let registry = app::registry(&settings, store.clone(), shared, metrics, &tasks);
    let registry = registry.expect("good settings");
    app::collector(&settings, registry, store, metrics).expect("good settings")
}

impl Scene {
    pub(crate) async fn start(kind: StoreKind) -> Self {
        Self::start_with(kind, |_| {}).await
    }

    pub(crate) async fn start_with(kind: StoreKind, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = super::test_store::small_parts();
        settings.collection.requests_per_second = 100_000;
        change(&mut settings);
        let store = TestStore::start(kind).await;
        let app = App::frontend(store.objects.clone(), settings.clone()).await;
        Self { app, store, settings }
    }

    /// Runs the collector once.
    pub(crate) async fn collect(&self) -> Report {
        self.try_collect(Mode::Collect).await.expect("a run that ends")
    }

    pub(crate) async fn try_collect(&self, mode: Mode) -> Result<Report, Error> {
        self.app.settled().await;
        collector(&self.settings, self.store.objects.clone()).run(mode).await
    }

    /// Runs the collector as often as it needs to free what is not used now.
    pub(crate) async fn collect_all(&self) {
        for _ in 0..4 {
            self.advance(LONG);
            self.collect().await;
            self.advance(HOUR);
            self.collect().await;
        }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.store.hands.advance(by);
    }

    /// Whether there is a record that was not deleted.
    pub(crate) fn is_live(&self, key: &RecordKey) -> bool {
        self.store.record(key).is_some_and(|record| !is_tombstone(record.body.len() as u64))
    }

    /// The keys of the live records that begin so, after `v1/`.
    pub(crate) fn live(&self, below: &str) -> Vec<String> {
        let all = self.store.records().into_iter();
        let live = all.filter(|(_, body)| !is_tombstone(body.len() as u64));
        live.map(|(key, _)| key).filter(|key| key.starts_with(&format!("v1/{below}"))).collect()
    }

    pub(crate) async fn delete(&self, path: &str) {
        self.app.request("DELETE", &format!("/v2/{path}")).send().await.expect(202);
    }

    /// Pushes a blob that has a data object.
    pub(crate) async fn push_large(&self, name: &str, seed: u64) -> Vec<u8> {
        let content = bytes(seed, 10_000);
        self.app.push_blob(name, &content).await;
        content
    }

    /// The status of a pull of a blob.
    pub(crate) async fn pull(&self, name: &str, content: &[u8]) -> u16 {
        let path = format!("/v2/{name}/blobs/{}", sha256(content));
        self.app.get(&path).send().await.status.as_u16()
    }
}

pub(crate) fn digest(content: &[u8]) -> Digest {
    sha256(content).parse().expect("a digest")
}

pub(crate) fn link(name: &str, content: &[u8]) -> RecordKey {
    RecordKey::Link(name.parse().expect("a name"), digest(content))
}

pub(crate) fn pointer(content: &[u8]) -> RecordKey {
    RecordKey::Pointer(digest(content))
}

pub(crate) fn manifest(name: &str, content: &[u8]) -> RecordKey {
    RecordKey::Manifest(name.parse().expect("a name"), digest(content))
}

pub(crate) fn tag_index(name: &str, content: &[u8], tag: &str) -> RecordKey {
    let tag: Tag = tag.parse().expect("a tag");
    RecordKey::TagIndex(name.parse().expect("a name"), digest(content), tag)
}

pub(crate) fn referrer(name: &str, subject: &[u8], of: &[u8]) -> RecordKey {
    RecordKey::Referrer(name.parse().expect("a name"), digest(subject), digest(of))
}
