//! Deleting a manifest, with its tags and its record among the referrers.

use super::Manifests;
use crate::layout::encoding::{Draft, Known, decode};
use crate::layout::records;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::Error;
use crate::registry::concurrently::concurrently;
use crate::registry::lists::read_page;
use crate::registry::record::{self, Base, Current, Ended, Written};
use crate::store::{LIST_ROWS_MAX, Prefix, Record, RecordKey, Version};

impl Manifests {
    /// Deletes a manifest, every tag that points at it, and its record among the referrers. Returns
    /// the tags.
    ///
    /// First the manifest is marked as doomed, from when on it is absent for readers. Then the tags
    /// and the referrer are read, and deleted in the versions that were read; the manifest itself
    /// is last. A deletion that is cut off in the middle is finished by the next one. A push that
    /// makes the manifest live again rewrites all of these, so the deletion then fails at one of
    /// its steps, has deleted nothing of that push, and begins again.
    pub async fn delete(&self, name: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, Error> {
        if let Some(tags) = self.delete_if(name, digest, |_| true).await? {
            return Ok(tags);
        }
        self.read_cache.forget_deleted(RecordKey::Manifest(name.clone(), *digest)).await;
        Err(Error::ManifestUnknown)
    }

    /// Deletes one version of a manifest in the same way, or finishes a deletion that began.
    /// Returns false if it has another version and is live, or if there is no manifest.
    pub async fn delete_version(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        version: &Version,
    ) -> Result<bool, Error> {
        let deleted = self.delete_if(name, digest, |found| found.version == *version).await?;
        Ok(deleted.is_some())
    }

    /// Deletes a manifest while each version that is live `matches`. Returns the tags that it has
    /// deleted if the manifest is gone because of this call, at least partly.
    async fn delete_if(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        matches: impl Fn(&Record) -> bool + Send + Sync,
    ) -> Result<Option<Vec<Tag>>, Error> {
        let key = RecordKey::Manifest(name.clone(), *digest);
        let (mut begun, mut tags) = (false, Vec::new());
        for _ in 0..record::ATTEMPTS_MAX {
            let Some(manifest) = self.records.load::<records::Manifest>(&key).await? else {
                // Another deletion has finished what this one began.
                return Ok(begun.then_some(tags));
            };
            let subject = manifest.header.subject;
            let base = if manifest.header.doomed {
                Base::of(&manifest.record, Known::All)?
            } else if !matches(&manifest.record) {
                return Ok(None);
            } else {
                let doomed = records::Manifest { doomed: true, ..manifest.header };
                let draft = Draft::new(&doomed, manifest.payload);
                match self
                    .records
                    .upsert(&key, &Current::Live(manifest.record), &draft, None)
                    .await?
                {
                    Written::Ours(doomed) => doomed,
                    Written::Replaced(_) => {
                        begun = true;
                        continue;
                    }
                    Written::Lost(_) => continue,
                }
            };
            begun = true;
            let named_by = self.named_by(name, digest, subject).await?;
            // A push that makes the manifest live again from here on rewrites what names it, so the
            // versions that were read are not its own.
            match self.records.read(&key).await? {
                Current::Live(now) if base.is_of(&now) => {}
                _ => continue,
            }
            let bury = |(key, record): (RecordKey, Record)| async move {
                let base = Base::of(&record, Known::All)?;
                Ok::<_, Error>((self.records.delete_version(&key, &base).await?, key))
            };
            let ended = concurrently(named_by.into_iter().map(bury).collect()).await?;
            tags.extend(ended.iter().filter_map(deleted_tag));
            if ended.iter().any(|(ended, _)| *ended == Ended::Not) {
                continue;
            }
            match self.records.bury(&key, Some(&base)).await? {
                Written::Ours(_) | Written::Replaced(_) => return Ok(Some(tags)),
                Written::Lost(_) => {}
            }
        }
        Err(record::contended())
    }

    /// The records that name a manifest: tags that point at it, and its referrer.
    async fn named_by(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        subject: Option<Digest>,
    ) -> Result<Vec<(RecordKey, Record)>, Error> {
        let tags = self.tags_of(name, digest).await?;
        let tags = tags.into_iter().map(|tag| RecordKey::Tag(name.clone(), tag));
        let referrer = subject.map(|subject| RecordKey::Referrer(name.clone(), subject, *digest));
        let read = |key: RecordKey| async move {
            let Current::Live(record) = self.records.read(&key).await? else { return Ok(None) };
            if let RecordKey::Tag(..) = key
                && decode::<records::Tag>(&record.body)?.0.digest != *digest
            {
                return Ok(None);
            }
            Ok::<_, Error>(Some((key, record)))
        };
        let found = concurrently(tags.chain(referrer).map(read).collect()).await?;
        Ok(found.into_iter().flatten().collect())
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

/// The tag that a deletion has deleted itself.
fn deleted_tag((ended, key): &(Ended, RecordKey)) -> Option<Tag> {
    match (ended, key) {
        (Ended::Here, RecordKey::Tag(_, tag)) => Some(tag.clone()),
        _ => None,
    }
}
