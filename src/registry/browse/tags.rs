//! The tags of a repository, with what they point at.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::order::natural;
use super::{Browse, Nature, SORTED_TAGS_MAX, TagOrder, read_rows};
use crate::layout::encoding::is_tombstone;
use crate::layout::records;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::Error;
use crate::registry::lists::{Beginning, Found, Page, Window, read_shown};
use crate::store::{Kind, LIST_ROWS_MAX, Prefix, RecordKey, Version};

/// Which tags are shown.
#[derive(Clone, Debug, Default)]
pub struct TagSearch {
    /// How their names begin. Any text.
    pub prefix: String,
    pub order: TagOrder,
    /// In the order of their names: those after this one.
    pub after: String,
    /// In another order: without so many.
    pub from: usize,
    /// At most so many.
    pub count: usize,
}

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagNext {
    After(Tag),
    From(usize),
}

/// A tag as a person looks at it.
#[derive(Clone, Debug)]
pub struct TagRow {
    pub tag: Tag,
    pub digest: Digest,
    pub nature: Nature,
    /// When it was last set, by the clock of that process.
    pub pushed: SystemTime,
    /// The subject of the caller who set it.
    pub by: String,
    /// How often it was set to another manifest, from 1 on.
    pub changes: u64,
    /// What it pointed at before.
    pub previous: Option<Digest>,
    /// How many manifests refer to its manifest. `None` if the repository has too many to count.
    pub referrers: Option<usize>,
}

/// A page of tags.
#[derive(Clone, Debug)]
pub struct TagRows {
    pub rows: Vec<TagRow>,
    pub next: Option<TagNext>,
    /// The order of the rows: that of the names if there are too many tags for another one.
    pub order: TagOrder,
    /// How many tags there are, where all of them were listed.
    pub total: Option<usize>,
}

/// A tag as a listing shows it.
#[derive(Clone, Debug)]
pub(super) struct SeenTag {
    pub(super) tag: Tag,
    pub(super) version: Version,
    written: SystemTime,
}

/// How many referrers the manifests of a repository have.
#[derive(Debug)]
pub(super) struct ReferrerCounts {
    counts: HashMap<Digest, usize>,
    /// The last key that was listed, if more follow.
    end: Option<String>,
}

impl ReferrerCounts {
    fn of(&self, name: &RepositoryName, digest: &Digest) -> Option<usize> {
        let below = Prefix::Referrers(name.clone(), *digest).to_string();
        let counted = match &self.end {
            Some(end) => !end.starts_with(&below) && below < *end,
            None => true,
        };
        counted.then(|| self.counts.get(digest).copied().unwrap_or_default())
    }
}

impl Browse {
    /// A page of tags. In the order of the names: one listing, and side by side a read for each row
    /// that this process does not remember.
    pub async fn tags(&self, name: &RepositoryName, search: &TagSearch) -> Result<TagRows, Error> {
        let (mut page, counts) = tokio::try_join!(self.ordered(name, search), self.counts(name))?;
        for row in &mut page.rows {
            row.referrers = counts.of(name, &row.digest);
        }
        if page.rows.is_empty()
            && page.next.is_none()
            && search.prefix.is_empty()
            && !self.repositories.exists(name).await?
        {
            return Err(Error::NameUnknown);
        }
        Ok(page)
    }

    async fn ordered(&self, name: &RepositoryName, search: &TagSearch) -> Result<TagRows, Error> {
        let TagSearch { prefix, order, after, from, count } = search;
        if *order != TagOrder::Name {
            let _place = self.orders.admit().await?;
            let all = self.list(name, prefix, "", SORTED_TAGS_MAX).await?;
            if all.next.is_none() {
                return self.sorted(name, &all.rows, *order, *from, *count).await;
            }
        }
        let page = self.list(name, prefix, after, *count).await?;
        let rows = self.describe(name, &page.rows).await?;
        let next = page.next.as_ref().map(|last| TagNext::After(last.tag.clone()));
        let total = (after.is_empty() && next.is_none()).then_some(rows.len());
        Ok(TagRows { rows, next, order: TagOrder::Name, total })
    }

