//! Manifests: pushed with all records that name them, resolved, and deleted with their tags.

mod delete;
mod push;
mod references;
mod repair;
mod resolution;

use std::sync::Arc;

use bytes::Bytes;

pub(super) use references::LARGE_CHECKS_MAX;
pub use references::MISSING_MAX;
pub use resolution::Purpose;

use super::Error;
use super::admission::Admission;
use super::blobs::Blobs;
use super::read_cache::ReadCache;
use super::record::Records;
use super::repositories::Repositories;
use super::schema1::Conversions;
use super::settings::Sparse;
use super::tags::{TagCondition, Tags};
use super::uploads::{Body, Claimant, UploadMemory, Whole};
use crate::docker_schema1::Schema1;
use crate::oci::{Algorithm, Digest, Manifest, MediaType, Reference, RepositoryName, Tag};
use crate::telemetry::metrics::Metrics;

/// A manifest that is pushed.
#[derive(Debug)]
pub struct Push<'a> {
    pub name: &'a RepositoryName,
    pub manifest: &'a Manifest,
    pub digest: Digest,
    /// The tags to set.
    pub tags: &'a [Tag],
    /// What must be true of each of the tags.
    pub condition: &'a TagCondition,
    /// The subject of the caller.
    pub by: &'a str,
}

/// The result of a push.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The subject whose referrers include the manifest now.
    pub subject: Option<Digest>,
    /// What each of the tags pointed at before, in their order.
    pub pointed_at: Vec<Option<Digest>>,
}

/// The manifests of all repositories.
#[derive(Debug)]
pub struct Manifests {
    pub(super) records: Records,
    pub(super) read_cache: Arc<ReadCache>,
    pub(super) blobs: Blobs,
    pub(super) tags: Tags,
    pub(super) repositories: Arc<Repositories>,
    pub(super) memory: UploadMemory,
    /// Checks of what large manifests name.
    pub(super) large_checks: Admission,
    pub(super) sparse: Sparse,
    pub(super) schema1: Schema1,
    pub(super) conversions: Conversions,
    pub(super) metrics: Metrics,
}

impl Manifests {
    /// Reads the body of a push, and its announced length if there is one.
    pub async fn receive(
        &self,
        claimant: &Claimant,
        body: (Option<u64>, &mut Body),
        bytes_max: usize,
    ) -> Result<Whole, Error> {
        self.memory.receive_whole(claimant, body, bytes_max).await
    }

    /// Checks the body of a push. `declared` is its `Content-Type`. Returns the manifest and its
    /// digest, which must be that of the reference, if it is a digest.
    pub fn accept(
        &self,
        raw: Bytes,
        declared: Option<&MediaType>,
        reference: &Reference,
    ) -> Result<(Manifest, Digest), Error> {
        let digest_of = |bytes: &[u8]| match reference {
            Reference::Tag(_) => Ok(Digest::of(Algorithm::Sha256, bytes)),
            Reference::Digest(expected) => {
                let actual = Digest::of(expected.algorithm(), bytes);
                if actual == *expected {
                    return Ok(actual);
                }
                let (expected, actual) = (Box::new(*expected), Box::new(actual));
                Err(Error::DigestMismatch { expected, actual })
            }
        };
        if let Some(signed) = self.schema1.accept(&raw, declared)? {
            let digest = digest_of(signed.payload())?;
            return Ok((signed.into_manifest(), digest));
        }
        let digest = digest_of(&raw)?;
        Ok((Manifest::parse(raw, declared)?, digest))
    }
}
