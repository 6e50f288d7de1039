//! Identifiers of upload sessions.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde_with::{DeserializeFromStr, SerializeDisplay};
use uuid::{Builder, Uuid};

use super::truncate::truncate;
use crate::entropy;

/// The identifier of an upload session: random, so that only its owner knows it.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr,
)]
pub struct UploadId(Uuid);

/// A text that is not the identifier of an upload session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the identifier of an upload session")]
pub struct UploadIdError(String);

impl UploadId {
    /// A new identifier.
    pub fn random() -> Self {
        Self(Builder::from_random_bytes(entropy::bytes()).into_uuid())
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for UploadId {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, UploadIdError> {
        let error = || UploadIdError(truncate(text));
        let id = Uuid::try_parse(text).map_err(|_| error())?;
        // The parser also accepts braces, upper case and no hyphens. A session has one spelling.
        if *id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) != *text {
            return Err(error());
        }
        Ok(Self(id))
    }
}
