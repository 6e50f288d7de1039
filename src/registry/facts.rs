//! Facts for readers: what a tag points at, a manifest, where a blob is. Cached.
//!
//! A lookup goes to the memory of this process, then to the shared cache, then to the store; one
//! load per key is under way at a time. Only readers look here: whoever is about to write reads the
//! store itself.
//!
//! Every write to an entry that may be cached passes [`Watched`], which forgets the key after the
//! store has answered and before anybody else does. No writer can leave it out.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use quick_cache::Weighter;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::Error;
use super::blobs::{Blob, cached_blob};
use super::lease::Leases;
use super::manifests::{StoredManifest, cached_manifest};
use super::tags::{TagTarget, cached_tag};
use crate::cache::{self, Cache, Lookup};
use crate::store::{
    self, ByteStream, Deadline, Entry, EntryKey, Listing, Location, MultipartId, ObjectStore, Part,
    Prefix, PresignGet, Version,
};
use crate::telemetry::metrics::{CacheLayer, CacheResult, Metrics};

/// How long a reader waits for the load of another one before it loads on its own.
const FOLLOW_MAX: Duration = Duration::from_secs(5);
/// How long it is remembered that nothing is there. A write makes it forgotten at once.
const ABSENT_TTL: Duration = Duration::from_secs(1);
/// Bytes of a value that the shared cache is given; larger manifests stay in this process.
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
    /// How long the shared cache keeps what a tag points at.
    pub tag_ttl: Duration,
    /// How long the shared cache keeps manifests and links.
    pub ttl: Duration,
    /// Tags are read from the store each time.
    pub strict_tags: bool,
}

/// What is known of a key.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    /// Nothing is there.
    Absent,
    /// A tag.
    Tag(TagTarget),
    /// A manifest.
    Manifest(Arc<StoredManifest>),
    /// A link of a blob, and whether it was so young that its reader may rely on it.
    Blob(Arc<Blob>, bool),
}

#[derive(Clone)]
struct Cached {
    fact: Fact,
    until: Instant,
}

#[derive(Clone)]
struct Weights;

impl Weighter<EntryKey, Cached> for Weights {
    fn weight(&self, _: &EntryKey, cached: &Cached) -> u64 {
        let bytes = match &cached.fact {
            Fact::Absent | Fact::Tag(_) => 0,
            Fact::Manifest(manifest) => manifest.bytes.len(),
            Fact::Blob(blob, _) => blob.inline_bytes(),
        };
        (bytes + OVERHEAD_BYTES) as u64
    }
}

type Loading = Shared<BoxFuture<'static, Result<Fact, store::Error>>>;

/// A load that is under way. It stops counting when somebody writes.
struct Flight {
    loading: Loading,
    current: Arc<AtomicBool>,
}

/// What readers know.
pub(super) struct Facts {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn ObjectStore>,
    shared: Option<Arc<dyn Cache>>,
    local: quick_cache::sync::Cache<EntryKey, Cached, Weights>,
    flights: Mutex<HashMap<EntryKey, Flight>>,
    leases: Leases,
    caching: Caching,
    metrics: Metrics,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts").field("shared", &self.inner.shared).finish_non_exhaustive()
    }
}

impl Facts {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
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
    pub(super) fn watched(&self) -> Arc<dyn ObjectStore> {
        Arc::new(Watched { inner: self.inner.clone() })
    }

    /// What is there under a key.
    pub(super) async fn read(&self, key: &EntryKey) -> Result<Fact, Error> {
        let inner = &self.inner;
        let strict = inner.caching.strict_tags && matches!(key, EntryKey::Tag(..));
        if strict {
            return Ok(inner.clone().load_from_store(key.clone()).await.map(|(fact, _)| fact)?);
        }
        if let Some(cached) = inner.local.get(key)
            && cached.until > Instant::now()
        {
            inner.count(key, CacheResult::Hit);
            return Ok(cached.fact);
        }
        let (loading, leads) = inner.clone().join(key);
        inner.count(key, if leads { CacheResult::Miss } else { CacheResult::Joined });
        if leads {
            return Ok(loading.await?);
        }
        match timeout(FOLLOW_MAX, loading).await {
            Ok(loaded) => Ok(loaded?),
            Err(_) => Ok(inner.clone().load_from_store(key.clone()).await.map(|(fact, _)| fact)?),
        }
    }
}

