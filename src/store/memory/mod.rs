//! A store in memory, which ends with the process: `--store memory`, and the store of most tests.
//!
//! One mutex guards everything, so calls are atomic. As on S3, equal bytes give equal versions. A
//! test may set the clock, count the calls, and inject the failures of a real store.

mod calls;
mod faults;
mod in_flight;
mod state;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;

use self::faults::{CallFault, Faults, Truncation, is_conditional};
use self::in_flight::InFlight;
use self::state::{Condition, State};
use super::{
    BlobStore, ByteStream, DataObject, Day, Deadline, Error, Listing, Location, MultipartId,
    ObjectStore, OpenMultiparts, Part, Prefix, PresignGet, Record, RecordKey, RecordStore, Removal,
    Version,
};
use crate::layout::key::data_prefix;

pub use calls::{Calls, Operation};
pub use faults::{Fault, FaultKind, Reported};

/// The least size of a part that is not the last one, as on S3.
const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;

/// Bytes of a chunk of data.
const CHUNK_BYTES: usize = 64 * 1024;

/// The clock of the store, for ages and deadlines.
pub type StoreClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A store in memory. See the [module documentation](self).
pub struct Memory {
    clock: StoreClock,
    presign_base: Option<String>,
    part_bytes_min: u64,
    state: Arc<Mutex<State>>,
    in_flight: Arc<Mutex<InFlight>>,
    calls: Mutex<Calls>,
    faults: Mutex<Faults>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("calls", &self.calls()).finish_non_exhaustive()
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An empty store with the system clock.
    #[expect(clippy::disallowed_methods, reason = "a store has its own clock")]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemTime::now))
    }

    /// An empty store with another clock.
    pub fn with_clock(clock: StoreClock) -> Self {
        Self {
            clock,
            presign_base: None,
            part_bytes_min: PART_BYTES_MIN,
            state: Arc::default(),
            in_flight: Arc::default(),
            calls: Mutex::default(),
            faults: Mutex::default(),
        }
    }

    /// Presigns URLs below `base_url`, `memory://bucket` for instance. No server answers them.
    #[must_use]
    pub fn with_presign(self, base_url: impl Into<String>) -> Self {
        Self { presign_base: Some(base_url.into()), ..self }
    }

    /// Sets the smallest size of a part that is not the last one, instead of 5 MiB.
    #[must_use]
    pub fn with_part_bytes_min(self, part_bytes_min: u64) -> Self {
        Self { part_bytes_min, ..self }
    }

    /// The calls so far, failed ones included.
    pub fn calls(&self) -> Calls {
        *locked(&self.calls)
    }

    /// Makes calls fail from now on. Of several faults that match a call the first one applies.
    pub fn inject(&self, fault: Fault) {
        locked(&self.faults).inject(fault);
    }

    /// Removes all faults.
    pub fn heal(&self) {
        locked(&self.faults).clear();
    }

    /// Lets all late and repeated requests reach the store now, in the order in which they were
    /// sent, and returns what the store answers to each.
    pub fn deliver(&self) -> Vec<Result<(), Error>> {
        let requests = locked(&self.in_flight).take();
        requests.map(|effect| effect(&mut locked(&self.state), self.now())).collect()
    }

    /// How many late and repeated requests have not reached the store.
    pub fn undelivered(&self) -> usize {
        locked(&self.in_flight).len()
    }

    /// Every location with data, and its size in bytes, in ascending order.
    pub fn data_objects(&self) -> Vec<(String, u64)> {
        locked(&self.state).data_objects()
    }

    /// How long ago the data of a location was written, or the upload of its parts was started.
    pub fn data_age(&self, location: &Location) -> Option<Duration> {
        locked(&self.state).data_age(location.key().ok()?, self.now())
    }

    /// Every record by its key, tombstones included. Neither counted nor failing.
    pub fn records(&self) -> Vec<(String, Bytes)> {
        locked(&self.state).records()
    }

    /// How many multipart uploads are neither completed nor aborted.
    pub fn open_multiparts(&self) -> usize {
        locked(&self.state).open_multiparts()
    }

    /// A record, `None` if it was never created. Neither counted nor failing.
    pub fn record(&self, key: &RecordKey) -> Option<Record> {
        locked(&self.state).read(&key.to_string(), self.now()).ok()
    }

    /// Counts a call, applies a fault to it, and performs it atomically.
    async fn perform<T>(
        &self,
        operation: Operation,
        subject: String,
        act: impl Fn(&mut State, &str, SystemTime) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        locked(&self.calls).count(operation);
        let fault = locked(&self.faults).of_call(operation, &subject);
        match fault {
            Some(CallFault::FailBefore) => return Err(unavailable("the request was lost")),
            Some(CallFault::Refuse) => return Err(Error::Refused("injected".to_owned())),
            Some(CallFault::TryAgain) => return Err(Error::TryAgain),
            Some(CallFault::Late(after)) => {
                self.send(after, subject, act);
                return Err(unavailable("the request is late"));
            }
            Some(CallFault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(CallFault::FailAfter(_) | CallFault::Again(_) | CallFault::SlowAnswer(_))
            | None => {}
        }
        let outcome = act(&mut locked(&self.state), &subject, self.now());
        let reported = match fault {
            Some(CallFault::FailAfter(reported)) => reported,
            Some(CallFault::Again(after)) => {
                self.send(after, subject, act);
                return outcome;
            }
            Some(CallFault::SlowAnswer(delay)) => {
                tokio::time::sleep(delay).await;
                return outcome;
            }
            _ => return outcome,
        };
        match (reported, outcome) {
            (Reported::Conflict, Ok(_)) if is_conditional(operation) => {
                Err(Error::ConflictAfterRetry)
            }
            // A call that failed fails again in the same way when it is retried.
            (Reported::Conflict, Err(error)) => Err(error),
            (Reported::Conflict | Reported::Unavailable, _) => {
                Err(unavailable("the response was lost"))
            }
        }
    }

    /// Sends a request that reaches the store after some time.
    fn send<T>(
        &self,
        after: Duration,
        subject: String,
        act: impl Fn(&mut State, &str, SystemTime) -> Result<T, Error> + Send + 'static,
    ) {
        InFlight::send(&self.in_flight, (&self.state, &self.clock), after, move |state, now| {
            act(state, &subject, now).map(drop)
        });
    }

    /// How the body of an answer ends too early, if it does.
    fn truncation(&self, operation: Operation, subject: &str) -> Option<Truncation> {
        locked(&self.faults).truncate(operation, subject)
    }
}

