//! Manifests without a tag, where `collection.untagged_after` is set.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::manifests::{Contents, Untagged};
use super::{Class, Error, Fate, Run};
use crate::oci::RepositoryName;
use crate::store::RecordKey;

/// Manifests that are deleted at once. Each deletion sends several requests.
const DELETIONS_AT_ONCE: usize = 8;

impl Run {
    /// Deletes manifests that are old enough, have no tag, and belong to no other manifest. What
    /// belongs to one of them goes in the next run.
    pub(super) async fn delete_untagged(
        &self,
        name: &RepositoryName,
        contents: &Contents,
    ) -> Result<(), Error> {
        let mut deleted = Vec::new();
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
            deleted.push((RecordKey::Manifest(name.clone(), *digest), version));
        }
        let delete = |(key, version)| async move { self.delete_manifest(&key, version).await };
        let deleted: Vec<_> = deleted.into_iter().map(delete).collect();
        stream::iter(deleted).buffer_unordered(DELETIONS_AT_ONCE).try_collect::<()>().await
    }
}
