//! Tags: listed in pages, set and removed by compare-and-swap.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::record::{self, Seen, Written};
use super::{Error, Page, Registry};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::{self, Deadline, Prefix, RecordKey};

/// The entry `t/`: what a tag points at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TagTarget {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) size: u64,
    /// Written whatever the tag was before.
    #[serde(default)]
    pub(super) unconditional: bool,
}

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
        }
    }
}

/// What the entry of a tag says.
pub(super) fn cached_tag(body: &Bytes) -> Result<TagTarget, store::Error> {
    record::decode(body).map(|(target, _)| target).map_err(Error::into_store)
}

fn points_at(seen: &Seen) -> Result<Option<Digest>, Error> {
    match seen {
        Seen::Absent | Seen::Dead(_) => Ok(None),
        Seen::Alive(entry) => {
            let (target, _) = record::decode::<TagTarget>(&entry.body)?;
            Ok(Some(target.digest))
        }
    }
}

/// Whether what is there now was written without a condition.
fn was_overwritten(now: &Seen) -> Result<bool, Error> {
    match now {
        Seen::Absent | Seen::Dead(_) => Ok(false),
        Seen::Alive(entry) => Ok(record::decode::<TagTarget>(&entry.body)?.0.unconditional),
    }
}

impl Registry {
    /// The tags of a repository after `last`, at most `count` of them.
    pub async fn tags(
        &self,
        name: &RepositoryName,
        last: Option<&str>,
        count: usize,
    ) -> Result<Page<Tag>, Error> {
        let list = Prefix::Tags(name.clone());
        let page =
            self.page(list, last.unwrap_or_default(), count, |rest| rest.parse().ok()).await?;
        if page.rows.is_empty() && !page.more {
            let marker = RecordKey::Repository(name.clone());
            let known = record::look(self.store(), &marker).await?;
            if !matches!(known, Seen::Alive(_)) {
                return Err(Error::NameUnknown);
            }
        }
        Ok(page)
    }

    /// Points a tag at a manifest that is there. `seen` is what this request read of the tag; if it
    /// has not looked, the tag is taken for new until the store says otherwise.
    ///
    /// A tag is a register. A write without a condition that loses the race against another such
    /// write was overwritten at once: the other one happened after we had read, so before we
    /// answer, and nobody can tell the difference. It needs no second attempt. What else may have
    /// won (a deletion, a write with a condition) decided by the old value, and would have decided
    /// otherwise after ours: against that, ours is tried again.
    pub(super) async fn set_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        target: &TagTarget,
        condition: &TagCondition,
        seen: Option<Seen>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let key = RecordKey::Tag(name.clone(), tag.clone());
        let body = record::encode(target, &[]);
        let mut looked = seen.is_some();
        let mut seen = seen.unwrap_or(Seen::Absent);
        for _ in 0..record::ATTEMPTS_MAX {
            if !condition.holds(points_at(&seen)?.as_ref()) {
                return Err(Error::PreconditionFailed);
            }
            match record::write_over(self.store(), &key, &seen, &body, Some(deadline)).await? {
                Written::Ours(_) => return Ok(()),
                Written::Lost(now) if looked && target.unconditional && was_overwritten(&now)? => {
                    return Ok(());
                }
                Written::Lost(now) => seen = now,
            }
            looked = true;
        }
        Err(record::contended())
    }

    /// Removes a tag. The manifest stays.
    pub async fn delete_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        condition: &TagCondition,
    ) -> Result<(), Error> {
        let key = RecordKey::Tag(name.clone(), tag.clone());
        let seen = record::look(self.store(), &key).await?;
        if !matches!(seen, Seen::Alive(_)) {
            let unmet = *condition != TagCondition::None && !condition.holds(None);
            return Err(if unmet { Error::PreconditionFailed } else { Error::ManifestUnknown });
        }
        let killed = record::kill(self.store(), &key, seen, |entry| {
            let (target, _) = record::decode::<TagTarget>(&entry.body)?;
            if condition.holds(Some(&target.digest)) {
                Ok(true)
            } else {
                Err(Error::PreconditionFailed)
            }
        });
        if killed.await? { Ok(()) } else { Err(Error::ManifestUnknown) }
    }
}
