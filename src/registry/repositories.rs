//! The catalog: one marker per repository, listed in the order of the names.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::Error;
use super::lists::Page;
use super::read_cache::ReadCache;
use super::record::{CreatedOrLeased, Current, Records};
use crate::layout::encoding::Draft;
use crate::layout::records;
use crate::oci::RepositoryName;
use crate::store::{Deadline, Prefix, RecordKey};

/// Repositories that this process remembers to be in the catalog.
const KNOWN_MAX: usize = 10_000;

/// The repositories of the registry.
#[derive(Debug)]
pub struct Repositories {
    pub(super) records: Records,
    pub(super) read_cache: Arc<ReadCache>,
    /// Repositories whose marker this process has written or read. Saves a write: markers are
    /// never deleted.
    pub(super) known: Mutex<HashSet<RepositoryName>>,
}

impl Repositories {
    /// The repositories after `last`, at most `count` of them.
    pub async fn list(
        &self,
        last: Option<&str>,
        count: usize,
    ) -> Result<Page<RepositoryName>, Error> {
        let last = last.filter(|name| !name.is_empty()).map(Prefix::after_repository);
        let row = |rest: &str| rest.strip_suffix('!')?.parse().ok();
        self.read_cache.rows(Prefix::Repositories, &last.unwrap_or_default(), count, row).await
    }

    /// Whether anything was ever pushed to a repository.
    pub(super) async fn exists(&self, name: &RepositoryName) -> Result<bool, Error> {
        let key = RecordKey::Repository(name.clone());
        let marker = self.records.read(&key).await?;
        Ok(matches!(marker, Current::Live(_)))
    }

    /// Puts a repository into the catalog, once per process.
    pub(super) async fn add(&self, name: &RepositoryName, deadline: Deadline) -> Result<(), Error> {
        if self.known.lock().is_ok_and(|known| known.contains(name)) {
            return Ok(());
        }
        let key = RecordKey::Repository(name.clone());
        let created = records::seconds(self.records.now());
        let draft = Draft::new(&records::Repository { created }, Bytes::new());
        let added = self.records.create_or_lease(&key, &draft, Some(deadline)).await?;
        if let CreatedOrLeased::Leased(record) = added {
            tracing::trace!(%name, age = ?record.age, "the repository is in the catalog");
        }
        if let Ok(mut known) = self.known.lock() {
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(name.clone());
        }
        Ok(())
    }
}
