//! The layers of the cache: the memory of this process, the shared cache, and the store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use quick_cache::Weighter;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::single_flight::{Guard, Joined, SingleFlight};
use super::value::{CachedRecord, Loaded, RecordAge, decode};
use crate::layout::encoding::is_tombstone;
use crate::registry::lease::Leases;
use crate::shared_cache::{Cache, CacheSettings, Key, Lookup, VALUE_BYTES_MAX};
use crate::store::{self, RecordKey, RecordStore};
use crate::tasks::Tasks;
use crate::telemetry::metrics::{CacheLayer, CacheResult, Metrics};

/// How long a reader waits for the load of another reader before it loads by itself.
const FOLLOW_MAX: Duration = Duration::from_secs(5);
/// How long an absent record is cached. A write invalidates it at once.
const ABSENT_TTL: Duration = Duration::from_secs(1);
/// Bytes that a cached value costs beside its content.
const OVERHEAD_BYTES: usize = 200;

/// Loads a key that is in no cache.
type Origin<'a> = &'a (dyn Fn() -> BoxFuture<'static, Result<Loaded, store::Error>> + Send + Sync);

#[derive(Clone)]
struct Cached {
    value: CachedRecord,
    until: Instant,
}

#[derive(Clone)]
struct Weights;

impl Weighter<Key, Cached> for Weights {
    fn weight(&self, _: &Key, cached: &Cached) -> u64 {
        (cached.value.content_bytes() + OVERHEAD_BYTES) as u64
    }
}

/// The read cache of the registry: the three layers, and the loads that are under way.
pub(in crate::registry) struct ReadCache {
    pub(super) store: Arc<dyn RecordStore>,
    pub(super) shared: Option<Arc<dyn Cache>>,
    local: quick_cache::sync::Cache<Key, Cached, Weights>,
    loads: SingleFlight<CachedRecord>,
    leases: Leases,
    pub(super) caching: CacheSettings,
    metrics: Metrics,
    pub(super) tasks: Tasks,
}

impl std::fmt::Debug for ReadCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadCache").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl ReadCache {
    pub(in crate::registry) fn new(
        store: Arc<dyn RecordStore>,
        shared: Option<Arc<dyn Cache>>,
        leases: Leases,
        caching: CacheSettings,
        metrics: &Metrics,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let (items, bytes) = (caching.local_bytes / (4 * OVERHEAD_BYTES), caching.local_bytes);
        let local = quick_cache::sync::Cache::with_weighter(items.max(16), bytes as u64, Weights);
        let (loads, metrics, tasks) = (SingleFlight::new(), metrics.clone(), tasks.clone());
        Arc::new(Self { store, shared, local, loads, leases, caching, metrics, tasks })
    }

    /// The value of a key: from this process, from the shared cache, or from `origin`.
    pub(super) async fn look_up(
        self: &Arc<Self>,
        key: Key,
        origin: Origin<'_>,
    ) -> Result<CachedRecord, store::Error> {
        if let Some(cached) = self.local.get(&key)
            && cached.until > Instant::now()
        {
            self.count(&key, CacheResult::Hit);
            return Ok(cached.value);
        }
        Box::pin(self.look_up_shared(key, origin)).await
    }

    /// The value of a key that this process does not have.
    async fn look_up_shared(
        self: &Arc<Self>,
        key: Key,
        origin: Origin<'_>,
    ) -> Result<CachedRecord, store::Error> {
        let (cache, load_key) = (self.clone(), key.clone());
        let from_origin = origin();
        let load = |guard| cache.load(load_key, guard, from_origin);
        match self.loads.join(&key, &self.tasks, load) {
            Joined::Leader(loading) => {
                self.count(&key, CacheResult::Miss);
                loading.await
            }
            Joined::Follower(loading) => {
                self.count(&key, CacheResult::Joined);
                match timeout(FOLLOW_MAX, loading).await {
                    Ok(loaded) => loaded,
                    Err(_) => Ok(origin().await?.value),
                }
            }
        }
    }

    /// Counts a lookup in the memory of this process.
    fn count(&self, key: &Key, result: CacheResult) {
        if let Some(cached) = key.metric_label() {
            self.metrics.cache_requests.inc((cached, CacheLayer::Local, result));
        }
    }

    /// Loads a key, and caches its value unless the key is invalidated meanwhile.
    async fn load(
        self: Arc<Self>,
        key: Key,
        guard: Guard<CachedRecord>,
        origin: BoxFuture<'static, Result<Loaded, store::Error>>,
    ) -> Result<CachedRecord, store::Error> {
        let (value, ttl) = self.load_shared(&key, origin).await?;
        if !ttl.is_zero() {
            guard.if_current(|| {
                let cached = Cached { value: value.clone(), until: Instant::now() + ttl };
                self.local.insert(key, cached);
            });
        }
        Ok(value)
    }

    /// How long this process may use a value. A fresh link or manifest is used no longer than it is
    /// fresh.
    fn local_ttl(&self, value: &CachedRecord, age: Option<Duration>) -> Duration {
        let local = self.caching.local_ttl;
        match value {
            CachedRecord::Absent => local.min(ABSENT_TTL),
            CachedRecord::Link(_, RecordAge::Fresh)
            | CachedRecord::Manifest(_, RecordAge::Fresh) => {
                age.map_or(local, |age| local.min(self.leases.half_life().saturating_sub(age)))
            }
            CachedRecord::Page(page) if page.len() > VALUE_BYTES_MAX => Duration::ZERO,
            CachedRecord::Tag(_)
            | CachedRecord::Manifest(_, RecordAge::NeedsLease)
            | CachedRecord::Link(_, RecordAge::NeedsLease)
            | CachedRecord::Epoch(_)
            | CachedRecord::Page(_) => local,
        }
    }

    /// How long the shared cache may keep a value. A fresh link or manifest is kept no longer than
    /// it is fresh. An epoch is kept as long as its pages, so that no page is served for longer
    /// than that after a write whose invalidation was lost.
    fn shared_ttl(&self, key: &Key, loaded: &Loaded) -> Duration {
        let ttl = match key {
            Key::Record(RecordKey::Tag(..)) | Key::Epoch(_) | Key::Page { .. } => {
                self.caching.tag_ttl
            }
            Key::Record(_) => self.caching.ttl,
        };
        if let CachedRecord::Absent = loaded.value {
            return ABSENT_TTL;
        }
        if let (
            CachedRecord::Link(_, RecordAge::Fresh) | CachedRecord::Manifest(_, RecordAge::Fresh),
            Some((_, age)),
        ) = (&loaded.value, &loaded.record)
        {
            let left = self.leases.half_life().saturating_sub(*age);
            return ttl.min(left.saturating_sub(self.caching.local_ttl));
        }
        ttl
    }

    async fn load_shared(
        &self,
        key: &Key,
        origin: BoxFuture<'static, Result<Loaded, store::Error>>,
    ) -> Result<(CachedRecord, Duration), store::Error> {
        let mut token = None;
        if let Some(shared) = &self.shared {
            match shared.get(key).await {
                Lookup::Hit(value) => {
                    if let Some(value) = decode(key, &value) {
                        let ttl = self.local_ttl(&value, None);
                        return Ok((value, ttl));
                    }
                }
                Lookup::Miss(taken) => token = taken,
            }
        }
        let loaded = origin.await?;
        if let (Some(shared), Some(token)) = (&self.shared, token) {
            let value = loaded.encode();
            if value.len() <= VALUE_BYTES_MAX {
                shared.fill(key, &token, value, self.shared_ttl(key, &loaded)).await;
            }
        }
        let ttl = self.local_ttl(&loaded.value, loaded.record.map(|(_, age)| age));
        Ok((loaded.value, ttl))
    }

    /// Reads a record from the store.
    pub(super) async fn read_record(
        self: Arc<Self>,
        key: RecordKey,
    ) -> Result<Loaded, store::Error> {
        match self.store.read(&key).await {
            Ok(record) if is_tombstone(record.body.len() as u64) => {
                Ok(Loaded::without_record(CachedRecord::Absent))
            }
            Ok(record) => {
                let fresh = record.age < self.leases.half_life();
                let age = if fresh { RecordAge::Fresh } else { RecordAge::NeedsLease };
                let value = CachedRecord::from_record(&key, &record.body, age)?;
                Ok(Loaded { value, record: Some((record.body, record.age)) })
            }
            Err(store::Error::NotFound) => Ok(Loaded::without_record(CachedRecord::Absent)),
            Err(error) => Err(error),
        }
    }

    /// Removes a key from all caches, because it was or may have been written, or has to be read
    /// from the store.
    pub(super) async fn invalidate(&self, key: Key) {
        let span = tracing::info_span!(target: "traces", "cache.invalidate", record.key = %key);
        let invalidating = async {
            self.forget(&key);
            if let Some(shared) = &self.shared {
                shared.invalidate(&key).await;
                // Until now a reader could take the old value from the shared cache.
                self.forget(&key);
            }
        };
        invalidating.instrument(span).await;
    }

    /// Removes a key from the memory of this process, and makes a load that is under way obsolete.
    fn forget(&self, key: &Key) {
        self.loads.invalidate(key, || {
            self.local.remove(key);
        });
    }
}
