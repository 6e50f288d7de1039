//! Reading a whole bucket: its lists page by page, many records at once, at a limited rate.
//!
//! Nothing here uses the read cache, which is for requests of clients.

mod repositories;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::{Instant, sleep_until};

pub use self::repositories::{REPOSITORY_RECORDS_MAX, RepositoryLists, RepositoryRows};

use crate::layout::encoding::is_tombstone;
use crate::store::{
    self, ByteStream, DataObject, Listed, Listing, Location, MultipartId, ObjectPages, ObjectStore,
    OpenMultipart, Record, RecordKey, RecordPages, Version,
};

/// Records of one list that are read at once. No list waits for another one: what has been asked
/// for ahead may stand still while the caller looks at one record and asks for more, so a common
/// limit could be used up by requests that stand still.
const READS_AT_ONCE: usize = 15;

/// A reader of a whole bucket.
#[derive(Debug)]
pub struct Walk {
    store: Arc<dyn ObjectStore>,
    rate: Rate,
    requests: AtomicU64,
    /// What is being read, for the progress.
    at: Mutex<String>,
}

/// Why a bucket cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    /// More than is kept in memory.
    #[error("there are more than {0} {1}, and this command keeps no more in memory")]
    TooMany(usize, &'static str),
}

/// What a key holds.
#[derive(Debug)]
pub enum Found {
    /// The record was never created, or its tombstone was removed.
    Absent,
    Tombstone,
    Live(Record),
}

/// A live record in a list.
#[derive(Clone, Debug)]
pub struct Row {
    pub key: RecordKey,
    pub version: Version,
    pub written: SystemTime,
}

/// A page of a list, without its tombstones.
#[derive(Debug)]
pub struct Page {
    pub rows: Vec<Row>,
    /// Keys of another layout, or of another program.
    pub foreign: Vec<String>,
    /// The store's clock when it answered.
    pub now: SystemTime,
}

impl Found {
    pub fn live(self) -> Option<Record> {
        if let Self::Live(record) = self { Some(record) } else { None }
    }
}

impl Walk {
    /// A reader that sends at most so many requests in a second.
    pub fn new(store: Arc<dyn ObjectStore>, requests_per_second: Option<u32>) -> Self {
        Self {
            store,
            rate: Rate::new(requests_per_second.map(u64::from)),
            requests: AtomicU64::new(0),
            at: Mutex::default(),
        }
    }

    /// Sends a request when it may be sent.
    async fn ask<'a, T, F>(&'a self, request: impl FnOnce(&'a dyn ObjectStore) -> F) -> T
    where
        F: Future<Output = T>,
    {
        self.rate.take(1).await;
        self.requests.fetch_add(1, Ordering::Relaxed);
        request(self.store.as_ref()).await
    }

    /// Says what is read from now on.
    pub fn begin(&self, what: impl Into<String>) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = what.into();
    }

    /// How far the reader is, in a few words.
    pub fn progress(&self) -> String {
        let requests = self.requests.load(Ordering::Relaxed);
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{at}, {requests} requests so far")
    }

    /// Reads a record.
    pub async fn read(&self, key: &RecordKey) -> Result<Found, store::Error> {
        match self.ask(|store| store.read(key)).await {
            Ok(record) if is_tombstone(record.body.len() as u64) => Ok(Found::Tombstone),
            Ok(record) => Ok(Found::Live(record)),
            Err(store::Error::NotFound) => Ok(Found::Absent),
            Err(error) => Err(error),
        }
    }

    /// Reads records that were listed, in their order, without those that were deleted since.
    pub fn read_all<'a>(
        &'a self,
        rows: impl IntoIterator<Item = Row, IntoIter: Send + 'a>,
    ) -> impl Stream<Item = Result<(Row, Record), store::Error>> + Send + 'a {
        let read = move |row: Row| async move {
            let found = self.read(&row.key).await?;
            Ok(found.live().map(|record| (row, record)))
        };
        let reads = stream::iter(rows).map(read).buffered(READS_AT_ONCE);
        reads.filter_map(|read| std::future::ready(read.transpose()))
    }

    /// The next page of records, `None` after the last one.
    pub async fn records(&self, pages: &mut RecordPages) -> Result<Option<Page>, store::Error> {
        let page = self.ask(|store| pages.next(store)).await?;
        Ok(page.map(Page::of))
    }

    /// The next page of all objects, `None` after the last one.
    pub async fn objects(&self, pages: &mut ObjectPages) -> Result<Option<Listing>, store::Error> {
        self.ask(|store| pages.next(store)).await
    }

    /// What is at a location, `None` if there is certainly nothing.
    pub async fn head(&self, location: &Location) -> Result<Option<DataObject>, store::Error> {
        if let Some(found) = self.ask(|store| store.head(location)).await? {
            return Ok(Some(found));
        }
        // The 404 of a HEAD may be that of a proxy. Only a GET can tell.
        match self.ask(|store| store.get(location, None)).await {
            Ok(_) => match self.ask(|store| store.head(location)).await? {
                Some(found) => Ok(Some(found)),
                None => Err(store::Error::Refused(format!("a GET finds {location}, a HEAD not"))),
            },
            Err(store::Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the data at a location.
    pub async fn get(&self, location: &Location) -> Result<ByteStream, store::Error> {
        self.ask(|store| store.get(location, None)).await
    }

    /// Whether a multipart upload still has its parts.
    pub async fn is_open(
        &self,
        location: &Location,
        id: &MultipartId,
    ) -> Result<bool, store::Error> {
        self.ask(|store| store.is_open(location, id)).await
    }

    /// The multipart uploads in progress, as far as the store lists them.
    pub async fn multiparts(&self, limit: usize) -> Result<Vec<OpenMultipart>, store::Error> {
        Ok(self.ask(|store| store.list_multiparts(limit)).await?.rows)
    }
}

impl Page {
    /// The page of a list.
    pub fn of(listing: Listing) -> Self {
        let (mut rows, mut foreign) = (Vec::new(), Vec::new());
        for Listed { key, size, version, written } in listing.rows {
            match key.parse() {
                Err(_) => foreign.push(key),
                Ok(_) if is_tombstone(size) => {}
                Ok(key) => rows.push(Row { key, version, written }),
            }
        }
        Self { rows, foreign, now: listing.now }
    }
}

/// A limit on what happens in a second. Callers wait in turn.
#[derive(Debug)]
pub struct Rate {
    per_second: Option<u64>,
    /// When what was taken so far has passed.
    free_at: Mutex<Instant>,
}

impl Rate {
    /// No limit without a number.
    pub fn new(per_second: Option<u64>) -> Self {
        Self { per_second, free_at: Mutex::new(Instant::now()) }
    }

    /// Waits until so much more may happen.
    pub async fn take(&self, amount: u64) {
        let Some(per_second) = self.per_second else { return };
        let begins = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let begins = (*free_at).max(Instant::now());
            let nanos = u128::from(amount) * 1_000_000_000 / u128::from(per_second.max(1));
            *free_at = begins + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            begins
        };
        sleep_until(begins).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept() {
        let began = Instant::now();
        let rate = Rate::new(Some(10));
        for _ in 0..21 {
            rate.take(1).await;
        }
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        Rate::new(None).take(u64::MAX).await;
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }
}
