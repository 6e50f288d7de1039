//! What can be true when the registry cannot do what it was asked.

use crate::docker_schema1 as schema1;
use crate::oci::{Digest, ManifestError, MediaType};
use crate::store;

/// One variant for each thing that a caller treats differently.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository has no link to this blob.
    #[error("the blob is not known to this repository")]
    BlobUnknown,
    /// The repository has no such manifest, or no such tag.
    #[error("the manifest is not known to this repository")]
    ManifestUnknown,
    /// Nothing that is stored may be served to a client that accepts only other types.
    #[error("the manifest is stored as {stored}, which the request does not accept")]
    NotAcceptable {
        /// The media type that is stored.
        stored: String,
    },
    /// Nothing was ever pushed to this repository.
    #[error("the repository is not known to this registry")]
    NameUnknown,
    /// There is no such upload session, or it has ended.
    #[error("the upload session is not known, or it has ended")]
    UploadUnknown,
    /// A chunk does not begin where the session stands.
    #[error("the session stands at {offset}, the chunk begins elsewhere")]
    OutOfOrder {
        /// Bytes of the session so far.
        offset: u64,
    },
    /// A chunk has another length than its `Content-Range` says.
    #[error("the chunk has another length than its Content-Range says")]
    SizeMismatch,
    /// The bytes do not hash to the digest that the client named.
    #[error("the content hashes to {actual}, not to {expected}")]
    DigestMismatch {
        /// What the client named.
        expected: Box<Digest>,
        /// What the bytes hash to.
        actual: Box<Digest>,
    },
    /// The request body ended before it was whole: the client went away or stalled.
    #[error("the request body ended early: {0}")]
    Interrupted(String),
    /// The upload is larger than this configuration can take.
    #[error("the blob is larger than this registry takes: {0}")]
    TooLarge(String),
    /// The manifest cannot be accepted as it is.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The same of schema 1.
    #[error(transparent)]
    Schema1(#[from] schema1::Error),
    /// The manifest names content that this repository does not have.
    #[error("the manifest names {} objects that are missing", .0.len())]
    ReferencesMissing(Vec<Digest>),
    /// A precondition of the request (`If-Match`, `If-None-Match`) does not hold.
    #[error("the precondition of the request does not hold")]
    PreconditionFailed,
    /// More uploads at once than this process takes, or no buffer memory became free in time.
    #[error("too busy: {0}")]
    Busy(String),
    /// The store cannot be used right now.
    #[error("storage is unavailable")]
    Unavailable(#[source] store::Error),
}

impl Error {
    /// The failure of the store behind this one, for those who only read the store.
    pub(super) fn into_store(self) -> store::Error {
        match self {
            Self::Unavailable(error) => error,
            other => store::Error::Damaged(other.to_string()),
        }
    }

    /// This type is stored, and the client takes neither it nor anything that could replace it.
    pub(super) fn not_acceptable(stored: &MediaType) -> Self {
        Self::NotAcceptable { stored: stored.to_string() }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Unavailable(error)
    }
}
