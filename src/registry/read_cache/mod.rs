//! ReadCache for readers: what a tag points at, a manifest, where a blob is, a page of a list. Cached.
//!
//! A lookup goes to the memory of this process, then to the shared cache, then to the store; one
//! load per key is under way at a time. Only readers look here: whoever is about to write reads the
//! store itself.
//!
//! Every write to an entry that may be cached passes [`InvalidatingStore`], which forgets the key after the
//! store has answered and before anybody else does. No writer can leave it out.

mod invalidation;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::{BoxFuture, Shared, ready};
use futures_util::{FutureExt, TryFutureExt};
use quick_cache::Weighter;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use self::invalidation::InvalidatingStore;
use super::blobs::{Blob, cached_blob};
use super::lease::Leases;
use super::lists::Kept;
use super::manifests::{StoredManifest, cached_manifest};
use super::tags::{TagTarget, cached_tag};
use super::{Error, record};
use crate::shared_cache::{Cache, Key, Lookup};
use crate::store::{self, Prefix, Record, RecordKey, RecordStore};
use crate::telemetry::metrics::{CacheLayer, CacheResult, Metrics};

/// How long a reader waits for the load of another one before it loads on its own.
const FOLLOW_MAX: Duration = Duration::from_secs(5);
/// How long it is remembered that nothing is there. A write makes it forgotten at once.
const ABSENT_TTL: Duration = Duration::from_secs(1);
/// Bytes of a value that the shared cache is given; larger manifests stay in this process, and
/// larger pages are not kept at all.
const SHARED_BYTES_MAX: usize = 256 * 1024;
/// Bytes that one entry of the cache costs beside what it holds.
const OVERHEAD_BYTES: usize = 200;

/// How facts are cached.
#[derive(Clone, Copy, Debug)]
pub struct Caching {
    /// Bytes of facts that this process keeps.
    pub local_bytes: usize,
    /// How long this process believes a fact without asking anybody. With one process over a store
    /// every write passes it, and this may be long; with several it is how late one of them may
    /// see what another one wrote.
    pub local_ttl: Duration,
    /// How long the shared cache keeps what a tag points at, and pages of lists.
    pub tag_ttl: Duration,
    /// How long the shared cache keeps manifests and links.
    pub ttl: Duration,
    /// Tags and lists are read from the store each time.
    pub strict_tags: bool,
}

/// What is known of a key.
#[derive(Clone, Debug)]
pub(super) enum CachedRecord {
    /// Nothing is there.
    Absent,
    /// A tag.
    Tag(TagTarget),
    /// A manifest.
    Manifest(Arc<StoredManifest>),
    /// A link of a blob, and whether it was so young that its reader may rely on it.
    Blob(Arc<Blob>, bool),
    /// The epoch of a list.
    Epoch(Box<str>),
    /// A page of a list, as whoever asked for it has written it down.
    Page(Bytes),
}

/// A fact, and the entry that says so. A page has none.
struct Found {
    fact: CachedRecord,
    entry: Option<Record>,
}

/// How a key is loaded that no cache knows.
type Origin<'a> = &'a (dyn Fn() -> BoxFuture<'static, Result<Found, store::Error>> + Send + Sync);

#[derive(Clone)]
struct Cached {
    fact: CachedRecord,
    until: Instant,
}

#[derive(Clone)]
struct Weights;

impl Weighter<Key, Cached> for Weights {
    fn weight(&self, _: &Key, cached: &Cached) -> u64 {
        let bytes = match &cached.fact {
            CachedRecord::Absent | CachedRecord::Tag(_) | CachedRecord::Epoch(_) => 0,
            CachedRecord::Manifest(manifest) => manifest.bytes.len(),
            CachedRecord::Blob(blob, _) => blob.inline_bytes(),
            CachedRecord::Page(page) => page.len(),
        };
        (bytes + OVERHEAD_BYTES) as u64
    }
}

type Loading = Shared<BoxFuture<'static, Result<CachedRecord, store::Error>>>;

/// A load that is under way. It stops counting when somebody writes.
struct Flight {
    loading: Loading,
    current: Arc<AtomicBool>,
}

/// What readers know.
pub(super) struct ReadCache {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn RecordStore>,
    shared: Option<Arc<dyn Cache>>,
    local: quick_cache::sync::Cache<Key, Cached, Weights>,
    flights: Mutex<HashMap<Key, Flight>>,
    leases: Leases,
    caching: Caching,
    metrics: Metrics,
    tasks: TaskTracker,
}

impl std::fmt::Debug for ReadCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadCache").field("shared", &self.inner.shared).finish_non_exhaustive()
    }
}

