//! What all actors of one run share: the store, the time, the trace, and what was found.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use longshore::store::memory::{Memory, StoreClock};
use longshore::telemetry::metrics::Metrics;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bucket::Bucket;
use crate::ledger::Ledger;
use crate::planted::Bug;
use crate::profile::{PART_BYTES, Profile};
use crate::random::Random;

/// Lines of the trace that are kept; its hash covers all of them.
const LINES_MAX: usize = 200_000;

pub(crate) struct World {
    pub(crate) profile: Profile,
    pub(crate) bug: Option<Bug>,
    pub(crate) memory: Memory,
    /// All processes share them: making them takes long, and nothing reads them.
    pub(crate) metrics: Metrics,
    /// For the network and its faults.
    pub(crate) random: Random,
    /// Cancelled when the run has to end: it has found a fault, or is over.
    pub(crate) stop: CancellationToken,
    began: Instant,
    calm: AtomicBool,
    trace: Mutex<Trace>,
    bucket: Mutex<Bucket>,
    ledger: Mutex<Ledger>,
    /// Writes that are under way, by key.
    in_flight: Mutex<BTreeMap<String, usize>>,
}

struct Trace {
    lines: Vec<String>,
    hash: u64,
    fault: Option<String>,
}

/// What a run leaves.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) fault: Option<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) hash: u64,
    pub(crate) lasted: Duration,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A world that begins now, by the virtual time of the runtime.
    pub(crate) fn new(profile: Profile, bug: Option<Bug>) -> Arc<Self> {
        let began = Instant::now();
        let epoch = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let clock: StoreClock = Arc::new(move || epoch + began.elapsed());
        let random = Random::of(profile.seed, 1);
        Arc::new(Self {
            memory: Memory::with_clock(clock)
                .with_part_bytes_min(PART_BYTES as u64)
                .with_presign("memory://bucket"),
            bucket: Mutex::new(Bucket::new(profile.slow_decisions > 0)),
            profile,
            bug,
            metrics: Metrics::default(),
            random,
            stop: CancellationToken::new(),
            began,
            calm: AtomicBool::new(false),
            trace: Mutex::new(Trace {
                lines: Vec::new(),
                hash: 0xcbf2_9ce4_8422_2325,
                fault: None,
            }),
            ledger: Mutex::default(),
            in_flight: Mutex::default(),
        })
    }

    /// The time since the run began.
    pub(crate) fn at(&self) -> Duration {
        self.began.elapsed()
    }

    /// From now on nothing fails and nothing is slow.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(crate) fn bucket(&self) -> MutexGuard<'_, Bucket> {
        locked(&self.bucket)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }

    pub(crate) fn in_flight(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        locked(&self.in_flight)
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&self, what: impl Display) {
        let at = self.at();
        let line = format!("{:>5}:{:06.3} {what}", at.as_secs() / 60, at.as_secs_f64() % 60.0);
        let mut trace = locked(&self.trace);
        for byte in line.bytes() {
            trace.hash = (trace.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if trace.lines.len() < LINES_MAX {
            trace.lines.push(line);
        }
    }

    /// Ends the run, because the registry has broken a promise. The first fault counts.
    pub(crate) fn fault(&self, what: impl Display) {
        self.note(format_args!("FAULT {what}"));
        locked(&self.trace).fault.get_or_insert_with(|| what.to_string());
        self.stop.cancel();
    }

    pub(crate) fn faults(&self, found: impl IntoIterator<Item = String>) {
        found.into_iter().for_each(|fault| self.fault(fault));
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let lasted = self.at();
        let trace = locked(&self.trace);
        let (fault, hash) = (trace.fault.clone(), trace.hash);
        Outcome { fault, trace: trace.lines.clone(), hash, lasted }
    }
}
