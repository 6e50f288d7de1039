//! What a registry does, in terms of the object store. Knows neither HTTP nor S3.
//!
//! Everything true about the registry is an entry of the store; nothing is kept in the
//! process but what can be forgotten at any moment. Changes are written so that a crash between
//! any two requests leaves garbage, never a wrong answer: bytes first, then what names them, and
//! what the client asked for last.

pub mod lease;
pub mod uploads;
pub mod usage;

mod blobs;
mod catalog;
mod error;
mod lists;
mod manifests;
mod read_cache;
mod record;
mod referrers;
mod schema1;
mod tags;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio_util::task::TaskTracker;

pub use blobs::{Blob, Content, MountSource};
pub use error::Error;
pub use lease::Leases;
pub use lists::Page;
pub use manifests::{Push, Pushed, StoredManifest, TagCondition};
pub use read_cache::Caching;
pub use referrers::ReferrersPage;

use crate::docker_schema1::SigningKey;
use crate::oci::{Negotiation, RepositoryName};
use crate::shared_cache::Cache;
use crate::store::{BlobStore, ObjectStore, RecordStore};
use crate::telemetry::metrics::Metrics;
use read_cache::ReadCache;
use uploads::UploadMemory;

/// Every bound of the registry, with its unit.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a manifest that is accepted.
    pub manifest_bytes_max: usize,
    /// Tags that one push of a manifest may set.
    pub tags_per_push_max: usize,
    /// Blobs up to this many bytes are kept inside their link.
    pub inline_bytes_max: usize,
    /// Bytes of the first parts of an upload; later parts grow.
    pub part_bytes: usize,
    /// Parts of one upload that are on their way to the store at once.
    pub parts_in_flight_max: usize,
    /// Bytes of upload buffers in the whole process.
    pub buffer_bytes_max: usize,
    /// Uploads that this process receives at once.
    pub uploads_concurrent_max: usize,
    /// How long an upload waits for buffer memory before the client is told to come back.
    pub buffer_wait_max: Duration,
    /// Rows of a page of a list.
    pub page_max: usize,
}

/// What is accepted, beyond what the specification demands, and how it is served.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whether an index may name manifests that are not there.
    pub sparse_indexes: bool,
    /// Whether an image may name blobs that are not there.
    pub sparse_images: bool,
    /// By which rules a client gets another manifest than the one that is stored.
    pub negotiation: Negotiation,
    /// Whether manifests of schema 1 may be pushed.
    pub schema1_push: bool,
}

/// What the operator decides about the registry.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How facts are cached.
    pub caching: Caching,
    /// Every bound.
    pub limits: Limits,
    /// What is accepted, and how it is served.
    pub policy: Policy,
    /// What keeps the collector away.
    pub leases: Leases,
}

/// Rows that one listing request asks the store for, at most (S3's own bound).
const LIST_ROWS_MAX: usize = 1_000;
/// Requests that one operation has under way in the store at once.
const FAN_OUT_MAX: usize = 16;
/// Repositories this process remembers to have a catalog marker.
const MARKED_MAX: usize = 10_000;

/// The registry over one object store.
#[derive(Debug)]
pub struct Registry {
    /// The records; every write to them invalidates the read cache.
    records: Arc<dyn RecordStore>,
    blobs: Arc<dyn BlobStore>,
    limits: Limits,
    policy: Policy,
    leases: Leases,
    budget: UploadMemory,
    read_cache: ReadCache,
    metrics: Metrics,
    tasks: TaskTracker,
    /// Signs what is converted to schema 1.
    schema1_key: Option<SigningKey>,
    /// Repositories whose catalog marker this process has seen alive. A hint that saves a write:
    /// markers are never killed.
    marked: Mutex<HashSet<RepositoryName>>,
}

/// Carries out several operations at once, a bounded number at a time, and stops at the first
/// failure. The results are in the order of the operations.
async fn concurrently<T>(
    operations: Vec<impl Future<Output = Result<T, Error>>>,
) -> Result<Vec<T>, Error> {
    stream::iter(operations).buffered(FAN_OUT_MAX).try_collect().await
}

impl Registry {
    /// A registry whose truth is `store`, cached in this process and, where there is one, in
    /// `shared`. Work that outlives its request (removing bytes that lost
    /// a race, ending sessions) runs on `tasks`, so that a shutdown can wait for it.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        shared: Option<Arc<dyn Cache>>,
        settings: Settings,
        metrics: Metrics,
        tasks: TaskTracker,
    ) -> Self {
        let Settings { caching, limits, policy, leases } = settings;
        let budget = UploadMemory::new(&limits, metrics.clone());
        let read_cache =
            ReadCache::new(store.clone(), shared, leases, caching, metrics.clone(), tasks.clone());
        let (schema1_key, marked) = (None, Mutex::default());
        Self {
            records: read_cache.watched(),
            blobs: store,
            limits,
            policy,
            leases,
            budget,
            read_cache,
            metrics,
            tasks,
            schema1_key,
            marked,
        }
    }

    /// The bounds that this registry keeps.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn store(&self) -> &dyn RecordStore {
        self.records.as_ref()
    }
}
