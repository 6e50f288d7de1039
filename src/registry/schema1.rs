//! Schema 1: taken in where that is switched on, and made out of schema 2 for clients that know
//! nothing newer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use super::manifests::StoredManifest;
use super::record;
use super::{Blob, Error, Registry};
use crate::docker_schema1::{self as schema1, Declared, Signed, SigningKey, Source};
use crate::oci::{Algorithm, Digest, ManifestError, MediaType, Negotiation, RepositoryName, Tag};

/// Bytes of a config that is read whole in order to convert an image.
const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

impl Registry {
    /// The same registry with a key to sign what it converts.
    #[must_use]
    pub fn with_schema1_key(mut self, key: SigningKey) -> Self {
        self.schema1_key = Some(key);
        self
    }

    /// Reads a pushed manifest that is of schema 1; `None` if it is of another type.
    pub fn read_schema1(
        &self,
        raw: &Bytes,
        declared: Option<&MediaType>,
    ) -> Result<Option<Signed>, Error> {
        let rule = match self.policy.negotiation {
            Negotiation::Oci => Declared::Known,
            Negotiation::DockerLegacy => Declared::Any,
        };
        if !schema1::is_meant(raw, declared, rule) {
            return Ok(None);
        }
        if !self.policy.schema1_push {
            let message = "pushing Docker image manifests of schema 1 is switched off \
                           (manifests.schema1_push): push schema 2 or an OCI manifest";
            return Err(ManifestError::Unsupported(message.to_owned()).into());
        }
        Ok(Some(Signed::parse(raw.clone())?))
    }

    /// An image of schema 2 as a client sees it that only knows schema 1.
    pub(super) async fn converted(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        schema2: &Arc<StoredManifest>,
    ) -> Result<Arc<StoredManifest>, Error> {
        // The key comes with the mode that converts. Without one, nothing is exchanged.
        let Some(key) = &self.schema1_key else { return Ok(Arc::clone(schema2)) };
        let source = Source::read(&schema2.bytes)?;
        let config = self.config(name, &source.config).await?;
        let now = record::moment(self.store());
        let made = schema1::convert((name, tag), &source, &config, key, now)?;
        if made.has_empty_layer {
            self.ensure_empty_layer(name).await?;
        }
        let digest = Digest::of(Algorithm::Sha256, &made.payload);
        Ok(Arc::new(StoredManifest::new(digest, MediaType::DockerSchema1Signed, made.raw)))
    }

    async fn config(&self, name: &RepositoryName, digest: &Digest) -> Result<Bytes, Error> {
        let refused = |what: &str| {
            let message = format!("the image cannot be converted to schema 1: its config {what}");
            Error::Schema1(schema1::Error::Invalid(message))
        };
        let blob = match self.blob(name, digest).await {
            Err(Error::BlobUnknown) => return Err(refused("is not here")),
            found => found?,
        };
        if blob.size > CONFIG_BYTES_MAX {
            return Err(refused(&format!("is larger than {CONFIG_BYTES_MAX} bytes")));
        }
        self.whole(&blob).await
    }

    /// Reads a blob whole. Only for those whose size has been looked at.
    async fn whole(&self, blob: &Blob) -> Result<Bytes, Error> {
        let mut chunks = self.open(blob, None).await?;
        let mut whole = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(whole.freeze())
    }

    /// Makes sure that a client finds the empty layer where the converted manifest says it is.
    async fn ensure_empty_layer(&self, name: &RepositoryName) -> Result<(), Error> {
        let digest = schema1::empty_layer_digest();
        match self.blob_for_push(name, &digest).await {
            Ok(_) => Ok(()),
            Err(Error::BlobUnknown) => {
                let moment = record::moment(self.store());
                self.link_inline(name, &digest, &schema1::empty_layer(), moment).await?;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
