//! Docker image manifests of schema 1, the type before schema 2: signed JSON documents.
//!
//! A document is JSON with a key `signatures` at its end. Without that key, and with the end that
//! the signatures remember, it is the *payload*: what is signed, and what the digest is about.
//! Docker's libtrust made this format ("JSON Web Signature", pretty form); sources: distribution
//! 2.8, `manifest/schema1`, and docker/libtrust, `jsonsign.go`.
//!
//! - [`Signed::parse`] reads a document and verifies every signature in it.
//! - [`payload`] takes the payload out again, for a document that was verified when it came in.
//! - [`convert`] makes one out of schema 2 for clients that know nothing newer.
//!
//! Signatures say that a document is whole, not who made it: keys come with the document, and
//! nobody is trusted more or less for theirs. That is what the Docker registry promised, too.

mod ancestry;
mod bounded;
mod conversion;
mod document;
mod encoding;
mod jws;
mod public_key;
mod signing;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::Deserialize;

pub use conversion::{Converted, Source, convert, empty_layer, empty_layer_digest};
pub use document::{Signed, payload};
pub use signing::{KeyError, SigningKey};

use crate::oci::manifest::{self, ManifestError};
use crate::oci::media_type::MediaType;
use crate::oci::truncate::truncate_to;

/// Entries of a history, and layers as many. Docker stops at 127 layers.
pub const HISTORY_MAX: usize = 2_000;
/// Signatures of one document. Each costs a hash over all of it.
pub const SIGNATURES_MAX: usize = 8;
/// Certificates of one signature.
pub const CERTIFICATES_MAX: usize = 8;

/// How many characters the description of a fault may have: it can quote the manifest.
const MESSAGE_CHARS_MAX: usize = 400;

/// Why some bytes are no document of schema 1 that can be stored, or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not one. The sentence says what is wrong, and where.
    #[error("{0}")]
    Invalid(String),
    /// It is one, but a signature does not hold.
    #[error("{0}")]
    Unverified(String),
    /// It names a repository that cannot exist.
    #[error("{0}")]
    Name(String),
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        invalid(format!("the manifest is invalid: {error}"))
    }
}

impl From<ManifestError> for Error {
    fn from(error: ManifestError) -> Self {
        match error {
            ManifestError::Unsupported(message) | ManifestError::Invalid(message) => {
                Self::Invalid(message)
            }
        }
    }
}

fn invalid(message: impl AsRef<str>) -> Error {
    Error::Invalid(truncate_to(message.as_ref(), MESSAGE_CHARS_MAX))
}

fn unverified(message: impl AsRef<str>) -> Error {
    Error::Unverified(truncate_to(message.as_ref(), MESSAGE_CHARS_MAX))
}

/// Which types a client may declare for a document that says itself that it is of schema 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// Its own two types, and those that say no more than "JSON" or "bytes".
    Known,
    /// Any but those of the other manifests, as the Docker registry did.
    Any,
}

/// Whether the body of a push is meant to be of schema 1.
pub fn is_meant(raw: &[u8], declared: Option<&MediaType>, rule: Declared) -> bool {
    match declared {
        None => claims(raw),
        Some(MediaType::DockerSchema1 | MediaType::DockerSchema1Signed) => true,
        Some(other @ MediaType::Other(_)) => {
            (rule == Declared::Any || manifest::is_generic(other)) && claims(raw)
        }
        Some(
            MediaType::OciManifest
            | MediaType::OciIndex
            | MediaType::DockerManifest
            | MediaType::DockerManifestList,
        ) => false,
    }
}

fn claims(raw: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Claim {
        #[serde(rename = "schemaVersion")]
        schema_version: u64,
    }
    serde_json::from_slice::<Claim>(raw).is_ok_and(|claim| claim.schema_version == 1)
}

/// The bytes of a stored manifest that its digest is about: all of them, except in schema 1.
/// `None` if a document of schema 1 cannot be read.
pub fn identity(media_type: &MediaType, raw: &Bytes) -> Option<Bytes> {
    if media_type.is_schema1() { payload(raw).ok() } else { Some(raw.clone()) }
}
