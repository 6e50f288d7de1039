//! The upload session: everything another process needs to continue it.
//!
//! The record `u/<id>` holds the acknowledged offset, the state of the hashes at that offset, the
//! parts that make it up and, as its payload, the tail that is too short for a part; or, instead of
//! both, where all bytes so far lie as one object. Nothing of a session is kept in a process, so
//! any replica may receive any chunk.

use bytes::Bytes;

use crate::layout::records::{self, Session};
use crate::oci::{Algorithm, Digest, Hasher};
use crate::registry::Error;
use crate::registry::record;
use crate::store::{self, Location, MultipartId, Part, RecordKey, Version};
use tracing::Instrument as _;

use super::memory::Reservation;
use super::parts::part_bytes_min;
use super::writer::UNRESERVED_BYTES_MAX;
use super::{UploadAddress, Uploads};

pub(super) fn damaged(what: &str) -> Error {
    Error::Unavailable(store::Error::Damaged(what.to_owned()))
}

/// The hashes of what was received so far.
#[derive(Clone, Debug)]
pub(super) struct Hashes {
    hashers: Vec<Hasher>,
}

impl Hashes {
    pub(super) fn new(algorithms: &[Algorithm]) -> Self {
        Self { hashers: algorithms.iter().map(|algorithm| Hasher::new(*algorithm)).collect() }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        for hasher in &mut self.hashers {
            hasher.update(bytes);
        }
    }

    /// Goes on with these algorithms only, where they are known by now.
    pub(super) fn keep(&mut self, algorithms: &[Algorithm]) {
        if algorithms.iter().all(|wanted| self.has(*wanted)) {
            self.hashers.retain(|hasher| algorithms.contains(&hasher.algorithm()));
        }
    }

    pub(super) fn has(&self, algorithm: Algorithm) -> bool {
        self.hashers.iter().any(|hasher| hasher.algorithm() == algorithm)
    }

    /// The digest so far, if this algorithm was carried.
    pub(super) fn digest(&self, algorithm: Algorithm) -> Option<Digest> {
        let hasher = self.hashers.iter().find(|hasher| hasher.algorithm() == algorithm)?;
        Some(hasher.clone().finish())
    }

    /// The SHA-256 so far, for a store that verifies it, if it was carried.
    pub(super) fn sha256(&self) -> Option<[u8; 32]> {
        match self.digest(Algorithm::Sha256)? {
            Digest::Sha256(sum) => Some(sum),
            Digest::Sha512(_) => None,
        }
    }

    fn save(&self) -> Vec<(Algorithm, String)> {
        self.hashers.iter().map(|hasher| (hasher.algorithm(), hasher.save())).collect()
    }
}

impl Session {
    /// The state of the hashes at the acknowledged offset.
    pub(super) fn hashes(&self) -> Result<Hashes, Error> {
        let restored: Result<Vec<Hasher>, _> = self
            .hashes
            .iter()
            .map(|(algorithm, state)| Hasher::restore(*algorithm, state))
            .collect();
        match restored {
            Ok(hashers) if !hashers.is_empty() => Ok(Hashes { hashers }),
            Ok(_) => Err(damaged("a session without hashes")),
            Err(error) => {
                // Another version of the program wrote a state that this one cannot continue.
                // The parts cannot be read back, so the client has to start again.
                tracing::warn!(%error, "an upload session cannot be continued");
                Err(Error::UploadUnknown)
            }
        }
    }

    /// The multipart upload that it names.
    pub(super) fn multipart(&self) -> Option<(Location, MultipartId)> {
        let upload = self.multipart.as_ref()?;
        Some((upload.location.clone(), MultipartId(upload.id.clone())))
    }

    /// Whether this session was started for that repository, by that subject.
    pub(super) fn belongs_to(&self, upload: &UploadAddress) -> bool {
        let ours = self.subject.as_ref().is_none_or(|subject| *subject == upload.subject);
        ours && self.repository == upload.repository
    }

