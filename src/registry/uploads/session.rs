//! Reading an upload session, and the questions that are asked about one.
//!
//! The record `u/<id>` ([`Session`]) holds everything that another process needs to continue the
//! session. Nothing of a session is kept in a process, so any replica may receive any chunk.

use std::time::Duration;

use bytes::Bytes;
use tracing::Instrument as _;

use super::Uploads;
use super::hashes::Hashes;
use super::memory::Reservation;
use super::parts::{PartSizes, UNRESERVED_BYTES_MAX};
use super::request::{Request, UploadAddress};
use crate::layout::encoding::{DecodeError, Known, fields_of};
use crate::layout::records::Session;
use crate::registry::Error;
use crate::registry::record::{Base, Current};
use crate::store::{self, Location, Record};

pub(super) fn damaged(what: String) -> Error {
    Error::Unavailable(store::Error::Damaged(what))
}

impl Session {
    /// Whether this session was started for that repository, by that subject.
    pub(super) fn belongs_to(&self, upload: &UploadAddress) -> bool {
        self.subject == upload.subject && self.repository == upload.repository
    }

    /// Stops naming the single object, because its bytes are in the parts and the tail now.
    /// Returns its location.
    pub(super) fn forget_object(&mut self) -> Option<Location> {
        let object = self.single_object.take()?;
        self.single_object_etag = None;
        self.former_object = Some(object.clone());
        Some(object)
    }

    pub(super) fn bytes_in_parts(&self) -> u64 {
        self.parts.iter().map(|part| part.size).sum()
    }

    /// Acknowledged bytes that the record holds as its payload.
    pub(super) fn tail_bytes(&self) -> u64 {
        match self.single_object {
            Some(_) => 0,
            None => self.offset.saturating_sub(self.bytes_in_parts()),
        }
    }

    /// The hashes at the offset.
    pub(super) fn hashes(&self) -> Result<Hashes, Error> {
        if self.hashes.is_empty() {
            return Err(damaged("an upload session without hashes".to_owned()));
        }
        Hashes::restore(self).map_err(|error| {
            // Another release wrote a state that this one cannot continue. The parts cannot be
            // read back, so the client has to start again.
            tracing::warn!(%error, "an upload session cannot be continued");
            Error::UploadUnknown
        })
    }
}

/// The version of a session that the next write has to replace.
pub(super) fn base_of(record: &Record) -> Result<Base, Error> {
    match Base::of(record, Known::Fields(fields_of::<Session>())) {
        // A later release continues the session in a way that this one does not know.
        Err(DecodeError::Newer(_)) => Err(Error::UploadUnknown),
        base => Ok(base?),
    }
}

/// What a session of this repository and this subject is.
#[derive(Debug)]
pub(super) enum Found {
    /// No record was ever written for it.
    Nothing,
    /// It has ended, with or without a blob.
    Ended,
    Session(Box<Loaded>),
}

/// A session as it was read.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) session: Session,
    /// The payload of the record: the bytes after those of the parts.
    pub(super) tail: Bytes,
    /// What the next write has to replace.
    pub(super) base: Base,
    /// Time since that was written, by the store's clock.
    pub(super) age: Duration,
    /// Memory for a long tail.
    pub(super) reservation: Option<Reservation>,
}

impl Uploads {
    /// Reads a session to continue it. A long tail is kept only within the upload memory: if that
    /// is exhausted, drops the tail, waits for memory, and reads the session again.
    pub(super) async fn load_within_memory(&self, request: &Request<'_>) -> Result<Found, Error> {
        let mut waited: Option<Reservation> = None;
        loop {
            let mut loaded = match self.load_session(request.upload).await? {
                Found::Session(loaded) => loaded,
                none => return Ok(none),
            };
            if loaded.tail.len() <= UNRESERVED_BYTES_MAX {
                return Ok(Found::Session(loaded));
            }
            // Twice the tail: writing the session record copies it.
            let needed = PartSizes::new(&self.limits)
                .least(loaded.session.part_next)
                .max(2 * loaded.tail.len())
                .min(self.limits.buffer_bytes);
            let reserved = waited.take().filter(|reserved| reserved.bytes() >= needed);
            let reserve = || self.memory.try_reserve(request.incoming, needed);
            loaded.reservation = reserved.or_else(reserve);
            if loaded.reservation.is_some() {
                return Ok(Found::Session(loaded));
            }
            drop(loaded);
            waited = Some(self.memory.reserve(request.incoming, needed).await?);
        }
    }

    /// Reads a session of this repository and this subject.
    pub(super) async fn load_session(&self, upload: &UploadAddress) -> Result<Found, Error> {
        let loading = tracing::info_span!(target: "traces", "session.load");
        let key = upload.key();
        match self.records.read(&key).instrument(loading).await? {
            Current::Absent => Ok(Found::Nothing),
            Current::Tombstone(_) => Ok(Found::Ended),
            Current::Live(record) => {
                let (session, tail) = match Session::decode(&record.body) {
                    // This release may not even read it.
                    Err(DecodeError::Newer(_)) => return Err(Error::UploadUnknown),
                    session => session?,
                };
                if !session.belongs_to(upload) {
                    return Err(Error::UploadUnknown);
                }
                let base = base_of(&record)?;
                let loaded = Loaded { session, tail, base, age: record.age, reservation: None };
                Ok(Found::Session(Box::new(loaded)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::layout::encoding::{Lineage, Nonce, encode};

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            Just(json!(["sha256", "AAAA"])),
            Just(json!({ "number": 1, "tag": "", "size": u64::MAX })),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop::collection::vec(inner, 0..3).prop_map(Value::Array)
        })
    }

    proptest! {
        /// No header of a record makes reading a session panic.
        #[test]
        fn every_session_is_read_or_refused(
            changes in prop::collection::vec((0usize..12, value()), 0..4),
            tail in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let session = Session::new("a".parse().unwrap(), "user:alice".to_owned());
            let mut header = serde_json::to_value(&session).unwrap();
            let fields = [
                "repository", "subject", "offset", "hashes", "single_object", "former_object",
                "multipart", "parts", "part_next", "reserved_to", "committing", "need",
            ];
            for (field, value) in changes {
                header[fields[field]] = value;
            }
            let body = encode(&header, &tail, Nonce::random(), &Lineage::default());
            let read = Session::decode(&body);
            if let Ok((session, tail)) = read {
                let _ = session.hashes();
                prop_assert_eq!(session.tail_bytes(), tail.len() as u64);
                prop_assert!(session.bytes_in_parts() <= session.offset);
            }
        }
    }
}
