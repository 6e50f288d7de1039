//! What an operator asks about, as they write it.

use std::fmt;
use std::str::FromStr;

use crate::oci::{Digest, DigestError, NameError, RepositoryName, Tag, TagError};
use crate::store::{Location, RecordKey};

/// What `longshore inspect` looks up.
///
/// A text that is a complete key is that key, even if a repository could have that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One record: `v1/…`.
    Record(RecordKey),
    /// One data object: `v1/d/…`.
    Data(Location),
    /// A content, whichever repositories have it: `sha256:…`.
    Content(Digest),
    Repository(RepositoryName),
    Tag(RepositoryName, Tag),
    /// A manifest or a blob of one repository.
    Digest(RepositoryName, Digest),
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Tag(#[from] TagError),
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Ok(key) = text.parse() {
            return Ok(Self::Record(key));
        }
        if let Ok(location) = text.parse() {
            return Ok(Self::Data(location));
        }
        if let Ok(digest) = text.parse() {
            return Ok(Self::Content(digest));
        }
        if let Some((name, digest)) = text.split_once('@') {
            return Ok(Self::Digest(name.parse()?, digest.parse()?));
        }
        match text.split_once(':') {
            Some((name, tag)) => Ok(Self::Tag(name.parse()?, tag.parse()?)),
            None => Ok(Self::Repository(text.parse()?)),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(key) => key.fmt(f),
            Self::Data(location) => location.fmt(f),
            Self::Content(digest) => digest.fmt(f),
            Self::Repository(name) => name.fmt(f),
            Self::Tag(name, tag) => write!(f, "{name}:{tag}"),
            Self::Digest(name, digest) => write!(f, "{name}@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_target_is_printed_as_it_was_written() {
        let location = "v1/d/20260101/0190a0b0c0d07000800000000000000a";
        let texts = [
            ("v1/t/a/b/_/v1".to_owned(), "Record"),
            (format!("v1/m/a/b/_/sha256/{HEX}"), "Record"),
            ("v1/g/settings".to_owned(), "Record"),
            (location.to_owned(), "Data"),
            (format!("sha256:{HEX}"), "Content"),
            ("a/b".to_owned(), "Repository"),
            // No key of this layout, so it can only be a repository.
            ("v1/t/a".to_owned(), "Repository"),
            ("a/b:v1".to_owned(), "Tag"),
            (format!("a/b@sha256:{HEX}"), "Digest"),
        ];
        for (text, kind) in texts {
            let target: Target = text.parse().expect("a target");
            assert_eq!(target.to_string(), text);
            assert!(format!("{target:?}").starts_with(kind), "{target:?}");
        }
        for text in ["", "A", "a:", "a@", "localhost:5000/a:v1", "a:v1@sha256:12", "a@sha256:12"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