impl Inner {
    /// Counts a lookup in the memory of this process.
    fn count(&self, key: &EntryKey, result: CacheResult) {
        if let Some(cached) = cache::counted_as(key) {
            self.metrics.cache_requests.add_one((cached, CacheLayer::Local, result));
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<EntryKey, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The load of a key that is under way, or a new one.
    fn join(self: Arc<Self>, key: &EntryKey) -> (Loading, bool) {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(key) {
            return (flight.loading.clone(), false);
        }
        let current = Arc::new(AtomicBool::new(true));
        // A task of its own: a load whose first reader went away must not be finished later, by
        // somebody who would then read what was true long ago.
        let load = self.clone().load(key.clone(), current.clone()).in_current_span();
        let load = self.tasks.spawn(load);
        let ended = |_| Err(store::Error::Unavailable("a load was cut off".to_owned()));
        let loading = load.map(move |loaded| loaded.unwrap_or_else(ended)).boxed().shared();
        flights.insert(key.clone(), Flight { loading: loading.clone(), current });
        (loading, true)
    }

    /// Loads a key, and keeps it unless somebody wrote meanwhile.
    async fn load(
        self: Arc<Self>,
        key: EntryKey,
        current: Arc<AtomicBool>,
    ) -> Result<Fact, store::Error> {
        let landed = Landing { inner: self.clone(), key: key.clone(), current: current.clone() };
        let loaded = self.clone().load_shared(key.clone()).await;
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
    fn good_for(&self, fact: &Fact, entry: Option<&Entry>) -> Duration {
        let local = self.caching.local_ttl;
        match (fact, entry) {
            (Fact::Absent, _) => local.min(ABSENT_TTL),
            (Fact::Blob(_, true), Some(entry)) => {
                local.min(self.leases.half_life().saturating_sub(entry.age))
            }
            (Fact::Tag(_) | Fact::Manifest(_) | Fact::Blob(..), _) => local,
        }
    }

    async fn load_shared(self: Arc<Self>, key: EntryKey) -> Result<(Fact, Duration), store::Error> {
        let Some(shared) = self.shared.clone() else {
            let (fact, entry) = self.clone().load_from_store(key).await?;
            let good_for = self.good_for(&fact, entry.as_ref());
            return Ok((fact, good_for));
        };
        let token = match shared.get(&key).await {
            Lookup::Hit(value) => match decode(&key, &value) {
                Some(fact) => {
                    let good_for = self.good_for(&fact, None);
                    return Ok((fact, good_for));
                }
                // A value that does not parse is a miss: another release may have written it.
                None => None,
            },
            Lookup::Miss(token) => token,
        };
        let (fact, entry) = self.clone().load_from_store(key.clone()).await?;
        if let Some(token) = token {
            let (value, ttl) = self.encode(&key, &fact, entry.as_ref());
            if value.len() <= SHARED_BYTES_MAX {
                shared.fill(&key, &token, value, ttl).await;
            }
        }
        let good_for = self.good_for(&fact, entry.as_ref());
        Ok((fact, good_for))
    }

    async fn load_from_store(
        self: Arc<Self>,
        key: EntryKey,
    ) -> Result<(Fact, Option<Entry>), store::Error> {
        match self.store.read(&key).await {
            Ok(entry) if entry.body.is_empty() => Ok((Fact::Absent, None)),
            Ok(entry) => {
                let young = entry.age < self.leases.half_life();
                let fact = fact(&key, &entry.body, young)?;
                Ok((fact, Some(entry)))
            }
            Err(store::Error::NotFound) => Ok((Fact::Absent, None)),
            Err(error) => Err(error),
        }
    }

    /// The value for the shared cache and how long it is good. A link that its reader may rely on
    /// is kept no longer than the reliance is good for.
    fn encode(&self, key: &EntryKey, fact: &Fact, entry: Option<&Entry>) -> (Bytes, Duration) {
        let Some(entry) = entry else { return (Bytes::from_static(b"-"), ABSENT_TTL) };
        let young = matches!(fact, Fact::Blob(_, true));
        let mut value = BytesMut::with_capacity(1 + entry.body.len());
        value.put_u8(if young { b'y' } else { b'o' });
        value.put_slice(&entry.body);
        let mut ttl = match key {
            EntryKey::Tag(..) => self.caching.tag_ttl,
            _ => self.caching.ttl,
        };
        if young {
            let left = self.leases.half_life().saturating_sub(entry.age);
            ttl = ttl.min(left.saturating_sub(self.caching.local_ttl));
        }
        (value.freeze(), ttl)
    }

    /// Forgets a key that was written, or may have been.
    async fn forget(&self, key: &EntryKey) {
        let span = tracing::info_span!(target: "traces", "cache.invalidate", entry.key = %key);
        self.forget_everywhere(key).instrument(span).await;
    }

    async fn forget_everywhere(&self, key: &EntryKey) {
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
    key: EntryKey,
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

fn decode(key: &EntryKey, value: &Bytes) -> Option<Fact> {
    match value.first()? {
        b'-' => Some(Fact::Absent),
        flag @ (b'y' | b'o') => fact(key, &value.slice(1..), *flag == b'y').ok(),
        _ => None,
    }
}

fn fact(key: &EntryKey, body: &Bytes, young: bool) -> Result<Fact, store::Error> {
    match key {
        EntryKey::Tag(..) => cached_tag(body).map(Fact::Tag),
        EntryKey::Manifest(name, digest) => {
            cached_manifest(name, digest, body).map(|manifest| Fact::Manifest(Arc::new(manifest)))
        }
        EntryKey::Link(_, digest) => {
            cached_blob(digest, body).map(|blob| Fact::Blob(Arc::new(blob), young))
        }
        EntryKey::Pointer(_)
        | EntryKey::TagOf(..)
        | EntryKey::Referrer(..)
        | EntryKey::Repository(_)
        | EntryKey::Upload(_)
        | EntryKey::Probe(_) => Err(store::Error::Damaged(format!("{key} is never cached"))),
    }
}

fn is_cached(key: &EntryKey) -> bool {
    matches!(key, EntryKey::Tag(..) | EntryKey::Manifest(..) | EntryKey::Link(..))
}

/// The store, with every write made known to the cache.
struct Watched {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.store.fmt(f)
    }
}

impl Watched {
    /// Whatever the store answered: a write that seems to have failed may have happened.
    async fn wrote(&self, key: &EntryKey) {
        if is_cached(key) {
            self.inner.forget(key).await;
        }
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn read(&self, key: &EntryKey) -> Result<Entry, store::Error> {
        self.inner.store.read(key).await
    }

    async fn create(
        &self,
        key: &EntryKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, store::Error> {
        let created = self.inner.store.create(key, body, deadline).await;
        self.wrote(key).await;
        created
    }

    async fn replace(
        &self,
        key: &EntryKey,
        expected: &Version,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, store::Error> {
        let replaced = self.inner.store.replace(key, expected, body, deadline).await;
        self.wrote(key).await;
        replaced
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, store::Error> {
        self.inner.store.list(prefix, after, limit).await
    }

    async fn put_bytes(
        &self,
        location: &Location,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
    ) -> Result<(), store::Error> {
        self.inner.store.put_bytes(location, bytes, sha256).await
    }

    async fn get_bytes(
        &self,
        location: &Location,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, store::Error> {
        self.inner.store.get_bytes(location, range).await
    }

    async fn delete_bytes(&self, location: &Location) -> Result<(), store::Error> {
        self.inner.store.delete_bytes(location).await
    }

    async fn presign_get(
        &self,
        location: &Location,
        options: PresignGet,
    ) -> Result<Option<String>, store::Error> {
        self.inner.store.presign_get(location, options).await
    }

    async fn start(&self, location: &Location) -> Result<MultipartId, store::Error> {
        self.inner.store.start(location).await
    }

    async fn put_part(
        &self,
        location: &Location,
        id: &MultipartId,
        number: u32,
        bytes: Bytes,
    ) -> Result<Part, store::Error> {
        self.inner.store.put_part(location, id, number, bytes).await
    }

    async fn complete(
        &self,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<(), store::Error> {
        self.inner.store.complete(location, id, parts).await
    }

    async fn abort(&self, location: &Location, id: &MultipartId) -> Result<(), store::Error> {
        self.inner.store.abort(location, id).await
    }

    fn now(&self) -> SystemTime {
        self.inner.store.now()
    }

    fn describe(&self) -> String {
        self.inner.store.describe()
    }
}
