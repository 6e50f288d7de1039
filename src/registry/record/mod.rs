//! Operations on records: read, create, replace, touch, lease and delete.
//!
//! *Touching* a record rewrites it with a new nonce, which changes its version and resets its age.
//! *Deleting* replaces it with a tombstone. Each write is conditional. A conflict with a record
//! whose bytes are ours is a success: our first attempt arrived, and its response was lost.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::Error;
use super::lease::Leases;
use crate::layout::records::{decode, with_new_nonce};
use crate::store::{self, Deadline, Record, RecordKey, RecordStore, Version};

/// How often a change is retried when other writers keep winning, before the client gets 503.
pub(super) const ATTEMPTS_MAX: u32 = 32;

/// A record that is not a tombstone, decoded.
#[derive(Debug)]
pub(super) struct Decoded<H> {
    pub(super) header: H,
    pub(super) payload: Bytes,
    pub(super) record: Record,
}

/// What a key holds.
#[derive(Debug)]
pub(super) enum Current {
    /// The record was never created.
    Absent,
    /// The record was deleted. Replacing this version creates it again.
    Tombstone(Version),
    Live(Record),
}

impl Current {
    /// The header of the record, `None` if there is no live record.
    pub(super) fn header<H: DeserializeOwned>(&self) -> Result<Option<H>, Error> {
        match self {
            Self::Absent | Self::Tombstone(_) => Ok(None),
            Self::Live(record) => Ok(Some(decode(&record.body)?.0)),
        }
    }
}

/// The outcome of a conditional write.
#[derive(Debug)]
pub(super) enum Written {
    /// Our write took effect.
    Ours(Version),
    /// Another writer was first; this is what the key holds now.
    Lost(Current),
}

/// The outcome of deleting one version of a record.
#[derive(Debug)]
pub(super) enum Ended {
    /// This call deleted exactly that version.
    Here,
    /// The record is deleted. Either this call did it and its response was lost, or another writer
    /// did it, perhaps after changing the record.
    Unknown,
    /// The record has another version and is live.
    Not,
}

/// The outcome of [`Records::create_or_lease`].
#[derive(Debug)]
pub(super) enum CreatedOrLeased {
    /// Our body is there.
    Created,
    /// Another body was there already, and is leased now.
    Leased(Record),
}

/// The records of the store, and the lease times for which a request may rely on them.
#[derive(Clone, Debug)]
pub(super) struct Records {
    store: Arc<dyn RecordStore>,
    leases: Leases,
}

impl Records {
    pub(super) fn new(store: Arc<dyn RecordStore>, leases: Leases) -> Self {
        Self { store, leases }
    }

    pub(super) fn store(&self) -> &dyn RecordStore {
        self.store.as_ref()
    }

    /// The time by the store's clock.
    pub(super) fn now(&self) -> SystemTime {
        self.store.now()
    }

    /// The deadline of a write that relies on records read at `leased_at` or later.
    pub(super) fn deadline(&self, leased_at: SystemTime) -> Deadline {
        self.leases.deadline(leased_at)
    }

