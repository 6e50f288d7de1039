//! The upload session: everything another process needs to continue it.
//!
//! The entry `u/<id>` holds the acknowledged offset, the state of the hashes at that offset, the
//! parts that make it up and, as its payload, the tail that is too short for a part; or, instead of
//! both, where all bytes so far lie as one object. Nothing of a session is kept in a process, so
//! any replica may receive any chunk.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::oci::{Algorithm, Digest, Hasher, RepositoryName};
use crate::registry::record;
use crate::registry::{Error, Registry};
use crate::store::{self, Location, MultipartId, Part, RecordKey, Version};
use tracing::Instrument as _;

use super::UploadAddress;
use super::memory::Reservation;
use super::parts::part_bytes_min;
use super::writer::UNRESERVED_BYTES_MAX;

/// The header of the entry `u/<id>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    repository: RepositoryName,
    /// Who began it and alone may go on. Sessions of older versions of the program have nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// Bytes acknowledged: those of the parts and of the tail.
    pub(super) offset: u64,
    hashes: Vec<(Algorithm, String)>,
    /// Where all the bytes up to the offset lie, if they came in one request that was probably all
    /// of the blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) staged: Option<String>,
    /// Where they lay before they became the beginning of something longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) left: Option<String>,
    /// Where the bytes go, once there are enough for a part.
    pub(super) target: Option<Target>,
    pub(super) parts: Vec<StoredPart>,
    /// The first part number that nobody has used.
    pub(super) part_next: u32,
    /// Set while a request is sending parts: it alone uses the numbers below this bound. A later
    /// request that finds it set (the writer died, or is still there) begins at the bound, so no
    /// number is ever sent twice, whatever the other does.
    pub(super) reserved_to: Option<u32>,
    /// The digests with which the session is being committed, the one it gets its name from first;
    /// none before that. Then nothing can be added any more, and whoever goes on verifies them all:
    /// bytes that one request finds wrong must not be published by another.
    pub(super) committing: Vec<Digest>,
}

/// The multipart upload of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) location: String,
    pub(super) multipart: String,
}

/// A part as the session remembers it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredPart {
    number: u32,
    tag: String,
    size: u64,
}

impl From<Part> for StoredPart {
    fn from(part: Part) -> Self {
        Self { number: part.number, tag: part.tag, size: part.size }
    }
}

impl From<&StoredPart> for Part {
    fn from(part: &StoredPart) -> Self {
        Self { number: part.number, tag: part.tag.clone(), size: part.size }
    }
}

impl Target {
    fn parse(&self) -> Result<(Location, MultipartId), Error> {
        Ok((location(&self.location)?, MultipartId(self.multipart.clone())))
    }
}

fn location(text: &str) -> Result<Location, Error> {
    text.parse().map_err(|error| damaged(&format!("the location of a session: {error}")))
}

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
    pub(super) fn new(repository: RepositoryName, subject: String) -> Self {
        Self {
            repository,
            subject: Some(subject),
            offset: 0,
            hashes: Vec::new(),
            staged: None,
            left: None,
            target: None,
            parts: Vec::new(),
            part_next: 1,
            reserved_to: None,
            committing: Vec::new(),
        }
    }

    /// Reads the header and the tail of a session entry. Never panics, whatever the bytes.
    pub fn decode(body: &Bytes) -> Result<(Self, Bytes), Error> {
        let (session, tail) = record::decode::<Self>(body)?;
        let in_parts = session
            .parts
            .iter()
            .try_fold(0u64, |sum, part| sum.checked_add(part.size))
            .ok_or_else(|| damaged("a session with impossible part sizes"))?;
        if session.staged.is_some() {
            if !session.parts.is_empty() || !tail.is_empty() {
                return Err(damaged("a session whose bytes are in two places"));
            }
        } else if in_parts.checked_add(tail.len() as u64) != Some(session.offset) {
            return Err(damaged("a session whose parts and tail are not its offset"));
        }
        Ok((session, tail))
    }

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
    pub(in crate::registry) fn multipart(&self) -> Result<Option<(Location, MultipartId)>, Error> {
        self.target.as_ref().map(Target::parse).transpose()
    }

    /// Whether this session was started for that repository, by that subject.
    pub(super) fn belongs_to(&self, upload: &UploadAddress) -> bool {
        let ours = self.subject.as_ref().is_none_or(|subject| *subject == upload.subject);
        ours && self.repository == upload.repository
    }

    /// The body of the entry at this moment.
    pub(super) fn encode(&mut self, hashes: &Hashes, tail: &[u8]) -> Bytes {
        self.hashes = hashes.save();
        record::encode(self, tail)
    }

    /// Whether this session began with the bytes at this location.
    pub(super) fn knows(&self, location: &Location) -> bool {
        let begun = self.staged.as_ref().or(self.left.as_ref());
        begun.is_some_and(|begun| *begun == location.to_string())
    }

    /// The staged bytes are part of what the session says otherwise.
    pub(super) fn leave_staged(&mut self) {
        self.left = self.staged.take().or(self.left.take());
    }

    /// Where all the bytes so far lie, if they are an object of their own.
    pub(super) fn staged(&self) -> Result<Option<Location>, Error> {
        self.staged.as_deref().map(location).transpose()
    }

    pub(super) fn sort_parts(&mut self) {
        self.parts.sort_by_key(|part| part.number);
    }

    pub(super) fn bytes_in_parts(&self) -> u64 {
        self.parts.iter().map(|part| part.size).sum()
    }

    pub(super) fn store_parts(&self) -> Vec<Part> {
        self.parts.iter().map(Part::from).collect()
    }
}

/// A session as it was read, with the version that a change must expect.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) session: Session,
    pub(super) tail: Bytes,
    pub(super) version: Version,
}

impl Registry {
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
            if let Some(reserved) = reserved.or_else(|| self.budget.try_reserve(needed)) {
                return Ok(Some((loaded, Some(reserved))));
            }
            drop(loaded);
            waited = Some(self.budget.reserve(needed).await?);
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
        match record::look(self.store(), &key).instrument(loading).await? {
            record::Seen::Absent => Ok(None),
            record::Seen::Dead(_) => Err(Error::UploadUnknown),
            record::Seen::Alive(entry) => {
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
