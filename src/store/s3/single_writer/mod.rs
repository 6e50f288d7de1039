//! Single-writer mode: a bucket without conditional writes, which one process uses at a time.
//!
//! The process holds a [lease] in the bucket and decides the conditions of its writes
//! itself: it locks the key, reads the record, compares the version and writes. Two rules make that
//! as safe as a condition of the store:
//!
//! - Every write of a record is a presigned request that the store refuses after the end of the
//!   lease, by the store's own clock. What this process has sent cannot take effect after another
//!   process has taken over.
//! - A write without a definite answer may take effect until its deadline. Until then this process
//!   sends no other write to the same record: it could be undone.
//!
//! Reads, lists and the data of blobs need no condition and go to the store as they are.

mod data;
mod lease;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::RwLock;
use tokio::time::Instant;
use tracing::Instrument as _;

pub use self::lease::WriterLease;

use self::lease::{AGE_RESOLUTION, Lease};
use super::client::S3;
use super::deadline::Dated;
use crate::store::{
    Deadline, Dialect, Error, Listing, ObjectStore, Prefix, Record, RecordKey, RecordStore,
    Removal, Version,
};
use crate::tasks::Tasks;

/// Locks of keys; two keys with one lock wait for each other.
const LOCKS: usize = 1024;
/// How long the end of the process waits for writes under way.
const WRITES_END_MAX: Duration = Duration::from_secs(10);

/// A bucket that only this process writes to. The head of this file has the protocol.
#[derive(Clone, Debug)]
pub struct SingleWriter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    s3: S3,
    clock: StoreClock,
    lease: Lease,
    /// Held for writing once, when the process ends.
    writing: RwLock<()>,
    hasher: RandomState,
    locks: Vec<tokio::sync::Mutex<LateWrites>>,
}

/// Records with a write that may still take effect, and the store's time after which it cannot.
type LateWrites = HashMap<RecordKey, SystemTime>;

/// The time at the store, never later than it is: the `Date` of an answer, and what has passed
/// since.
#[derive(Debug, Default)]
struct StoreClock(Mutex<Option<(Instant, SystemTime)>>);

impl StoreClock {
    fn set(&self, date: SystemTime) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), date));
    }

    fn get(&self) -> Option<SystemTime> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.map(|(at, date)| date + at.elapsed())
    }
}

impl SingleWriter {
    /// The bucket, which must not be used in any other way. Writes fail before
    /// [`ObjectStore::begin_writing`], except those of the probe.
    pub fn new(s3: S3, timing: WriterLease) -> Self {
        let locks = std::iter::repeat_with(tokio::sync::Mutex::default).take(LOCKS).collect();
        Self(Arc::new(Inner {
            s3,
            clock: StoreClock::default(),
            lease: Lease::new(timing),
            writing: RwLock::default(),
            hasher: RandomState::new(),
            locks,
        }))
    }

    /// Writes a record that has the version `expected`, or does not exist. A dropped caller does
    /// not stop this: the outcome of every write that was sent has to be known here.
    async fn write(
        &self,
        key: &RecordKey,
        expected: Option<&Version>,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        let (inner, key, expected) = (self.0.clone(), key.clone(), expected.cloned());
        let deciding = async move { inner.write(&key, expected.as_ref(), body, deadline).await };
        let decided = Tasks::new().spawn(deciding.in_current_span()).await;
        decided.map_err(|error| Error::Unavailable(error.to_string())).flatten()
    }
}

impl Inner {
    fn lock_of(&self, key: &RecordKey) -> &tokio::sync::Mutex<LateWrites> {
        let hash = usize::try_from(self.hasher.hash_one(key) % LOCKS as u64).unwrap_or_default();
        &self.locks[hash]
    }

