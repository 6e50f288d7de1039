//! Images of schema 2 for clients that know only schema 1.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Error;
use super::admission::Admission;
use super::blobs::Blobs;
use super::content::StoredManifest;
use crate::docker_schema1::Schema1;
use crate::oci::{Algorithm, Digest, Manifest, ManifestError, MediaType, RepositoryName, Tag};

/// Bytes of a config that is read in order to convert an image.
const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Images that this process converts at once. Each has its config in memory, more than once.
const CONVERSIONS_MAX: usize = 2;
/// Bytes of converted manifests that this process keeps.
const KEPT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Bytes that a kept manifest costs beside its content.
const OVERHEAD_BYTES: u64 = 1024;
/// Converted manifests that are probably kept, for the size of the table.
const KEPT_EXPECTED: usize = 1024;

/// An image, and what its conversion depends on.
#[derive(Debug)]
pub(super) struct Conversion<'a> {
    pub(super) schema1: &'a Schema1,
    pub(super) blobs: &'a Blobs,
    /// Both are part of the result.
    pub(super) names: (&'a RepositoryName, &'a Tag),
    pub(super) image: &'a Arc<StoredManifest>,
}

/// The name and the tag by which an image was pulled, and its digest.
type Key = (RepositoryName, Tag, Digest);

#[derive(Clone, Debug)]
struct Kept {
    manifest: Arc<StoredManifest>,
    empty_layer: Option<Bytes>,
}

#[derive(Clone, Debug)]
struct Weights;

impl Weighter<Key, Kept> for Weights {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        kept.manifest.bytes.len() as u64 + OVERHEAD_BYTES
    }
}

/// Converts images, a few at once, and keeps the results.
#[derive(Debug)]
pub(super) struct Conversions {
    admission: Admission,
    kept: Cache<Key, Kept, Weights>,
}

impl Conversions {
    pub(super) fn new(wait_max: Duration) -> Self {
        Self {
            admission: Admission::new(CONVERSIONS_MAX, wait_max),
            kept: Cache::with_weighter(KEPT_EXPECTED, KEPT_BYTES_MAX, Weights),
        }
    }

    /// Converts an image, or returns it unchanged where conversions are not configured.
    pub(super) async fn convert(
        &self,
        conversion: Conversion<'_>,
        now: SystemTime,
    ) -> Result<Arc<StoredManifest>, Error> {
        let (name, tag) = conversion.names;
        let key = (name.clone(), tag.clone(), conversion.image.digest);
        let kept = if let Some(kept) = self.kept.get(&key) {
            kept
        } else {
            let _admitted = self.admission.admit().await?;
            // The request that this one has waited for may have converted the same image.
            if let Some(kept) = self.kept.get(&key) {
                kept
            } else {
                let Some(converted) = conversion.run(now).await? else {
                    return Ok(Arc::clone(conversion.image));
                };
                self.kept.insert(key, converted.clone());
                converted
            }
        };
        // Each time: it may have been deleted.
        if let Some(layer) = &kept.empty_layer {
            let digest = Digest::of(Algorithm::Sha256, layer);
            match conversion.blobs.get_for_push(name, &digest).await {
                Ok(_) => {}
                Err(Error::BlobUnknown) => {
                    conversion.blobs.link_inline(name, &digest, layer, now).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(kept.manifest)
    }
}

impl Conversion<'_> {
    async fn run(&self, now: SystemTime) -> Result<Option<Kept>, Error> {
        let Self { schema1, blobs, names, image } = self;
        let parsed = Manifest::parse(image.bytes.clone(), Some(&image.media_type))?;
        let digest = parsed.blobs().first().and_then(|config| config.digest.known());
        let digest = digest.ok_or_else(|| refused("is not here"))?;
        let config = config(blobs, names.0, &digest).await?;
        let converted = schema1.convert(*names, &image.bytes, &config, now)?;
        Ok(converted.map(|converted| {
            let digest = Digest::of(Algorithm::Sha256, &converted.payload);
            let media_type = MediaType::DockerSchema1Signed;
            let manifest = StoredManifest::new(digest, media_type, converted.raw);
            Kept { manifest: Arc::new(manifest), empty_layer: converted.empty_layer }
        }))
    }
}

async fn config(blobs: &Blobs, name: &RepositoryName, digest: &Digest) -> Result<Bytes, Error> {
    let blob = match blobs.get(name, digest).await {
        Err(Error::BlobUnknown) => return Err(refused("is not here")),
        found => found?,
    };
    if blob.size > CONFIG_BYTES_MAX {
        return Err(refused(&format!("is larger than {CONFIG_BYTES_MAX} bytes")));
    }
    let mut chunks = blobs.open(&blob, None).await?;
    let mut config = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        config.extend_from_slice(&chunk?);
    }
    Ok(config.freeze())
}

fn refused(what: &str) -> Error {
    let message = format!("the image cannot be converted to schema 1: its config {what}");
    Error::Manifest(ManifestError::Invalid(message))
}
