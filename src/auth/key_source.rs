//! Where the keys of our own tokens come from.

use std::fmt;

use async_trait::async_trait;

/// Where the keys are kept.
#[async_trait]
pub trait KeySource: Send + Sync + fmt::Debug {
    /// The keys, of which this creates the first. An error is for the log.
    async fn read(&self) -> Result<Vec<SigningKey>, String>;
}

/// A key of the source.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    pub id: String,
    /// The seed of the Ed25519 key.
    pub seed: [u8; 32],
    /// From when on it signs, in seconds since 1970.
    pub signs_from: u64,
}

/// Without the seed.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}