    /// Reads a key.
    pub(super) async fn read(&self, key: &RecordKey) -> Result<Current, Error> {
        match self.store.read(key).await {
            Ok(record) if record.body.is_empty() => Ok(Current::Tombstone(record.version)),
            Ok(record) => Ok(Current::Live(record)),
            Err(store::Error::NotFound) => Ok(Current::Absent),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads and decodes a record, `None` if there is no live one.
    pub(super) async fn load<H: DeserializeOwned>(
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
    pub(super) async fn create(
        &self,
        key: &RecordKey,
        body: &Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Written, Error> {
        let write = self.store.create(key, body.clone(), deadline);
        self.resolve_conflict("record.create", key, body, write).await
    }

    /// Replaces one version of a record; an empty body leaves a tombstone.
    pub(super) async fn replace(
        &self,
        key: &RecordKey,
        expected: &Version,
        body: &Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Written, Error> {
        let write = self.store.replace(key, expected, body.clone(), deadline);
        self.resolve_conflict("record.replace", key, body, write).await
    }

    /// Deletes one version of a record.
    pub(super) async fn delete_version(
        &self,
        key: &RecordKey,
        version: &Version,
    ) -> Result<Ended, Error> {
        let (nothing, mut certain) = (Bytes::new(), false);
        let write = async {
            let written = self.store.replace(key, version, nothing.clone(), None).await;
            certain = written.is_ok();
            written
        };
        let written = self.resolve_conflict("record.replace", key, &nothing, write).await?;
        Ok(match written {
            Written::Ours(_) if certain => Ended::Here,
            Written::Ours(_) | Written::Lost(Current::Tombstone(_)) => Ended::Unknown,
            Written::Lost(Current::Absent | Current::Live(_)) => Ended::Not,
        })
    }

    /// Sends a conditional write. If it meets a conflict, reads the key to find out whether the
    /// conflict is with our own write. Has a span of its own.
    async fn resolve_conflict(
        &self,
        verb: &'static str,
        key: &RecordKey,
        body: &Bytes,
        write: impl Future<Output = Result<Version, store::Error>> + Send,
    ) -> Result<Written, Error> {
        let span = tracing::info_span!(
            target: "traces",
            "record",
            otel.name = verb,
            otel.status_code = Empty,
            record.key = %key,
            outcome = Empty,
        );
        let writing = async {
            match write.await {
                Ok(version) => Ok(Written::Ours(version)),
                Err(
                    store::Error::Conflict
                    | store::Error::ConflictAfterRetry
                    | store::Error::TryAgain,
                ) => self.after_conflict(key, body).await,
                Err(error) => Err(error.into()),
            }
        };
        let written = writing.instrument(span.clone()).await;
        let outcome = match &written {
            Ok(Written::Ours(_)) => "ours",
            Ok(Written::Lost(_)) => "lost",
            Err(_) => "error",
        };
        span.record("outcome", outcome);
        if written.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        written
    }

    async fn after_conflict(&self, key: &RecordKey, body: &Bytes) -> Result<Written, Error> {
        match self.read(key).await? {
            // Our own first attempt, whose response was lost. No other writer knows our nonce.
            Current::Live(record) if record.body == *body => Ok(Written::Ours(record.version)),
            // Deleting is idempotent, whichever request did it.
            Current::Tombstone(version) if body.is_empty() => Ok(Written::Ours(version)),
            current => Ok(Written::Lost(current)),
        }
    }

    /// Writes a record over what was read, whatever that was.
    pub(super) async fn upsert(
        &self,
        key: &RecordKey,
        current: &Current,
        body: &Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Written, Error> {
        match current {
            Current::Absent => self.create(key, body, deadline).await,
            Current::Tombstone(version) => self.replace(key, version, body, deadline).await,
            Current::Live(record) => self.replace(key, &record.version, body, deadline).await,
        }
    }

    /// Creates a record, or takes a lease on the one that is there.
    pub(super) async fn create_or_lease(
        &self,
        key: &RecordKey,
        body: &Bytes,
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
            match self.upsert(key, &current, body, deadline).await? {
                Written::Ours(_) => return Ok(CreatedOrLeased::Created),
                Written::Lost(now) => current = now,
            }
        }
        Err(contended())
    }

    /// Takes a lease on a record: the caller may rely on it until the deadline of the lease. `None`
    /// if the record was deleted meanwhile. A record younger than the half-life needs no write.
    pub(super) async fn lease(
        &self,
        key: &RecordKey,
        mut record: Record,
    ) -> Result<Option<Record>, Error> {
        for _ in 0..ATTEMPTS_MAX {
            if record.age < self.leases.half_life() {
                return Ok(Some(record));
            }
            match self.touch(key, &record).await? {
                Written::Ours(version) => {
                    record.version = version;
                    record.age = Duration::ZERO;
                    return Ok(Some(record));
                }
                Written::Lost(Current::Live(now)) => record = now,
                Written::Lost(Current::Absent | Current::Tombstone(_)) => return Ok(None),
            }
        }
        Err(contended())
    }

    /// Rewrites a record with a new nonce.
    pub(super) async fn touch(&self, key: &RecordKey, record: &Record) -> Result<Written, Error> {
        self.replace(key, &record.version, &with_new_nonce(&record.body)?, None).await
    }

    /// Deletes a record if it is live and `matches`. Returns whether this call deleted it.
    pub(super) async fn delete(
        &self,
        key: &RecordKey,
        mut current: Current,
        matches: impl Fn(&Record) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        for _ in 0..ATTEMPTS_MAX {
            let Current::Live(record) = current else { return Ok(false) };
            if !matches(&record)? {
                return Ok(false);
            }
            match self.replace(key, &record.version, &Bytes::new(), None).await? {
                Written::Ours(_) => return Ok(true),
                Written::Lost(now) => current = now,
            }
        }
        Err(contended())
    }
}

/// The error after [`ATTEMPTS_MAX`] lost attempts.
pub(super) fn contended() -> Error {
    Error::Busy("many writers change one record at once".to_owned())
}

#[cfg(test)]
mod tests;
