//! Repository names.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_with::{DeserializeFromStr, SerializeDisplay};

use super::truncate::truncate;

/// A repository name: lower-case components with slashes between them.
///
/// Grammar: distribution-spec, "Pulling manifests",
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr)]
pub struct RepositoryName(Arc<str>);

/// Why a text is not a repository name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Longer than [`RepositoryName::BYTES_MAX`]. The grammar is not checked then.
    #[error(
        "the repository name is {bytes} bytes long, at most {} are allowed",
        RepositoryName::BYTES_MAX
    )]
    TooLong { bytes: usize },
    #[error(
        "{0:?} is not a repository name: expected components of lower-case letters and digits, \
         joined within by \".\", \"_\", \"__\" or dashes, with \"/\" between them"
    )]
    Malformed(String),
}

impl RepositoryName {
    /// The specification only says that "many clients" limit the name to 255, host included. This
    /// limit is that of distribution: 255 for the name alone.
    pub const BYTES_MAX: usize = 255;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first component, or the whole name if it has no slash.
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(first, _)| first)
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > Self::BYTES_MAX {
            return Err(NameError::TooLong { bytes: text.len() });
        }
        if !text.split('/').all(is_component) {
            return Err(NameError::Malformed(truncate(text)));
        }
        Ok(Self(text.into()))
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, read from left to right: a word, then pairs of separator
/// and word.
fn is_component(text: &str) -> bool {
    let mut rest = text.as_bytes();
    loop {
        let word = leading(rest, |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        let separator = match rest {
            [] => return true,
            [b'_', b'_', ..] => 2,
            [b'.' | b'_', ..] => 1,
            [b'-', ..] => leading(rest, |byte| byte == b'-'),
            [_, ..] => return false,
        };
        rest = &rest[separator..];
    }
}

/// How many bytes at the beginning satisfy the predicate.
fn leading(bytes: &[u8], predicate: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|&&byte| predicate(byte)).count()
}
