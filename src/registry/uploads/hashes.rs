//! The hashes of the received bytes, which any replica can continue.

use crate::layout::records::Session;
use crate::oci::{Algorithm, Digest, Hasher, HasherStateError};

/// The hashes of everything that was received.
#[derive(Clone, Debug)]
pub(super) struct Hashes(Vec<Hasher>);

impl Hashes {
    pub(super) fn new(algorithms: &[Algorithm]) -> Self {
        Self(algorithms.iter().map(|algorithm| Hasher::new(*algorithm)).collect())
    }

    /// The hashes of a session at its offset.
    pub(super) fn restore(session: &Session) -> Result<Self, HasherStateError> {
        session
            .hashes
            .iter()
            .map(|(algorithm, state)| Hasher::restore(*algorithm, state))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The states as the session record holds them.
    pub(super) fn save(&self) -> Vec<(Algorithm, String)> {
        self.0.iter().map(|hasher| (hasher.algorithm(), hasher.save())).collect()
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        for hasher in &mut self.0 {
            hasher.update(bytes);
        }
    }

    /// Drops the hashes that these digests do not need, unless one of the digests has none.
    pub(super) fn keep(&mut self, digests: &[Digest]) {
        if digests.iter().all(|digest| self.has(digest.algorithm())) {
            let needed = |hasher: &Hasher| {
                digests.iter().any(|digest| digest.algorithm() == hasher.algorithm())
            };
            self.0.retain(needed);
        }
    }

    pub(super) fn has(&self, algorithm: Algorithm) -> bool {
        self.0.iter().any(|hasher| hasher.algorithm() == algorithm)
    }

    /// The digest of everything received, if there is a hash of this algorithm.
    pub(super) fn digest(&self, algorithm: Algorithm) -> Option<Digest> {
        let hasher = self.0.iter().find(|hasher| hasher.algorithm() == algorithm)?;
        Some(hasher.clone().finish())
    }

    /// The SHA-256 of everything received, if it is computed, for a store that verifies it.
    pub(super) fn sha256(&self) -> Option<[u8; 32]> {
        match self.digest(Algorithm::Sha256)? {
            Digest::Sha256(sum) => Some(sum),
            Digest::Sha512(_) => None,
        }
    }
}
