//! Incremental hashing whose state can be saved and continued by another process.

#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256, Sha512};

use super::digest::{Algorithm, Digest};

/// The layout of a saved state: that of the crate `sha2`, which keeps it within 0.11. Change this
/// with the crate: the new release then refuses older upload sessions instead of computing a wrong
/// digest.
const FORMAT: &str = "sha2-0.11";

/// Computes one digest, incrementally.
///
/// The state can be saved after any byte, so another replica can receive the next chunk of an
/// upload without reading the earlier ones again.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

/// Why a saved state cannot be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HasherStateError {
    /// It belongs to another algorithm, or to a release with another layout.
    #[error("the saved hasher state is of another algorithm or release")]
    Foreign,
    /// Its checksum is wrong, or it cannot be decoded.
    #[error("the saved hasher state is damaged")]
    Damaged,
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(state) => Digest::Sha256(state.finalize().into()),
            State::Sha512(state) => Digest::Sha512(state.finalize().into()),
        }
    }

    /// Exports the state as text: `<format>:<algorithm>:<crc32>:<base64>`, less than 320 bytes.
    ///
    /// It contains up to 127 bytes of the content, so it is as confidential as the content.
    pub fn save(&self) -> String {
        match &self.0 {
            State::Sha256(state) => encoded(Algorithm::Sha256, &state.serialize()),
            State::Sha512(state) => encoded(Algorithm::Sha512, &state.serialize()),
        }
    }

    /// A hasher that continues from a state exported by [`save`](Self::save).
    pub fn restore(algorithm: Algorithm, saved: &str) -> Result<Self, HasherStateError> {
        let bytes = decoded(algorithm, saved)?;
        Ok(Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(deserialized(&bytes)?),
            Algorithm::Sha512 => State::Sha512(deserialized(&bytes)?),
        }))
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the state: it contains bytes of the content, which do not belong in logs.
        f.debug_tuple("Hasher").field(&self.algorithm()).finish()
    }
}

impl Digest {
    /// The digest of bytes that are all in memory. For a stream there is [`Hasher`].
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }
}

fn encoded(algorithm: Algorithm, state: &[u8]) -> String {
    let checksum = checksum(algorithm, state);
    format!("{FORMAT}:{algorithm}:{checksum:08x}:{}", STANDARD_NO_PAD.encode(state))
}

fn decoded(algorithm: Algorithm, saved: &str) -> Result<Vec<u8>, HasherStateError> {
    let (format, rest) = saved.split_once(':').ok_or(HasherStateError::Damaged)?;
    let (of, rest) = rest.split_once(':').ok_or(HasherStateError::Damaged)?;
    if format != FORMAT || of != algorithm.as_str() {
        return Err(HasherStateError::Foreign);
    }
    let (expected, state) = rest.split_once(':').ok_or(HasherStateError::Damaged)?;
    let state = STANDARD_NO_PAD.decode(state).map_err(|_| HasherStateError::Damaged)?;
    // A damaged state is a valid state of another stream: without the checksum the upload would
    // fail only at its end, with a digest mismatch that looks like an error of the client.
    if format!("{:08x}", checksum(algorithm, &state)) != expected {
        return Err(HasherStateError::Damaged);
    }
    Ok(state)
}

fn checksum(algorithm: Algorithm, state: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(FORMAT.as_bytes());
    crc.update(algorithm.as_str().as_bytes());
    crc.update(state);
    crc.finalize()
}

fn deserialized<S: SerializableState>(bytes: &[u8]) -> Result<S, HasherStateError> {
    let state = SerializedState::<S>::try_from(bytes).map_err(|_| HasherStateError::Damaged)?;
    S::deserialize(&state).map_err(|_| HasherStateError::Damaged)
}