#[async_trait]
impl RecordStore for Memory {
    async fn read(&self, key: &RecordKey) -> Result<Record, Error> {
        let key = key.to_string();
        let read = |state: &mut State, key: &str, now| state.read(key, now);
        let record = self.perform(Operation::Read, key.clone(), read).await?;
        match self.truncation(Operation::Read, &key) {
            // A record is returned whole or not at all.
            Some(sent) if sent.after < record.body.len() as u64 => {
                Err(unavailable("the body broke off"))
            }
            Some(_) | None => Ok(record),
        }
    }

    async fn create(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        self.perform(Operation::Create, key.to_string(), move |state, key, now| {
            state.write(key, Condition::Absent, body.clone(), deadline, now)
        })
        .await
    }

    async fn replace(
        &self,
        key: &RecordKey,
        expected: &Version,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        let expected = expected.clone();
        self.perform(Operation::Replace, key.to_string(), move |state, key, now| {
            state.write(key, Condition::Version(&expected), body.clone(), deadline, now)
        })
        .await
    }

    async fn remove(&self, key: &RecordKey, expected: &Version) -> Result<Removal, Error> {
        let expected = expected.clone();
        self.perform(Operation::Remove, key.to_string(), move |state, key, _| {
            Ok(state.remove(key, &expected))
        })
        .await
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        let after = after.map(str::to_owned);
        self.perform(Operation::List, prefix.to_string(), move |state, prefix, now| {
            Ok(state.list(prefix, after.as_deref(), limit, now))
        })
        .await
    }

    fn now(&self) -> SystemTime {
        (self.clock)()
    }
}

#[async_trait]
impl BlobStore for Memory {
    async fn put(
        &self,
        location: &Location,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
    ) -> Result<Version, Error> {
        self.perform(Operation::Put, location.key()?.to_owned(), move |state, location, now| {
            state.put(location, bytes.clone(), sha256, now)
        })
        .await
    }

    async fn head(&self, location: &Location) -> Result<Option<DataObject>, Error> {
        let head = |state: &mut State, location: &str, _| Ok(state.head(location));
        self.perform(Operation::Head, location.key()?.to_owned(), head).await
    }

