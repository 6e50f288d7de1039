//! How far the collection has come, and who collects.
//!
//! The lease saves double work; nothing relies on it. A run that was cut off is continued by the
//! next collector where it stood, and a collector that finds another one in its place stops.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::layout::encoding::{Draft, Known, Nonce, decode, fields_of};
use crate::layout::records::{self, CollectorRun, seconds};
use crate::oci::RepositoryName;
use crate::registry::record::{Base, Current, Records, Written};
use crate::registry::{self};
use crate::store::{Day, RecordKey};

/// How long the lease lasts without renewal, if the grace is longer, and how often it is renewed.
const LEASE: Duration = Duration::from_mins(1);
const RENEWALS_PER_LEASE: u32 = 4;
/// How often a run notes which repository it has finished.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// A step of a run. Each begins with listings of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Sessions,
    Repositories,
    /// And the quarantine.
    Pointers,
    Leaks,
}

const PHASES: [Phase; 4] = [Phase::Sessions, Phase::Repositories, Phase::Pointers, Phase::Leaks];

impl Phase {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Repositories => "repositories",
            Self::Pointers => "pointers",
            Self::Leaks => "leaks",
        }
    }

    fn of(word: &str) -> Option<Self> {
        PHASES.into_iter().find(|phase| phase.as_str() == word)
    }

    fn next(self) -> Option<Self> {
        let position = PHASES.iter().position(|phase| *phase == self)?;
        PHASES.get(position + 1).copied()
    }
}

/// The record `g/run`.
#[derive(Debug)]
pub(super) struct State {
    records: Records,
    run: CollectorRun,
    phase: Phase,
    /// What the next write replaces.
    base: Option<Base>,
    saved: Instant,
    saves: bool,
}

impl State {
    /// Begins a run, or continues the one that was cut off.
    pub(super) async fn load(records: &Records) -> Result<Self, Error> {
        let current = records.read(&RecordKey::CollectorRun).await?;
        let (run, base) = match &current {
            Current::Absent => (None, None),
            Current::Tombstone(record) => (None, Some(base_of(record)?)),
            Current::Live(record) => {
                (Some(decode::<CollectorRun>(&record.body)?.0), Some(base_of(record)?))
            }
        };
        let mut run = run.unwrap_or_default();
        let unfinished = run.phase.as_deref().and_then(Phase::of);
        if unfinished.is_none() {
            run.id = Nonce::random().to_string();
            run.began = seconds(records.now());
            run.cursor = None;
        }
        let phase = unfinished.unwrap_or(Phase::Sessions);
        let mut state = Self::new(records, run, phase);
        (state.base, state.saves) = (base, true);
        state.save().await?;
        Ok(state)
    }

    /// The state of a run that begins at the beginning and is not written.
    pub(super) fn of_dry_run(records: &Records) -> Self {
        let run = CollectorRun { id: Nonce::random().to_string(), ..CollectorRun::default() };
        Self::new(records, run, Phase::Sessions)
    }

    fn new(records: &Records, run: CollectorRun, phase: Phase) -> Self {
        let (records, saved) = (records.clone(), Instant::now());
        Self { records, run, phase, base: None, saved, saves: false }
    }

