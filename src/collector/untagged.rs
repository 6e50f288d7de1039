//! Manifests without a tag, where `collection.untagged_after` is set.

use super::manifests::{Contents, Untagged};
use super::{Class, Error, Fate, Run};
use crate::oci::RepositoryName;
use crate::store::RecordKey;

impl Run {
    /// Deletes manifests that are old enough, have no tag, and belong to no other manifest. What
    /// belongs to one of them goes in the next run.
    pub(super) async fn delete_untagged(
        &self,
        name: &RepositoryName,
        contents: &Contents,
    ) -> Result<(), Error> {
        for Untagged { digest, version, subject } in &contents.untagged {
            let text = digest.to_string();
            let belongs = subject.is_some_and(|of| contents.manifests.contains(&of.to_string()));
            if belongs || contents.references.contains(&text) || contents.tagged.contains(&text) {
                continue;
            }
            if !contents.complete {
                self.count(Class::Manifest, Fate::Unreadable);
                continue;
            }
            let key = RecordKey::Manifest(name.clone(), *digest);
            self.delete_manifest(&key, version).await?;
        }
        Ok(())
    }
}
