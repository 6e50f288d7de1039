//! Tags: listed in pages, set and deleted by compare-and-swap.

use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use super::lists::Page;
use super::read_cache::ReadCache;
use super::record::{self, Current, Records, Written};
use super::repositories::Repositories;
use crate::layout::encoding::{Draft, decode};
use crate::layout::records::{self, Summary, TagTarget};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::{Deadline, Prefix, Record, RecordKey};

/// What must be true of a tag for a change to happen (RFC 9110, sections 13.1.1 and 13.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagCondition {
    /// Nothing.
    None,
    /// The tag does not exist (`If-None-Match: *`).
    Absent,
    /// The tag exists (`If-Match: *`).
    Present,
    /// The tag points at one of these (`If-Match`).
    PointsAt(Vec<Digest>),
    /// The tag points at none of these (`If-None-Match`).
    PointsElsewhere(Vec<Digest>),
    /// The tag does not exist, or points at this: a push of this manifest does not move it.
    Unmoved(Digest),
}

impl TagCondition {
    pub(super) fn holds(&self, current: Option<&Digest>) -> bool {
        match self {
            Self::None => true,
            Self::Absent => current.is_none(),
            Self::Present => current.is_some(),
            Self::PointsAt(digests) => current.is_some_and(|digest| digests.contains(digest)),
            Self::PointsElsewhere(digests) => {
                current.is_none_or(|digest| !digests.contains(digest))
            }
            Self::Unmoved(digest) => current.is_none_or(|current| current == digest),
        }
    }

    /// Whether the condition holds of every tag that points at the manifest of the push already.
    pub(super) fn allows_repetition(&self) -> bool {
        matches!(self, Self::None | Self::Unmoved(_))
    }

    /// Whether the condition holds of what was read of a tag.
    pub(super) fn holds_of(&self, current: &Current) -> Result<bool, Error> {
        let tag = current.header::<records::Tag>()?;
        Ok(self.holds(tag.map(|tag| tag.digest).as_ref()))
    }
}

/// A push that sets tags.
#[derive(Clone, Debug)]
pub(super) struct TagChange {
    pub(super) target: TagTarget,
    pub(super) summary: Summary,
    /// Whether the push has no precondition.
    pub(super) unconditional: bool,
    /// The subject of the caller.
    pub(super) by: String,
    /// In seconds since 1970.
    pub(super) at: u64,
}

impl TagChange {
    /// The record over that of `before`.
    fn draft(&self, before: Option<records::Tag>) -> Draft {
        let TagTarget { digest, media_type, size } = self.target.clone();
        let (seq, previous) = match before {
            None => (1, None),
            // Not a change.
            Some(before) if before.digest == digest => (before.seq, before.previous),
            Some(before) => (before.seq.saturating_add(1), Some(before.target())),
        };
        let (unconditional, by, at) = (self.unconditional, self.by.clone(), self.at);
        let summary = self.summary.clone();
        let tag = records::Tag {
            digest,
            media_type,
            size,
            unconditional,
            seq,
            by,
            at,
            previous,
            summary,
        };
        Draft::new(&tag, Bytes::new())
    }
}

/// The tags of all repositories.
#[derive(Clone, Debug)]
pub struct Tags {
    pub(super) records: Records,
    pub(super) read_cache: Arc<ReadCache>,
    pub(super) repositories: Arc<Repositories>,
}

impl Tags {
    /// The tags of a repository after `last`, at most `count` of them.
    pub async fn list(
        &self,
        name: &RepositoryName,
        last: Option<&str>,
        count: usize,
    ) -> Result<Page<Tag>, Error> {
        let (list, last) = (Prefix::Tags(name.clone()), last.unwrap_or_default());
        let page = self.read_cache.rows(list, last, count, |rest| rest.parse().ok()).await?;
        if page.rows.is_empty() && page.next.is_none() && !self.repositories.exists(name).await? {
            return Err(Error::NameUnknown);
        }
        Ok(page)
    }

    /// Reads a tag from the store, for a write that follows.
    pub(super) async fn read(&self, name: &RepositoryName, tag: &Tag) -> Result<Current, Error> {
        let key = RecordKey::Tag(name.clone(), tag.clone());
        self.records.read(&key).await
    }

    /// Points a tag at a manifest of the repository. `current` is what this request has read of the
    /// tag; without it, the tag is expected to be new until the store reports a conflict.
    ///
    /// A tag is a register. If a write without a condition loses the race against another such
    /// write, it needs no second attempt: the other write happened between our read and our
    /// response, so the client cannot tell this from ours being overwritten at once. A deletion or
    /// a write with a condition depended on the old value, and would have had another outcome after
    /// our write. If we lose against one of these, we try again.
    ///
    /// Returns what the tag pointed at before.
    pub(super) async fn set(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        change: &TagChange,
        condition: &TagCondition,
        current: Option<Current>,
        deadline: Deadline,
    ) -> Result<Option<Digest>, Error> {
        let key = RecordKey::Tag(name.clone(), tag.clone());
        let mut was_read = current.is_some();
        let mut current = current.unwrap_or(Current::Absent);
        for _ in 0..record::ATTEMPTS_MAX {
            let before = current.header::<records::Tag>()?;
            let pointed_at = before.as_ref().map(|tag| tag.digest);
            if !condition.holds(pointed_at.as_ref()) {
                return Err(Error::PreconditionFailed);
            }
            let draft = change.draft(before);
            match self.records.upsert(&key, &current, &draft, Some(deadline)).await? {
                Written::Ours(_) | Written::Replaced(_) => return Ok(pointed_at),
                Written::Lost(now) => {
                    let winner = now.header::<records::Tag>()?;
                    if was_read
                        && change.unconditional
                        && winner.is_some_and(|tag| tag.unconditional)
                    {
                        return Ok(pointed_at);
                    }
                    current = now;
                }
            }
            was_read = true;
        }
        Err(record::contended())
    }

    /// Deletes a tag, and returns what it pointed at. The manifest stays.
    pub async fn delete(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        condition: &TagCondition,
    ) -> Result<Digest, Error> {
        let current = self.read(name, tag).await?;
        let key = RecordKey::Tag(name.clone(), tag.clone());
        if !matches!(current, Current::Live(_)) {
            self.read_cache.forget_deleted(key).await;
            let unmet = *condition != TagCondition::None && !condition.holds(None);
            return Err(if unmet { Error::PreconditionFailed } else { Error::ManifestUnknown });
        }
        let mut pointed_at = None;
        let matches = |record: &Record| {
            let (tag, _) = decode::<records::Tag>(&record.body)?;
            if condition.holds(Some(&tag.digest)) {
                pointed_at = Some(tag.digest);
                Ok(true)
            } else {
                Err(Error::PreconditionFailed)
            }
        };
        let deleted = self.records.delete(&key, current, matches).await?;
        pointed_at.filter(|_| deleted).ok_or(Error::ManifestUnknown)
    }
}
