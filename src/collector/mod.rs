//! The garbage collector: removes what no client can reach any more, while clients push and pull.
//!
//! Any number of collectors may run at once, and each may stop anywhere: nothing locks anything.
//! Three rules make that safe.
//!
//! - *Old* is what was written more than the grace before the first listing of a phase, by the
//!   store's clock. A request that relies on an older record touches it first (`registry::lease`),
//!   and what it then writes has a deadline. So a name that a phase did not see relies on records
//!   that are not old, or have another version than the phase has listed.
//! - A removal is a compare-and-swap on the version that the listing showed, through the caches
//!   of the registry. Only data objects are deleted without a condition: their keys are used once.
//! - Names move from the session to the pointer to the link, and are read in that order.
//!
//! A run goes through its phases in order (`state.rs`). `docs/collection.md` says what it
//! guarantees.

mod background;
mod leaks;
mod links;
mod manifests;
mod paced;
mod pointers;
mod quarantine;
mod referrers;
mod removals;
mod report;
mod repositories;
mod rows;
mod salted;
mod sessions;
mod state;
mod tags;
mod untagged;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::background::Background;
pub use self::report::Report;
pub use crate::telemetry::metrics::{Collected as Class, Fate};

use self::paced::Paced;
use self::state::{Lease, Phase, State};
use crate::layout::encoding::DecodeError;
use crate::registry::record::Records;
use crate::registry::{self, LeaseSettings, Leases, Registry, SharedSettings, SharedSettingsError};
use crate::store::{self, Listed, ObjectStore};
use crate::telemetry::metrics::{CollectionRun as RunResult, Metrics};

/// Records that the collector reads at once. Each may be a whole manifest.
const READS_AT_ONCE: usize = 32;
/// Records without content that it reads, writes or removes at once. The rate of its requests has
/// a limit of its own.
const REMOVALS_AT_ONCE: usize = 128;
/// Rows of a listing that are judged together.
const BATCH_ROWS: usize = 256;

/// Why a run did not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("another collector runs: {0}")]
    Busy(String),
    /// The store has another state than this run has written.
    #[error("another collector has taken over this run")]
    TakenOver,
    #[error(transparent)]
    Settings(#[from] SharedSettingsError),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Self {
        Self::Store(match error {
            registry::Error::Unavailable(error) => error,
            // A race that was lost too often, or whose outcome is unknown: the next run sees it.
            other => store::Error::Unavailable(other.to_string()),
        })
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Store(error.into())
    }
}

/// Whether a run changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Collect,
    /// The same reads and the same decisions, and no write.
    DryRun,
}

/// The collector of one registry.
#[derive(Debug)]
pub struct Collector {
    registry: Arc<Registry>,
    store: Arc<dyn ObjectStore>,
    settings: LeaseSettings,
    leases: Leases,
    holder: String,
    metrics: Metrics,
    /// The run under way, or the last one.
    current: Mutex<Option<Arc<Paced>>>,
}

/// One run, as its phases see it.
#[derive(Debug)]
struct Run {
    registry: Arc<Registry>,
    store: Arc<dyn ObjectStore>,
    paced: Arc<Paced>,
    records: Records,
    settings: LeaseSettings,
    mode: Mode,
    report: Mutex<Report>,
    /// Whether the store removes records under a condition, as far as it was asked.
    removes: AtomicBool,
    id: String,
}

/// What divides old records from those that a request may rely on.
#[derive(Clone, Copy, Debug)]
struct Cutoff {
    /// The store's clock at the first listing of the phase.
    began: SystemTime,
    grace: Duration,
}

impl Cutoff {
    fn is_old(&self, row: &Listed) -> bool {
        self.is_older_than(row, self.grace)
    }

    /// Strictly: both times are in whole seconds.
    fn is_older_than(&self, row: &Listed, age: Duration) -> bool {
        row.written + age < self.began
    }
}

