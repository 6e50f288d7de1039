//! The lease of the process that writes to the bucket alone: a record under a key of its own.
//!
//! A store without conditions cannot decide which of two processes takes one record first. So a
//! process writes a record of its own and then lists those of all others: of two processes that
//! begin at the same moment, at least one sees the other, and gives up. The holder writes its
//! record again while it runs, and deletes it when it ends. A record that was not written for
//! longer than it says is dead: the next process deletes it and takes over. The store's clock
//! measures that, and the difference of clocks that the settings allow is added, because a store
//! may have several clocks.

use std::process;
use std::sync::Weak;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::super::client::S3;
use super::super::deadline::Dated;
use super::{Inner, StoreClock};
use crate::layout::encoding::{Draft, Lineage, decode};
use crate::layout::records::{Writer, seconds};
use crate::oci::UploadId;
use crate::setting::format_duration;
use crate::store::{
    Deadline, Error, LIST_ROWS_MAX, Listed, ObjectStore as _, Prefix, RecordKey, RecordStore as _,
};

/// How often the lease is renewed within its length.
const RENEWALS_PER_LEASE: u32 = 4;
/// The pause after a renewal that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// By how much the age of a record may be wrong: both of its times are in whole seconds.
pub(super) const AGE_RESOLUTION: Duration = Duration::from_secs(2);

/// How long a lease lasts.
#[derive(Clone, Copy, Debug)]
pub struct WriterLease {
    /// After each renewal, in whole seconds.
    pub valid_for: Duration,
    /// By how much longer another process waits (`collection.clock_skew`).
    pub clock_skew: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The process does not write, except what the probe writes.
    Free,
    Held {
        until: Instant,
    },
    /// The process writes no more: it ends, or it has lost the lease, for this reason.
    Ended(Option<String>),
}

#[derive(Debug)]
pub(super) struct Lease {
    id: UploadId,
    timing: WriterLease,
    state: watch::Sender<State>,
}

impl Lease {
    pub(super) fn new(timing: WriterLease) -> Self {
        Self { id: UploadId::random(), timing, state: watch::Sender::new(State::Free) }
    }

    fn key(&self) -> RecordKey {
        RecordKey::Writer(self.id)
    }

    /// Until when the process may write this record. An error if it may not.
    pub(super) fn end_for(&self, key: &RecordKey) -> Result<Instant, Error> {
        let now = Instant::now();
        match &*self.state.borrow() {
            State::Held { until } if now < *until => Ok(*until),
            State::Free if matches!(key, RecordKey::Probe(_)) => Ok(now + self.timing.valid_for),
            State::Free => {
                Err(Error::Refused("this process has not taken the writer's lease".to_owned()))
            }
            State::Held { .. } | State::Ended(_) => Err(self.ended()),
        }
    }

    /// The error of every write after the end of the lease.
    pub(super) fn ended(&self) -> Error {
        let why = match &*self.state.borrow() {
            State::Ended(Some(why)) => why.clone(),
            _ => "the writer's lease of this process has ended".to_owned(),
        };
        Error::Unavailable(why)
    }

    /// Takes the lease. An error if another process has it.
    pub(super) async fn take(&self, s3: &S3, clock: &StoreClock) -> Result<(), Error> {
        let now = self.refuse_others(s3, clock).await?;
        let until = Instant::now() + self.timing.valid_for;
        let taken = match self.write(s3, clock, now, until).await {
            Ok(()) => self.refuse_others(s3, clock).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            self.give_back(s3).await;
            return Err(error);
        }
        self.state.send_replace(State::Held { until });
        Ok(())
    }

    /// An error if another process has a lease that has not ended. Returns the store's time.
    async fn refuse_others(&self, s3: &S3, clock: &StoreClock) -> Result<SystemTime, Error> {
        // More than one page are leases of killed processes; the rest comes next time.
        let listing = s3.list(&Prefix::Writers, None, LIST_ROWS_MAX).await?;
        clock.set(listing.now);
        for row in &listing.rows {
            let Ok(key) = row.key.parse::<RecordKey>() else { continue };
            if key != self.key() {
                self.refuse_other(s3, &key, row, listing.now).await?;
            }
        }
        Ok(listing.now)
    }

