//! Operations on records: read, create, replace, touch, lease and delete.
//!
//! *Touching* a record rewrites it with a new nonce, which changes its version and resets its age.
//! *Deleting* replaces it with a tombstone. Each write is conditional, and happens at most once:
//!
//! - After a conflict the record tells whether our write happened, because it names the nonces of
//!   the versions before it. If it did, the write is a success, also if another writer has
//!   replaced it since: it is not written again.
//! - If an attempt may have happened and the record does not tell, the outcome is unknown, and the
//!   client gets 503.
//! - A store that is busy with another write to the key is asked again while the condition holds.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::Error;
use super::lease::Leases;
use crate::layout::encoding::{
    self, DecodeError, Draft, History, Known, Lineage, Nonce, decode, is_tombstone, touched,
};
use crate::store::{self, Deadline, Record, RecordKey, RecordStore, Version};

/// How often a change is retried when other writers keep winning, before the client gets 503.
pub(crate) const ATTEMPTS_MAX: u32 = 32;

/// The pause before a write that the store was too busy to decide is sent again; it grows by as
/// much with each attempt.
const TRY_AGAIN_PAUSE: Duration = Duration::from_millis(20);

/// By how much the age of a record may be too large: both of its times are in whole seconds.
const AGE_RESOLUTION: Duration = Duration::from_secs(2);

/// A record that is not a tombstone, decoded.
#[derive(Debug)]
pub(crate) struct Decoded<H> {
    pub(crate) header: H,
    pub(crate) payload: Bytes,
    pub(crate) record: Record,
}

/// What a key holds.
#[derive(Debug)]
pub(crate) enum Current {
    /// The record was never created.
    Absent,
    /// The record was deleted. Replacing this version creates it again.
    Tombstone(Record),
    Live(Record),
}

impl Current {
    /// The header of the record, `None` if there is no live record.
    pub(crate) fn header<H: DeserializeOwned>(&self) -> Result<Option<H>, Error> {
        match self {
            Self::Absent | Self::Tombstone(_) => Ok(None),
            Self::Live(record) => Ok(Some(decode(&record.body)?.0)),
        }
    }

    /// The record or the tombstone.
    fn record(&self) -> Option<&Record> {
        match self {
            Self::Absent => None,
            Self::Tombstone(record) | Self::Live(record) => Some(record),
        }
    }
}

/// The version that a write replaces, and what the write takes over from it.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    version: Version,
    lineage: Lineage,
}

impl Base {
    /// A record or tombstone that a header with the fields `known` will replace.
    pub(crate) fn of(record: &Record, known: Known) -> Result<Self, DecodeError> {
        let lineage = Lineage::after(&record.body, known)?;
        Ok(Self { version: record.version.clone(), lineage })
    }

    /// What a write with this nonce over `base` has made.
    fn written(base: Option<&Self>, version: Version, nonce: Nonce) -> Self {
        let lineage = base.map(|base| base.lineage.clone()).unwrap_or_default();
        Self { version, lineage: lineage.then(nonce) }
    }

    /// Whether a record is still the one that a write over this would replace.
    pub(crate) fn is_of(&self, record: &Record) -> bool {
        self.version == record.version
    }

    pub(crate) fn lineage(&self) -> &Lineage {
        &self.lineage
    }
}

/// The outcome of a conditional write.
#[derive(Debug)]
pub(crate) enum Written {
    /// Our write took effect, and the record is as we wrote it.
    Ours(Base),
    /// Our write took effect, and another writer has replaced it since, by this.
    Replaced(Current),
    /// Our write had no effect: another writer was first; this is what the key holds now.
    Lost(Current),
}

/// The outcome of deleting one version of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// This call deleted exactly that version.
    Here,
    /// Another writer deleted the record, perhaps after changing it.
    Elsewhere,
    /// The record has another version and is live.
    Not,
}

/// The outcome of [`Records::create_or_lease`].
#[derive(Debug)]
pub(crate) enum CreatedOrLeased {
    /// Our body is there.
    Created,
    /// Another body was there already, and is leased now.
    Leased(Record),
}

/// The records of the store, and the lease times for which a request may rely on them.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    store: Arc<dyn RecordStore>,
    leases: Leases,
}

impl Records {
    pub(crate) fn new(store: Arc<dyn RecordStore>, leases: Leases) -> Self {
        Self { store, leases }
    }

    pub(crate) fn store(&self) -> &dyn RecordStore {
        self.store.as_ref()
    }

    /// The time by the store's clock.
    pub(crate) fn now(&self) -> SystemTime {
        self.store.now()
    }

    /// The deadline of a write that relies on records read at `leased_at` or later.
    pub(crate) fn deadline(&self, leased_at: SystemTime) -> Deadline {
        self.leases.deadline(leased_at)
    }

