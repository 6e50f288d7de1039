//! Tags, and references, which are tags or digests.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::digest::{Digest, DigestError};
use super::excerpt::excerpt;
use super::text::serde_as_text;

/// A tag: the name that people give a manifest.
///
/// Grammar: distribution-spec, "Pulling manifests", `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

/// What names a manifest within a repository.
///
/// The two grammars have nothing in common (a tag has no colon), so telling them apart is a
/// choice and not a guess.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// By a name that can move.
    Tag(Tag),
    /// By content.
    Digest(Digest),
}

/// Why a text is no tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// Whether it is grammatical was not even looked at.
    #[error("the tag is {bytes} bytes long, at most {} are allowed", Tag::BYTES_MAX)]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It does not follow the grammar.
    #[error(
        "{0:?} is not a tag: expected letters, digits, \"_\", \".\" and \"-\", not beginning with \
         \".\" or \"-\""
    )]
    Malformed(String),
}

/// Why a text is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It has no colon, and it is no tag.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// It has a colon, and it is no digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl Tag {
    /// The limit of the specification.
    pub const BYTES_MAX: usize = 128;

    /// The tag as text.
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
        let malformed = || TagError::Malformed(excerpt(text));
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

serde_as_text!(Tag, Reference);