impl ReadCache {
    pub(super) fn new(
        store: Arc<dyn RecordStore>,
        shared: Option<Arc<dyn Cache>>,
        leases: Leases,
        caching: Caching,
        metrics: Metrics,
        tasks: TaskTracker,
    ) -> Self {
        let items = (caching.local_bytes / (4 * OVERHEAD_BYTES)).max(16);
        let local =
            quick_cache::sync::Cache::with_weighter(items, caching.local_bytes as u64, Weights);
        let flights = Mutex::default();
        let inner = Inner { store, shared, local, flights, leases, caching, metrics, tasks };
        Self { inner: Arc::new(inner) }
    }

    /// The store, with every write seen by this cache.
    pub(super) fn watched(&self) -> Arc<dyn RecordStore> {
        Arc::new(InvalidatingStore { inner: self.inner.clone() })
    }

    /// What is there under a key.
    pub(super) async fn read(&self, key: RecordKey) -> Result<CachedRecord, Error> {
        let inner = &self.inner;
        if inner.caching.strict_tags && matches!(key, RecordKey::Tag(..)) {
            return Ok(inner.clone().load_entry(key).await?.fact);
        }
        let origin = || inner.clone().load_entry(key.clone()).boxed();
        Ok(inner.look_up(Key::Entry(key.clone()), &origin).await?)
    }

    /// A page of a list, `count` rows after `after`, which `load` reads from the store. Only the
    /// first one is kept, the one that everybody asks for: cursors are texts of clients, and each
    /// of them would be another page.
    pub(super) async fn page<T, F>(
        &self,
        list: Prefix,
        after: &str,
        count: usize,
        load: impl Fn(Arc<dyn RecordStore>) -> F + Send + Sync,
    ) -> Result<T, Error>
    where
        T: Kept + Send + 'static,
        F: Future<Output = Result<T, store::Error>> + Send + 'static,
    {
        let inner = &self.inner;
        // Where nothing outlives its request an epoch would, too, be another one each time.
        let keeps = inner.shared.is_some() || !inner.caching.local_ttl.is_zero();
        if !keeps || inner.caching.strict_tags || count == 0 || !after.is_empty() {
            return Ok(load(inner.store.clone()).await?);
        }
        let another =
            || ready(Ok(Found { fact: CachedRecord::Epoch(record::nonce().into()), entry: None }));
        let epoch = inner.look_up(Key::Epoch(list.clone()), &|| another().boxed()).await?;
        let CachedRecord::Epoch(epoch) = epoch else {
            return Err(store::Error::Damaged(format!("the epoch of {list}")).into());
        };
        let origin = || {
            let page = load(inner.store.clone()).map(|page| page?.write_down());
            page.map_ok(|page| Found { fact: CachedRecord::Page(page), entry: None }).boxed()
        };
        let key = Key::Page { list, epoch, count };
        match inner.look_up(key.clone(), &origin).await? {
            CachedRecord::Page(page) => match T::read_back(&page) {
                Some(page) => Ok(page),
                None => Ok(load(inner.store.clone()).await?),
            },
            _ => Err(store::Error::Damaged(format!("the page {key}")).into()),
        }
    }
}

impl Inner {
    /// What this process knows, what the shared cache knows, or what is loaded now.
    async fn look_up(
        self: &Arc<Self>,
        key: Key,
        origin: Origin<'_>,
    ) -> Result<CachedRecord, store::Error> {
        if let Some(cached) = self.local.get(&key)
            && cached.until > Instant::now()
        {
            self.count(&key, CacheResult::Hit);
            return Ok(cached.fact);
        }
        let (loading, leads) = self.clone().join(&key, origin);
        self.count(&key, if leads { CacheResult::Miss } else { CacheResult::Joined });
        if leads {
            return loading.await;
        }
        match timeout(FOLLOW_MAX, loading).await {
            Ok(loaded) => loaded,
            Err(_) => Ok(origin().await?.fact),
        }
    }