    /// Reads a key.
    pub(crate) async fn read(&self, key: &RecordKey) -> Result<Current, Error> {
        match self.store.read(key).await {
            Ok(record) if is_tombstone(record.body.len() as u64) => Ok(Current::Tombstone(record)),
            Ok(record) => Ok(Current::Live(record)),
            Err(store::Error::NotFound) => Ok(Current::Absent),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there is a live record.
    pub(crate) async fn exists(&self, key: &RecordKey) -> Result<bool, Error> {
        Ok(matches!(self.read(key).await?, Current::Live(_)))
    }

    /// Reads and decodes a record, `None` if there is no live one.
    pub(crate) async fn load<H: DeserializeOwned>(
        &self,
        key: &RecordKey,
    ) -> Result<Option<Decoded<H>>, Error> {
        match self.read(key).await? {
            Current::Absent | Current::Tombstone(_) => Ok(None),
            Current::Live(record) => {
                let (header, payload) = decode(&record.body)?;
                Ok(Some(Decoded { header, payload, record }))
            }
        }
    }

    /// Creates a record.
    pub(crate) async fn create(
        &self,
        key: &RecordKey,
        draft: &Draft,
        deadline: Option<Deadline>,
    ) -> Result<Written, Error> {
        let body = draft.encode(&Lineage::default());
        self.write(key, None, (draft.nonce(), body), deadline).await
    }

    /// Replaces one version of a record.
    pub(crate) async fn replace(
        &self,
        key: &RecordKey,
        base: &Base,
        draft: &Draft,
        deadline: Option<Deadline>,
    ) -> Result<Written, Error> {
        let body = draft.encode(&base.lineage);
        self.write(key, Some(base), (draft.nonce(), body), deadline).await
    }

    /// Writes a record over what was read, whatever that was.
    pub(crate) async fn upsert(
        &self,
        key: &RecordKey,
        current: &Current,
        draft: &Draft,
        deadline: Option<Deadline>,
    ) -> Result<Written, Error> {
        match current.record() {
            None => self.create(key, draft, deadline).await,
            Some(record) => {
                self.replace(key, &Base::of(record, draft.known())?, draft, deadline).await
            }
        }
    }

    /// Replaces one version of a record with a tombstone, or creates a tombstone.
    pub(crate) async fn bury(
        &self,
        key: &RecordKey,
        base: Option<&Base>,
    ) -> Result<Written, Error> {
        let nonce = Nonce::random();
        let lineage = base.map(|base| base.lineage.clone()).unwrap_or_default();
        self.write(key, base, (nonce, encoding::tombstone(nonce, &lineage)), None).await
    }

    /// Deletes one version of a record.
    pub(crate) async fn delete_version(
        &self,
        key: &RecordKey,
        base: &Base,
    ) -> Result<Ended, Error> {
        Ok(match self.bury(key, Some(base)).await? {
            Written::Ours(_) | Written::Replaced(_) => Ended::Here,
            Written::Lost(Current::Tombstone(_)) => Ended::Elsewhere,
            Written::Lost(Current::Absent | Current::Live(_)) => Ended::Not,
        })
    }

    /// Sends a conditional write: of a record that must not exist, or over `base`. The body carries
    /// the nonce. Has a span of its own.
    pub(crate) async fn write(
        &self,
        key: &RecordKey,
        base: Option<&Base>,
        (nonce, body): (Nonce, Bytes),
        deadline: Option<Deadline>,
    ) -> Result<Written, Error> {
        let span = tracing::info_span!(
            target: "traces",
            "record",
            otel.name = if base.is_some() { "record.replace" } else { "record.create" },
            otel.status_code = Empty,
            record.key = %key,
            outcome = Empty,
        );
        let writing = self.write_once(key, base, (nonce, body), deadline);
        let written = writing.instrument(span.clone()).await;
        let outcome = match &written {
            Ok(Written::Ours(_)) => "ours",
            Ok(Written::Replaced(_)) => "replaced",
            Ok(Written::Lost(_)) => "lost",
            Err(_) => "error",
        };
        span.record("outcome", outcome);
        if written.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        written
    }

    /// Sends a write until the store has decided about it.
    async fn write_once(
        &self,
        key: &RecordKey,
        base: Option<&Base>,
        (nonce, body): (Nonce, Bytes),
        deadline: Option<Deadline>,
    ) -> Result<Written, Error> {
        let (begun, mut may_have_happened) = (Instant::now(), false);
        for attempt in 0..ATTEMPTS_MAX {
            let sent = match base {
                None => self.store.create(key, body.clone(), deadline).await,
                Some(base) => self.store.replace(key, &base.version, body.clone(), deadline).await,
            };
            match sent {
                Ok(version) => return Ok(Written::Ours(Base::written(base, version, nonce))),
                Err(store::Error::Conflict) => {}
                // A store may apply an attempt that it has answered with "try again".
                Err(store::Error::ConflictAfterRetry | store::Error::TryAgain) => {
                    may_have_happened = true;
                }
                Err(error) => return Err(error.into()),
            }
            let current = self.read(key).await?;
            let holds = current.record().map(|record| &record.version) == base.map(|b| &b.version);
            if holds {
                tokio::time::sleep(TRY_AGAIN_PAUSE * (attempt + 1)).await;
                continue;
            }
            // What was there before the first attempt was sent has not replaced it.
            let older = current
                .record()
                .is_some_and(|record| record.age > begun.elapsed().saturating_add(AGE_RESOLUTION));
            return after_conflict(current, base, nonce, may_have_happened && !older);
        }
        Err(contended())
    }

    /// Creates a record, or takes a lease on the one that is there.
    pub(crate) async fn create_or_lease(
        &self,
        key: &RecordKey,
        draft: &Draft,
        deadline: Option<Deadline>,
    ) -> Result<CreatedOrLeased, Error> {
        let mut current = Current::Absent;
        for _ in 0..ATTEMPTS_MAX {
            if let Current::Live(record) = current {
                match self.lease(key, record).await? {
                    Some(record) => return Ok(CreatedOrLeased::Leased(record)),
                    None => current = self.read(key).await?,
                }
                continue;
            }
            match self.upsert(key, &current, draft, deadline).await? {
                Written::Ours(_) | Written::Replaced(_) => return Ok(CreatedOrLeased::Created),
                Written::Lost(now) => current = now,
            }
        }
        Err(contended())
    }

    /// The age up to which a request may rely on a record.
    pub(crate) fn half_life(&self) -> Duration {
        self.leases.half_life()
    }

    /// Whether a request may rely on a record without touching it.
    pub(crate) fn is_young(&self, record: &Record) -> bool {
        record.age < self.leases.half_life()
    }

    /// Takes a lease on a record: the caller may rely on it until the deadline of the lease. `None`
    /// if the record was deleted meanwhile. A record younger than the half-life needs no write.
    pub(crate) async fn lease(
        &self,
        key: &RecordKey,
        mut record: Record,
    ) -> Result<Option<Record>, Error> {
        for _ in 0..ATTEMPTS_MAX {
            if self.is_young(&record) {
                return Ok(Some(record));
            }
            let (written, body) = self.touch(key, &record).await?;
            match written {
                Written::Ours(Base { version, .. }) => {
                    return Ok(Some(Record { body, version, age: Duration::ZERO }));
                }
                Written::Replaced(Current::Live(now)) | Written::Lost(Current::Live(now)) => {
                    record = now;
                }
                Written::Replaced(_) | Written::Lost(_) => return Ok(None),
            }
        }
        Err(contended())
    }

    /// Writes a record, whatever is there.
    pub(crate) async fn put(
        &self,
        key: &RecordKey,
        draft: &Draft,
        deadline: Option<Deadline>,
    ) -> Result<(), Error> {
        let mut current = Current::Absent;
        for _ in 0..ATTEMPTS_MAX {
            match self.upsert(key, &current, draft, deadline).await? {
                Written::Ours(_) | Written::Replaced(_) => return Ok(()),
                Written::Lost(now) => current = now,
            }
        }
        Err(contended())
    }

    /// Rewrites a record with a new nonce. Returns also the bytes that it wrote.
    async fn touch(&self, key: &RecordKey, record: &Record) -> Result<(Written, Bytes), Error> {
        let draft = touched(&record.body)?;
        let base = Base::of(record, draft.known())?;
        let body = draft.encode(&base.lineage);
        let written = self.write(key, Some(&base), (draft.nonce(), body.clone()), None).await?;
        Ok((written, body))
    }

    /// Deletes a record if it is live and `matches`. Returns whether this call deleted it.
    pub(crate) async fn delete(
        &self,
        key: &RecordKey,
        mut current: Current,
        mut matches: impl FnMut(&Record) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        for _ in 0..ATTEMPTS_MAX {
            let Current::Live(record) = current else { return Ok(false) };
            if !matches(&record)? {
                return Ok(false);
            }
            match self.bury(key, Some(&Base::of(&record, Known::All)?)).await? {
                // Also if another request deleted it: both asked for it at the same time.
                Written::Ours(_) | Written::Replaced(_) | Written::Lost(Current::Tombstone(_)) => {
                    return Ok(true);
                }
                Written::Lost(now) => current = now,
            }
        }
        Err(contended())
    }
}

/// What a conflict means for the write with this nonce.
fn after_conflict(
    current: Current,
    base: Option<&Base>,
    nonce: Nonce,
    may_have_happened: bool,
) -> Result<Written, Error> {
    let Some(record) = current.record() else {
        // Records are never removed while a writer may rely on them.
        return if may_have_happened {
            Err(Error::OutcomeUnknown)
        } else {
            Ok(Written::Lost(current))
        };
    };
    let history = History::of(&record.body)?;
    if history.is_newest(nonce) {
        return Ok(Written::Ours(Base::written(base, record.version.clone(), nonce)));
    }
    if history.has(nonce) {
        return Ok(Written::Replaced(current));
    }
    let nothing = Lineage::default();
    if may_have_happened && !history.reaches(base.map_or(&nothing, |base| &base.lineage)) {
        return Err(Error::OutcomeUnknown);
    }
    Ok(Written::Lost(current))
}

/// The error after [`ATTEMPTS_MAX`] lost attempts.
pub(crate) fn contended() -> Error {
    Error::Busy("many writers change one record at once".to_owned())
}

#[cfg(test)]
mod tests;
