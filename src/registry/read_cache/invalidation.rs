//! The records of the store, with every write followed by an invalidation of the cache.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use tracing::Instrument as _;

use super::layers::ReadCache;
use crate::shared_cache::Key;
use crate::store::{
    self, Deadline, Listing, Prefix, Record, RecordKey, RecordStore, Removal, Version,
};

/// The cache keys that a write to a record makes obsolete: its own, and that of the list in which
/// it is a row. A write that only changes a row invalidates the list, too: only the response of the
/// store could tell whether the row was there before, and that response may be lost.
fn obsolete(key: &RecordKey) -> (Option<Key>, Option<Key>) {
    let record = || Some(Key::Record(key.clone()));
    let list = |list| Some(Key::Epoch(list));
    match key {
        RecordKey::Tag(name, _) => (record(), list(Prefix::Tags(name.clone()))),
        RecordKey::Manifest(..) | RecordKey::Link(..) => (record(), None),
        RecordKey::Referrer(name, subject, _) => {
            (None, list(Prefix::Referrers(name.clone(), *subject)))
        }
        RecordKey::Repository(_) => (None, list(Prefix::Repositories)),
        RecordKey::Pointer(_)
        | RecordKey::TagIndex(..)
        | RecordKey::Upload(_)
        | RecordKey::Settings
        | RecordKey::CacheKey
        | RecordKey::TokenKeys
        | RecordKey::Usage
        | RecordKey::Probe(_)
        | RecordKey::Writer(_)
        | RecordKey::Collector
        | RecordKey::CollectorRun
        | RecordKey::Seen(_)
        | RecordKey::Quarantined(..)
        | RecordKey::TagHistory(..)
        | RecordKey::Event(_) => (None, None),
    }
}

pub(super) struct InvalidatingStore {
    pub(super) cache: Arc<ReadCache>,
}

impl std::fmt::Debug for InvalidatingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.cache.store.fmt(f)
    }
}

impl InvalidatingStore {
    /// Sends a write and then invalidates what it makes obsolete, even if it failed: it may have
    /// reached the store. Both are one task, so that a caller that is dropped cannot stop the
    /// invalidation of a write that was sent.
    async fn write<T, F>(
        &self,
        key: &RecordKey,
        write: impl FnOnce(Arc<dyn RecordStore>, RecordKey) -> F,
    ) -> Result<T, store::Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, store::Error>> + Send + 'static,
    {
        let (record, list) = obsolete(key);
        let keys: Vec<Key> = record.into_iter().chain(list).collect();
        let write = write(self.cache.store.clone(), key.clone());
        if keys.is_empty() {
            return write.await;
        }
        let cache = self.cache.clone();
        let written = self.cache.tasks.spawn(
            async move {
                let written = write.await;
                join_all(keys.into_iter().map(|key| cache.invalidate(key))).await;
                written
            }
            .in_current_span(),
        );
        written.await.unwrap_or_else(|ended| Err(store::Error::Unavailable(ended.to_string())))
    }
}

#[async_trait]
impl RecordStore for InvalidatingStore {
    async fn read(&self, key: &RecordKey) -> Result<Record, store::Error> {
        self.cache.store.read(key).await
    }

    async fn create(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, store::Error> {
        self.write(key, |store, key| async move { store.create(&key, body, deadline).await }).await
    }

    async fn replace(
        &self,
        key: &RecordKey,
        expected: &Version,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, store::Error> {
        let expected = expected.clone();
        let replace = |store: Arc<dyn RecordStore>, key: RecordKey| async move {
            store.replace(&key, &expected, body, deadline).await
        };
        self.write(key, replace).await
    }

    async fn remove(&self, key: &RecordKey, expected: &Version) -> Result<Removal, store::Error> {
        let expected = expected.clone();
        let remove = |store: Arc<dyn RecordStore>, key: RecordKey| async move {
            store.remove(&key, &expected).await
        };
        self.write(key, remove).await
    }

    async fn discard(&self, key: &RecordKey, expected: &Version) -> Result<(), store::Error> {
        let expected = expected.clone();
        let discard = |store: Arc<dyn RecordStore>, key: RecordKey| async move {
            store.discard(&key, &expected).await
        };
        self.write(key, discard).await
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, store::Error> {
        self.cache.store.list(prefix, after, limit).await
    }

    fn now(&self) -> SystemTime {
        self.cache.store.now()
    }
}
