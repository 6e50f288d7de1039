//! Writing again what names a manifest, after it was lost.

use bytes::Bytes;

use super::Manifests;
use crate::layout::encoding::Draft;
use crate::layout::records::TagIndex;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::Error;
use crate::store::RecordKey;

impl Manifests {
    /// Adds a tag to the tag index of a manifest. A row that no tag needs does no harm.
    pub async fn restore_tag_index(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        tag: &Tag,
    ) -> Result<(), Error> {
        let deadline = self.records.deadline(self.records.now());
        let key = RecordKey::TagIndex(name.clone(), *digest, tag.clone());
        let draft = Draft::new(&TagIndex {}, Bytes::new());
        self.records.create_or_lease(&key, &draft, Some(deadline)).await?;
        Ok(())
    }
}
