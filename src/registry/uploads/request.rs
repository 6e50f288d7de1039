//! What a client asks of an upload session.

use std::sync::Arc;

use super::hashes::Hashes;
use super::incoming::{Body, Claimant, Incoming};
use crate::oci::{Algorithm, Digest, NewSession, RepositoryName, UploadId};
use crate::store::RecordKey;

/// Which session a request means.
#[derive(Clone, Debug)]
pub struct UploadAddress {
    /// The repository of the request; a session of another one is unknown here.
    pub repository: RepositoryName,
    /// The subject of the caller; a session of another subject is unknown to it. The registry
    /// compares subjects and does not interpret them.
    pub subject: String,
    /// What the client knows of the session, see [`UploadAddress::key`].
    pub id: UploadId,
    /// Whether the caller may read the repository, and so learn of a blob that is in it.
    pub may_read: bool,
    /// Set if the request uses the location that starting the session returned: the session is
    /// then valid even if no record was written for it yet.
    pub new: Option<NewSession>,
}

impl UploadAddress {
    /// The key of the session's record.
    pub fn key(&self) -> RecordKey {
        RecordKey::Upload(self.id.of_owner(&self.repository, &self.subject))
    }
}

/// One chunk of a session.
pub struct Chunk<'a> {
    /// The first and the last byte by `Content-Range`; `None` means that the chunk follows the
    /// bytes that are there.
    pub range: Option<(u64, u64)>,
    /// Bytes of the body, if the client sent `Content-Length`.
    pub length: Option<u64>,
    /// Whose share of the upload memory, and of the uploads at once, it takes.
    pub claimant: Claimant,
    /// Read to its end unless the request fails.
    pub body: &'a mut Body,
}

impl std::fmt::Debug for Chunk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunk")
            .field("range", &self.range)
            .field("length", &self.length)
            .field("claimant", &self.claimant)
            .finish_non_exhaustive()
    }
}

impl Chunk<'_> {
    /// Bytes that the chunk has to have, if the client said so.
    pub(super) fn expected(&self) -> Option<u64> {
        match self.range {
            Some((first, last)) => Some((last - first).saturating_add(1)),
            None => self.length,
        }
    }

    /// Whether the body is known to have another length than the range.
    pub(super) fn contradicts_itself(&self) -> bool {
        self.length.is_some() && self.length != self.expected()
    }
}

/// The digests with which a request commits a session. There is at least one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digests<'a> {
    blob: &'a Digest,
    all: &'a [Digest],
}

impl<'a> Digests<'a> {
    /// `None` if there are none.
    pub(super) fn new(all: &'a [Digest]) -> Option<Self> {
        Some(Self { blob: all.first()?, all })
    }

    /// The first digest: the blob is published under it.
    pub(super) fn blob(self) -> &'a Digest {
        self.blob
    }

    /// All digests, which the content has to match.
    pub(super) fn all(self) -> &'a [Digest] {
        self.all
    }
}

/// What one request does with its session: adds a chunk, and commits it if there are digests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) upload: &'a UploadAddress,
    /// The offset of the chunk, if the client said so.
    pub(super) begins: Option<u64>,
    /// Whether the chunk will be refused, unless the session is elsewhere: that is said first.
    refused: bool,
    pub(super) digests: Option<Digests<'a>>,
    /// The body of the request.
    pub(super) incoming: &'a Arc<Incoming>,
}

impl<'a> Request<'a> {
    pub(super) fn new(
        upload: &'a UploadAddress,
        chunk: &Chunk<'_>,
        digests: Option<Digests<'a>>,
        incoming: &'a Arc<Incoming>,
    ) -> Self {
        let begins = chunk.range.map(|(first, _)| first);
        Self { upload, begins, refused: chunk.contradicts_itself(), digests, incoming }
    }

    /// Whether the location and the offset both say that the session has no bytes yet.
    pub(super) fn is_first(&self) -> bool {
        self.upload.new.is_some() && matches!(self.begins, None | Some(0)) && !self.refused
    }

    /// Whether the client can continue after a chunk that breaks off. A blob that comes in one
    /// request is sent again as a whole.
    pub(super) fn may_be_continued(&self) -> bool {
        self.digests.is_none() || self.begins.is_some()
    }

    /// The hashes of a new session: those that are known to be needed, else SHA-256.
    pub(super) fn first_hashes(&self) -> Hashes {
        let announced = || self.upload.new.and_then(|new| new.algorithm);
        let mut algorithms: Vec<Algorithm> = match self.digests {
            Some(digests) => digests.all().iter().map(Digest::algorithm).collect(),
            None => vec![announced().unwrap_or(Algorithm::Sha256)],
        };
        algorithms.sort();
        algorithms.dedup();
        Hashes::new(&algorithms)
    }
}
