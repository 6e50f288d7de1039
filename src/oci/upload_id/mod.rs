//! Names of upload sessions.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::excerpt::excerpt;
use super::text::serde_as_text;

/// The name of an upload session: random, so that knowing one means having been told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(Uuid);

/// A text that is no name of an upload session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of an upload session")]
pub struct UploadIdError(String);

impl UploadId {
    /// A name that nobody has.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the type that it is banned in favour of"
    )]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
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
        let error = || UploadIdError(excerpt(text));
        let id = Uuid::try_parse(text).map_err(|_| error())?;
        // The parser also takes braces, upper case and no hyphens. One session has one name.
        if *id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) != *text {
            return Err(error());
        }
        Ok(Self(id))
    }
}

serde_as_text!(UploadId);
