//! The catalog: one marker per repository, listed in the order of the names.

use super::record::{self, Ensured};
use super::{Error, MARKED_MAX, Page, Registry};
use crate::oci::RepositoryName;
use crate::store::{Deadline, Prefix, RecordKey};

impl Registry {
    /// The repositories after `last`, at most `count` of them.
    pub async fn repositories(
        &self,
        last: Option<&str>,
        count: usize,
    ) -> Result<Page<RepositoryName>, Error> {
        let last = last.filter(|name| !name.is_empty()).map(Prefix::after_repository);
        let row = |rest: &str| rest.strip_suffix('!')?.parse().ok();
        self.page(Prefix::Repositories, &last.unwrap_or_default(), count, row).await
    }

    /// Puts a repository into the catalog, once per process.
    pub(super) async fn mark(
        &self,
        name: &RepositoryName,
        deadline: Deadline,
    ) -> Result<(), Error> {
        if self.marked.lock().is_ok_and(|marked| marked.contains(name)) {
            return Ok(());
        }
        let key = RecordKey::Repository(name.clone());
        let body = record::encode(&serde_json::Map::new(), &[]);
        let ensured =
            record::ensure(self.store(), &self.leases, &key, &body, Some(deadline)).await?;
        if let Ensured::Found(entry) = ensured {
            tracing::trace!(%name, age = ?entry.age, "the repository is in the catalog");
        }
        if let Ok(mut marked) = self.marked.lock() {
            if marked.len() >= MARKED_MAX {
                marked.clear();
            }
            marked.insert(name.clone());
        }
        Ok(())
    }
}
