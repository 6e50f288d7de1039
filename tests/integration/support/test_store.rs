//! The two stores whose requests a test can stall or lose: the store in memory, and a scripted S3
//! below the real SDK. Tests that need no more than a [`TestStore`] run over both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use longshore::config::Settings;
use longshore::store::memory::{Calls, Fault, FaultKind, Memory, Operation, StoreClock};
use longshore::store::{ObjectStore, Record, RecordKey, RecordStore as _, Version};
use longshore::telemetry::metrics::Metrics;

use super::metered::Metered;
use super::scripted_s3::{Match, Operation as S3Operation, ScriptedS3};

/// The smallest part that the stores accept.
pub(crate) const PART_BYTES: usize = 64 * 1024;
/// How long a call of the store in memory stalls: half of it before what happens meanwhile.
const STALL: Duration = Duration::from_millis(500);
/// Where data objects are.
const DATA: &str = "v1/d/";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Memory,
    ScriptedS3,
}

/// A clock that the test sets.
#[derive(Clone, Debug)]
pub(crate) struct Hands(Arc<AtomicU64>);

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct TestStore {
    /// What the registry uses.
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// Their clock.
    pub(crate) hands: Hands,
    server: Server,
}

#[derive(Debug)]
enum Server {
    Memory(Arc<Memory>),
    S3(ScriptedS3),
}

impl Hands {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    fn clock(&self) -> StoreClock {
        let seconds = self.0.clone();
        Arc::new(move || UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst)))
    }
}

/// Parts of the smallest size: a few hundred kilobytes are a large blob.
pub(crate) fn small_parts() -> Settings {
    let mut settings = Settings::default();
    settings.uploads.part_bytes = PART_BYTES;
    settings.uploads.inline_bytes = 4 * 1024;
    settings
}

impl TestStore {
    pub(crate) async fn start(kind: StoreKind) -> Self {
        let hands = Hands(Arc::new(AtomicU64::new(1_800_000_000)));
        match kind {
            StoreKind::Memory => {
                let memory = Memory::with_clock(hands.clock());
                let memory = Arc::new(memory.with_part_bytes_min(PART_BYTES as u64));
                Self { objects: memory.clone(), hands, server: Server::Memory(memory) }
            }
            StoreKind::ScriptedS3 => {
                let s3 = ScriptedS3::with_clock(hands.clock()).await;
                s3.set_part_bytes_min(PART_BYTES);
                let store = Arc::new(s3.store(&Metrics::default()).await);
                // Deadlines are dated with the clock of the machine, which has to follow.
                let store = Metered::over(store).with_clock(hands.clock());
                Self { objects: Arc::new(store), hands, server: Server::S3(s3) }
            }
        }
    }

    /// Lets a request run whose first call of this kind below this prefix stalls until `meanwhile`
    /// has ended. Removes all faults.
    pub(crate) async fn stalled<R, M>(
        &self,
        operation: Operation,
        below: &str,
        request: impl Future<Output = R>,
        meanwhile: impl Future<Output = M>,
    ) -> (R, M) {
        let both = match &self.server {
            Server::Memory(_) => {
                self.delay(operation, below, 1, STALL);
                let later = async {
                    tokio::time::sleep(STALL / 2).await;
                    meanwhile.await
                };
                tokio::join!(request, later)
            }
            Server::S3(s3) => {
                let held = s3.hold(matching(operation, below));
                let later = async {
                    held.reached().await;
                    let done = meanwhile.await;
                    drop(held);
                    done
                };
                tokio::join!(request, later)
            }
        };
        self.heal();
        both
    }

    /// Delays the n-th call from now on. The store in memory delays the first one to which no
    /// earlier fault applies, so a test adds these in their order.
    pub(crate) fn delay(&self, operation: Operation, below: &str, nth: usize, by: Duration) {
        match &self.server {
            Server::Memory(memory) => {
                memory.inject(Fault::on(operation, FaultKind::Delay(by)).below(below));
            }
            Server::S3(s3) => s3.delay(matching(operation, below).nth(nth), by),
        }
    }

    /// Lets the next call fail without effect.
    pub(crate) fn fail(&self, operation: Operation, below: &str) {
        match &self.server {
            Server::Memory(memory) => {
                memory.inject(Fault::on(operation, FaultKind::FailBefore).below(below));
            }
            // The SDK does not repeat a request that was answered so.
            Server::S3(s3) => s3.refuse(matching(operation, below), 400, "InvalidRequest"),
        }
    }

