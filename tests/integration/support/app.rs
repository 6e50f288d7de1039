//! A registry under test: in this process over its own store, or a running one by its URL.

use std::net::SocketAddr;
use std::sync::Arc;

use longshore::app;
use longshore::audit_log::AuditLog;
use longshore::config::{self, Flag, Settings, Sources};
use longshore::http::admin::Readiness;
use longshore::http::{self, Api, listener};
use longshore::oci::UploadId;
use longshore::quota::Quotas;
use longshore::shared_cache::Cache;
use longshore::store::memory::Memory;
use longshore::store::{ObjectStore, StoreUrl};
use longshore::tasks::Tasks;
use longshore::telemetry::metrics::Metrics;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::http::{Client, Request};
use super::scripted_s3::ScriptedS3;
use super::{bytes, sha256};

/// What the router of a registry over this store needs.
pub(crate) fn api(
    settings: &Settings,
    store: Arc<dyn ObjectStore>,
    shared: Option<Arc<dyn Cache>>,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Arc<Api> {
    let authorizer = app::authorizer(settings, metrics).expect("good settings");
    let registry = app::registry(settings, store, shared, metrics, tasks).expect("good settings");
    let audit_log = AuditLog::open(&settings.audit_log, metrics).expect("good settings");
    let ready = Readiness::default();
    app::api(settings, registry, authorizer, audit_log, &ready, metrics, tasks)
}

/// A registry under test. It stops when this value is dropped.
#[derive(Debug)]
pub struct App {
    pub client: Client,
    /// The memory store, if it is one: to count calls and to inject faults.
    pub memory: Option<Arc<Memory>>,
    /// The store, if the registry runs in this process.
    pub store: Option<Arc<dyn ObjectStore>>,
    pub address: Option<SocketAddr>,
    /// The metrics, if the registry runs in this process.
    pub metrics: Metrics,
    /// The quotas, if the registry runs in this process.
    pub quotas: Option<Arc<Quotas>>,
    /// The background tasks of the registry: waiting for them makes counts exact.
    tasks: Tasks,
    stop: Option<oneshot::Sender<()>>,
    folder: Option<TempDir>,
}

#[expect(clippy::disallowed_methods, reason = "the tests are configured by their environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Settings for tests: everything is allowed, even sparse manifests.
fn settings() -> Settings {
    Settings::default()
}

/// The bucket of `LONGSHORE_TEST_S3` with an unused prefix, if it is set.
pub async fn store_from_environment() -> Option<Arc<dyn ObjectStore>> {
    let url = variable("LONGSHORE_TEST_S3")?;
    let url = format!("{}/{}", url.trim_end_matches('/'), UploadId::random());
    Some(s3_store(url, Vec::new()).await)
}

/// The bucket and prefix of `url`, with further settings as flags.
pub async fn s3_store(url: String, mut flags: Vec<Flag>) -> Arc<dyn ObjectStore> {
    flags.push(Flag { name: "LONGSHORE_TEST_S3", key: "store.url", value: url });
    let mut sources = Sources::from_process(None, flags).expect("a readable environment");
    // The registry refuses variables that it does not know.
    sources.environment.retain(|(name, _)| !name.starts_with("LONGSHORE_TEST_"));
    let settings = config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
    let store = app::open_store(&settings, &Metrics::default()).await;
    let store = store.expect("the bucket can be opened");
    store.begin_writing().await.expect("no other process writes below this prefix");
    store
}

/// A failed test prints the warnings of the registry, which explain a 503.
fn show_warnings() {
    static SHOWN: std::sync::Once = std::sync::Once::new();
    SHOWN.call_once(|| {
        let level = tracing_subscriber::filter::LevelFilter::WARN;
        // Another subscriber is one that a test has installed.
        let _ = tracing_subscriber::fmt().with_max_level(level).with_test_writer().try_init();
    });
}

impl App {
    /// A registry over the store that the environment selects.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// The same with other settings. Only for registries in this process: a running registry has
    /// its own settings.
    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        show_warnings();
        if let Some(url) = variable("REGISTRY_URL") {
            return Self {
                client: Client::new(&url),
                memory: None,
                store: None,
                address: None,
                metrics: Metrics::default(),
                quotas: None,
                tasks: Tasks::new(),
                stop: None,
                folder: None,
            };
        }
        let mut settings = settings();
        change(&mut settings);
        match variable("LONGSHORE_TEST_STORE").as_deref() {
            None | Some("memory") => Self::over_memory(Arc::new(Memory::new()), settings).await,
            Some("local") => {
                let folder = TempDir::new().expect("a temporary folder");
                settings.store.url = StoreUrl::Folder(folder.path().join("data"));
                let store =
                    app::open_store(&settings, &Metrics::default()).await.expect("a local store");
                let mut app = Self::over(store, settings).await;
                app.folder = Some(folder);
                app
            }
            Some("s3") => {
                let store = store_from_environment().await;
                Self::frontend(store.expect("LONGSHORE_TEST_S3 names a bucket"), settings).await
            }
            Some(other) => panic!("LONGSHORE_TEST_STORE={other} is none of memory, local, s3"),
        }
    }

    /// A registry over its own memory store, whatever the environment selects.
    pub async fn over_memory(memory: Arc<Memory>, settings: Settings) -> Self {
        let mut app = Self::frontend(memory.clone(), settings).await;
        app.memory = Some(memory);
        app
    }

    /// One of several replicas over one store: it caches nothing.
    pub async fn frontend(store: Arc<dyn ObjectStore>, mut settings: Settings) -> Self {
        settings.store.url = "s3://shared".parse().expect("the URL of a bucket");
        Self::over(store, settings).await
    }

    /// One of several replicas over a scripted S3, with the SDK between them.
    pub(crate) async fn over_s3(s3: &ScriptedS3, settings: Settings) -> Self {
        let metrics = Metrics::default();
        let store = Arc::new(s3.store(&metrics).await);
        Self::frontend(store, settings).await
    }

    /// A registry over any store. It is the only one if the URL of its store says so.
    pub async fn over(store: Arc<dyn ObjectStore>, settings: Settings) -> Self {
        Self::counting(store, settings, Metrics::default()).await
    }

    /// The same, with metrics that the store may use as well.
    pub async fn counting(
        store: Arc<dyn ObjectStore>,
        settings: Settings,
        metrics: Metrics,
    ) -> Self {
        let redis = app::redis(&settings, &metrics).expect("good settings");
        let shared = match redis {
            None => None,
            Some(redis) => {
                let shared = app::shared_cache(&settings, redis, store.clone()).await;
                Some(shared.expect("the key of the cache"))
            }
        };
        Self::sharing(store, shared, settings, metrics).await
    }

    /// The same with another shared cache than that of the settings.
    pub async fn sharing(
        store: Arc<dyn ObjectStore>,
        shared: Option<Arc<dyn Cache>>,
        settings: Settings,
        metrics: Metrics,
    ) -> Self {
        let tasks = Tasks::new();
        let api = api(&settings, store.clone(), shared, &metrics, &tasks);
        let quotas = api.quotas.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let tls = app::tls(&settings, &metrics).expect("good settings");
        let serving = tasks.clone();
        // The registry stops with the test, not with this function.
        Tasks::new().spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            let router = http::router(&api);
            let tasks = Tasks::new();
            let budget = api.responses.clone();
            listener::run(listener, tls, router, &settings.server, budget, tasks, shutdown).await;
            drop(serving);
        });
        Self {
            client: Client::new(&format!("http://{address}")),
            memory: None,
            store: Some(store),
            address: Some(address),
            metrics,
            quotas: Some(quotas),
            tasks,
            stop: Some(stop),
            folder: None,
        }
    }

    /// Whether the registry runs in this process, so that the test can choose settings and faults.
    pub fn is_ours(&self) -> bool {
        self.store.is_some()
    }

    /// Waits for the background tasks of the registry.
    pub async fn settled(&self) {
        self.tasks.wait().await;
    }

    /// Ends the background tasks of the registry where they wait, as a crash does.
    pub async fn crash(&self) {
        self.tasks.cancel();
        self.tasks.wait().await;
    }

    /// A repository name that no other test uses, even against a running registry.
    pub fn repository(&self, name: &str) -> String {
        format!("it/{name}-{}", &UploadId::random().to_string()[..8])
    }

    pub fn request(&self, method: &str, path: &str) -> Request<'_> {
        self.client.request(method, path)
    }

    pub fn get(&self, path: &str) -> Request<'_> {
        self.request("GET", path)
    }

    /// Pushes a blob in one request and returns its digest.
    pub async fn push_blob(&self, repository: &str, content: &[u8]) -> String {
        let digest = sha256(content);
        let path = format!("/v2/{repository}/blobs/uploads/");
        let location = self.request("POST", &path).send().await.expect(202).location();
        let separator = if location.contains('?') { '&' } else { '?' };
        let close = format!("{location}{separator}digest={digest}");
        let put = self.request("PUT", &close).header("content-type", "application/octet-stream");
        put.body(content.to_vec()).send().await.expect(201);
        digest
    }

    /// Pushes an image with a config and layers made from a seed, and returns its manifest.
    pub async fn push_image(&self, repository: &str, tag: &str, seed: u64) -> (String, Vec<u8>) {
        let config = format!("{{\"seed\":{seed}}}").into_bytes();
        let layers = [bytes(seed, 300), bytes(seed + 1, 700)];
        self.push_blob(repository, &config).await;
        for layer in &layers {
            self.push_blob(repository, layer).await;
        }
        let manifest = image_manifest(&config, &layers);
        let path = format!("/v2/{repository}/manifests/{tag}");
        let put = self.request("PUT", &path).header("content-type", OCI_MANIFEST);
        put.body(manifest.clone()).send().await.expect(201);
        (sha256(&manifest), manifest)
    }
}

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// An OCI image manifest over a config and layers.
pub fn image_manifest(config: &[u8], layers: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let layers: Vec<serde_json::Value> = layers
        .iter()
        .map(|layer| {
            serde_json::json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": sha256(layer.as_ref()),
                "size": layer.as_ref().len(),
            })
        })
        .collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": sha256(config),
            "size": config.len(),
        },
        "layers": layers,
    });
    serde_json::to_vec_pretty(&manifest).expect("JSON")
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}
