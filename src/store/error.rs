//! What can go wrong between us and the store, by what the caller does about it.

use crate::layout::records::DecodeError;

/// A failure of the object store.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing under this key. The only error that may ever become a 404.
    #[error("no such object")]
    NotFound,
    /// A condition did not hold: the entry exists, or its version is another one.
    #[error("the condition of a write did not hold")]
    Conflict,
    /// The write reached the store after its deadline; take the lease again.
    #[error("the write arrived after its deadline")]
    Expired,
    /// The bytes do not hash to the digest that was announced.
    #[error("the bytes do not match their digest")]
    BadDigest,
    /// The store cannot be used right now; the same request may succeed later.
    #[error("the object store is unavailable: {0}")]
    Unavailable(String),
    /// The store answered in a way that no retry will change: wrong credentials, no such bucket.
    #[error("the object store refused: {0}")]
    Refused(String),
    /// What is stored is not what was written.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Damaged(error.to_string())
    }
}
