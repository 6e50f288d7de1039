//! The catalog: one marker per repository, listed in the order of the names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::Error;
use super::lists::{Beginning, Page, Window};
use super::read_cache::ReadCache;
use super::record::{CreatedOrLeased, Current, Records};
use super::sealed_cursor::{CursorKey, is_sealed};
use crate::layout::encoding::Draft;
use crate::layout::records;
use crate::oci::RepositoryName;
use crate::store::{self, Deadline, Prefix, RecordKey};

/// Repositories that this process remembers to be in the catalog.
const KNOWN_MAX: usize = 10_000;

/// A page of the catalog, as one caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogPage {
    /// In ascending order.
    pub rows: Vec<RepositoryName>,
    /// The cursor of the next page, `None` at the end. There may be one without a row after it.
    pub next: Option<String>,
}

fn no_cursor() -> Error {
    Error::Unavailable(store::Error::Unavailable("a cursor cannot be encrypted".to_owned()))
}

/// The repositories of the registry.
#[derive(Debug)]
pub struct Repositories {
    pub(super) records: Records,
    pub(super) read_cache: Arc<ReadCache>,
    /// Repositories whose marker this process has written or leased, and until when the marker is
    /// young. Saves a write.
    pub(super) known: Mutex<HashMap<RepositoryName, SystemTime>>,
}

impl Repositories {
    /// The repositories after `last` that the caller may see, at most `count` of them.
    ///
    /// The first page of the store is cached and the same for all callers. A caller who may see all
    /// of it gets it, and so does a caller whose catalog ends with it.
    pub async fn list(
        &self,
        last: Option<&str>,
        count: usize,
        may_see: &(dyn Fn(&RepositoryName) -> bool + Send + Sync),
    ) -> Result<CatalogPage, Error> {
        self.search("", last, count, may_see).await
    }

    /// The repositories after `last` that the caller may see and whose names begin with `prefix`,
    /// at most `count` of them. `prefix` may be any text.
    pub async fn search(
        &self,
        prefix: &str,
        last: Option<&str>,
        count: usize,
        may_see: &(dyn Fn(&RepositoryName) -> bool + Send + Sync),
    ) -> Result<CatalogPage, Error> {
        let beginning = Beginning(prefix);
        let shown = |name: &RepositoryName| {
            beginning.reads(name.as_str()) && (!name.as_str().starts_with(prefix) || may_see(name))
        };
        let mut page = self.page(&beginning.before(), last, count, &shown).await?;
        if beginning.cut(&mut page.rows, RepositoryName::as_str) {
            page.next = None;
        }
        Ok(page)
    }

    /// The repositories after `last`, or after the text `from` without it.
    async fn page(
        &self,
        from: &str,
        last: Option<&str>,
        count: usize,
        may_see: &(dyn Fn(&RepositoryName) -> bool + Send + Sync),
    ) -> Result<CatalogPage, Error> {
        let list = Prefix::Repositories;
        let row = |rest: &str| rest.strip_suffix('!')?.parse().ok();
        let (last, mut key) = (last.unwrap_or_default(), None);
        let last = if is_sealed(last) {
            let key = key.insert(self.cursor_key().await?);
            key.open(last).ok_or(Error::CursorUnknown)?
        } else {
            last.to_owned()
        };
        let after = if last.is_empty() { from.to_owned() } else { Prefix::after_repository(&last) };
        let mut shared = None;
        if after.is_empty() {
            let first = self.read_cache.rows(list.clone(), "", count, row).await?;
            let suits = first.next.is_none() || first.rows.iter().chain(&first.next).all(may_see);
            shared = suits.then_some(first);
        }
        let Page { rows, next } = if let Some(mut page) = shared {
            page.rows.retain(may_see);
            page
        } else {
            let window = Window::new(&after, count);
            self.read_cache.shown_rows(&list, window, row, may_see).await?
        };
        // A cursor never names what the caller may not see.
        let next = match (next, rows.last()) {
            (None, _) => None,
            (Some(next), _) if may_see(&next) => Some(next.to_string()),
            (Some(_), Some(row)) => Some(row.to_string()),
            (Some(hidden), None) => {
                let key = match key {
                    Some(key) => key,
                    None => self.cursor_key().await?,
                };
                Some(key.seal(&hidden).map_err(|_| no_cursor())?)
            }
        };
        Ok(CatalogPage { rows, next })
    }

    /// The key of the cursors at hidden repositories: 1 read of the store.
    async fn cursor_key(&self) -> Result<CursorKey, Error> {
        let shared_settings = match self.records.read(&RecordKey::Settings).await? {
            Current::Live(record) => record.body,
            // `serve` does not start without the record.
            Current::Tombstone(_) | Current::Absent => Bytes::new(),
        };
        CursorKey::from_record(&shared_settings).map_err(|_| no_cursor())
    }

    /// Whether anything was ever pushed to a repository.
    pub(super) async fn exists(&self, name: &RepositoryName) -> Result<bool, Error> {
        self.records.exists(&RecordKey::Repository(name.clone())).await
    }

    /// Puts a repository into the catalog again.
    pub async fn restore(&self, name: &RepositoryName) -> Result<(), Error> {
        self.add(name, self.records.deadline(self.records.now())).await
    }

    /// Puts a repository into the catalog, or takes a lease on its marker, once per half-life and
    /// process.
    pub(super) async fn add(&self, name: &RepositoryName, deadline: Deadline) -> Result<(), Error> {
        let now = self.records.now();
        if self.known.lock().is_ok_and(|known| known.get(name).is_some_and(|until| now < *until)) {
            return Ok(());
        }
        let key = RecordKey::Repository(name.clone());
        let created = records::seconds(now);
        let draft = Draft::new(&records::Repository { created }, Bytes::new());
        let added = self.records.create_or_lease(&key, &draft, Some(deadline)).await?;
        let age = match added {
            CreatedOrLeased::Created => Duration::ZERO,
            CreatedOrLeased::Leased(record) => record.age,
        };
        if let Ok(mut known) = self.known.lock() {
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(name.clone(), now + self.records.half_life().saturating_sub(age));
        }
        Ok(())
    }
}
