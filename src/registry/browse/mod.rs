//! Repositories as a person looks at them: tags and manifests with what they are, in several
//! orders.
//!
//! Everything comes from listings and from the records that these name. A row that was read is kept
//! as long as listings show the same version of its record, so a page that was seen before costs no
//! more than a listing, and for a few seconds not even that.

mod cache;
mod manifests;
mod order;
mod tags;

use std::sync::Arc;
use std::time::Duration;

pub use manifests::{ManifestRow, ManifestRows};
pub use order::TagOrder;
pub use tags::{TagNext, TagRow, TagRows, TagSearch};

use self::cache::BrowseCache;
use super::Error;
use super::admission::Admission;
use super::read_cache::ReadCache;
use super::record::Records;
use super::repositories::Repositories;
use crate::oci::{Digest, RepositoryName};

/// Tags that are sorted by anything but their names, at most: all of them have to be listed.
pub const SORTED_TAGS_MAX: usize = 10_000;

/// How many orders of tags are made at once. One takes at most eleven listings and, by size, a read
/// for each tag that is new.
const ORDERS_AT_ONCE: usize = 2;

/// What the page about repositories reads.
#[derive(Debug)]
pub struct Browse {
    records: Records,
    read_cache: Arc<ReadCache>,
    repositories: Arc<Repositories>,
    cache: BrowseCache,
    orders: Admission,
}

/// What a manifest is, as far as one record tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nature {
    pub media_type: String,
    /// The type of the artifact, or of the config of an image.
    pub artifact_type: Option<String>,
    /// The platforms of an index, such as `linux/amd64`.
    pub platforms: Vec<String>,
    /// Bytes of the config and the layers. An index has none of its own.
    pub content_size: Option<u64>,
    /// The manifest that it refers to.
    pub subject: Option<Digest>,
}

impl Browse {
    pub(super) fn new(
        records: Records,
        read_cache: Arc<ReadCache>,
        repositories: Arc<Repositories>,
        wait_max: Duration,
    ) -> Self {
        let orders = Admission::new(ORDERS_AT_ONCE, wait_max);
        Self { records, read_cache, repositories, cache: BrowseCache::default(), orders }
    }

    async fn exists(&self, name: &RepositoryName) -> Result<bool, Error> {
        self.repositories.exists(name).await
    }
}
