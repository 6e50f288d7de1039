//! A store in memory, which ends with the process: `--store memory`, and the store of most tests.
//!
//! One mutex guards everything, so calls are atomic. A test may set the clock, count the calls, and
//! inject the failures of a real store.

mod calls;
mod faults;
mod state;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;

use self::faults::{CallFault, Faults};
use self::state::{Condition, State};
use super::{
    BlobStore, ByteStream, Deadline, Error, Listing, Location, MultipartId, ObjectStore, Part,
    Prefix, PresignGet, Record, RecordKey, RecordStore, Version,
};

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
    state: Mutex<State>,
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
            state: Mutex::default(),
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

    /// Every location with data, and its size in bytes, in ascending order.
    pub fn data_objects(&self) -> Vec<(String, u64)> {
        locked(&self.state).data_objects()
    }

    /// Every record by its key, tombstones (without bytes) included. Neither counted nor failing.
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
        subject: &str,
        act: impl FnOnce(&mut State) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        locked(&self.calls).count(operation);
        let fault = locked(&self.faults).of_call(operation, subject);
        match fault {
            Some(CallFault::FailBefore) => return Err(unavailable("the request was lost")),
            Some(CallFault::Refuse) => return Err(Error::Refused("injected".to_owned())),
            Some(CallFault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(CallFault::FailAfter(_)) | None => {}
        }
        let outcome = act(&mut locked(&self.state));
        let Some(CallFault::FailAfter(reported)) = fault else { return outcome };
        let conditional = matches!(operation, Operation::Create | Operation::Replace);
        match (reported, outcome) {
            (Reported::Conflict, Ok(_)) if conditional => Err(Error::Conflict),
            // A call that failed fails again in the same way when it is retried.
            (Reported::Conflict, Err(error)) => Err(error),
            (Reported::Conflict | Reported::Unavailable, _) => {
                Err(unavailable("the response was lost"))
            }
        }
    }

    /// After how many bytes the body of an answer breaks off, if it does.
    fn truncation(&self, operation: Operation, subject: &str) -> Option<u64> {
        locked(&self.faults).truncate(operation, subject)
    }
}

#[async_trait]
impl RecordStore for Memory {
    async fn read(&self, key: &RecordKey) -> Result<Record, Error> {
        let key = key.to_string();
        let record =
            self.perform(Operation::Read, &key, |state| state.read(&key, self.now())).await?;
        match self.truncation(Operation::Read, &key) {
            // A record is returned whole or not at all.
            Some(sent) if sent < record.body.len() as u64 => Err(unavailable("the body broke off")),
            Some(_) | None => Ok(record),
        }
    }

    async fn create(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        let key = key.to_string();
        self.perform(Operation::Create, &key, |state| {
            state.write(&key, Condition::Absent, body, deadline, self.now())
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
        let key = key.to_string();
        self.perform(Operation::Replace, &key, |state| {
            state.write(&key, Condition::Version(expected), body, deadline, self.now())
        })
        .await
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        let prefix = prefix.to_string();
        self.perform(Operation::List, &prefix, |state| Ok(state.list(&prefix, after, limit))).await
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
    ) -> Result<(), Error> {
        let location = location.as_str();
        self.perform(Operation::Put, location, |state| state.put(location, bytes, sha256)).await
    }

    async fn get(
        &self,
        location: &Location,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, Error> {
        let location = location.as_str();
        let pieces =
            self.perform(Operation::Get, location, |state| state.get(location, range)).await?;
        let truncation = self.truncation(Operation::Get, location);
        Ok(Box::pin(stream::iter(chunks(pieces, truncation))))
    }

    async fn delete(&self, location: &Location) -> Result<(), Error> {
        let location = location.as_str();
        self.perform(Operation::Delete, location, |state| {
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
        let location = location.as_str();
        self.perform(Operation::Presign, location, |_| {
            let dated = options.dated.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let valid_for = options.valid_for.as_secs();
            let url = |base| format!("{base}/{location}?dated={dated}&valid_for={valid_for}");
            Ok(self.presign_base.as_ref().map(url))
        })
        .await
    }

    async fn start(&self, location: &Location) -> Result<MultipartId, Error> {
        let location = location.as_str();
        self.perform(Operation::Start, location, |state| Ok(MultipartId(state.start(location))))
            .await
    }

    async fn put_part(
        &self,
        location: &Location,
        id: &MultipartId,
        number: u32,
        bytes: Bytes,
    ) -> Result<Part, Error> {
        let location = location.as_str();
        self.perform(Operation::PutPart, location, |state| {
            state.put_part(location, &id.0, number, &bytes)
        })
        .await
    }

    async fn complete(
        &self,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<(), Error> {
        let location = location.as_str();
        self.perform(Operation::Complete, location, |state| {
            state.complete(location, &id.0, parts, self.part_bytes_min)
        })
        .await
    }

    async fn abort(&self, location: &Location, id: &MultipartId) -> Result<(), Error> {
        self.perform(Operation::Abort, location.as_str(), |state| {
            state.abort(&id.0);
            Ok(())
        })
        .await
    }

    async fn is_open(&self, location: &Location, id: &MultipartId) -> Result<bool, Error> {
        let location = location.as_str();
        self.perform(Operation::IsOpen, location, |state| Ok(state.is_open(location, &id.0))).await
    }
}

impl ObjectStore for Memory {
    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

/// Cuts the data into chunks, and breaks off where a fault says so.
fn chunks(pieces: Vec<Bytes>, truncation: Option<u64>) -> Vec<Result<Bytes, Error>> {
    let mut left = truncation.unwrap_or(u64::MAX);
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
                chunks.push(Err(unavailable("the body broke off")));
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
