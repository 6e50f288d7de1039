//! The records of the store, at a limited rate.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::registry::LeaseSettings;
use crate::store::{
    self, Deadline, Listing, Prefix, Record, RecordKey, RecordStore, Removal, Version,
};

/// For how long an unused rate is saved up.
const BURST: Duration = Duration::from_millis(100);

/// Records that pass the caches of the registry, and count as requests of the collector.
#[derive(Debug)]
pub(super) struct Paced {
    records: Arc<dyn RecordStore>,
    requests: Throttle,
    bytes: Throttle,
    counted: AtomicU64,
    /// What is being read, for the progress.
    at: Mutex<String>,
}

/// Lets so many units a second pass.
#[derive(Debug)]
struct Throttle {
    per_second: u64,
    next: Mutex<Instant>,
}

impl Throttle {
    fn new(per_second: u64) -> Self {
        Self { per_second: per_second.max(1), next: Mutex::new(Instant::now()) }
    }

    /// Waits until all units that were taken before have passed.
    async fn take(&self, units: u64) {
        let begin = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let begin = (*next).max(now.checked_sub(BURST).unwrap_or(now));
            let nanoseconds = u128::from(units) * 1_000_000_000 / u128::from(self.per_second);
            let lasts = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
            *next = begin + lasts;
            begin
        };
        if begin > Instant::now() {
            sleep_until(begin).await;
        }
    }
}

impl Paced {
    pub(super) fn new(records: Arc<dyn RecordStore>, settings: &LeaseSettings) -> Self {
        let requests = Throttle::new(u64::from(settings.requests_per_second));
        let bytes = Throttle::new(settings.bytes_per_second as u64);
        Self { records, requests, bytes, counted: AtomicU64::new(0), at: Mutex::default() }
    }

    /// Says what is read from now on.
    pub(super) fn begin(&self, what: impl Into<String>) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = what.into();
    }

    /// How far the run is, in a few words.
    pub(super) fn progress(&self) -> String {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{at}, {} requests so far", self.requests())
    }

    /// Waits for its turn to send so many requests, to data or by the registry.
    pub(super) async fn requests_sent(&self, count: u64) {
        self.counted.fetch_add(count, Ordering::Relaxed);
        self.requests.take(count).await;
    }

    /// The requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl RecordStore for Paced {
    async fn read(&self, key: &RecordKey) -> Result<Record, store::Error> {
        self.requests_sent(1).await;
        let record = self.records.read(key).await?;
        self.bytes.take(record.body.len() as u64).await;
        Ok(record)
    }

    async fn create(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, store::Error> {
        self.requests_sent(1).await;
        self.records.create(key, body, deadline).await
    }

    async fn replace(
        &self,
        key: &RecordKey,
        expected: &Version,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, store::Error> {
        self.requests_sent(1).await;
        self.records.replace(key, expected, body, deadline).await
    }

    async fn remove(&self, key: &RecordKey, expected: &Version) -> Result<Removal, store::Error> {
        self.requests_sent(1).await;
        self.records.remove(key, expected).await
    }

    async fn discard(&self, key: &RecordKey, expected: &Version) -> Result<(), store::Error> {
        self.requests_sent(1).await;
        self.records.discard(key, expected).await
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, store::Error> {
        self.requests_sent(1).await;
        self.records.list(prefix, after, limit).await
    }

    fn now(&self) -> SystemTime {
        self.records.now()
    }
}
