//! Failures of the store, by what the caller does about them.

use crate::layout::records::DecodeError;

/// A failure of the object store.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing under this key. The only error that may ever become a 404.
    #[error("no such object")]
    NotFound,
    /// A condition did not hold: the record exists, or has another version.
    #[error("the condition of a write did not hold")]
    Conflict,
    /// A condition did not hold, and an earlier attempt of the same write may have taken effect: the
    /// conflict may be with our own write.
    #[error("the condition of a write did not hold after a retry")]
    ConflictAfterRetry,
    /// Another request on the same key was in progress, so the store decided nothing (409 on S3):
    /// the write had no effect, and its condition may still hold.
    #[error("another request on the same key was in progress")]
    TryAgain,
    /// The write reached the store after its deadline; the caller has to take the lease again.
    #[error("the write arrived after its deadline")]
    Expired,
    /// The data does not match the announced digest.
    #[error("the data does not match its digest")]
    BadDigest,
    /// The store cannot be used now; the same request may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// The store refused, and no retry will change that: wrong credentials, no such bucket.
    #[error("{0}")]
    Refused(String),
    /// The stored data is not what was written.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Damaged(error.to_string())
    }
}