    /// Lets all calls of an operation fail without effect.
    pub(crate) fn fail_always(&self, operation: Operation) {
        match &self.server {
            Server::Memory(memory) => {
                memory.inject(Fault::on(operation, FaultKind::FailBefore).always());
            }
            Server::S3(s3) => {
                s3.refuse(matching(operation, "").always(), 400, "InvalidRequest");
            }
        }
    }

    /// Removes all faults.
    pub(crate) fn heal(&self) {
        match &self.server {
            Server::Memory(memory) => memory.heal(),
            Server::S3(s3) => s3.heal(),
        }
    }

    /// The calls so far. Those to S3 are requests, and all but reads and lists count as `put`.
    pub(crate) fn calls(&self) -> Calls {
        match &self.server {
            Server::Memory(memory) => memory.calls(),
            Server::S3(s3) => {
                let arrived = |operation, prefix| s3.arrived(&Match::of(operation, prefix)) as u64;
                let get = arrived(S3Operation::GetObject, DATA);
                let read = arrived(S3Operation::GetObject, "") - get;
                let list = arrived(S3Operation::ListObjects, "");
                let put = s3.arrived_in_all() as u64 - get - read - list;
                Calls { read, list, put, get, ..Calls::default() }
            }
        }
    }

    /// A record or a tombstone, without a call.
    pub(crate) fn record(&self, key: &RecordKey) -> Option<Record> {
        match &self.server {
            Server::Memory(memory) => memory.record(key),
            Server::S3(s3) => {
                let key = key.to_string();
                let (body, version) = (s3.object(&key)?, Version(s3.etag(&key)?));
                Some(Record { body, version, age: s3.age(&key)? })
            }
        }
    }

    /// Every record by its key, tombstones included, without a call.
    pub(crate) fn records(&self) -> Vec<(String, Bytes)> {
        match &self.server {
            Server::Memory(memory) => memory.records(),
            Server::S3(s3) => {
                let keys = s3.keys("").into_iter().filter(|key| !key.starts_with(DATA));
                keys.filter_map(|key| Some((key.clone(), s3.object(&key)?))).collect()
            }
        }
    }

    /// Creates a record, on S3 without a request: for thousands of them.
    pub(crate) async fn create(&self, key: &RecordKey, body: Bytes) {
        match &self.server {
            Server::Memory(memory) => {
                memory.create(key, body, None).await.expect("a new record");
            }
            Server::S3(s3) => s3.put(&key.to_string(), body),
        }
    }

    /// Removes a record behind the registry's back.
    pub(crate) async fn remove(&self, key: &RecordKey) {
        let version = self.record(key).expect("it is there").version;
        match &self.server {
            Server::Memory(memory) => {
                memory.remove(key, &version).await.expect("removed");
            }
            Server::S3(s3) => assert!(s3.remove(&key.to_string())),
        }
    }

    /// The store in memory, if it is that.
    pub(crate) fn memory(&self) -> Option<Arc<Memory>> {
        match &self.server {
            Server::Memory(memory) => Some(memory.clone()),
            Server::S3(_) => None,
        }
    }

    /// Whether the store removes records under a condition. No probe has asked the scripted S3.
    pub(crate) fn removes(&self) -> bool {
        matches!(self.server, Server::Memory(_))
    }

    /// Every location with data, and its size in bytes, in ascending order.
    pub(crate) fn data_objects(&self) -> Vec<(String, u64)> {
        match &self.server {
            Server::Memory(memory) => memory.data_objects(),
            Server::S3(s3) => {
                let sized = |key: String| s3.object(&key).map(|data| (key, data.len() as u64));
                s3.keys(DATA).into_iter().filter_map(sized).collect()
            }
        }
    }

    /// How many multipart uploads are neither completed nor aborted.
    pub(crate) fn open_multiparts(&self) -> usize {
        match &self.server {
            Server::Memory(memory) => memory.open_multiparts(),
            Server::S3(s3) => s3.open_multiparts(),
        }
    }
}

/// The requests of an operation.
fn matching(operation: Operation, below: &str) -> Match {
    let of = |operation| Match::of(operation, below);
    match operation {
        Operation::Read | Operation::Get => Match::get(below),
        Operation::Create => Match::put(below).if_absent(),
        Operation::Replace => Match::put(below).if_match(),
        Operation::Put => Match::put(below),
        Operation::List => Match::list(below),
        Operation::Delete => Match::delete(below),
        Operation::Complete => of(S3Operation::CompleteMultipart),
        Operation::Abort => of(S3Operation::AbortMultipart),
        other => panic!("no test makes {other:?} fail over S3"),
    }
}
