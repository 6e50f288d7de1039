//! Manifests: pushed with all records that name them, resolved, and deleted with their tags.

mod delete;
mod push;

use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use super::blobs::Blobs;
use super::content::StoredManifest;
use super::read_cache::ReadCache;
use super::record::Records;
use super::repositories::Repositories;
use super::schema1;
use super::settings::Sparse;
use super::tags::{TagCondition, Tags};
use crate::docker_schema1::Schema1;
use crate::oci::{
    Accept, Algorithm, Answer, AnyDigest, Digest, Manifest, MediaType, Reference, RepositoryName,
    Tag,
};

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
}

/// The manifests of all repositories.
#[derive(Debug)]
pub struct Manifests {
    pub(super) records: Records,
    pub(super) read_cache: Arc<ReadCache>,
    pub(super) blobs: Blobs,
    pub(super) tags: Tags,
    pub(super) repositories: Arc<Repositories>,
    pub(super) sparse: Sparse,
    pub(super) schema1: Schema1,
}

impl Manifests {
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

    /// Finds a manifest: by tag at most two reads of the store, by digest one.
    pub async fn get(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Arc<StoredManifest>, Error> {
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => {
                self.read_cache.tag(name, tag).await?.ok_or(Error::ManifestUnknown)?
            }
        };
        self.read_cache.manifest(name, &digest).await?.ok_or(Error::ManifestUnknown)
    }

    /// Finds the manifest to serve to a client that accepts these types, by the rules of
    /// [`Negotiation`](crate::oci::Negotiation).
    pub async fn negotiate(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        accept: &Accept,
    ) -> Result<Arc<StoredManifest>, Error> {
        let stored = self.get(name, reference).await?;
        let negotiation = self.schema1.negotiation;
        match (negotiation.answer(&stored.media_type, reference, accept), reference) {
            (Answer::NotAcceptable, _) => {
                Err(Error::NotAcceptable { stored: stored.media_type.to_string() })
            }
            (Answer::Schema1, Reference::Tag(tag)) => self.convert(name, tag, &stored).await,
            (Answer::Child, Reference::Tag(tag)) => {
                let child = default_child(&stored).ok_or(Error::ManifestUnknown)?;
                let child = self.get(name, &Reference::Digest(child)).await?;
                match negotiation.child(&child.media_type, accept) {
                    Answer::Schema1 => self.convert(name, tag, &child).await,
                    Answer::Stored | Answer::Child | Answer::NotAcceptable => Ok(child),
                }
            }
            (Answer::Stored, _) | (Answer::Child | Answer::Schema1, Reference::Digest(_)) => {
                Ok(stored)
            }
        }
    }

    async fn convert(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        image: &Arc<StoredManifest>,
    ) -> Result<Arc<StoredManifest>, Error> {
        let now = self.records.now();
        // In a box: it is rare, and its future would make that of every pull larger.
        Box::pin(schema1::convert(&self.schema1, &self.blobs, (name, tag), image, now)).await
    }
}

/// The `linux/amd64` image of a list, which clients that did not know lists got.
fn default_child(list: &StoredManifest) -> Option<Digest> {
    let list = Manifest::parse(list.bytes.clone(), Some(&list.media_type)).ok()?;
    let child = list.children().iter().find(|child| {
        child
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "linux" && platform.architecture == "amd64")
    })?;
    match &child.digest {
        AnyDigest::Known(digest) => Some(*digest),
        AnyDigest::Other(_) => None,
    }
}
