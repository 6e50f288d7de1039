//! Blobs and manifests as they are served, made from their records.

use bytes::Bytes;

use crate::docker_schema1;
use crate::layout::encoding;
use crate::layout::records::{self, Link, Pointer};
use crate::oci::{Digest, MediaType, RepositoryName};
use crate::store::{self, Location};

/// A blob that the repository has.
#[derive(Clone, Debug)]
pub struct Blob {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    pub content: Content,
}

/// Where the content of a blob is.
#[derive(Clone, Debug)]
pub enum Content {
    /// In the link itself.
    Inline(Bytes),
    /// In a data object.
    Stored(Location),
}

/// A data object that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredData {
    pub(super) location: Location,
    /// Bytes.
    pub(super) size: u64,
    /// What the store returned for it, as far as that is known.
    pub(super) etag: Option<String>,
}

impl StoredData {
    /// What a pointer names, `None` for one without a location.
    pub(super) fn of_pointer(pointer: Pointer) -> Option<Self> {
        let Pointer { size, location, etag, .. } = pointer;
        location.map(|location| Self { location, size, etag })
    }
}

impl Blob {
    /// The blob of a link and its payload.
    pub(super) fn from_link(digest: &Digest, link: Link, payload: Bytes) -> Self {
        let content = link.location.map_or(Content::Inline(payload), Content::Stored);
        Self { digest: *digest, size: link.size, content }
    }

    /// Bytes of content that this value keeps in memory.
    pub(super) fn inline_bytes(&self) -> usize {
        match &self.content {
            Content::Inline(bytes) => bytes.len(),
            Content::Stored(_) => 0,
        }
    }
}

/// A manifest as it is served.
#[derive(Clone, Debug)]
pub struct StoredManifest {
    /// The digest of the request, or the one that the tag names.
    pub digest: Digest,
    /// The type with which it was pushed.
    pub media_type: MediaType,
    /// The bytes as they were pushed.
    pub bytes: Bytes,
    /// The digest in quotation marks, formatted once and shared by all responses.
    quoted_digest: Bytes,
}

impl StoredManifest {
    pub(super) fn new(digest: Digest, media_type: MediaType, bytes: Bytes) -> Self {
        let quoted_digest = Bytes::from(format!("\"{digest}\""));
        Self { digest, media_type, bytes, quoted_digest }
    }

    /// The manifest of a record, `None` if it is being deleted. Checks its digest, so that a client
    /// never gets content that does not match, whatever happened to the bucket or to the shared
    /// cache.
    pub(super) fn from_record(
        name: &RepositoryName,
        digest: &Digest,
        body: &Bytes,
    ) -> Result<Option<Self>, store::Error> {
        let (header, bytes) = encoding::decode::<records::Manifest>(body)?;
        if header.doomed {
            return Ok(None);
        }
        let Ok(media_type) = header.media_type.parse();
        let identity = docker_schema1::identity(&media_type, &bytes);
        if identity.is_none_or(|identity| Digest::of(digest.algorithm(), &identity) != *digest) {
            tracing::error!(%name, %digest, "a stored manifest does not match its digest");
            return Err(store::Error::Damaged(format!("the manifest {digest} of {name}")));
        }
        Ok(Some(Self::new(*digest, media_type, bytes)))
    }

    /// The digest as text, in quotation marks.
    pub fn quoted_digest(&self) -> Bytes {
        self.quoted_digest.clone()
    }
}
