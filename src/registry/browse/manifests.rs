//! The manifests of a repository that no tag names.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Browse, Nature, read_rows};
use crate::layout::encoding::is_tombstone;
use crate::oci::{Digest, RepositoryName};
use crate::registry::Error;
use crate::store::{Kind, LIST_ROWS_MAX, Listing, Prefix, RecordKey};

/// A manifest as a person looks at it.
#[derive(Clone, Debug)]
pub struct ManifestRow {
    pub digest: Digest,
    pub nature: Nature,
    /// When its record was last written, by the store's clock: pushes and leases write it.
    pub written: SystemTime,
}

/// A page of manifests, in the order of their digests.
#[derive(Clone, Debug)]
pub struct ManifestRows {
    pub rows: Vec<ManifestRow>,
    /// After which digest the next page begins, `None` at the end.
    pub next: Option<Digest>,
}

impl Browse {
    /// Manifests that no tag of the repository names, or has named since the tag index was last
    /// collected: two listings side by side, and a read for each row that this process does not
    /// remember. A page may be short, or empty, and still not be the last one.
    pub async fn untagged(
        &self,
        name: &RepositoryName,
        after: Option<&Digest>,
        count: usize,
    ) -> Result<Arc<ManifestRows>, Error> {
        let key =
            (name.clone(), format!("{count} {}", after.map(Digest::to_string).unwrap_or_default()));
        if let Some(page) = self.cache.untagged.get(&key) {
            return Ok(page);
        }
        let store = self.records.store();
        let (manifests, index) = (Prefix::Manifests(name.clone()), Prefix::All(Kind::TagIndexes));
        let rest = after.map(|digest| format!("{}/{}", digest.algorithm(), digest.hex()));
        // `0` is the byte after `/`: after all tags of that digest.
        let tags_after = match &rest {
            Some(rest) => format!("{}{rest}0", Prefix::rank(name)),
            None => Prefix::rank(name),
        };
        let (manifests, tags) = tokio::try_join!(
            store.list(&manifests, rest.as_deref(), LIST_ROWS_MAX),
            store.list(&index, Some(&tags_after), LIST_ROWS_MAX),
        )?;
        if manifests.rows.is_empty() && after.is_none() && !self.repositories.exists(name).await? {
            return Err(Error::NameUnknown);
        }
        let (tagged, known_to) = tagged(name, &tags);
        let mut page = ManifestRows { rows: Vec::new(), next: None };
        let mut untagged = Vec::new();
        for row in &manifests.rows {
            let Ok(RecordKey::Manifest(_, digest)) = row.key.parse() else { continue };
            if known_to.is_some_and(|last| digest.to_string() > last.to_string()) {
                page.next = page.next.or(known_to);
                break;
            }
            if untagged.len() == count {
                break;
            }
            page.next = Some(digest);
            if !is_tombstone(row.size) && !tagged.contains(&digest) {
                untagged.push((digest, row.written));
            }
        }
        let last = manifests.rows.last().and_then(|row| row.key.parse().ok());
        let ends = last.is_none_or(|last: RecordKey| {
            matches!(last, RecordKey::Manifest(_, digest) if Some(digest) == page.next)
        });
        if ends && !manifests.more {
            page.next = None;
        }
        let read = untagged.into_iter();
        let read = read.map(|(digest, written)| self.manifest(name, digest, written));
        page.rows = read_rows(read.collect()).await?;
        Ok(self.cache.untagged.insert(key, page))
    }

    async fn manifest(
        &self,
        name: &RepositoryName,
        digest: Digest,
        written: SystemTime,
    ) -> Result<Option<ManifestRow>, Error> {
        let nature = if let Some(nature) = self.cache.manifest(&digest) {
            nature
        } else {
            let found = self.read_cache.manifest(name, &digest).await?;
            let Some((stored, _)) = found else { return Ok(None) };
            let nature = Arc::new(Nature::of_stored(&stored));
            self.cache.keep_manifest(digest, nature.clone());
            nature
        };
        Ok(Some(ManifestRow { digest, nature: (*nature).clone(), written }))
    }
}

/// The digests that rows of the tag index name, and the last of them if more may follow.
fn tagged(name: &RepositoryName, index: &Listing) -> (HashSet<Digest>, Option<Digest>) {
    let (mut tagged, mut last) = (HashSet::new(), None);
    let mut more = index.more;
    for row in &index.rows {
        match row.key.parse() {
            Ok(RecordKey::TagIndex(repository, digest, _)) if repository == *name => {
                if !is_tombstone(row.size) {
                    tagged.insert(digest);
                }
                last = Some(digest);
            }
            _ => more = false,
        }
    }
    (tagged, last.filter(|_| more))
}
