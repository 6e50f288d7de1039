//! A store that counts the bytes that it receives, may be slow, may drop the content of parts, and
//! may have another clock than the store below it.
//!
//! Dropping makes uploads of any size testable: only the size of a part is kept.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use longshore::store::memory::StoreClock;
use longshore::store::{
    BlobStore, ByteStream, DataObject, Day, Deadline, Error, Listing, Location, MultipartId,
    ObjectStore, OpenMultiparts, Part, Prefix, PresignGet, Record, RecordKey, RecordStore, Removal,
    Version,
};

/// See the [module documentation](self).
pub(crate) struct Metered {
    store: Arc<dyn ObjectStore>,
    forget_parts: bool,
    part_delay: Duration,
    clock: Option<StoreClock>,
    sent: AtomicU64,
    in_flight: AtomicU64,
    in_flight_max: AtomicU64,
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Metered {
    pub(crate) fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            forget_parts: false,
            part_delay: Duration::ZERO,
            clock: None,
            sent: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            in_flight_max: AtomicU64::new(0),
        }
    }

    /// Keeps only the size of a part. The store below must accept small parts.
    pub(crate) fn forgetting_parts(self) -> Self {
        Self { forget_parts: true, ..self }
    }

    /// Delays each part.
    pub(crate) fn slow_parts(self, part_delay: Duration) -> Self {
        Self { part_delay, ..self }
    }

    /// Takes the time from this clock.
    pub(crate) fn with_clock(self, clock: StoreClock) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// The bytes in the bodies of all writes so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// The most bytes of parts that were in flight at once.
    pub(crate) fn in_flight_max(&self) -> u64 {
        self.in_flight_max.load(Ordering::SeqCst)
    }

    fn weigh(&self, bytes: &Bytes) -> u64 {
        let size = bytes.len() as u64;
        self.sent.fetch_add(size, Ordering::SeqCst);
        size
    }
}

#[async_trait]
impl RecordStore for Metered {
    async fn read(&self, key: &RecordKey) -> Result<Record, Error> {
        self.store.read(key).await
    }

    async fn create(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        self.weigh(&body);
        self.store.create(key, body, deadline).await
    }

    async fn replace(
        &self,
        key: &RecordKey,
        expected: &Version,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        self.weigh(&body);
        self.store.replace(key, expected, body, deadline).await
    }

    async fn remove(&self, key: &RecordKey, expected: &Version) -> Result<Removal, Error> {
        self.store.remove(key, expected).await
    }

    async fn discard(&self, key: &RecordKey, expected: &Version) -> Result<(), Error> {
        self.store.discard(key, expected).await
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        self.store.list(prefix, after, limit).await
    }

    fn now(&self) -> SystemTime {
        self.clock.as_ref().map_or_else(|| self.store.now(), |clock| clock())
    }
}

#[async_trait]
impl BlobStore for Metered {
    async fn put(
        &self,
        location: &Location,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
    ) -> Result<Version, Error> {
        self.weigh(&bytes);
        self.store.put(location, bytes, sha256).await
    }

    async fn head(&self, location: &Location) -> Result<Option<DataObject>, Error> {
        self.store.head(location).await
    }

    async fn get(
        &self,
        location: &Location,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, Error> {
        self.store.get(location, range).await
    }

    async fn delete(&self, location: &Location) -> Result<(), Error> {
        self.store.delete(location).await
    }

    async fn presign_get(
        &self,
        location: &Location,
        options: PresignGet,
    ) -> Result<Option<String>, Error> {
        self.store.presign_get(location, options).await
    }

    async fn start(&self, location: &Location) -> Result<MultipartId, Error> {
        self.store.start(location).await
    }

    async fn put_part(
        &self,
        location: &Location,
        id: &MultipartId,
        number: u32,
        bytes: Bytes,
    ) -> Result<Part, Error> {
        let size = self.weigh(&bytes);
        let now = self.in_flight.fetch_add(size, Ordering::SeqCst) + size;
        self.in_flight_max.fetch_max(now, Ordering::SeqCst);
        if !self.part_delay.is_zero() {
            tokio::time::sleep(self.part_delay).await;
        }
        let kept = if self.forget_parts { Bytes::new() } else { bytes.clone() };
        let part = self.store.put_part(location, id, number, kept).await;
        // Frees the bytes only now, as a real request does.
        drop(bytes);
        self.in_flight.fetch_sub(size, Ordering::SeqCst);
        Ok(Part { size, ..part? })
    }

    async fn complete(
        &self,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<Version, Error> {
        self.store.complete(location, id, parts).await
    }

    async fn abort(&self, location: &Location, id: &MultipartId) -> Result<(), Error> {
        self.store.abort(location, id).await
    }

    async fn is_open(&self, location: &Location, id: &MultipartId) -> Result<bool, Error> {
        self.store.is_open(location, id).await
    }

    async fn list_days(&self) -> Result<Vec<Day>, Error> {
        self.store.list_days().await
    }

    async fn list_data(
        &self,
        day: &Day,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        self.store.list_data(day, after, limit).await
    }

    async fn list_multiparts(&self, limit: usize) -> Result<OpenMultiparts, Error> {
        self.store.list_multiparts(limit).await
    }
}

#[async_trait]
impl ObjectStore for Metered {
    fn describe(&self) -> String {
        format!("metered: {}", self.store.describe())
    }

    async fn list_objects(&self, after: Option<&str>, limit: usize) -> Result<Listing, Error> {
        self.store.list_objects(after, limit).await
    }
}