    /// Counts a lookup in the memory of this process.
    fn count(&self, key: &Key, result: CacheResult) {
        if let Some(cached) = key.metric_label() {
            self.metrics.cache_requests.inc((cached, CacheLayer::Local, result));
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Key, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The load of a key that is under way, or a new one.
    fn join(self: Arc<Self>, key: &Key, origin: Origin<'_>) -> (Loading, bool) {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(key) {
            return (flight.loading.clone(), false);
        }
        let current = Arc::new(AtomicBool::new(true));
        // A task of its own: a load whose first reader went away must not be finished later, by
        // somebody who would then read what was true long ago.
        let load = self.clone().load(key.clone(), current.clone(), origin()).in_current_span();
        let load = self.tasks.spawn(load);
        let ended = |_| Err(store::Error::Unavailable("a load was cut off".to_owned()));
        let loading = load.map(move |loaded| loaded.unwrap_or_else(ended)).boxed().shared();
        flights.insert(key.clone(), Flight { loading: loading.clone(), current });
        (loading, true)
    }

    /// Loads a key, and keeps it unless somebody wrote meanwhile.
    async fn load(
        self: Arc<Self>,
        key: Key,
        current: Arc<AtomicBool>,
        origin: BoxFuture<'static, Result<Found, store::Error>>,
    ) -> Result<CachedRecord, store::Error> {
        let landed = Landing { inner: self.clone(), key: key.clone(), current: current.clone() };
        let loaded = self.load_shared(&key, origin).await;
        if let Ok((fact, good_for)) = &loaded
            && !good_for.is_zero()
        {
            // Under the lock of the flights, so that a write is either before this or after it.
            let _flights = self.flights();
            if current.load(Ordering::Acquire) {
                let cached = Cached { fact: fact.clone(), until: Instant::now() + *good_for };
                self.local.insert(key, cached);
            }
        }
        drop(landed);
        loaded.map(|(fact, _)| fact)
    }

    /// How long this process may believe a fact. A link that its reader may rely on is believed no
    /// longer than the reliance is good for.
    fn good_for(&self, fact: &CachedRecord, entry: Option<&Record>) -> Duration {
        let local = self.caching.local_ttl;
        match (fact, entry) {
            (CachedRecord::Absent, _) => local.min(ABSENT_TTL),
            (CachedRecord::Blob(_, true), Some(entry)) => {
                local.min(self.leases.half_life().saturating_sub(entry.age))
            }
            (CachedRecord::Page(page), _) if page.len() > SHARED_BYTES_MAX => Duration::ZERO,
            _ => local,
        }
    }

    async fn load_shared(
        &self,
        key: &Key,
        origin: BoxFuture<'static, Result<Found, store::Error>>,
    ) -> Result<(CachedRecord, Duration), store::Error> {
        let mut token = None;
        if let Some(shared) = &self.shared {
            match shared.get(key).await {
                // A value that does not parse is a miss: another release may have written it.
                Lookup::Hit(value) => {
                    if let Some(fact) = decode(key, &value) {
                        let good_for = self.good_for(&fact, None);
                        return Ok((fact, good_for));
                    }
                }
                Lookup::Miss(taken) => token = taken,
            }
        }
        let Found { fact, entry } = origin.await?;
        if let (Some(shared), Some(token)) = (&self.shared, token) {
            let (value, ttl) = self.encode(key, &fact, entry.as_ref());
            if value.len() <= SHARED_BYTES_MAX {
                shared.fill(key, &token, value, ttl).await;
            }
        }
        let good_for = self.good_for(&fact, entry.as_ref());
        Ok((fact, good_for))
    }

    async fn load_entry(self: Arc<Self>, key: RecordKey) -> Result<Found, store::Error> {
        match self.store.read(&key).await {
            Ok(entry) if entry.body.is_empty() => {
                Ok(Found { fact: CachedRecord::Absent, entry: None })
            }
            Ok(entry) => {
                let young = entry.age < self.leases.half_life();
                let fact = fact(&key, &entry.body, young)?;
                Ok(Found { fact, entry: Some(entry) })
            }
            Err(store::Error::NotFound) => Ok(Found { fact: CachedRecord::Absent, entry: None }),
            Err(error) => Err(error),
        }
    }

    /// The value for the shared cache and how long it is good. A link that its reader may rely on
    /// is kept no longer than the reliance is good for. An epoch is kept as long as its pages: so
    /// none of them is found for longer than that after a write of which the cache never heard.
    fn encode(&self, key: &Key, fact: &CachedRecord, entry: Option<&Record>) -> (Bytes, Duration) {
        let (flag, body) = match (fact, entry) {
            (CachedRecord::Epoch(epoch), _) => (b'e', epoch.as_bytes()),
            (CachedRecord::Page(page), _) => (b'p', page.as_ref()),
            (CachedRecord::Blob(_, true), Some(entry)) => (b'y', entry.body.as_ref()),
            (_, Some(entry)) => (b'o', entry.body.as_ref()),
            (_, None) => return (Bytes::from_static(b"-"), ABSENT_TTL),
        };
        let mut value = BytesMut::with_capacity(1 + body.len());
        value.put_u8(flag);
        value.put_slice(body);
        let mut ttl = match key {
            Key::Entry(RecordKey::Tag(..)) | Key::Epoch(_) | Key::Page { .. } => {
                self.caching.tag_ttl
            }
            Key::Entry(_) => self.caching.ttl,
        };
        if let (b'y', Some(entry)) = (flag, entry) {
            let left = self.leases.half_life().saturating_sub(entry.age);
            ttl = ttl.min(left.saturating_sub(self.caching.local_ttl));
        }
        (value.freeze(), ttl)
    }

    /// Forgets a key that was written, or may have been.
    async fn forget(&self, key: Key) {
        let span = tracing::info_span!(target: "traces", "cache.invalidate", entry.key = %key);
        self.forget_everywhere(&key).instrument(span).await;
    }

    async fn forget_everywhere(&self, key: &Key) {
        {
            let mut flights = self.flights();
            if let Some(flight) = flights.remove(key) {
                flight.current.store(false, Ordering::Release);
            }
            self.local.remove(key);
        }
        if let Some(shared) = &self.shared
            && let Err(stale) = shared.forget(key).await
        {
            tracing::warn!(%key, "{stale}");
        }
    }
}

/// Ends a flight however its load ends, dropped in the middle included.
struct Landing {
    inner: Arc<Inner>,
    key: Key,
    current: Arc<AtomicBool>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = self.inner.flights();
        if self.current.load(Ordering::Acquire) {
            flights.remove(&self.key);
        }
    }
}

