//! Deleting a manifest, with its tags and its record among the referrers.

use super::Manifests;
use crate::layout::encoding::Draft;
use crate::layout::records;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::Error;
use crate::registry::concurrently::concurrently;
use crate::registry::lists::read_page;
use crate::registry::record::{self, Base, Written};
use crate::store::{LIST_ROWS_MAX, Prefix, RecordKey};

impl Manifests {
    /// Deletes a manifest, every tag that points at it, and its record among the referrers.
    ///
    /// First the manifest is marked as doomed, from when on it is absent for readers; the tags and
    /// the referrer follow, and the manifest itself is last. A deletion that is cut off in the
    /// middle is finished by the next one. The last step succeeds only if no push has made the
    /// manifest live again since the first; otherwise the deletion begins again. So the records of
    /// an acknowledged push either all stay or are all deleted.
    pub async fn delete(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let key = RecordKey::Manifest(name.clone(), *digest);
        let mut begun = false;
        for _ in 0..record::ATTEMPTS_MAX {
            let Some(manifest) = self.records.load::<records::Manifest>(&key).await? else {
                // Another deletion has finished what this one began.
                return if begun { Ok(()) } else { Err(Error::ManifestUnknown) };
            };
            let subject = manifest.header.subject;
            let doomed = records::Manifest { doomed: true, ..manifest.header.clone() };
            let draft = Draft::new(&doomed, manifest.payload.clone());
            let mut base = Base::of(&manifest.record, draft.known())?;
            if !manifest.header.doomed {
                match self.records.replace(&key, &base, &draft, None).await? {
                    Written::Ours(now) => base = now,
                    Written::Replaced(_) => {
                        begun = true;
                        continue;
                    }
                    Written::Lost(_) => continue,
                }
            }
            begun = true;
            let tags = self.tags_of(name, digest).await?;
            let delete = |tag| self.tags.delete_pointing_at(name, tag, digest);
            concurrently(tags.iter().map(delete).collect()).await?;
            if let Some(subject) = subject {
                let referrer = RecordKey::Referrer(name.clone(), subject, *digest);
                let current = self.records.read(&referrer).await?;
                self.records.delete(&referrer, current, |_| Ok(true)).await?;
            }
            match self.records.bury(&key, Some(&base)).await? {
                Written::Ours(_) | Written::Replaced(_) => return Ok(()),
                Written::Lost(_) => {}
            }
        }
        Err(record::contended())
    }

    /// The tags that point, or once pointed, at a manifest. Reads the store, never the cache.
    async fn tags_of(&self, name: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, Error> {
        let prefix = Prefix::TagIndexes(name.clone(), *digest);
        let mut tags: Vec<Tag> = Vec::new();
        let mut last = String::new();
        loop {
            let row = |rest: &str| rest.parse::<Tag>().ok();
            let page = read_page(self.records.store(), &prefix, &last, LIST_ROWS_MAX, row).await?;
            tags.extend(page.rows);
            match page.next {
                Some(next) => last = next.to_string(),
                None => return Ok(tags),
            }
        }
    }
}