    /// Some of these tags in an order.
    async fn sorted(
        &self,
        name: &RepositoryName,
        all: &[SeenTag],
        order: TagOrder,
        from: usize,
        count: usize,
    ) -> Result<TagRows, Error> {
        let total = Some(all.len());
        let end = from.saturating_add(count).min(all.len());
        let next = (end < all.len()).then_some(TagNext::From(end));
        let range = from.min(end)..end;
        let rows = if order == TagOrder::Largest {
            let mut rows = self.describe(name, all).await?;
            rows.sort_by_key(|row| Reverse(row.nature.content_size));
            rows.into_iter().skip(range.start).take(range.len()).collect()
        } else {
            let mut all: Vec<&SeenTag> = all.iter().collect();
            if order == TagOrder::Newest {
                all.sort_by_key(|seen| Reverse(seen.written));
            } else {
                all.sort_by(|one, other| natural(other.tag.as_str(), one.tag.as_str()));
            }
            let shown = all.get(range).unwrap_or_default();
            let shown: Vec<SeenTag> = shown.iter().map(|seen| (*seen).clone()).collect();
            self.describe(name, &shown).await?
        };
        Ok(TagRows { rows, next, order, total })
    }

    /// Lists tags whose names begin with `prefix`.
    async fn list(
        &self,
        name: &RepositoryName,
        prefix: &str,
        after: &str,
        count: usize,
    ) -> Result<Arc<Page<SeenTag>>, Error> {
        let key = (name.clone(), prefix.to_owned(), after.to_owned(), count);
        if let Some(page) = self.cache.tag_lists.get(&key) {
            return Ok(page);
        }
        let beginning = Beginning(prefix);
        let shown = |seen: &SeenTag| beginning.reads(seen.tag.as_str());
        let row = |found: Found<'_>| {
            let (version, written) = (found.listed.version.clone(), found.listed.written);
            Some(SeenTag { tag: found.rest.parse().ok()?, version, written })
        };
        let from = if after.is_empty() { beginning.before() } else { after.to_owned() };
        let window = Window::new(&from, count);
        let list = Prefix::Tags(name.clone());
        let mut page = read_shown(self.records.store(), &list, window, row, &shown).await?;
        if beginning.cut(&mut page.rows, |seen| seen.tag.as_str()) {
            page.next = None;
        }
        Ok(self.cache.tag_lists.insert(key, page))
    }

    /// Reads the records of these tags, without those that were deleted meanwhile.
    async fn describe(
        &self,
        name: &RepositoryName,
        seen: &[SeenTag],
    ) -> Result<Vec<TagRow>, Error> {
        read_rows(seen.iter().map(|seen| self.describe_one(name, seen)).collect()).await
    }

    async fn describe_one(
        &self,
        name: &RepositoryName,
        seen: &SeenTag,
    ) -> Result<Option<TagRow>, Error> {
        let record = if let Some(record) = self.cache.tag(name, seen) {
            record
        } else {
            let key = RecordKey::Tag(name.clone(), seen.tag.clone());
            let read = self.records.load::<records::Tag>(&key).await?;
            let Some(read) = read else { return Ok(None) };
            let record = Arc::new(read.header);
            self.cache.keep_tag(name, &seen.tag, (read.record.version, record.clone()));
            record
        };
        Ok(Some(TagRow {
            tag: seen.tag.clone(),
            digest: record.digest,
            nature: Nature::new(record.media_type.clone(), record.summary.clone(), None),
            pushed: UNIX_EPOCH + Duration::from_secs(record.at),
            by: record.by.clone(),
            changes: record.seq,
            previous: record.previous.as_ref().map(|previous| previous.digest),
            referrers: None,
        }))
    }

    /// Counts the referrers in a repository, as many as one listing shows.
    async fn counts(&self, name: &RepositoryName) -> Result<Arc<ReferrerCounts>, Error> {
        if let Some(counts) = self.cache.referrers.get(name) {
            return Ok(counts);
        }
        let (list, after) = (Prefix::All(Kind::Referrers), Prefix::rank(name));
        let listing = self.records.store().list(&list, Some(&after), LIST_ROWS_MAX).await?;
        let mut counts = HashMap::new();
        let mut ended = !listing.more;
        for row in &listing.rows {
            match row.key.parse() {
                Ok(RecordKey::Referrer(repository, subject, _)) if repository == *name => {
                    let live = usize::from(!is_tombstone(row.size));
                    *counts.entry(subject).or_default() += live;
                }
                _ => ended = true,
            }
        }
        let end = listing.rows.last().filter(|_| !ended).map(|row| row.key.clone());
        Ok(self.cache.referrers.insert(name.clone(), ReferrerCounts { counts, end }))
    }
}
