//! Listings of all records of a kind, read side by side repository by repository.

use std::collections::VecDeque;
use std::time::SystemTime;

use super::salted::SaltedSet;
use super::{BATCH_ROWS, Class, Cutoff, Error, Run};
use crate::layout::encoding::is_tombstone;
use crate::oci::RepositoryName;
use crate::store::{Kind, Listed, Prefix, RecordKey, RecordPages};

/// A record of a repository, in the version that was listed.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: RecordKey,
    pub(super) listed: Listed,
}

/// The records of one kind, in the order of their keys.
#[derive(Debug)]
pub(super) struct Rows {
    pages: RecordPages,
    page: VecDeque<Row>,
}

impl Rows {
    /// The records after those of a repository.
    pub(super) fn of(kind: Kind, after: Option<&RepositoryName>) -> Self {
        let pages = RecordPages::of(Prefix::All(kind));
        let pages = match after {
            Some(name) => pages.after(&Prefix::after_records_of(name)),
            None => pages,
        };
        Self { pages, page: VecDeque::new() }
    }

    /// The store's clock at the first listing.
    pub(super) fn began(&self) -> Option<SystemTime> {
        self.pages.began()
    }

    /// The repository of the next record.
    pub(super) async fn repository(&mut self, run: &Run) -> Result<Option<&RepositoryName>, Error> {
        while self.page.is_empty() {
            let Some(page) = self.pages.next(run.paced.as_ref()).await? else { return Ok(None) };
            for listed in page.rows {
                // A foreign key is none of ours.
                let Ok(key) = listed.key.parse::<RecordKey>() else { continue };
                if key.repository().is_some() {
                    self.page.push_back(Row { key, listed });
                }
            }
        }
        Ok(self.page.front().and_then(|row| row.key.repository()))
    }

    /// The next live records of a repository, at most `limit` of them. Empty after the last one.
    /// Removes tombstones that no writer needs any more.
    pub(super) async fn batch(
        &mut self,
        run: &Run,
        name: &RepositoryName,
        (cutoff, limit): (Cutoff, usize),
    ) -> Result<Vec<Row>, Error> {
        let (mut batch, mut tombstones) = (Vec::new(), Vec::new());
        while batch.len() < limit && self.repository(run).await? == Some(name) {
            let Some(row) = self.page.pop_front() else { break };
            if is_tombstone(row.listed.size) {
                tombstones.push(row);
            } else {
                batch.push(row);
            }
            if tombstones.len() >= limit {
                run.remove_tombstones(std::mem::take(&mut tombstones), cutoff).await?;
            }
        }
        run.remove_tombstones(tombstones, cutoff).await?;
        Ok(batch)
    }
}

/// What the phase knows beside the records of a repository.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) cutoff: Cutoff,
    /// The repositories in which an earlier run has found unreferenced links.
    pub(super) seen: SaltedSet,
}

impl Scope {
    /// A part of the rows of a listing that is judged at once.
    pub(super) fn batch(&self) -> (Cutoff, usize) {
        (self.cutoff, BATCH_ROWS)
    }
}

/// The class of a row in the report.
pub(super) fn class(key: &RecordKey) -> Class {
    match key {
        RecordKey::Manifest(..) => Class::Manifest,
        RecordKey::Link(..) => Class::Link,
        RecordKey::TagIndex(..) => Class::TagIndex,
        RecordKey::Referrer(..) => Class::Referrer,
        RecordKey::Upload(_) => Class::Session,
        _ => Class::Pointer,
    }
}
