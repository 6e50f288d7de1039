//! The store as the registry writes through it: no write goes past the cache.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;

use super::Inner;
use crate::shared_cache::Key;
use crate::store::{
    self, ByteStream, Deadline, Entry, Listing, Location, MultipartId, ObjectStore, Part, Prefix,
    PresignGet, RecordKey, Version,
};

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

/// The store, with every write made known to the cache.
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
impl ObjectStore for InvalidatingStore {
    async fn read(&self, key: &RecordKey) -> Result<Entry, store::Error> {
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

    async fn is_open(&self, location: &Location, id: &MultipartId) -> Result<bool, store::Error> {
        self.inner.store.is_open(location, id).await
    }

    fn now(&self) -> SystemTime {
        self.inner.store.now()
    }

    fn describe(&self) -> String {
        self.inner.store.describe()
    }
}
