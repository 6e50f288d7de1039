//! Failures of the store, by what the caller does about them.

use crate::layout::encoding::DecodeError;

/// A failure of the object store.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing under this key. The only error that may ever become a 404.
    #[error("no such object")]
    NotFound,
    /// A condition did not hold: the record exists, or has another version. The write did not
    /// happen.
    #[error("the condition of a write did not hold")]
    Conflict,
    /// A condition did not hold for a repeated attempt. An earlier attempt may have taken effect.
    #[error("the condition of a repeated write did not hold")]
    ConflictAfterRetry,
    /// The store decides about another write to the same key, and did not look at this one.
    #[error("the store is busy with another write to the same key")]
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
