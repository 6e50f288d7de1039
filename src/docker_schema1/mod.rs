//! Docker image manifests of schema 1, the type before schema 2: signed JSON documents.
//!
//! A document is JSON with a key `signatures` at its end. Without that key, and with the end that
//! the signatures remember, it is the *payload*: the signatures and the digest are about the
//! payload. Docker's libtrust made this format ("JSON Web Signature", pretty form); sources:
//! distribution 2.8, `manifest/schema1`, and docker/libtrust, `jsonsign.go`.
//!
//! The rest of the program calls two methods of [`Schema1`]:
//!
//! - [`accept`](Schema1::accept) reads a pushed document and verifies every signature in it.
//! - [`convert`](Schema1::convert) makes a document out of an image of schema 2, for clients that
//!   know nothing newer.
//!
//! Signatures prove that a document is complete, not who made it: the keys come with the document,
//! and no key is trusted more than another. The Docker registry promised no more than that.

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

use std::time::SystemTime;

use bytes::Bytes;
use serde::Deserialize;

pub use conversion::Converted;
pub use document::Signed;
pub use signing::{KeyError, SigningKey};

use crate::oci::manifest::{self, MESSAGE_CHARS_MAX, ManifestError as Error, invalid};
use crate::oci::truncate::truncate_to;
use crate::oci::{MediaType, Negotiation, RepositoryName, Tag};

/// Entries of a history, and layers as many. Docker stops at 127 layers.
pub const HISTORY_MAX: usize = 2_000;
/// Signatures of one document. Each costs a hash over all of it.
pub const SIGNATURES_MAX: usize = 8;
/// Certificates of one signature.
pub const CERTIFICATES_MAX: usize = 8;

/// Schema 1 as the operator has configured it.
#[derive(Debug)]
pub struct Schema1 {
    /// Whether clients may push schema 1.
    pub push: bool,
    /// The rules by which manifests are served, and read where a client declares an unusual type.
    pub negotiation: Negotiation,
    /// Signs conversions. Without a key nothing is converted.
    pub key: Option<SigningKey>,
}

impl Schema1 {
    /// Reads a pushed manifest and verifies it. `None` if it is of another type.
    pub fn accept(
        &self,
        raw: &Bytes,
        declared: Option<&MediaType>,
    ) -> Result<Option<Signed>, Error> {
        if !is_schema1(raw, declared, self.negotiation) {
            return Ok(None);
        }
        if !self.push {
            let message = "pushing Docker image manifests of schema 1 is switched off \
                           (manifests.schema1_push): push schema 2 or an OCI manifest";
            return Err(Error::Unsupported(message.to_owned()));
        }
        Signed::parse(raw.clone()).map(Some)
    }

    /// Converts an image of schema 2 and its config. `None` without a key.
    pub fn convert(
        &self,
        name: (&RepositoryName, &Tag),
        schema2: &[u8],
        config: &[u8],
        now: SystemTime,
    ) -> Result<Option<Converted>, Error> {
        let Some(key) = &self.key else { return Ok(None) };
        conversion::convert(name, schema2, config, key, now).map(Some)
    }
}

/// The bytes of a stored manifest that its digest is about: all of them, except in schema 1.
/// `None` if a document of schema 1 cannot be read.
pub fn identity(media_type: &MediaType, raw: &Bytes) -> Option<Bytes> {
    if media_type.is_schema1() { document::payload(raw).ok() } else { Some(raw.clone()) }
}

/// Whether a pushed body claims to be schema 1. By the rules of OCI the client must declare one of
/// the two types of schema 1 or a generic type ("JSON", "bytes"); the Docker registry also took
/// every other type that is not that of another manifest.
fn is_schema1(raw: &[u8], declared: Option<&MediaType>, rules: Negotiation) -> bool {
    match declared {
        None => has_version_1(raw),
        Some(MediaType::DockerSchema1 | MediaType::DockerSchema1Signed) => true,
        Some(other @ MediaType::Other(_)) => {
            (rules == Negotiation::DockerLegacy || manifest::is_generic(other))
                && has_version_1(raw)
        }
        Some(
            MediaType::OciManifest
            | MediaType::OciIndex
            | MediaType::DockerManifest
            | MediaType::DockerManifestList,
        ) => false,
    }
}

fn has_version_1(raw: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Claim {
        #[serde(rename = "schemaVersion")]
        schema_version: u64,
    }
    serde_json::from_slice::<Claim>(raw).is_ok_and(|claim| claim.schema_version == 1)
}

fn unverified(message: impl AsRef<str>) -> Error {
    Error::Unverified(truncate_to(message.as_ref(), MESSAGE_CHARS_MAX))
}
