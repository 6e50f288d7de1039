//! From settings to a running process: the only module that names every concrete type.

mod access;
mod auth;
mod collect;
mod descriptors;
mod examination;
mod fingerprint;
mod inspection;
mod progress;
mod quotas;
mod report;
mod shared_settings;
mod start;
mod stores;
mod token_keys;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::audit_log::AuditLog;
use crate::auth::Authorizer;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::docker_schema1::{KeyError, Schema1, SigningKey};
use crate::http::admin::{Admin, Readiness};
use crate::http::{self, Api, Limits, ResponseBudget, Tls, listener};
use crate::oci::Negotiation;
use crate::quota::Quotas;
use crate::registry::{self, Leases, Registry, SharedSettingsError};
use crate::shared_cache::Cache;
use crate::store::local::OpenError;
use crate::store::{self, ObjectStore, ProbeReport};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;
use crate::usage::UsageScan;

pub use self::access::{Checked, Explanation, Who, check_answers, explain};
pub use self::auth::authorizer;
pub use self::collect::{CollectError, collect, collector};
pub use self::examination::doctor;
pub use self::fingerprint::show_fingerprint;
pub use self::inspection::{
    Inspected, InspectionError, Output, Reading, audit, inspect, scrub, usage,
};
pub use self::quotas::quota_scans;
pub use self::report::Report;
pub use self::shared_settings::{set_shared_settings, show_shared_settings};
use self::start::{Service, Start, build, or_end_writing, prepare};
pub use self::stores::{open_store, redis, shared_cache};
use self::token_keys::StoredKeys;
pub use self::token_keys::{list_keys, rotate_keys};

/// An upload session that no client has continued for so long counts as abandoned.
const ABANDONED_AFTER: Duration = Duration::from_hours(24);

