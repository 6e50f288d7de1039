//! `longshore audit`, `scrub`, `usage` and `inspect` over a bucket that a registry has filled.

mod clean;
mod concurrent;
mod damage;
mod inspected;
mod scrubbed;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longshore::app;
use longshore::audit::{Audit, AuditSettings, Class, Finding, Level, Scrub, ScrubSettings};
use longshore::audit::{Scrubbed, Summary};
use longshore::config::Settings;
use longshore::layout::encoding::{Draft, Lineage, decode};
use longshore::oci::Digest;
use longshore::store::{ObjectStore, RecordKey};
use longshore::tasks::Tasks;
use longshore::telemetry::metrics::Metrics;
use longshore::walk::Walk;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::schema1::{DOCUMENT, EMPTY_LAYER, SIGNED};
use crate::support::app::{OCI_INDEX, OCI_MANIFEST, image_manifest};
use crate::support::content::{artifact, descriptor, spelled};
use crate::support::exchange::created;
use crate::support::test_store::{StoreKind, TestStore, small_parts};
use crate::support::{App, bytes, sha256};

/// After this no push can still write what belongs to a record.
const SETTLED: Duration = Duration::from_hours(1);
/// More than the grace.
const LONG: Duration = Duration::from_hours(24 * 7);

/// A registry with its store.
pub(crate) struct Bucket {
    pub(crate) store: TestStore,
    pub(crate) app: App,
    pub(crate) settings: Settings,
}

impl Bucket {
    async fn start() -> Self {
        Self::over(StoreKind::Memory).await
    }

    async fn over(kind: StoreKind) -> Self {
        let mut settings = small_parts();
        settings.manifests.schema1_push = Some(true);
        let store = TestStore::start(kind).await;
        let app = App::frontend(store.objects.clone(), settings.clone()).await;
        Self { store, app, settings }
    }

    fn objects(&self) -> Arc<dyn ObjectStore> {
        self.store.objects.clone()
    }

    fn walk(&self) -> Arc<Walk> {
        Arc::new(Walk::new(self.objects(), None))
    }

    /// Lets the registry finish, and the time of its pushes pass.
    async fn settle(&self) {
        self.app.settled().await;
        self.store.hands.advance(SETTLED);
    }

    async fn audit(&self) -> (Vec<Finding>, Summary) {
        self.audit_with(false).await
    }

    async fn audit_with(&self, repairs: bool) -> (Vec<Finding>, Summary) {
        let tasks = Tasks::new();
        let registry =
            app::registry(&self.settings, self.objects(), None, &Metrics::default(), &tasks);
        let registry = Some(registry.expect("good settings")).filter(|_| repairs);
        let settings =
            AuditSettings::new(&self.settings.collection, self.settings.manifests.sparse);
        let mut findings = Vec::new();
        let mut sink = |finding| findings.push(finding);
        let audit = Audit::new(self.walk(), settings, registry);
        let summary = audit.run(&mut sink).await.expect("the store answers");
        tasks.wait().await;
        (findings, summary)
    }

    /// The classes of the findings, in order, each once.
    async fn classes(&self) -> Vec<Class> {
        classes(&self.audit().await.0)
    }

    async fn scrub(&self, settings: ScrubSettings) -> (Vec<Finding>, Scrubbed) {
        let mut findings = Vec::new();
        let mut sink = |finding| findings.push(finding);
        let scrub = Scrub::new(self.walk(), settings);
        let scrubbed = scrub.run(&CancellationToken::new(), &mut sink).await;
        (findings, scrubbed.expect("the store answers"))
    }

    /// The only key that begins so.
    #[track_caller]
    fn key(&self, prefix: &str) -> RecordKey {
        let keys = self.store.records().into_iter().map(|(key, _)| key);
        let keys: Vec<String> = keys.filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(keys.len(), 1, "{keys:?}");
        keys[0].parse().expect("a key")
    }

    /// Removes an object of a record, as no program does.
    async fn lose(&self, key: &RecordKey) {
        let version = self.objects().read(key).await.expect("a record").version;
        self.objects().remove(key, &version).await.expect("removed");
    }

    async fn overwrite(&self, key: &RecordKey, body: Bytes) {
        let version = self.objects().read(key).await.expect("a record").version;
        self.objects().replace(key, &version, body, None).await.expect("replaced");
    }

