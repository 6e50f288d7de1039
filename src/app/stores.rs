//! The store and Redis: opened and tested before the first request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use super::StartError;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::oci::{Algorithm, Digest};
use crate::registry::{LeaseSettings, Leases, read_or_create_cache_key};
use crate::shared_cache::redis::{Redis, RedisCache};
use crate::shared_cache::{Cache, MacKey, Seal};
use crate::store::local::Local;
use crate::store::memory::Memory;
use crate::store::s3::{S3, SingleWriter, WriterLease};
use crate::store::{self, ObjectStore, ProbeLimits, ProbeReport, StoreUrl, Writers};
use crate::telemetry::metrics::Metrics;

/// How long a process in single-writer mode may write after it has renewed its lease.
const WRITER_LEASE: Duration = Duration::from_mins(1);

/// Opens the store that the settings name.
pub async fn open_store(
    settings: &Settings,
    metrics: &Metrics,
) -> Result<Arc<dyn ObjectStore>, StartError> {
    Ok(match &settings.store.url {
        StoreUrl::Folder(path) => {
            let path = path.clone();
            let opened = tokio::task::spawn_blocking(move || Local::open(path)).await;
            Arc::new(opened.map_err(|error| store::Error::Unavailable(error.to_string()))??)
        }
        StoreUrl::Memory => Arc::new(Memory::new()),
        StoreUrl::S3 { bucket, prefix } => {
            let s3 = S3::connect(bucket, prefix, &settings.store.s3, metrics).await?;
            let clock_skew = settings.collection.clock_skew;
            match settings.store.writers {
                Writers::Many => Arc::new(s3),
                Writers::Single => {
                    let timing = WriterLease { valid_for: WRITER_LEASE, clock_skew };
                    Arc::new(SingleWriter::new(s3, timing))
                }
            }
        }
    })
}

/// Opens the store and tests that it does what the registry relies on. An error if it does not.
pub(super) async fn test_store(
    settings: &Settings,
    metrics: &Metrics,
) -> Result<(Arc<dyn ObjectStore>, ProbeReport), StartError> {
    let store = open_store(settings, metrics).await?;
    let probing = tracing::info_span!(target: "traces", "store.probe");
    let LeaseSettings { clock_skew, write_deadline, .. } = settings.collection;
    let limits = ProbeLimits { clock_skew, write_deadline };
    let report = store::probe(store.as_ref(), limits).instrument(probing).await?;
    match report.refused() {
        Some(why) => Err(StartError::UnsafeStore(Box::new(report), why)),
        None => Ok((store, report)),
    }
}

/// The Redis of the settings. The prefix and the URL of the store keep the keys of registries apart
/// that share one.
pub fn redis(settings: &Settings, metrics: &Metrics) -> Result<Option<Arc<Redis>>, StartError> {
    let cache = &settings.cache;
    let Some(urls) = &cache.redis else { return Ok(None) };
    let url = settings.store.url.to_string();
    let of_store = Digest::of(Algorithm::Sha256, url.as_bytes()).hex();
    let prefix = format!("{}:{}:", cache.redis_prefix, of_store.get(..8).unwrap_or_default());
    Ok(Some(Redis::start(urls, cache, &prefix, metrics)?))
}

/// The shared cache in a Redis, with the key of the store, which this creates if there is none.
pub async fn shared_cache(
    settings: &Settings,
    redis: Arc<Redis>,
    store: Arc<dyn ObjectStore>,
) -> Result<Arc<dyn Cache>, StartError> {
    let leases = Leases::new(&settings.collection)?;
    Ok(sealed(redis, &read_or_create_cache_key(store, leases).await?))
}

/// The shared cache in a Redis, with this key.
pub(super) fn sealed(redis: Arc<Redis>, key: &MacKey) -> Arc<dyn Cache> {
    Arc::new(RedisCache::new(redis, Seal::new(key), Arc::new(SystemClock)))
}

/// Whether Redis answered at the start.
#[derive(Debug)]
pub(super) enum RedisState {
    NotConfigured,
    Reachable,
    /// Why not.
    Unreachable(String),
}

impl RedisState {
    pub(super) async fn of(redis: Option<&Redis>) -> Self {
        match redis {
            None => Self::NotConfigured,
            Some(redis) => redis.ping().await.map_or_else(Self::Unreachable, |()| Self::Reachable),
        }
    }
}

impl fmt::Display for RedisState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotConfigured => "none",
            Self::Reachable => "reachable",
            Self::Unreachable(_) => "not reachable",
        })
    }
}