impl Collector {
    /// `holder` names this process for operators.
    pub fn new(
        registry: Arc<Registry>,
        store: Arc<dyn ObjectStore>,
        settings: &LeaseSettings,
        holder: String,
        metrics: &Metrics,
    ) -> Result<Self, registry::lease::UnsafeLeases> {
        let (settings, leases, metrics) =
            (settings.clone(), Leases::new(settings)?, metrics.clone());
        let current = Mutex::default();
        Ok(Self { registry, store, settings, leases, holder, metrics, current })
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<Paced>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the run is, in a few words.
    pub fn progress(&self) -> String {
        self.current().as_ref().map(|paced| paced.progress()).unwrap_or_default()
    }

    /// Collects once, or continues a run that was cut off.
    pub async fn run(&self, mode: Mode) -> Result<Report, Error> {
        let began = Instant::now();
        let paced = Arc::new(Paced::new(self.registry.invalidating_records(), &self.settings));
        *self.current() = Some(paced.clone());
        let collected = Box::pin(self.run_paced(mode, &paced)).await;
        if mode == Mode::Collect {
            self.metrics.collection_requests.add((), paced.requests());
            let result = match &collected {
                Ok(_) => RunResult::Done,
                Err(Error::Busy(_)) => return collected,
                Err(Error::TakenOver) => RunResult::TakenOver,
                Err(Error::Settings(_) | Error::Store(_)) => RunResult::Failed,
            };
            self.metrics.collected(result);
        }
        let mut report = collected?;
        report.ended(began.elapsed(), paced.requests());
        if mode == Mode::Collect {
            report.show(&self.metrics);
        }
        Ok(report)
    }

    async fn run_paced(&self, mode: Mode, paced: &Arc<Paced>) -> Result<Report, Error> {
        let shared = SharedSettings::new(self.store.clone(), self.leases);
        match mode {
            Mode::Collect => shared.create_or_compare(&self.settings).await?,
            Mode::DryRun => shared.compare(&self.settings).await?,
        };
        let records = Records::new(paced.clone(), self.leases);
        if mode == Mode::DryRun {
            let mut state = State::of_dry_run(&records);
            return self.run_phases(mode, paced, records, &mut state).await;
        }
        let mut lease = Lease::take(&records, &self.holder, self.settings.grace).await?;
        let mut state = State::load(&records).await?;
        let ended = CancellationToken::new();
        let collected = {
            let mut keeping = std::pin::pin!(lease.keep(&records, &ended));
            tokio::select! {
                // In this order, so that a simulated run repeats from its seed.
                biased;
                collected = self.run_phases(mode, paced, records.clone(), &mut state) => {
                    // A renewal that is under way ends first: who drops it does not know which
                    // version of the lease there is, and so could not release it.
                    ended.cancel();
                    keeping.await;
                    collected
                }
                () = &mut keeping => Err(Error::TakenOver),
            }
        };
        lease.release(&records).await;
        collected
    }

    async fn run_phases(
        &self,
        mode: Mode,
        paced: &Arc<Paced>,
        records: Records,
        state: &mut State,
    ) -> Result<Report, Error> {
        let run = Run {
            registry: self.registry.clone(),
            store: self.store.clone(),
            paced: paced.clone(),
            records,
            settings: self.settings.clone(),
            mode,
            report: Mutex::new(Report::new(mode)),
            removes: AtomicBool::new(true),
            id: state.id().to_owned(),
        };
        loop {
            tracing::info!(phase = state.phase().as_str(), ?mode, "garbage collection");
            paced.begin(state.phase().as_str());
            match state.phase() {
                Phase::Sessions => run.collect_sessions().await?,
                Phase::Repositories => run.collect_repositories(state).await?,
                Phase::Pointers => run.collect_pointers().await?,
                Phase::Leaks => run.find_leaks(state).await?,
            }
            if !state.enter_next().await? {
                return Ok(run.report.into_inner().unwrap_or_else(PoisonError::into_inner));
            }
        }
    }
}

impl Run {
    fn cutoff(&self, began: Option<SystemTime>) -> Cutoff {
        // Without a listing there is no row to judge.
        let began = began.unwrap_or(SystemTime::UNIX_EPOCH);
        Cutoff { began, grace: self.settings.grace }
    }

    fn count(&self, class: Class, fate: Fate) {
        self.count_all(class, fate, 1);
    }

    fn count_all(&self, class: Class, fate: Fate, count: usize) {
        if count > 0 {
            self.report().count(class, fate, count as u64);
        }
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
