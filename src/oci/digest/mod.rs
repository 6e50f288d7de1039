//! Digests, which name content.
//!
//! Grammar: image-spec, descriptor.md, "Digests".

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde_with::{DeserializeFromStr, SerializeDisplay};

use super::truncate::truncate;

/// A digest algorithm that this registry computes and verifies.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr,
)]
pub enum Algorithm {
    /// The algorithm that clients use by default.
    Sha256,
    /// The other algorithm that image-spec registers.
    Sha512,
}

/// The digest of some content, by a supported algorithm.
///
/// A value cannot have the wrong length or an unknown algorithm, and its text contains no
/// character that is special in a path.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr,
)]
pub enum Digest {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

/// The digest in a descriptor, whose algorithm may be unsupported.
///
/// image-spec: implementations "SHOULD allow digests with unrecognized algorithms to pass
/// validation". A digest that names a supported algorithm must still be well formed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr)]
pub enum AnyDigest {
    /// Of a supported algorithm.
    Known(Digest),
    /// Well formed, of an unsupported algorithm: it is only repeated to clients.
    Other(Box<str>),
}

/// Why a text is not a supported digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error(
        "{0:?} is not a digest: expected sha256 with 64 or sha512 with 128 lower-case hexadecimal \
         digits, as in \"sha256:e3b0c4…\""
    )]
    Malformed(String),
    /// Well formed, of an unsupported algorithm.
    #[error("the algorithm of digest {0:?} is not supported here: use sha256 or sha512")]
    Unsupported(String),
}

impl Algorithm {
    /// All algorithms, the default first.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The part of a digest before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text) {
            Some(algorithm) => Ok(algorithm),
            None if is_algorithm(text) => Err(DigestError::Unsupported(truncate(text))),
            None => Err(DigestError::Malformed(truncate(text))),
        }
    }
}

impl Digest {
    /// Bytes of the longest digest.
    const BYTES_MAX: usize = 64;

    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The part after the colon: lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        hex::encode(self.as_bytes())
    }

    /// The raw hash, 32 or 64 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha512(bytes) => bytes,
        }
    }

    /// `None` unless the digits are lower case and exactly as many as the algorithm has.
    fn from_hex(algorithm: Algorithm, digits: &str) -> Option<Self> {
        // The specification forbids upper case, which the decoder accepts: two spellings of one
        // digest would be two names of one blob.
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        match algorithm {
            Algorithm::Sha256 => decoded(digits).map(Self::Sha256),
            Algorithm::Sha512 => decoded(digits).map(Self::Sha512),
        }
    }
}

fn decoded<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.as_bytes();
        let mut buffer = [0; 2 * Self::BYTES_MAX];
        let digits = &mut buffer[..2 * bytes.len()];
        hex::encode_to_slice(bytes, digits).map_err(|_| fmt::Error)?;
        let digits = str::from_utf8(digits).map_err(|_| fmt::Error)?;
        f.write_str(self.algorithm().as_str())?;
        f.write_str(":")?;
        f.write_str(digits)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text.parse()? {
            AnyDigest::Known(digest) => Ok(digest),
            AnyDigest::Other(other) => Err(DigestError::Unsupported(truncate(&other))),
        }
    }
}

impl AnyDigest {
    /// The digest, if its algorithm is supported.
    pub fn known(&self) -> Option<Digest> {
        match self {
            Self::Known(digest) => Some(*digest),
            Self::Other(_) => None,
        }
    }
}

impl From<Digest> for AnyDigest {
    fn from(digest: Digest) -> Self {
        Self::Known(digest)
    }
}

impl fmt::Display for AnyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(digest) => digest.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for AnyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AnyDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let malformed = || DigestError::Malformed(truncate(text));
        let (algorithm, encoded) = text.split_once(':').ok_or_else(malformed)?;
        match algorithm.parse() {
            Ok(algorithm) => {
                Digest::from_hex(algorithm, encoded).map(Self::Known).ok_or_else(malformed)
            }
            Err(DigestError::Unsupported(_)) if is_encoded(encoded) => Ok(Self::Other(text.into())),
            Err(DigestError::Unsupported(_) | DigestError::Malformed(_)) => Err(malformed()),
        }
    }
}

/// `[a-z0-9]+([+._-][a-z0-9]+)*`: no part between two separators is empty.
fn is_algorithm(text: &str) -> bool {
    text.split(['+', '.', '_', '-']).all(|component| {
        !component.is_empty()
            && component.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'))
    })
}

/// `[a-zA-Z0-9=_-]+`
fn is_encoded(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-'))
}