    async fn get(
        &self,
        location: &Location,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, Error> {
        let get = move |state: &mut State, location: &str, _| state.get(location, range.clone());
        let pieces = self.perform(Operation::Get, location.key()?.to_owned(), get).await?;
        let truncation = self.truncation(Operation::Get, location.key()?);
        Ok(Box::pin(stream::iter(chunks(pieces, truncation))))
    }

    async fn delete(&self, location: &Location) -> Result<(), Error> {
        self.perform(Operation::Delete, location.key()?.to_owned(), |state, location, _| {
            state.delete(location);
            Ok(())
        })
        .await
    }

    async fn presign_get(
        &self,
        location: &Location,
        options: PresignGet,
    ) -> Result<Option<String>, Error> {
        let base = self.presign_base.clone();
        self.perform(Operation::Presign, location.key()?.to_owned(), move |_, location, _| {
            let dated = options.dated.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let valid_for = options.valid_for.as_secs();
            let url = |base| format!("{base}/{location}?dated={dated}&valid_for={valid_for}");
            Ok(base.as_ref().map(url))
        })
        .await
    }

    async fn start(&self, location: &Location) -> Result<MultipartId, Error> {
        self.perform(Operation::Start, location.key()?.to_owned(), |state, location, now| {
            Ok(MultipartId(state.start(location, now)))
        })
        .await
    }

    async fn put_part(
        &self,
        location: &Location,
        id: &MultipartId,
        number: u32,
        bytes: Bytes,
    ) -> Result<Part, Error> {
        let id = id.0.clone();
        self.perform(Operation::PutPart, location.key()?.to_owned(), move |state, location, _| {
            state.put_part(location, &id, number, &bytes)
        })
        .await
    }

    async fn complete(
        &self,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<Version, Error> {
        let (id, parts, part_bytes_min) = (id.0.clone(), parts.to_vec(), self.part_bytes_min);
        self.perform(Operation::Complete, location.key()?.to_owned(), move |state, location, _| {
            state.complete(location, &id, &parts, part_bytes_min)
        })
        .await
    }

    async fn abort(&self, location: &Location, id: &MultipartId) -> Result<(), Error> {
        let id = id.0.clone();
        self.perform(Operation::Abort, location.key()?.to_owned(), move |state, _, _| {
            state.abort(&id);
            Ok(())
        })
        .await
    }

    async fn is_open(&self, location: &Location, id: &MultipartId) -> Result<bool, Error> {
        let id = id.0.clone();
        self.perform(Operation::IsOpen, location.key()?.to_owned(), move |state, location, _| {
            Ok(state.is_open(location, &id))
        })
        .await
    }

    async fn list_days(&self) -> Result<Vec<Day>, Error> {
        let days = |state: &mut State, _: &str, _| Ok(state.list_days());
        self.perform(Operation::ListDays, data_prefix(None), days).await
    }

    async fn list_data(
        &self,
        day: &Day,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        let after = after.map(str::to_owned);
        self.perform(Operation::ListData, data_prefix(Some(day)), move |state, prefix, now| {
            Ok(state.list_data(prefix, after.as_deref(), limit, now))
        })
        .await
    }

    async fn list_multiparts(&self, limit: usize) -> Result<OpenMultiparts, Error> {
        self.perform(Operation::ListMultiparts, data_prefix(None), move |state, _, now| {
            Ok(OpenMultiparts { rows: state.list_multiparts(limit), now })
        })
        .await
    }
}

#[async_trait]
impl ObjectStore for Memory {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    async fn list_objects(&self, after: Option<&str>, limit: usize) -> Result<Listing, Error> {
        let after = after.map(str::to_owned);
        self.perform(Operation::List, String::new(), move |state, _, now| {
            let records = state.list("", after.as_deref(), limit, now);
            let data = state.list_data("", after.as_deref(), limit, now);
            Ok(records.merged(data, limit))
        })
        .await
    }
}

/// Cuts the data into chunks, and breaks off where a fault says so.
fn chunks(pieces: Vec<Bytes>, truncation: Option<Truncation>) -> Vec<Result<Bytes, Error>> {
    let mut left = truncation.map_or(u64::MAX, |truncation| truncation.after);
    let mut chunks = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            let fits = usize::try_from(left).unwrap_or(usize::MAX);
            let chunk = piece.split_to(piece.len().min(CHUNK_BYTES).min(fits));
            left -= chunk.len() as u64;
            if !chunk.is_empty() {
                chunks.push(Ok(chunk));
            }
            if left == 0 {
                let fails = truncation.is_some_and(|truncation| truncation.fails);
                chunks.extend(fails.then(|| Err(unavailable("the body broke off"))));
                return chunks;
            }
        }
    }
    chunks
}

fn unavailable(what: &str) -> Error {
    Error::Unavailable(format!("injected: {what}"))
}

/// If a thread panicked with the lock, it was a failed test: the guarded state is consistent.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