    /// Changes the header and the payload of a record.
    async fn change(
        &self,
        key: &RecordKey,
        change: impl FnOnce(&mut Map<String, Value>, &mut Vec<u8>),
    ) {
        let record = self.objects().read(key).await.expect("a record");
        let (mut header, payload) = decode::<Map<String, Value>>(&record.body).expect("readable");
        let mut payload = payload.to_vec();
        change(&mut header, &mut payload);
        let draft = Draft::whole(&header, payload.into());
        self.overwrite(key, draft.encode(&Lineage::default())).await;
    }

    /// Everything that a registry writes: images with large and small blobs, a mount, an index,
    /// referrers, schema 1, moved and deleted tags, deleted manifests and blobs, open uploads.
    async fn fill(&self) {
        let app = &self.app;
        push_large(app, "a/one", "v1", 1).await;
        app.push_image("a/one", "v1", 10).await;
        let layer = large(1);
        let mount = format!("/v2/a/two/blobs/uploads/?mount={}&from=a/one", sha256(&layer));
        let reply = app.request("POST", &mount).send().await;
        created(reply, "a/two", &sha256(&layer));
        push_large(app, "a/two", "v2", 1).await;
        app.push_type("b", OCI_INDEX, "index", 20).await;
        let (_, subject) = app.push_small("b", "subject", 30).await;
        let signature = spelled(&artifact("x/y", &descriptor(OCI_MANIFEST, &subject), 1));
        let reply = app.put_manifest("b", &sha256(&signature), OCI_MANIFEST, &signature).await;
        reply.expect(201);
        app.push_blob("c/old", &EMPTY_LAYER).await;
        app.put_manifest("c/old", "v1", SIGNED, DOCUMENT.as_bytes()).await.expect(201);
        // What is deleted.
        let (digest, _) = app.push_image("d", "gone", 40).await;
        app.push_image("d", "untagged", 50).await;
        app.request("DELETE", "/v2/d/manifests/untagged").send().await.expect(202);
        app.request("DELETE", &format!("/v2/d/manifests/{digest}")).send().await.expect(202);
        let blob = app.push_blob("d", &large(60)).await;
        app.request("DELETE", &format!("/v2/d/blobs/{blob}")).send().await.expect(202);
        // In parts, and uploads that go on.
        let digest = sha256(&large(70));
        let location = app.start_upload("e", "").await;
        let location = app.patch_at(&location, 0, &large(70)).await.expect(202).location();
        app.close(&location, &digest, b"").await.expect(201);
        for length in [50_000, 200_000] {
            let location = app.start_upload("e", "").await;
            app.patch(&location, &bytes(80, length)).await.expect(202);
        }
        app.settled().await;
    }
}

/// A layer that no link holds.
fn large(seed: u64) -> Vec<u8> {
    bytes(seed, 150_000)
}

/// Pushes an image with a [`large`] layer, and returns its digest.
async fn push_large(app: &App, repository: &str, tag: &str, seed: u64) -> String {
    let config = format!("{{\"large\":{seed}}}").into_bytes();
    app.push_blob(repository, &config).await;
    app.push_blob(repository, &large(seed)).await;
    let manifest = image_manifest(&config, &[large(seed)]);
    app.put_manifest(repository, tag, OCI_MANIFEST, &manifest).await.expect(201);
    sha256(&manifest)
}

fn classes(findings: &[Finding]) -> Vec<Class> {
    let mut classes: Vec<Class> = findings.iter().map(|finding| finding.class).collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}

fn damage(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.level == Level::Damage).collect()
}

/// A manifest of the repository by its digest.
fn manifest_key(repository: &str, digest: &str) -> RecordKey {
    let digest: Digest = digest.parse().expect("a digest");
    RecordKey::Manifest(repository.parse().expect("a name"), digest)
}

fn link_key(repository: &str, content: &[u8]) -> RecordKey {
    let digest: Digest = sha256(content).parse().expect("a digest");
    RecordKey::Link(repository.parse().expect("a name"), digest)
}

fn pointer_key(content: &[u8]) -> RecordKey {
    RecordKey::Pointer(sha256(content).parse().expect("a digest"))
}

/// The field of a record.
async fn field(bucket: &Bucket, key: &RecordKey, name: &str) -> Value {
    let record = bucket.objects().read(key).await.expect("a record");
    let (header, _) = decode::<Map<String, Value>>(&record.body).expect("readable");
    header.get(name).cloned().unwrap_or(json!(null))
}