/// Why the registry cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    #[error(transparent)]
    Folder(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The store lacks something that the registry relies on.
    #[error("{0}\n{1}")]
    UnsafeStore(Box<ProbeReport>, &'static str),
    /// The process has lost the right to write to the store while it ran.
    #[error("stopped: {0}")]
    WritingEnded(String),
    #[error(transparent)]
    Redis(#[from] crate::shared_cache::redis::ConfigError),
    #[error(transparent)]
    Leases(#[from] registry::lease::UnsafeLeases),
    /// Other processes on the store have other settings.
    #[error(transparent)]
    SharedSettings(#[from] SharedSettingsError),
    /// The keys of tokens cannot be changed now.
    #[error("{0}")]
    Keys(String),
    /// The users, the keys or the certificate cannot be read.
    #[error("{0}")]
    File(String),
    #[error("manifests.schema1_key: {0}")]
    Schema1Key(#[from] KeyError),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
}

/// The registry over a store.
pub fn registry(
    settings: &Settings,
    store: Arc<dyn ObjectStore>,
    shared: Option<Arc<dyn Cache>>,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Arc<Registry>, StartError> {
    let of_registry = registry_settings(settings)?;
    Ok(Arc::new(Registry::new(store, shared, of_registry, metrics, tasks)))
}

/// The registry of a command that writes beside other processes: its writes invalidate what Redis
/// holds.
async fn invalidating_registry(
    settings: &Settings,
    store: Arc<dyn ObjectStore>,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Arc<Registry>, StartError> {
    let shared = match redis(settings, metrics)? {
        Some(redis) => Some(shared_cache(settings, redis, store.clone()).await?),
        None => None,
    };
    registry(settings, store, shared, metrics, tasks)
}

/// What a registry needs of the settings. Parses the key of schema 1.
fn registry_settings(settings: &Settings) -> Result<registry::Settings, StartError> {
    let mut caching = settings.cache.clone();
    caching.local_ttl = settings.local_ttl();
    let manifests = &settings.manifests;
    Ok(registry::Settings {
        caching,
        uploads: settings.uploads.clone(),
        sparse: manifests.sparse,
        leases: Leases::new(&settings.collection)?,
        schema1: Schema1 {
            push: manifests.takes_schema1(),
            negotiation: manifests.mode,
            key: schema1_key(settings)?,
        },
    })
}

/// The key that signs images converted to schema 1, where the settings have the registry do it.
fn schema1_key(settings: &Settings) -> Result<Option<SigningKey>, KeyError> {
    let configured = settings.manifests.schema1_key.as_ref();
    let configured = configured.map(|key| SigningKey::from_pem(key.expose())).transpose()?;
    match settings.manifests.mode {
        Negotiation::Oci => Ok(None),
        Negotiation::DockerLegacy => {
            let key = configured.unwrap_or_else(SigningKey::generate);
            tracing::info!(key = key.id(), "this key signs images converted to schema 1");
            Ok(Some(key))
        }
    }
}

/// The API over a registry.
pub fn api(
    settings: &Settings,
    registry: Arc<Registry>,
    authorizer: Arc<dyn Authorizer>,
    audit_log: AuditLog,
    readiness: &Readiness,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Arc<Api> {
    authorizer.connect(Arc::new(StoredKeys(registry.token_keys.clone())), tasks);
    let responses = Arc::new(ResponseBudget::new(settings.server.response_bytes));
    let limits = Arc::new(Limits::new(&settings.limits, metrics));
    let quotas = Arc::new(Quotas::new(settings.quotas.clone(), metrics));
    let settings = http::Settings {
        listener: settings.server.clone(),
        blobs: settings.blobs.clone(),
        manifests: settings.manifests.clone(),
        lists: settings.lists.clone(),
        pages: settings.ui.clone(),
        access_log: settings.log.requests,
    };
    Arc::new(Api {
        registry,
        authorizer,
        audit_log,
        clock: Arc::new(SystemClock),
        readiness: readiness.clone(),
        settings,
        responses,
        limits,
        quotas,
        metrics: metrics.clone(),
        tasks: tasks.clone(),
    })
}

/// TLS, if the settings have a certificate.
pub fn tls(settings: &Settings, metrics: &Metrics) -> Result<Option<Tls>, StartError> {
    Tls::open(&settings.server.tls, metrics).map_err(StartError::File)
}

/// Reads all files that the settings name and tests the store and Redis, without serving. An error
/// if `serve` could not start.
pub async fn check(settings: &Settings) -> Result<Report, StartError> {
    let metrics = Metrics::default();
    let (settings, prepared) = prepare(settings, &metrics)?;
    Ok(build(&settings, prepared, &Readiness::default(), &metrics, Start::Check).await?.report)
}

/// Runs the registry until `shutdown` ends, which yields the name of the signal.
///
/// The admin port is open from before the store is tested until the last request has ended, so that
/// monitoring sees every state of the process: starting, ready and draining.
pub async fn serve(
    settings: &Settings,
    shutdown: impl Future<Output = &'static str> + Send,
) -> Result<(), StartError> {
    let (metrics, readiness) = (Metrics::default(), Readiness::default());
    show_fingerprint(settings, &metrics);
    let (settings, prepared) = prepare(settings, &metrics)?;
    let settings = &settings;
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
        let connections = Tasks::new();
        connections.spawn(admin.run(listener, stopped, connections.clone()));
    }
    let mut shutdown = pin!(shutdown);
    let Service { store, api, collector, tls, tasks, report } = tokio::select! {
        built = build(settings, prepared, &readiness, &metrics, Start::Serve) => built?,
        signal = &mut shutdown => {
            tracing::info!(signal, "shutdown requested before start-up finished");
            return Ok(());
        }
    };
    let scans = scan_usage(settings, store.clone(), &metrics);
    let _stops_scans = scans.clone().drop_guard();
    quotas::scan_in_background(settings, &store, &api.quotas, &metrics, scans.clone())?;
    let (collection, collecting) = collect::in_background(settings, collector);
    let _stops_collection = collection.clone().drop_guard();
    let listening = listen(settings.server.listen).await;
    let (listener, address) = or_end_writing(store.as_ref(), listening).await?;
    readiness.started();
    // The last lines of the start: a caller that waits for them may ask `/readyz` at once.
    report.log(address);
    let lost = OnceLock::new();
    let shutdown = async {
        let signal = tokio::select! {
            signal = shutdown => signal,
            why = store.writing_ended() => {
                tracing::error!("{}", lost.get_or_init(|| why));
                "the end of the lease"
            }
        };
        readiness.draining();
        scans.cancel();
        collection.cancel();
        let delay = settings.server.drain_delay;
        let delay_s = delay.as_secs_f64();
        tracing::info!(signal, delay_s, "shutdown requested: readiness is 503, draining");
        tokio::time::sleep(delay).await;
    };
    let (router, budget) = (http::router(&api), api.responses.clone());
    listener::run(listener, tls, router, &settings.server, budget, tasks, shutdown).await;
    collecting.wait().await;
    store.end_writing().await;
    tracing::info!("shutdown finished");
    lost.into_inner().map_or(Ok(()), |why| Err(StartError::WritingEnded(why)))
}

/// Starts the usage scans, if they are configured and an admin port shows their results.
fn scan_usage(
    settings: &Settings,
    store: Arc<dyn ObjectStore>,
    metrics: &Metrics,
) -> CancellationToken {
    let scans = CancellationToken::new();
    if let (Some(every), Some(_)) = (settings.metrics.inventory, settings.admin.listen) {
        let scan = UsageScan::new(store, metrics.clone(), ABANDONED_AFTER);
        let repeated = scans.clone().run_until_cancelled_owned(scan.repeat(every));
        // The shutdown does not wait for it: it only reads.
        Tasks::new().spawn(repeated);
    }
    scans
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener =
        TcpListener::bind(address).await.map_err(|error| StartError::Listen(address, error))?;
    let address = listener.local_addr().unwrap_or(address);
    Ok((listener, address))
}
