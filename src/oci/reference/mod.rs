//! Tags, and references, which are tags or digests.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_with::{DeserializeFromStr, SerializeDisplay};

use super::digest::{Digest, DigestError};
use super::truncate::truncate;

/// A tag: a name for a manifest that can be moved to another one.
///
/// Grammar: distribution-spec, "Pulling manifests", `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr)]
pub struct Tag(Arc<str>);

/// Names a manifest within a repository: by tag or by digest.
///
/// The two grammars do not overlap: a tag has no colon.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr,
)]
pub enum Reference {
    Tag(Tag),
    Digest(Digest),
}

/// Why a text is not a tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// Longer than [`Tag::BYTES_MAX`]. The grammar is not checked then.
    #[error("the tag is {bytes} bytes long, at most {} are allowed", Tag::BYTES_MAX)]
    TooLong { bytes: usize },
    #[error(
        "{0:?} is not a tag: expected letters, digits, \"_\", \".\" and \"-\", not beginning with \
         \".\" or \"-\""
    )]
    Malformed(String),
}

/// Why a text is not a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It has no colon and is not a tag.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// It has a colon and is not a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl Tag {
    /// The limit of the specification.
    pub const BYTES_MAX: usize = 128;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        if text.len() > Self::BYTES_MAX {
            return Err(TagError::TooLong { bytes: text.len() });
        }
        let malformed = || TagError::Malformed(truncate(text));
        let (first, rest) = text.as_bytes().split_first().ok_or_else(malformed)?;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !is_word(*first) || !rest.iter().all(|&b| is_word(b) || matches!(b, b'.' | b'-')) {
            return Err(malformed());
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') {
            Ok(Self::Digest(text.parse()?))
        } else {
            Ok(Self::Tag(text.parse()?))
        }
    }
}