    pub(super) fn id(&self) -> &str {
        &self.run.id
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// The last repository that is finished.
    pub(super) fn cursor(&self) -> Option<&RepositoryName> {
        self.run.cursor.as_ref()
    }

    pub(super) async fn finished_repository(&mut self, name: RepositoryName) -> Result<(), Error> {
        self.run.cursor = Some(name);
        if self.saved.elapsed() < SAVE_EVERY {
            return Ok(());
        }
        let name = self.run.cursor.as_ref().map(RepositoryName::as_str);
        tracing::info!(after = name, "garbage collection goes on");
        self.save().await
    }

    /// Goes to the next phase. False if there is none: the run is finished.
    pub(super) async fn enter_next(&mut self) -> Result<bool, Error> {
        self.run.cursor = None;
        let next = self.phase.next();
        match next {
            Some(next) => self.phase = next,
            None => self.run.finished = Some(seconds(self.records.now())),
        }
        self.write(next).await?;
        Ok(next.is_some())
    }

    async fn save(&mut self) -> Result<(), Error> {
        self.write(Some(self.phase)).await
    }

    async fn write(&mut self, phase: Option<Phase>) -> Result<(), Error> {
        self.run.phase = phase.map(|phase| phase.as_str().to_owned());
        if !self.saves {
            return Ok(());
        }
        let (key, draft) = (RecordKey::CollectorRun, Draft::new(&self.run, Bytes::new()));
        let written = match &self.base {
            None => self.records.create(&key, &draft, None).await?,
            Some(base) => self.records.replace(&key, base, &draft, None).await?,
        };
        let Written::Ours(base) = written else { return Err(Error::TakenOver) };
        (self.base, self.saved) = (Some(base), Instant::now());
        Ok(())
    }

    /// The last day whose data was compared with its names.
    pub(super) fn leaks_to(&self) -> Option<Day> {
        self.run.leaks_to.as_deref().and_then(|day| day.parse().ok())
    }

    /// How long ago the comparison began with the oldest day.
    pub(super) fn leaks_age(&self, now: u64) -> Duration {
        Duration::from_secs(now.saturating_sub(self.run.leaks_from_start.unwrap_or_default()))
    }

    pub(super) fn leaks_begin(&mut self, now: u64) {
        self.run.leaks_from_start = Some(now);
    }

    /// The days up to this one were compared. The end of the phase writes it.
    pub(super) fn leaks_end(&mut self, to: Option<Day>) {
        if let Some(day) = to {
            self.run.leaks_to = Some(day.to_string());
        }
    }
}

fn base_of(record: &crate::store::Record) -> Result<Base, Error> {
    Ok(Base::of(record, Known::Fields(fields_of::<CollectorRun>()))?)
}

/// The record `g/collector`.
#[derive(Debug)]
pub(super) struct Lease {
    draft: records::Collector,
    base: Base,
}

impl Lease {
    /// Takes the lease, unless another collector holds it.
    pub(super) async fn take(
        records: &Records,
        holder: &str,
        grace: Duration,
    ) -> Result<Self, Error> {
        let key = RecordKey::Collector;
        let current = records.read(&key).await?;
        if let Current::Live(record) = &current {
            let (held, _) = decode::<records::Collector>(&record.body)?;
            if record.age < Duration::from_secs(held.valid_for) {
                return Err(Error::Busy(held.holder));
            }
        }
        let valid_for = LEASE.min(grace).as_secs();
        let draft = records::Collector { holder: holder.to_owned(), valid_for };
        let written = Draft::new(&draft, Bytes::new());
        match records.upsert(&key, &current, &written, None).await? {
            Written::Ours(base) => Ok(Self { draft, base }),
            Written::Replaced(_) | Written::Lost(_) => {
                Err(Error::Busy("it began at the same moment".to_owned()))
            }
        }
    }

    /// Renews the lease until the run has ended, or another collector has taken it.
    pub(super) async fn keep(&mut self, records: &Records, ended: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = ended.cancelled() => return,
                () = sleep(Duration::from_secs(self.draft.valid_for) / RENEWALS_PER_LEASE) => {}
            }
            let draft = Draft::new(&self.draft, Bytes::new());
            match records.replace(&RecordKey::Collector, &self.base, &draft, None).await {
                Ok(Written::Ours(base)) => self.base = base,
                Ok(Written::Replaced(_) | Written::Lost(_))
                | Err(registry::Error::OutcomeUnknown) => return,
                Err(error) => tracing::warn!(%error, "the lease of the collector was not renewed"),
            }
        }
    }

    pub(super) async fn release(&self, records: &Records) {
        if let Err(error) = records.delete_version(&RecordKey::Collector, &self.base).await {
            tracing::debug!(%error, "the lease of the collector ends by itself");
        }
    }
}
