//! From settings to a running registry: the one place that names every concrete type.

mod auth;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::auth::Authorizer;
use crate::clock::SystemClock;
use crate::config::{self, Settings, StoreUrl};
use crate::docker_schema1::{KeyError, Schema1, SigningKey};
use crate::http::admin::{Admin, Readiness};
use crate::http::{self, Api, listener};
use crate::oci::{Algorithm, Digest, Negotiation};
use crate::registry::{self, Caching, Leases, Limits, Policy, Registry};
use crate::shared_cache::Cache;
use crate::shared_cache::redis::{Redis, Topology};
use crate::store::local::{Local, OpenError};
use crate::store::memory::Memory;
use crate::store::s3::S3;
use crate::store::{self, ObjectStore, ProbeReport};
use crate::telemetry;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{TraceConfig, Traces};
use crate::usage::UsageScan;

/// How long the only process of a store believes what it knows. It forgets what it overwrites.
const ALONE_TTL: Duration = Duration::from_hours(1);
/// After so long nobody is expected to go on with an upload.
const ABANDONED_AFTER: Duration = Duration::from_hours(24);

pub use self::auth::{authorizer, explain};

/// Why the registry cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The store lacks what the registry relies on.
    #[error(
        "{0}\nThis store cannot keep tags safe between several writers. To use it all the same, \
         with one writer at a time and nothing ever collected, set store.append_only = true."
    )]
    AppendOnly(Box<ProbeReport>),
    /// Redis is set up in a way that cannot work.
    #[error(transparent)]
    Redis(#[from] crate::shared_cache::redis::ConfigError),
    /// The constants of the lease protocol contradict each other.
    #[error(transparent)]
    Leases(#[from] registry::lease::UnsafeLeases),
    /// The users, the keys or the certificate cannot be read.
    #[error("{0}")]
    File(String),
    /// The key for what is converted to schema 1 is none.
    #[error("manifests.schema1_key: {0}")]
    Schema1Key(#[from] KeyError),
    /// The socket cannot be opened.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
}

/// Opens the store that the settings name.
pub async fn open_store(
    settings: &Settings,
    metrics: &Metrics,
) -> Result<Arc<dyn ObjectStore>, StartError> {
    match &settings.store.url {
        StoreUrl::Folder(path) => {
            let path = path.clone();
            let opened = tokio::task::spawn_blocking(move || Local::open(path)).await;
            match opened {
                Ok(opened) => Ok(Arc::new(opened?)),
                Err(error) => Err(store::Error::Unavailable(error.to_string()).into()),
            }
        }
        StoreUrl::Memory => Ok(Arc::new(Memory::new())),
        StoreUrl::S3 { bucket, prefix } => {
            Ok(Arc::new(S3::connect(s3_settings(settings, bucket, prefix), metrics).await?))
        }
    }
}

fn s3_settings(settings: &Settings, bucket: &str, prefix: &str) -> store::s3::Settings {
    let s3 = &settings.store.s3;
    let exposed =
        |secret: &Option<config::Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    store::s3::Settings {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        endpoint: s3.endpoint.clone(),
        public_endpoint: s3.public_endpoint.clone(),
        region: s3.region.clone(),
        path_style: s3.uses_path_style(),
        access_key_id: s3.access_key_id.clone(),
        secret_access_key: exposed(&s3.secret_access_key),
        session_token: exposed(&s3.session_token),
        checksum: if s3.sends_crc32() {
            store::s3::Checksum::Crc32
        } else {
            store::s3::Checksum::None
        },
        attempts_max: s3.attempts_max,
        connect_timeout: s3.connect_timeout,
        response_timeout: s3.response_timeout,
        stall_timeout: s3.stall_timeout,
    }
}

/// The registry over a store, as the settings want it.
pub fn registry(
    settings: &Settings,
    store: Arc<dyn ObjectStore>,
    metrics: &Metrics,
    tasks: &TaskTracker,
) -> Result<Arc<Registry>, StartError> {
    let collection = &settings.collection;
    let leases = Leases::new(collection.grace, collection.write_deadline, collection.clock_skew)?;
    let sparse = settings.manifests.sparse;
    let policy = Policy {
        sparse_indexes: sparse != config::Sparse::None,
        sparse_images: sparse == config::Sparse::All,
    };
    let (negotiation, key) = match settings.manifests.mode {
        config::ManifestMode::Oci => (Negotiation::Oci, None),
        config::ManifestMode::DockerLegacy => {
            (Negotiation::DockerLegacy, Some(schema1_key(settings)?))
        }
    };
    let schema1 = Schema1 { push: settings.manifests.takes_schema1(), negotiation, key };
    let shared = shared_cache(settings, metrics)?;
    let (caching, limits) = (caching(settings), limits(settings));
    let registry_settings = registry::Settings { caching, limits, policy, leases, schema1 };
    Ok(Arc::new(Registry::new(store, shared, registry_settings, metrics, tasks)))
}

/// The API over a registry, as the settings want it.
pub fn api(
    settings: &Settings,
    registry: Arc<Registry>,
    authorizer: Arc<dyn Authorizer>,
    metrics: &Metrics,
    tasks: &TaskTracker,
) -> Arc<Api> {
    let delivery = match settings.blobs.delivery {
        config::Delivery::Proxy => http::Delivery::Proxy,
        config::Delivery::Redirect => http::Delivery::Redirect,
        config::Delivery::Auto => {
            http::Delivery::RedirectWithin(settings.blobs.redirect_networks.0.clone())
        }
    };
    let api_settings = http::Settings {
        delivery,
        redirect_ttl: settings.blobs.redirect_ttl,
        redirect_step: settings.blobs.redirect_step,
        body_idle: settings.server.body_idle_timeout,
        delete_manifests: settings.manifests.delete,
        delete_blobs: settings.blobs.delete,
        catalog: settings.lists.catalog,
        request_log: match settings.log.requests {
            config::RequestLog::Info => Some(tracing::Level::INFO),
            config::RequestLog::Debug => Some(tracing::Level::DEBUG),
            config::RequestLog::Off => None,
        },
    };
    Arc::new(Api::new(
        registry,
        authorizer,
        Arc::new(SystemClock),
        api_settings,
        metrics.clone(),
        tasks.clone(),
    ))
}

/// How connections are served.
pub fn sockets(settings: &Settings, metrics: &Metrics) -> Result<listener::Settings, StartError> {
    let of = &settings.server;
    let tls = match (&of.tls.certificate_file, &of.tls.key_file) {
        (Some(certificate), Some(key)) => {
            let acceptor = listener::acceptor(certificate.into(), key.into(), metrics);
            Some(acceptor.map_err(StartError::File)?)
        }
        (Some(_) | None, None) | (None, Some(_)) => None,
    };
    Ok(listener::Settings {
        header_timeout: of.header_timeout,
        body_idle_timeout: of.body_idle_timeout,
        drain_timeout: of.drain_timeout,
        connections_max: of.connections_max as usize,
        trusted_proxies: of.trusted_proxies.0.clone(),
        tls,
    })
}

/// How much of a process's memory of facts is believed, and for how long. A folder belongs to one
/// process, which sees every write.
fn caching(settings: &Settings) -> Caching {
    let cache = &settings.cache;
    let alone = !matches!(settings.store.url, StoreUrl::S3 { .. });
    Caching {
        local_bytes: usize::try_from(cache.local_bytes).unwrap_or(usize::MAX),
        local_ttl: if alone { ALONE_TTL } else { cache.local_ttl },
        tag_ttl: cache.tag_ttl,
        ttl: cache.ttl,
        strict_tags: cache.strict_tags,
    }
}

/// The Redis of the settings, if there is one. Keys are kept apart by
/// the prefix and by the URL of the store they speak of.
fn shared_cache(
    settings: &Settings,
    metrics: &Metrics,
) -> Result<Option<Arc<dyn Cache>>, StartError> {
    let cache = &settings.cache;
    let Some(urls) = &cache.redis else { return Ok(None) };
    let topology = match cache.redis_topology {
        config::RedisTopology::Single => Topology::Single,
        config::RedisTopology::Cluster => Topology::Cluster,
        config::RedisTopology::Sentinel => {
            Topology::Sentinel { primary: cache.redis_primary.clone() }
        }
    };
    let redis = crate::shared_cache::redis::Settings {
        urls: urls.split(',').map(|url| url.trim().to_owned()).collect(),
        topology,
        username: cache.redis_username.clone(),
        password: cache.redis_password.as_ref().map(|secret| secret.expose().to_owned()),
        command_timeout: cache.redis_timeout,
    };
    let url = settings.store.url.to_string();
    let of_store = Digest::of(Algorithm::Sha256, url.as_bytes()).hex();
    let prefix = format!("{}:{}:", cache.redis_prefix, of_store.get(..8).unwrap_or_default());
    Ok(Some(Redis::start(&redis, &prefix, metrics)?))
}

/// The key that signs images converted to schema 1.
fn schema1_key(settings: &Settings) -> Result<SigningKey, KeyError> {
    if let Some(key) = &settings.manifests.schema1_key {
        let key = SigningKey::from_pem(key.expose())?;
        tracing::info!(key = key.id(), "images converted to schema 1 are signed");
        return Ok(key);
    }
    let key = SigningKey::generate();
    tracing::warn!(
        key = key.id(),
        "manifests.schema1_key is not set: images converted to schema 1 are signed with a key that \
         was made now and that no other process has"
    );
    Ok(key)
}

fn limits(settings: &Settings) -> Limits {
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Limits {
        manifest_bytes_max: bytes(settings.manifests.bytes_max),
        tags_per_push_max: settings.manifests.tags_per_push_max as usize,
        inline_bytes_max: bytes(settings.uploads.inline_bytes),
        part_bytes: bytes(settings.uploads.part_bytes),
        parts_in_flight_max: settings.uploads.parts_in_flight as usize,
        buffer_bytes_max: bytes(settings.uploads.buffer_bytes),
        uploads_concurrent_max: settings.uploads.concurrent_max as usize,
        buffer_wait_max: settings.uploads.wait_max,
        page_max: settings.lists.page_max as usize,
    }
}

/// Begins logging, and tracing if the environment asks for it.
pub fn start_telemetry(settings: &Settings) -> Option<Traces> {
    let format = match settings.log.format {
        config::LogFormat::Text => telemetry::Format::Text,
        config::LogFormat::Json => telemetry::Format::Json,
    };
    telemetry::start(format, &settings.log.level, TraceConfig::from_environment())
}

/// Reads the files that the settings name, puts the store to the test, and refuses one that would
/// lose writes.
pub async fn check(settings: &Settings) -> Result<ProbeReport, StartError> {
    let metrics = Metrics::default();
    authorizer(settings, &metrics)?;
    sockets(settings, &metrics)?;
    let (_, report) = tested_store(settings, &metrics).await?;
    Ok(report)
}

/// The store, put to the test.
async fn tested_store(
    settings: &Settings,
    metrics: &Metrics,
) -> Result<(Arc<dyn ObjectStore>, ProbeReport), StartError> {
    if let Some(key) = &settings.manifests.schema1_key {
        SigningKey::from_pem(key.expose())?;
    }
    let store = open_store(settings, metrics).await?;
    let probing = tracing::info_span!(target: "traces", "store.probe");
    let report = store::probe(store.as_ref()).instrument(probing).await?;
    if report.append_only() && !settings.store.append_only {
        return Err(StartError::AppendOnly(Box::new(report)));
    }
    Ok((store, report))
}

/// Runs the registry until `shutdown` ends.
///
/// The admin port is open from before the store is asked until the last request has ended, so that
/// whoever watches sees a process that starts, serves and drains, and never one that is not there.
pub async fn serve(
    settings: &Settings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), StartError> {
    let (metrics, readiness) = (Metrics::default(), Readiness::default());
    // Before the store is asked: what is wrong with a file needs no waiting.
    let (authorizer, sockets) = (authorizer(settings, &metrics)?, sockets(settings, &metrics)?);
    let stopped = CancellationToken::new();
    let _stops_admin = stopped.clone().drop_guard();
    if let Some(address) = settings.admin.listen {
        let (listener, address) = listen(address).await?;
        tracing::info!("admin port {address}");
        let admin = Admin {
            readiness: readiness.clone(),
            metrics: metrics.clone(),
            aliases: settings.metrics.aliases,
        };
        let connections = TaskTracker::new();
        connections.spawn(admin.run(listener, stopped, connections.clone()));
    }
    let mut shutdown = pin!(shutdown);
    let (store, report) = tokio::select! {
        tested = tested_store(settings, &metrics) => tested?,
        () = &mut shutdown => {
            tracing::info!("shutdown requested before the start was complete");
            return Ok(());
        }
    };
    tracing::info!("{report}");
    if report.degraded() {
        tracing::warn!("the store lacks something that the registry relies on, see above");
    }
    let tasks = TaskTracker::new();
    let registry = registry(settings, store.clone(), &metrics, &tasks)?;
    let scanning = scan_usage(settings, store, &metrics);
    let _stops_scanning = scanning.clone().drop_guard();
    let api = api(settings, registry, authorizer, &metrics, &tasks);
    let (listener, address) = listen(settings.server.listen).await?;
    readiness.started();
    // Last, because whoever waits for this line may ask `/readyz` at once.
    tracing::info!(store = %settings.store.url, "listening on {address}");
    let shutdown = async {
        shutdown.await;
        readiness.draining();
        scanning.cancel();
        let delay = settings.server.drain_delay;
        let delay_s = delay.as_secs_f64();
        tracing::info!(delay_s, "shutdown requested: readiness is 503, draining");
        tokio::time::sleep(delay).await;
    };
    let router = http::router(&api, &sockets.trusted_proxies);
    listener::run(listener, router, sockets, tasks, shutdown).await;
    Ok(())
}

/// Starts the usage scan, if it is configured and the metrics can be read.
fn scan_usage(
    settings: &Settings,
    store: Arc<dyn ObjectStore>,
    metrics: &Metrics,
) -> CancellationToken {
    let scanning = CancellationToken::new();
    if let (Some(every), Some(_)) = (settings.metrics.inventory, settings.admin.listen) {
        let scan = UsageScan::new(store, metrics.clone(), ABANDONED_AFTER);
        let scans = scanning.clone().run_until_cancelled_owned(scan.repeat(every));
        // Nothing waits for it: it only reads.
        TaskTracker::new().spawn(scans);
    }
    scanning
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener =
        TcpListener::bind(address).await.map_err(|error| StartError::Listen(address, error))?;
    let address = listener.local_addr().unwrap_or(address);
    Ok((listener, address))
}
