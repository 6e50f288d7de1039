//! Identifiers of upload sessions, and how locations spell them.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde_with::{DeserializeFromStr, SerializeDisplay};
use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use super::digest::Algorithm;
use super::name::RepositoryName;
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

    /// The identifier under which the store keeps the session that this owner means by this one.
    /// Another owner cannot name that session: not while it lives, nor after it has ended.
    #[must_use]
    pub fn of_owner(self, repository: &RepositoryName, subject: &str) -> Self {
        let hash = Sha256::new()
            .chain_update(self.0.as_bytes())
            .chain_update(repository.as_str())
            .chain_update([0])
            .chain_update(subject)
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        Self(Builder::from_random_bytes(bytes).into_uuid())
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

/// What starting a session fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// The algorithm that the client announced (`digest-algorithm`).
    pub algorithm: Option<Algorithm>,
}

/// The last segment of the location of a session: `<id>`, or, as long as the session has no bytes,
/// `<id>-new` or `<id>-new-<algorithm>`. It holds all that a location says, because clients keep
/// only the path of a location, or add a query to it without a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadSegment {
    pub id: UploadId,
    /// Set if no record may exist for the session yet.
    pub new: Option<NewSession>,
}

/// Characters of an identifier.
const ID_LENGTH: usize = uuid::fmt::Hyphenated::LENGTH;
/// What follows the identifier of a new session.
const NEW: &str = "-new";

impl fmt::Display for UploadSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, new } = self;
        write!(f, "{id}")?;
        let Some(NewSession { algorithm }) = new else { return Ok(()) };
        f.write_str(NEW)?;
        algorithm.map_or(Ok(()), |algorithm| write!(f, "-{}", algorithm.as_str()))
    }
}

impl FromStr for UploadSegment {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, UploadIdError> {
        let error = || UploadIdError(truncate(text));
        let (id, mark) = text.split_at_checked(ID_LENGTH).ok_or_else(error)?;
        let id = id.parse()?;
        let new = match mark.strip_prefix(NEW) {
            None if mark.is_empty() => None,
            Some("") => Some(NewSession { algorithm: None }),
            Some(announced) => {
                let name = announced.strip_prefix('-').ok_or_else(error)?;
                Some(NewSession { algorithm: Some(name.parse().map_err(|_| error())?) })
            }
            None => return Err(error()),
        };
        Ok(Self { id, new })
    }
}