    /// The body of the entry at this moment.
    pub(super) fn encode(&mut self, hashes: &Hashes, tail: &[u8]) -> Bytes {
        self.hashes = hashes.save();
        records::encode(self, tail)
    }

    /// Whether this session began with the bytes at this location.
    pub(super) fn knows(&self, location: &Location) -> bool {
        self.single_object.as_ref().or(self.former_object.as_ref()) == Some(location)
    }

    /// The staged bytes are part of what the session says otherwise.
    pub(super) fn leave_staged(&mut self) {
        self.former_object = self.single_object.take().or(self.former_object.take());
    }

    pub(super) fn store_parts(&self) -> Vec<Part> {
        let part = |part: &records::Part| Part {
            number: part.number,
            tag: part.tag.clone(),
            size: part.size,
        };
        self.parts.iter().map(part).collect()
    }
}

/// A session as it was read, with the version that a change must expect.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) session: Session,
    pub(super) tail: Bytes,
    pub(super) version: Version,
}

impl Uploads {
    /// Reads a session to go on with it. A long tail is kept only within the budget of buffers:
    /// where that is spent, it is let go of, waited for, and read again.
    pub(super) async fn load_within_budget(
        &self,
        upload: &UploadAddress,
    ) -> Result<Option<(Loaded, Option<Reservation>)>, Error> {
        let mut waited: Option<Reservation> = None;
        loop {
            let Some(loaded) = self.load_session(upload).await? else { return Ok(None) };
            if loaded.tail.len() <= UNRESERVED_BYTES_MAX {
                return Ok(Some((loaded, None)));
            }
            let part_next = loaded.session.part_next;
            // Going on with it keeps the durable tail beside the one that grows.
            let needed = part_bytes_min(self.limits.part_bytes, part_next)
                .max(2 * loaded.tail.len())
                .min(self.limits.buffer_bytes_max);
            let reserved = waited.take().filter(|reserved| reserved.bytes() >= needed);
            if let Some(reserved) = reserved.or_else(|| self.memory.try_reserve(needed)) {
                return Ok(Some((loaded, Some(reserved))));
            }
            drop(loaded);
            waited = Some(self.memory.reserve(needed).await?);
        }
    }

    /// Reads a session of this repository and this subject; `None` if nothing was ever written for
    /// it.
    pub(super) async fn load_session(
        &self,
        upload: &UploadAddress,
    ) -> Result<Option<Loaded>, Error> {
        let loading = tracing::info_span!(target: "traces", "session.load");
        let key = RecordKey::Upload(upload.id);
        match record::read(self.store(), &key).instrument(loading).await? {
            record::Current::Absent => Ok(None),
            record::Current::Tombstone(_) => Err(Error::UploadUnknown),
            record::Current::Live(entry) => {
                let (session, tail) = Session::decode(&entry.body)?;
                if !session.belongs_to(upload) {
                    return Err(Error::UploadUnknown);
                }
                Ok(Some(Loaded { session, tail, version: entry.version }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::UploadId;

    #[test]
    fn entries_of_older_versions_belong_to_nobody_and_everybody() {
        let address = |subject: &str| UploadAddress {
            repository: "a".parse().unwrap(),
            subject: subject.to_owned(),
            id: UploadId::random(),
            new: None,
        };
        let session = Session::new("a".parse().unwrap(), "user:alice".to_owned());
        let mut entry = serde_json::to_value(&session).unwrap();
        let read = |entry: &serde_json::Value| -> Session {
            serde_json::from_value(entry.clone()).unwrap()
        };
        assert!(read(&entry).belongs_to(&address("user:alice")));
        assert!(!read(&entry).belongs_to(&address("anonymous")));
        entry.as_object_mut().unwrap().remove("subject").unwrap();
        assert!(read(&entry).belongs_to(&address("user:alice")));
        assert!(read(&entry).belongs_to(&address("anonymous")));
    }
}
