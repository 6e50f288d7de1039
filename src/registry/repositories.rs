//! The catalog: one marker per repository, listed in the order of the names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::Error;
use super::lists::Page;
use super::read_cache::ReadCache;
use super::record::{CreatedOrLeased, Records};
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
    /// Repositories whose marker this process has written or leased, and until when the marker is
    /// young. Saves a write.
    pub(super) known: Mutex<HashMap<RepositoryName, SystemTime>>,
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
        self.records.exists(&RecordKey::Repository(name.clone())).await
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
