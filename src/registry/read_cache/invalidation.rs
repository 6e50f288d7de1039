//! The record store as the registry writes through it: no write bypasses the cache.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;

use super::Inner;
use crate::shared_cache::Key;
use crate::store::{self, Deadline, Listing, Prefix, Record, RecordKey, RecordStore, Version};

/// What is known of an entry and of the list that it is a row of: a write to it makes both wrong.
/// A write that only changes a row clears its list, too. Whether there was a row before, only the
/// answer of the store could tell, and that may be lost.
fn outdated(key: &RecordKey) -> (Option<Key>, Option<Key>) {
    let fact = || Some(Key::Entry(key.clone()));
    let list = |list| Some(Key::Epoch(list));
    match key {
        RecordKey::Tag(name, _) => (fact(), list(Prefix::Tags(name.clone()))),
        RecordKey::Manifest(..) | RecordKey::Link(..) => (fact(), None),
        RecordKey::Referrer(name, subject, _) => {
            (None, list(Prefix::Referrers(name.clone(), *subject)))
        }
        RecordKey::Repository(_) => (None, list(Prefix::Repositories)),
        RecordKey::Pointer(_)
        | RecordKey::TagIndex(..)
        | RecordKey::Upload(_)
        | RecordKey::Probe(_) => (None, None),
    }
}

/// The record store, with every write made known to the cache.
pub(super) struct InvalidatingStore {
    pub(super) inner: Arc<Inner>,
}

impl std::fmt::Debug for InvalidatingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.store.fmt(f)
    }
}

impl InvalidatingStore {
    /// Whatever the store answered: a write that seems to have failed may have happened.
    async fn wrote(&self, key: &RecordKey) {
        let (fact, list) = outdated(key);
        let forgotten = fact.into_iter().chain(list).map(|key| self.inner.forget(key));
        join_all(forgotten).await;
    }
}

#[async_trait]
impl RecordStore for InvalidatingStore {
    async fn read(&self, key: &RecordKey) -> Result<Record, store::Error> {
        self.inner.store.read(key).await
    }

    async fn create(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, store::Error> {
        let created = self.inner.store.create(key, body, deadline).await;
        self.wrote(key).await;
        created
    }

    async fn replace(
        &self,
        key: &RecordKey,
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

    fn now(&self) -> SystemTime {
        self.inner.store.now()
    }
}
