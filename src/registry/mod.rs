//! What a registry does, in terms of the object store. Knows neither HTTP nor S3.
//!
//! The records of the store hold all state; this process keeps nothing but caches. Requests to the
//! store are ordered so that a crash between any two of them leaves garbage, never a wrong answer:
//! the data of a blob comes first, then the records that name it, and the record that the client
//! asked for last.

pub mod lease;
pub mod uploads;

mod admission;
mod blobs;
mod browse;
mod cache_key;
mod concurrently;
mod content;
mod error;
mod lists;
mod manifests;
mod read_cache;
pub(crate) mod record;
mod referrers;
mod repositories;
mod schema1;
mod sealed_cursor;
mod settings;
mod shared_settings;
mod tags;
mod token_keys;

use std::sync::{Arc, Mutex};

pub use blobs::{Blobs, MountSource, Mounted};
pub use browse::{
    Browse, ManifestRow, ManifestRows, Nature, SORTED_TAGS_MAX, TagNext, TagOrder, TagRow, TagRows,
    TagSearch,
};
pub use cache_key::{read_cache_key, read_or_create_cache_key};
pub use content::{Blob, Content, StoredManifest};
pub use error::Error;
pub use lease::{Collecting, DataReaders, LeaseSettings, Leases};
pub use lists::Page;
pub use manifests::{MISSING_MAX, Manifests, Purpose, Push, Pushed};
pub use referrers::{Referrers, ReferrersPage};
pub use repositories::{CatalogPage, Repositories};
pub use settings::{ManifestSettings, Settings, Sparse, UploadSettings};
pub use shared_settings::{Found, SharedSetting, SharedSettings, SharedSettingsError};
pub use tags::{TagCondition, Tags};
pub use token_keys::{Rotation, RotationError, TokenKey, TokenKeyStore};

use crate::shared_cache::Cache;
use crate::store::{ObjectStore, RecordStore};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;
use admission::Admission;
use read_cache::ReadCache;
use record::Records;
use schema1::Conversions;
use uploads::{UploadMemory, Uploads};

/// The registry over one object store, divided by what requests are about.
#[derive(Debug)]
pub struct Registry {
    pub blobs: Blobs,
    pub uploads: Uploads,
    pub manifests: Manifests,
    pub tags: Tags,
    pub referrers: Referrers,
    pub repositories: Arc<Repositories>,
    pub browse: Browse,
    /// The keys of the token service.
    pub token_keys: TokenKeyStore,
    read_cache: Arc<ReadCache>,
}

impl Registry {
    /// A registry over `store`, cached in this process and, if there is one, in the `shared` cache.
    /// Work that continues after the response (deleting orphaned objects, ending sessions) runs on
    /// `tasks`, so that a shutdown can wait for it.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        shared: Option<Arc<dyn Cache>>,
        settings: Settings,
        metrics: &Metrics,
        tasks: &Tasks,
    ) -> Self {
        let Settings { caching, uploads: limits, sparse, leases, schema1 } = settings;
        let read_cache = ReadCache::new(store.clone(), shared, leases, caching, metrics, tasks);
        let records = Records::new(read_cache.records(), leases);
        let token_keys = TokenKeyStore::new(store.clone(), leases);
        let blobs = Blobs {
            records: records.clone(),
            data: store.clone(),
            read_cache: read_cache.clone(),
            metrics: metrics.clone(),
        };
        let wait_max = limits.wait_max;
        let memory = UploadMemory::new(&limits, metrics.clone());
        let uploads = Uploads {
            records: records.clone(),
            data: store,
            blobs: blobs.clone(),
            leases,
            memory: memory.clone(),
            limits,
            metrics: metrics.clone(),
            tasks: tasks.clone(),
        };
        let repositories = Arc::new(Repositories {
            records: records.clone(),
            read_cache: read_cache.clone(),
            known: Mutex::default(),
        });
        let tags = Tags {
            records: records.clone(),
            read_cache: read_cache.clone(),
            repositories: repositories.clone(),
        };
        let manifests = Manifests {
            records: records.clone(),
            read_cache: read_cache.clone(),
            blobs: blobs.clone(),
            tags: tags.clone(),
            repositories: repositories.clone(),
            memory,
            large_checks: Admission::new(manifests::LARGE_CHECKS_MAX, wait_max),
            sparse,
            schema1,
            conversions: Conversions::new(wait_max),
            metrics: metrics.clone(),
        };
        let referrers = Referrers { records: records.clone(), read_cache: read_cache.clone() };
        let browse = Browse::new(records, read_cache.clone(), repositories.clone(), wait_max);
        Self {
            blobs,
            uploads,
            manifests,
            tags,
            referrers,
            repositories,
            browse,
            token_keys,
            read_cache,
        }
    }

    /// The records of the store. Writing one invalidates it in the caches of this registry.
    pub fn invalidating_records(&self) -> Arc<dyn RecordStore> {
        self.read_cache.records()
    }
}