    async fn refuse_other(
        &self,
        s3: &S3,
        key: &RecordKey,
        row: &Listed,
        now: SystemTime,
    ) -> Result<(), Error> {
        let Writer { holder, since, valid_for } = match s3.read(key).await {
            Ok(record) => decode(&record.body)?.0,
            Err(Error::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        };
        let age = now.duration_since(row.written).unwrap_or_default();
        let valid_for = Duration::from_secs(valid_for);
        let alive = valid_for + self.timing.clock_skew + AGE_RESOLUTION;
        if age > alive {
            tracing::warn!(holder, "the lease of another writer has run out: this one takes over");
            return s3.remove_any(key).await;
        }
        let since = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(since));
        let left = format_duration(Duration::from_secs(alive.saturating_sub(age).as_secs() + 1));
        Err(Error::Refused(format!(
            "{} is in use by another process: {holder}, since {since}. With store.writers = \
             \"single\" one process writes at a time. Stop the other one, which ends its lease at \
             once; if it was killed, its lease ends in {left}",
            s3.describe(),
        )))
    }

    /// Writes the record of the lease, dated so that it has no effect after `until`.
    async fn write(
        &self,
        s3: &S3,
        clock: &StoreClock,
        since: SystemTime,
        until: Instant,
    ) -> Result<(), Error> {
        let header = Writer {
            holder: holder(),
            since: seconds(since),
            valid_for: self.timing.valid_for.as_secs(),
        };
        let body = Draft::new(&header, Bytes::new()).encode(&Lineage::default());
        let left = until.saturating_duration_since(Instant::now()).as_secs();
        let valid_for = Duration::from_secs(left.max(1));
        let deadline = Deadline { leased_at: clock.get().unwrap_or(since), valid_for };
        let Dated { result, .. } = s3.overwrite(&self.key(), body, deadline).await;
        result.map(drop)
    }

    /// Renews the lease, which began at `since`. False if another process has taken over.
    async fn renew(&self, s3: &S3, clock: &StoreClock, since: SystemTime) -> Result<bool, Error> {
        let State::Held { until } = *self.state.borrow() else { return Ok(true) };
        let listing = s3.list(&Prefix::Writers, None, LIST_ROWS_MAX).await?;
        clock.set(listing.now);
        let key = self.key().to_string();
        if !listing.rows.iter().any(|row| row.key == key) {
            return Ok(false);
        }
        let next = Instant::now() + self.timing.valid_for;
        self.write(s3, clock, since, until).await?;
        self.state.send_if_modified(|state| match state {
            State::Held { until } => {
                *until = next;
                true
            }
            State::Free | State::Ended(_) => false,
        });
        Ok(true)
    }

    /// Ends all writing, because the lease is lost.
    fn lose(&self, why: &str) {
        let why = format!("the writer's lease of this process is lost: {why}");
        self.state.send_if_modified(|state| match state {
            State::Ended(_) => false,
            State::Free | State::Held { .. } => {
                *state = State::Ended(Some(why));
                true
            }
        });
    }

    /// Ends all writing, because the process ends. False if the process has no lease.
    pub(super) fn stop(&self) -> bool {
        let before = self.state.send_replace(State::Ended(None));
        matches!(before, State::Held { .. })
    }

    /// Deletes the record of the lease.
    pub(super) async fn give_back(&self, s3: &S3) {
        if let Err(error) = s3.remove_any(&self.key()).await {
            tracing::warn!(%error, "the writer's lease was not deleted and runs out by itself");
        }
    }

    /// Waits until the lease is lost, and says why.
    pub(super) async fn lost(&self) -> String {
        let mut states = self.state.subscribe();
        loop {
            if let State::Ended(Some(why)) = &*states.borrow_and_update() {
                return why.clone();
            }
            if states.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// Renews the lease until it ends, or until the store is dropped.
pub(super) async fn keep(store: Weak<Inner>) {
    let Some(since) = store.upgrade().and_then(|inner| inner.clock.get()) else { return };
    loop {
        let Some(inner) = store.upgrade() else { return };
        let every = inner.lease.timing.valid_for / RENEWALS_PER_LEASE;
        drop(inner);
        sleep(every).await;
        let Some(inner) = store.upgrade() else { return };
        let mut why = "the store did not answer".to_owned();
        loop {
            let State::Held { until } = *inner.lease.state.borrow() else { return };
            let renewing = inner.lease.renew(&inner.s3, &inner.clock, since);
            match timeout_at(until, renewing).await {
                Ok(Ok(true)) => break,
                Ok(Ok(false)) => return inner.lease.lose("another process has taken over"),
                Ok(Err(error)) => why = error.to_string(),
                Err(_) => {}
            }
            if until <= Instant::now() + RETRY_PAUSE {
                let why = format!("it could not be renewed before it ended: {why}");
                return inner.lease.lose(&why);
            }
            tracing::warn!(why, "the writer's lease was not renewed yet");
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// This process, for an operator who looks for it.
fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "unknown" } else { host };
    format!("process {} on host {host}", process::id())
}