    async fn write(
        &self,
        key: &RecordKey,
        expected: Option<&Version>,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        let _writing = self.writing.read().await;
        let mut late = self.lock_of(key).lock().await;
        self.lease.end_for(key)?;
        let now = self.store_time().await?;
        if late.get(key).is_some_and(|end| now <= *end) {
            let unknown = "an earlier write to the same record may still take effect";
            return Err(Error::Unavailable(unknown.to_owned()));
        }
        late.retain(|_, end| now <= *end);
        let found = match self.s3.read(key).await {
            Ok(Record { version, .. }) => Some(version),
            Err(Error::NotFound) => None,
            Err(error) => return Err(error),
        };
        if found.as_ref() != expected {
            return Err(Error::Conflict);
        }
        let deadline = self.deadline(key, deadline).await?;
        let Dated { result, may_come_late } = self.s3.overwrite(key, body, deadline).await;
        if may_come_late {
            let end = deadline.leased_at + deadline.valid_for + AGE_RESOLUTION;
            late.insert(key.clone(), end);
        }
        result
    }

    /// The deadline of a write: the end of the lease, or `given` if that is earlier. It is dated by
    /// the store's clock.
    async fn deadline(&self, key: &RecordKey, given: Option<Deadline>) -> Result<Deadline, Error> {
        let lease = self.lease.end_for(key)?.saturating_duration_since(Instant::now());
        let mut left = lease;
        if let Some(given) = given {
            let end = given.leased_at + given.valid_for;
            match end.duration_since(self.s3.now()) {
                Ok(until_given) => left = left.min(until_given),
                // The store decides that it is too late.
                Err(_) => return Ok(given),
            }
        }
        let valid_for = Duration::from_secs(left.as_secs());
        if !valid_for.is_zero() {
            return Ok(Deadline { leased_at: self.store_time().await?, valid_for });
        }
        Err(if left < lease { Error::Expired } else { self.lease.ended() })
    }

    /// The time at the store.
    async fn store_time(&self) -> Result<SystemTime, Error> {
        if let Some(now) = self.clock.get() {
            return Ok(now);
        }
        let listing = self.s3.list(&Prefix::Writers, None, 1).await?;
        self.clock.set(listing.now);
        Ok(listing.now)
    }

    /// Waits for the writes under way. Whether none of them can still take effect.
    async fn writes_ended(&self) -> bool {
        let Ok(_no_write) = tokio::time::timeout(WRITES_END_MAX, self.writing.write()).await else {
            return false;
        };
        let Some(now) = self.clock.get() else { return true };
        for lock in &self.locks {
            if lock.lock().await.values().any(|end| now <= *end) {
                return false;
            }
        }
        true
    }
}

#[async_trait]
impl RecordStore for SingleWriter {
    async fn read(&self, key: &RecordKey) -> Result<Record, Error> {
        self.0.s3.read(key).await
    }

    async fn create(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        self.write(key, None, body, deadline).await
    }

    async fn replace(
        &self,
        key: &RecordKey,
        expected: &Version,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        self.write(key, Some(expected), body, deadline).await
    }

    /// A deletion cannot be dated, so it could take effect after another process has taken over.
    async fn remove(&self, _: &RecordKey, _: &Version) -> Result<Removal, Error> {
        Ok(Removal::Unsupported)
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        self.0.s3.list(prefix, after, limit).await
    }

    fn now(&self) -> SystemTime {
        self.0.s3.now()
    }
}

#[async_trait]
impl ObjectStore for SingleWriter {
    fn describe(&self) -> String {
        format!("{}, in single-writer mode", self.0.s3.describe())
    }

    async fn list_objects(&self, after: Option<&str>, limit: usize) -> Result<Listing, Error> {
        self.0.s3.list_objects(after, limit).await
    }

    /// The store gets no conditions.
    fn set_dialect(&self, _: Dialect) {}

    async fn begin_writing(&self) -> Result<(), Error> {
        let Inner { s3, clock, lease, .. } = &*self.0;
        lease.take(s3, clock).await?;
        let inner = Arc::downgrade(&self.0);
        Tasks::new().spawn(lease::keep(inner));
        Ok(())
    }

    async fn writing_ended(&self) -> String {
        self.0.lease.lost().await
    }

    async fn end_writing(&self) {
        let Inner { s3, lease, .. } = &*self.0;
        if !lease.stop() {
            return;
        }
        if self.0.writes_ended().await {
            lease.give_back(s3).await;
        } else {
            tracing::warn!("a write may still take effect: the writer's lease runs out by itself");
        }
    }
}
