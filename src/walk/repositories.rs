//! The lists of records, one repository at a time.

use std::collections::VecDeque;

use super::{Error, Row, Walk};
use crate::layout::key::{Kind, Prefix};
use crate::oci::RepositoryName;
use crate::store::{self, RecordPages};

/// Records of one repository that are remembered: 5 million take about 1.2 GB.
pub const REPOSITORY_RECORDS_MAX: usize = 5_000_000;

/// Records of one repository, as far as they are live.
#[derive(Debug)]
pub struct RepositoryRows {
    pub name: RepositoryName,
    pub links: Vec<Row>,
    pub manifests: Vec<Row>,
    pub tags: Vec<Row>,
    pub tag_indexes: Vec<Row>,
    pub referrers: Vec<Row>,
}

/// Lists of records that belong to repositories. All have the same order of repositories.
#[derive(Debug)]
pub struct RepositoryLists {
    lists: Vec<(Kind, Rows)>,
}

impl RepositoryRows {
    fn new(name: RepositoryName) -> Self {
        let none = Vec::new;
        Self {
            name,
            links: none(),
            manifests: none(),
            tags: none(),
            tag_indexes: none(),
            referrers: none(),
        }
    }

    /// The rows of a kind. `None` for records that belong to no repository.
    fn of(&mut self, kind: Kind) -> Option<&mut Vec<Row>> {
        match kind {
            Kind::Links => Some(&mut self.links),
            Kind::Manifests => Some(&mut self.manifests),
            Kind::Tags => Some(&mut self.tags),
            Kind::TagIndexes => Some(&mut self.tag_indexes),
            Kind::Referrers => Some(&mut self.referrers),
            Kind::Pointers | Kind::Uploads => None,
        }
    }
}

impl RepositoryLists {
    /// The lists of these kinds.
    pub fn of(kinds: &[Kind]) -> Self {
        Self { lists: kinds.iter().map(|kind| (*kind, Rows::of(Prefix::All(*kind)))).collect() }
    }

    /// The records of the next repository, `None` after the last one.
    pub async fn next(&mut self, walk: &Walk) -> Result<Option<RepositoryRows>, Error> {
        let mut first: Option<RepositoryName> = None;
        for (_, list) in &mut self.lists {
            if let Some(name) = list.repository(walk).await?
                && first.as_ref().is_none_or(|first| Prefix::rank(&name) < Prefix::rank(first))
            {
                first = Some(name);
            }
        }
        let Some(name) = first else { return Ok(None) };
        let mut found = RepositoryRows::new(name);
        let mut left = REPOSITORY_RECORDS_MAX;
        for (kind, list) in &mut self.lists {
            while let Some(more) = list.of_repository(walk, &found.name).await? {
                left = left
                    .checked_sub(more.len())
                    .ok_or(Error::TooMany(REPOSITORY_RECORDS_MAX, "records in one repository"))?;
                found.of(*kind).into_iter().for_each(|rows| rows.extend_from_slice(&more));
            }
        }
        Ok(Some(found))
    }

    /// Foreign keys that the lists have shown since this was last called.
    pub fn take_foreign(&mut self) -> Vec<String> {
        self.lists.iter_mut().flat_map(|(_, list)| std::mem::take(&mut list.foreign)).collect()
    }
}

/// A list of the records of all repositories.
#[derive(Debug)]
struct Rows {
    pages: RecordPages,
    next: VecDeque<Row>,
    foreign: Vec<String>,
}

impl Rows {
    fn of(prefix: Prefix) -> Self {
        let pages = RecordPages::of(prefix);
        Self { pages, next: VecDeque::new(), foreign: Vec::new() }
    }

    /// The repository of the next row, `None` at the end.
    async fn repository(&mut self, walk: &Walk) -> Result<Option<RepositoryName>, store::Error> {
        while self.next.is_empty() {
            let Some(page) = walk.records(&mut self.pages).await? else { return Ok(None) };
            self.foreign.extend(page.foreign);
            self.next.extend(page.rows);
        }
        Ok(self.next.front().and_then(|row| row.key.repository()).cloned())
    }

    /// The next rows of a repository, at most a page, `None` after its last one.
    async fn of_repository(
        &mut self,
        walk: &Walk,
        name: &RepositoryName,
    ) -> Result<Option<Vec<Row>>, store::Error> {
        if self.repository(walk).await?.as_ref() != Some(name) {
            return Ok(None);
        }
        let mut rows = Vec::new();
        while self.next.front().is_some_and(|row| row.key.repository() == Some(name)) {
            rows.extend(self.next.pop_front());
        }
        Ok(Some(rows))
    }
}