fn decode(key: &Key, value: &Bytes) -> Option<CachedRecord> {
    let (flag, body) = (*value.first()?, value.slice(1..));
    match (key, flag) {
        (Key::Entry(_), b'-') => Some(CachedRecord::Absent),
        (Key::Entry(key), b'y' | b'o') => fact(key, &body, flag == b'y').ok(),
        (Key::Epoch(_), b'e') => Some(CachedRecord::Epoch(str::from_utf8(&body).ok()?.into())),
        (Key::Page { .. }, b'p') => Some(CachedRecord::Page(body)),
        _ => None,
    }
}

fn fact(key: &RecordKey, body: &Bytes, young: bool) -> Result<CachedRecord, store::Error> {
    match key {
        RecordKey::Tag(..) => cached_tag(body).map(CachedRecord::Tag),
        RecordKey::Manifest(name, digest) => cached_manifest(name, digest, body)
            .map(|manifest| CachedRecord::Manifest(Arc::new(manifest))),
        RecordKey::Link(_, digest) => {
            cached_blob(digest, body).map(|blob| CachedRecord::Blob(Arc::new(blob), young))
        }
        RecordKey::Pointer(_)
        | RecordKey::TagIndex(..)
        | RecordKey::Referrer(..)
        | RecordKey::Repository(_)
        | RecordKey::Upload(_)
        | RecordKey::Probe(_) => Err(store::Error::Damaged(format!("{key} is never cached"))),
    }
}
