//! The tag index: rows of tags that point elsewhere now, or were deleted.

use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::Class;
use super::manifests::Contents;
use super::rows::{Row, Rows, Scope};
use super::salted::SaltedSet;
use super::{Error, READS_AT_ONCE, Run};
use crate::layout::encoding::decode;
use crate::layout::records;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::record::Current;
use crate::store::RecordKey;

/// Old rows of live tags that wait until all rows of the repository have been counted.
const UNDECIDED_MAX: usize = 100_000;
/// What tags end in that cosign sets, before subjects: `sha256-<hex>.sig` belongs to a manifest.
const OF_SUBJECTS: [&str; 3] = [".sig", ".att", ".sbom"];

/// What a tag points at.
#[derive(Clone, Copy, Debug)]
enum Target {
    Manifest(Digest),
    /// The tag was deleted.
    Nothing,
    Unreadable,
}

/// The manifest to which a tag such as `sha256-<hex>.sig` belongs.
fn subject_of(tag: &Tag) -> Option<Digest> {
    let text = tag.as_str();
    let digest = OF_SUBJECTS.iter().find_map(|suffix| text.strip_suffix(suffix))?;
    digest.replacen('-', ":", 1).parse().ok()
}

impl Run {
    /// The live tags of a repository. Reads where they point only if a manifest without a tag might
    /// be deleted.
    pub(super) async fn read_tags(
        &self,
        rows: &mut Rows,
        name: &RepositoryName,
        scope: &Scope,
        contents: &mut Contents,
    ) -> Result<SaltedSet, Error> {
        let mut tags = SaltedSet::new();
        loop {
            let batch = rows.batch(self, name, scope.batch()).await?;
            if batch.is_empty() {
                return Ok(tags);
            }
            let mut read = Vec::new();
            for Row { key, .. } in batch {
                let RecordKey::Tag(_, tag) = &key else { continue };
                tags.insert(tag.as_str());
                let holds = subject_of(tag)
                    .is_none_or(|subject| contents.manifests.contains(&subject.to_string()));
                if holds && !contents.untagged.is_empty() {
                    read.push(key);
                }
            }
            let read = read.into_iter().map(|key| async move { self.target(&key).await });
            let read = stream::iter(read).buffer_unordered(READS_AT_ONCE);
            for target in read.try_collect::<Vec<_>>().await? {
                match target {
                    Target::Manifest(digest) => contents.tagged.insert(&digest.to_string()),
                    Target::Nothing => {}
                    Target::Unreadable => contents.complete = false,
                }
            }
        }
    }

    /// Where a tag points now.
    async fn target(&self, key: &RecordKey) -> Result<Target, Error> {
        let Current::Live(record) = self.records.read(key).await? else {
            return Ok(Target::Nothing);
        };
        Ok(match decode::<records::Tag>(&record.body) {
            Ok((tag, _)) => Target::Manifest(tag.digest),
            Err(error) => {
                tracing::warn!(%key, %error, "a tag cannot be read");
                Target::Unreadable
            }
        })
    }

    /// Deletes old rows of tags that do not point at the manifest of the row. A tag with one row
    /// points there, because a push writes the row first.
    pub(super) async fn collect_tag_indexes(
        &self,
        rows: &mut Rows,
        name: &RepositoryName,
        scope: &Scope,
        tags: &SaltedSet,
    ) -> Result<(), Error> {
        let (mut rows_of, mut undecided) = (HashMap::<Tag, u32>::new(), Vec::new());
        loop {
            let batch = rows.batch(self, name, scope.batch()).await?;
            if batch.is_empty() {
                break;
            }
            let mut deleted = Vec::new();
            for row in batch {
                let RecordKey::TagIndex(_, _, tag) = &row.key else { continue };
                let (is_old, is_live) =
                    (scope.cutoff.is_old(&row.listed), tags.contains(tag.as_str()));
                if is_live {
                    *rows_of.entry(tag.clone()).or_default() += 1;
                }
                match (is_live, is_old) {
                    (true, true) => undecided.push(row),
                    (false, true) => deleted.push(row),
                    (false, false) => self.count_young(Class::TagIndex),
                    (true, false) => {}
                }
            }
            self.delete_rows(deleted).await?;
            if undecided.len() >= UNDECIDED_MAX {
                self.decide(std::mem::take(&mut undecided)).await?;
            }
        }
        let several = |row: &Row| match &row.key {
            RecordKey::TagIndex(_, _, tag) => rows_of.get(tag).is_some_and(|rows| *rows > 1),
            _ => false,
        };
        undecided.retain(several);
        self.decide(undecided).await
    }

    /// Deletes those rows whose tag points elsewhere.
    async fn decide(&self, rows: Vec<Row>) -> Result<(), Error> {
        let decide = |row: Row| async move {
            let RecordKey::TagIndex(name, digest, tag) = &row.key else { return Ok(None) };
            let target = self.target(&RecordKey::Tag(name.clone(), tag.clone())).await?;
            let elsewhere = match target {
                Target::Manifest(target) => target != *digest,
                Target::Nothing => true,
                Target::Unreadable => false,
            };
            Ok::<_, Error>(elsewhere.then_some(row))
        };
        let decided = stream::iter(rows.into_iter().map(decide)).buffer_unordered(READS_AT_ONCE);
        let elsewhere: Vec<Row> =
            decided.try_filter_map(|row| async move { Ok(row) }).try_collect().await?;
        self.delete_rows(elsewhere).await
    }
}
