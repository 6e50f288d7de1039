//! Pointers to content that no repository has, and the quarantine of its data.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::quarantine::Due;
use super::removals::Again;
use super::rows::Row;
use super::salted::Filter;
use super::{Class, Cutoff, Error, Fate, REMOVALS_AT_ONCE, Run};
use crate::layout::encoding::{decode, is_tombstone};
use crate::layout::records::{Link, Pointer};
use crate::oci::Digest;
use crate::registry::record::Current;
use crate::store::{Kind, Listed, Location, Prefix, RecordKey, RecordPages};

/// The links of all repositories.
struct Links {
    /// Their digests.
    digests: Filter,
    /// What those say whose content is due to be deleted: where the data is, `None` if a link
    /// cannot be read.
    named: BTreeMap<Digest, Vec<Option<Location>>>,
    cutoff: Cutoff,
}

impl Run {
    /// Deletes what has been in quarantine long enough, and then pointers to content that no link
    /// names. In this order: data that comes into quarantine now stays there for its time.
    pub(super) async fn collect_pointers(&self) -> Result<(), Error> {
        let due = self.read_quarantine().await?;
        let due = self.without_named_by_sessions(due).await?;
        let links = self.list_links(&due).await?;
        let end = |data: Due| {
            let named = data.digest.and_then(|digest| links.named.get(&digest));
            let location = Some(&data.location);
            let named = named.is_some_and(|named| {
                named.iter().any(|named| named.is_none() || named.as_ref() == location)
            });
            self.end_quarantine(data, named)
        };
        let ended = stream::iter(due.into_iter().map(end));
        ended.buffer_unordered(REMOVALS_AT_ONCE).try_collect::<()>().await?;
        let mut pages = RecordPages::of(Prefix::All(Kind::Pointers));
        while let Some(page) = pages.next(self.paced.as_ref()).await? {
            self.collect_page(page.rows, &links).await?;
        }
        Ok(())
    }

    /// Leaves out the data that a live session names: a request that continues its commit may write
    /// the pointer again. Sessions are read before links and pointers, as names move.
    async fn without_named_by_sessions(&self, mut due: Vec<Due>) -> Result<Vec<Due>, Error> {
        let mut named = BTreeSet::new();
        if !due.is_empty() {
            let of_due: BTreeSet<_> = due.iter().filter_map(|due| due.location.parts()).collect();
            let note = |it: &_| named.extend(of_due.get(it).cloned());
            if !self.named_by_sessions(note).await? {
                return Ok(Vec::new());
            }
        }
        due.retain(|due| due.location.parts().is_none_or(|it| !named.contains(&it)));
        Ok(due)
    }

    /// Lists all links. Reads those whose content is due to be deleted: a link to other data than
    /// that of the pointer keeps its own.
    async fn list_links(&self, due: &[Due]) -> Result<Links, Error> {
        let due: BTreeSet<Digest> = due.iter().filter_map(|due| due.digest).collect();
        let (mut digests, mut named) = (Filter::new(), BTreeMap::<_, Vec<_>>::new());
        let mut pages = RecordPages::of(Prefix::All(Kind::Links));
        while let Some(page) = pages.next(self.paced.as_ref()).await? {
            let mut read = Vec::new();
            for listed in page.rows {
                let Ok(key @ RecordKey::Link(_, digest)) = listed.key.parse() else { continue };
                if is_tombstone(listed.size) {
                    continue;
                }
                digests.insert(&digest.to_string());
                if due.contains(&digest) {
                    read.push(Row { key, listed });
                }
            }
            for (digest, location) in self.linked_locations(read).await? {
                named.entry(digest).or_default().push(location);
            }
        }
        digests.sort();
        Ok(Links { digests, named, cutoff: self.cutoff(pages.began()) })
    }

    /// Where links say that their data is, `None` for a link that cannot be read. Links that hold
    /// their content are left out.
    pub(super) async fn linked_locations(
        &self,
        rows: Vec<Row>,
    ) -> Result<Vec<(Digest, Option<Location>)>, Error> {
        let read = |row: Row| async move {
            let Current::Live(record) = self.records.read(&row.key).await? else { return Ok(None) };
            let RecordKey::Link(_, digest) = row.key else { return Ok(None) };
            Ok::<_, Error>(match decode::<Link>(&record.body) {
                Ok((Link { location: None, .. }, _)) => None,
                Ok((Link { location, .. }, _)) => Some((digest, location)),
                Err(_) => Some((digest, None)),
            })
        };
        let read = stream::iter(rows.into_iter().map(read)).buffer_unordered(REMOVALS_AT_ONCE);
        read.try_filter_map(|location| async move { Ok(location) }).try_collect().await
    }

    async fn collect_page(&self, page: Vec<Listed>, links: &Links) -> Result<(), Error> {
        let (mut unlinked, mut tombstones) = (BTreeMap::new(), Vec::new());
        for listed in page {
            let Ok(key @ RecordKey::Pointer(digest)) = listed.key.parse() else { continue };
            if is_tombstone(listed.size) {
                tombstones.push(Row { key, listed });
            } else if !links.digests.contains(&digest.to_string()) {
                if links.cutoff.is_old(&listed) {
                    unlinked.insert(digest, Row { key, listed });
                } else {
                    self.count(Class::Pointer, Fate::Grace);
                }
            }
        }
        self.remove_tombstones(tombstones, links.cutoff).await?;
        let collect = |(digest, row)| async move { self.collect_pointer(digest, row).await };
        let collected = stream::iter(unlinked.into_iter().map(collect));
        collected.buffer_unordered(REMOVALS_AT_ONCE).try_collect::<()>().await
    }

    /// Puts the data into quarantine and then deletes the pointer: a crash in between leaves a row
    /// of the quarantine that the next run drops.
    async fn collect_pointer(&self, digest: Digest, row: Row) -> Result<(), Error> {
        let Some(record) = self.read_listed(&row).await? else {
            self.count(Class::Pointer, Fate::Changed);
            return Ok(());
        };
        let Pointer { location, size, .. } = match decode(&record.body) {
            Ok((pointer, _)) => pointer,
            Err(error) => {
                tracing::warn!(key = %row.key, %error, "a pointer cannot be read");
                self.count(Class::Pointer, Fate::Unreadable);
                return Ok(());
            }
        };
        let quarantined = match &location {
            Some(location) => {
                self.quarantine(location, (Some(digest), Some(size)), Again::Restart).await?
            }
            // A hint for mounts has no data.
            None => None,
        };
        let deleted = self.delete_read(&row.key, &record).await?;
        if !deleted {
            // If the pointer was deleted after all, the data is found among that without a name.
            self.release(quarantined).await?;
        }
        self.count(Class::Pointer, if deleted { Fate::Removed } else { Fate::Changed });
        Ok(())
    }
}
