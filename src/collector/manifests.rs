//! The manifests of a repository: what they name is in use.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::rows::{Row, Rows, Scope};
use super::salted::SaltedSet;
use super::{Class, Error, Fate, READS_AT_ONCE, Run};
use crate::layout::encoding::decode;
use crate::layout::records::{Manifest, Reference};
use crate::oci::{Digest, RepositoryName};
use crate::registry;
use crate::registry::record::Current;
use crate::store::{self, RecordKey, Version};

/// Manifests of one repository that a run deletes because they have no tag.
const UNTAGGED_MAX: usize = 100_000;
/// Manifests of one repository whose referrer records a run compares.
const SUBJECTS_MAX: usize = 200_000;
/// Requests of a deletion of a manifest, about.
const DELETE_REQUESTS: u64 = 8;

/// What the manifests of a repository say.
#[derive(Debug)]
pub(super) struct Contents {
    /// The digests that they name.
    pub(super) references: SaltedSet,
    /// Their own digests.
    pub(super) manifests: SaltedSet,
    /// Whether all of them could be read. If not, something else may be in use.
    pub(super) complete: bool,
    /// Old manifests with a subject: the subject, and the manifest.
    pub(super) referrers: Vec<(Digest, Digest)>,
    /// Those that are old enough to be deleted unless they have a tag.
    pub(super) untagged: Vec<Untagged>,
    /// The digests that tags point at. Empty if none of the manifests could be deleted.
    pub(super) tagged: SaltedSet,
}

/// A manifest that may have no tag.
#[derive(Debug)]
pub(super) struct Untagged {
    pub(super) digest: Digest,
    pub(super) version: Version,
    pub(super) subject: Option<Digest>,
}

impl Default for Contents {
    fn default() -> Self {
        Self {
            references: SaltedSet::new(),
            manifests: SaltedSet::new(),
            complete: true,
            referrers: Vec::new(),
            untagged: Vec::new(),
            tagged: SaltedSet::new(),
        }
    }
}

/// A manifest as it was read.
enum Read {
    Live(Manifest),
    /// It was deleted after it was listed.
    Gone,
    Unreadable,
}

impl Run {
    /// Reads all manifests of a repository, and finishes deletions that were cut off.
    pub(super) async fn read_manifests(
        &self,
        rows: &mut Rows,
        name: &RepositoryName,
        scope: &Scope,
        contents: &mut Contents,
    ) -> Result<(), Error> {
        loop {
            let batch = rows.batch(self, name, scope.batch()).await?;
            if batch.is_empty() {
                return Ok(());
            }
            let read = |row: Row| async move {
                let read = self.read_manifest(&row.key).await?;
                Ok::<_, Error>((row, read))
            };
            let read = stream::iter(batch.into_iter().map(read)).buffer_unordered(READS_AT_ONCE);
            for (row, read) in read.try_collect::<Vec<_>>().await? {
                if contents.note(&row, read, (self, scope)) {
                    self.delete_manifest(&row.key, &row.listed.version).await?;
                }
            }
        }
    }

    /// Deletes a version of a manifest as a client would, or finishes such a deletion.
    pub(super) async fn delete_manifest(
        &self,
        key: &RecordKey,
        version: &Version,
    ) -> Result<(), Error> {
        let RecordKey::Manifest(name, digest) = key else { return Ok(()) };
        let mut deleted = true;
        if self.writes() {
            self.paced.requests_sent(DELETE_REQUESTS).await;
            deleted = match self.registry.manifests.delete_version(name, digest, version).await {
                Ok(deleted) => deleted,
                // The next run sees what happened.
                Err(registry::Error::OutcomeUnknown | registry::Error::Busy(_)) => false,
                Err(registry::Error::Unavailable(error @ store::Error::Damaged(_))) => {
                    tracing::warn!(%key, %error, "a manifest is not deleted");
                    self.count(Class::Manifest, Fate::Unreadable);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
        }
        self.count(Class::Manifest, if deleted { Fate::Removed } else { Fate::Changed });
        Ok(())
    }

    async fn read_manifest(&self, key: &RecordKey) -> Result<Read, Error> {
        let Current::Live(record) = self.records.read(key).await? else { return Ok(Read::Gone) };
        Ok(match decode::<Manifest>(&record.body) {
            Ok((manifest, _)) => Read::Live(manifest),
            Err(error) => {
                tracing::warn!(%key, %error, "a manifest cannot be read: its repository is kept");
                Read::Unreadable
            }
        })
    }
}

impl Contents {
    /// Adds what a manifest says. Returns whether a deletion marked it so long ago that the process
    /// of that deletion has stopped.
    fn note(&mut self, row: &Row, read: Read, (run, scope): (&Run, &Scope)) -> bool {
        let RecordKey::Manifest(_, digest) = row.key else { return false };
        let manifest = match read {
            Read::Gone => return false,
            Read::Unreadable => {
                run.count(Class::Manifest, Fate::Unreadable);
                self.complete = false;
                self.manifests.insert(&digest.to_string());
                return false;
            }
            Read::Live(manifest) => manifest,
        };
        let Manifest { references, external, subject, doomed, .. } = manifest;
        // Also those of a manifest that is being deleted: a push may bring it back.
        for Reference { digest, .. } in references.iter().chain(&external) {
            self.references.insert(digest);
        }
        self.manifests.insert(&digest.to_string());
        let is_old = scope.cutoff.is_old(&row.listed);
        if doomed {
            if !is_old {
                run.count_young(Class::Manifest);
            }
            return is_old;
        }
        if let Some(subject) = subject
            && is_old
            && self.referrers.len() < SUBJECTS_MAX
        {
            self.referrers.push((subject, digest));
        }
        let age = run.settings.untagged_after;
        if age.is_some_and(|age| scope.cutoff.is_older_than(&row.listed, age))
            && self.untagged.len() < UNTAGGED_MAX
        {
            let version = row.listed.version.clone();
            self.untagged.push(Untagged { digest, version, subject });
        }
        false
    }
}
