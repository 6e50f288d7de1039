//! Images of schema 2 for clients that know only schema 1.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use super::Error;
use super::blobs::Blobs;
use super::content::StoredManifest;
use crate::docker_schema1::Schema1;
use crate::oci::{
    Algorithm, AnyDigest, Digest, Manifest, ManifestError, MediaType, RepositoryName, Tag,
};

/// Bytes of a config that is read in order to convert an image.
const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Converts an image, or returns it unchanged where conversions are not configured.
pub(super) async fn convert(
    schema1: &Schema1,
    blobs: &Blobs,
    (name, tag): (&RepositoryName, &Tag),
    schema2: &Arc<StoredManifest>,
    now: SystemTime,
) -> Result<Arc<StoredManifest>, Error> {
    let image = Manifest::parse(schema2.bytes.clone(), Some(&schema2.media_type))?;
    let config = match image.blobs().first().map(|config| &config.digest) {
        Some(AnyDigest::Known(digest)) => config(blobs, name, digest).await?,
        Some(AnyDigest::Other(_)) | None => return Err(refused("is not here")),
    };
    let converted = schema1.convert((name, tag), &schema2.bytes, &config, now)?;
    let Some(converted) = converted else { return Ok(Arc::clone(schema2)) };
    if let Some(layer) = &converted.empty_layer {
        let digest = Digest::of(Algorithm::Sha256, layer);
        match blobs.get_for_push(name, &digest).await {
            Ok(_) => {}
            Err(Error::BlobUnknown) => {
                blobs.link_inline(name, &digest, layer, now).await?;
            }
            Err(error) => return Err(error),
        }
    }
    let digest = Digest::of(Algorithm::Sha256, &converted.payload);
    let media_type = MediaType::DockerSchema1Signed;
    Ok(Arc::new(StoredManifest::new(digest, media_type, converted.raw)))
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
