//! Manifests: found by tag or by digest, and chosen by what the client accepts.

use std::sync::Arc;

use super::Manifests;
use crate::layout::encoding::decode;
use crate::layout::records;
use crate::oci::{Accept, Answer, Digest, Manifest, Reference, RepositoryName, Tag};
use crate::registry::content::StoredManifest;
use crate::registry::read_cache::RecordAge;
use crate::registry::record::Current;
use crate::registry::{Error, record, schema1};
use crate::store::RecordKey;

/// How often a tag is resolved again while its manifest is not found, before the client gets 503.
const RESOLUTIONS_MAX: u32 = 3;

/// What the client that asks for a manifest may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It uses the manifest.
    Pull,
    /// It pushes an index or an artifact that names the manifest, and relies on its existence.
    Push,
}

impl Manifests {
    /// Finds a manifest: by tag at most two reads of the store, by digest one. A few more if the
    /// manifest of a tag does not exist.
    async fn get(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        purpose: Purpose,
    ) -> Result<Arc<StoredManifest>, Error> {
        match reference {
            Reference::Digest(digest) => {
                let found = self.read_cache.manifest(name, digest).await?;
                self.relied_on(name, found, purpose).await?.ok_or(Error::ManifestUnknown)
            }
            Reference::Tag(tag) => {
                let digest = self.read_cache.tag(name, tag).await?;
                let digest = digest.ok_or(Error::ManifestUnknown)?;
                let found = self.read_cache.manifest(name, &digest).await?;
                match self.relied_on(name, found, purpose).await? {
                    Some(manifest) => Ok(manifest),
                    // In a box: it is rare, and its future would make that of every pull larger.
                    None => Box::pin(self.resolve_again(name, tag, purpose)).await,
                }
            }
        }
    }

    /// A manifest that was found, after a lease on it if the client will rely on it. `None` if it
    /// does not exist.
    async fn relied_on(
        &self,
        name: &RepositoryName,
        found: Option<(Arc<StoredManifest>, RecordAge)>,
        purpose: Purpose,
    ) -> Result<Option<Arc<StoredManifest>>, Error> {
        match (found, purpose) {
            (Some((manifest, RecordAge::NeedsLease)), Purpose::Push) => {
                Box::pin(self.lease(name, manifest)).await
            }
            (found, _) => Ok(found.map(|(manifest, _)| manifest)),
        }
    }

    async fn lease(
        &self,
        name: &RepositoryName,
        manifest: Arc<StoredManifest>,
    ) -> Result<Option<Arc<StoredManifest>>, Error> {
        let key = RecordKey::Manifest(name.clone(), manifest.digest);
        let Current::Live(record) = self.records.read(&key).await? else { return Ok(None) };
        let Some(leased) = self.records.lease(&key, record).await? else { return Ok(None) };
        let (header, _) = decode::<records::Manifest>(&leased.body)?;
        Ok((!header.doomed).then_some(manifest))
    }

    /// Resolves a tag past all caches, because the manifest that it pointed at was not found: the
    /// tag may have moved, and the manifest may have been deleted, since the tag was read or
    /// cached.
    async fn resolve_again(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        purpose: Purpose,
    ) -> Result<Arc<StoredManifest>, Error> {
        let mut missing = None;
        for _ in 0..RESOLUTIONS_MAX {
            let digest = self.read_cache.reload_tag(name, tag).await?;
            let digest = digest.ok_or(Error::ManifestUnknown)?;
            if missing == Some(digest) {
                self.metrics.dangling_tags.inc(());
                tracing::warn!(%name, %tag, %digest, "the manifest of a tag is absent");
                return Err(Error::ManifestUnknown);
            }
            let found = self.read_cache.reload_manifest(name, &digest).await?;
            if let Some(manifest) = self.relied_on(name, found, purpose).await? {
                return Ok(manifest);
            }
            missing = Some(digest);
        }
        Err(record::contended())
    }

    /// Finds the manifest to serve to a client that accepts these types, by the rules of
    /// [`Negotiation`](crate::oci::Negotiation).
    pub async fn negotiate(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        accept: &Accept,
        purpose: Purpose,
    ) -> Result<Arc<StoredManifest>, Error> {
        let stored = self.get(name, reference, purpose).await?;
        let negotiation = self.schema1.negotiation;
        match (negotiation.answer(&stored.media_type, reference, accept), reference) {
            (Answer::NotAcceptable, _) => {
                Err(Error::NotAcceptable { stored: stored.media_type.to_string() })
            }
            (Answer::Schema1, Reference::Tag(tag)) => self.convert(name, tag, &stored).await,
            (Answer::Child, Reference::Tag(tag)) => {
                let child = default_child(&stored).ok_or(Error::ManifestUnknown)?;
                let child = self.get(name, &Reference::Digest(child), purpose).await?;
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
        let conversion = schema1::Conversion {
            schema1: &self.schema1,
            blobs: &self.blobs,
            names: (name, tag),
            image,
        };
        Box::pin(self.conversions.convert(conversion, now)).await
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
    child.digest.known()
}
