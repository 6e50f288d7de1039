//! Why the registry cannot do what a request asks for.

use crate::layout::encoding::DecodeError;
use crate::oci::{Digest, ManifestError};
use crate::store;

/// One variant for each case that a caller treats differently.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the blob is not known to this repository")]
    BlobUnknown,
    #[error("the manifest is not known to this repository")]
    ManifestUnknown,
    /// The client accepts neither the stored type nor one that could be served instead.
    #[error("the manifest is stored as {stored}, which the request does not accept")]
    NotAcceptable { stored: String },
    /// No manifest was ever pushed to this repository.
    #[error("the repository is not known to this registry")]
    NameUnknown,
    #[error("the upload session is not known, or it has ended")]
    UploadUnknown,
    /// A cursor of the catalog is not one of this store, or too old.
    #[error("the value of last is not known here: begin the list again")]
    CursorUnknown,
    /// A chunk does not begin at the offset of the session.
    #[error("the chunk does not begin at the offset of the session, which is {offset}")]
    OutOfOrder { offset: u64 },
    #[error("the length of the chunk differs from its Content-Range")]
    SizeMismatch,
    #[error("the digest of the content is {actual}, not {expected}")]
    DigestMismatch { expected: Box<Digest>, actual: Box<Digest> },
    /// The client disconnected or stalled before the request body was complete.
    #[error("the request body ended early: {0}")]
    Interrupted(String),
    #[error("the blob is larger than this registry accepts: {0}")]
    TooLarge(String),
    /// The manifest cannot be accepted, or not be converted for this client.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("the manifest names {} objects that are missing", .0.len())]
    ReferencesMissing(Vec<Digest>),
    #[error("the precondition of the request does not hold")]
    PreconditionFailed,
    /// This process receives too many uploads, no buffer memory became free in time, or too many
    /// writers change one record.
    #[error("too busy: {0}")]
    Busy(String),
    /// The body came too slowly while others waited for what it held. What has arrived of a chunk
    /// is kept.
    #[error("the body came too slowly while others waited for its upload memory or its place")]
    TooSlow,
    /// A write may have happened and was replaced since, or did not happen: writing again could
    /// undo what other writers have written since.
    #[error("a repeated write met another version, and its first attempt may have happened")]
    OutcomeUnknown,
    /// The store cannot be used right now.
    #[error("storage is unavailable")]
    Unavailable(#[source] store::Error),
}

impl Error {
    /// The error of the store that caused this one, for callers that only read records.
    pub(super) fn into_store(self) -> store::Error {
        match self {
            Self::Unavailable(error) => error,
            other => store::Error::Damaged(other.to_string()),
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Unavailable(error)
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Unavailable(error.into())
    }
}
