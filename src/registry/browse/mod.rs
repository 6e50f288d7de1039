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

use futures_util::{StreamExt, TryStreamExt, stream};

pub use manifests::{ManifestRow, ManifestRows};
pub use order::TagOrder;
pub use tags::{TagNext, TagRow, TagRows, TagSearch};

use self::cache::BrowseCache;
use super::Error;
use super::admission::Admission;
use super::content::StoredManifest;
use super::read_cache::ReadCache;
use super::record::Records;
use super::repositories::Repositories;
use crate::layout::records::Summary;
use crate::oci::{Digest, Manifest};

/// Tags that are sorted by anything but their names, at most: all of them have to be listed.
pub const SORTED_TAGS_MAX: usize = 10_000;

/// Records that one page reads at the same time: all of its rows.
const READS_AT_ONCE: usize = 50;

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
}

impl Nature {
    fn new(media_type: String, summary: Summary, subject: Option<Digest>) -> Self {
        let Summary { artifact_type, platforms, content_size } = summary;
        Self { media_type, artifact_type, platforms, content_size, subject }
    }

    /// What a manifest is.
    pub fn of(manifest: &Manifest) -> Self {
        let subject = manifest.subject().and_then(|subject| subject.digest.known());
        Self::new(manifest.media_type().to_string(), Summary::of(manifest), subject)
    }

    /// What a stored manifest is. Of schema 1 only the type is known.
    pub fn of_stored(stored: &StoredManifest) -> Self {
        match Manifest::parse(stored.bytes.clone(), Some(&stored.media_type)) {
            Ok(manifest) => Self::of(&manifest),
            Err(_) => Self { media_type: stored.media_type.to_string(), ..Self::default() },
        }
    }
}

/// Reads all rows of a page at the same time, without those that are gone.
async fn read_rows<T>(
    rows: Vec<impl Future<Output = Result<Option<T>, Error>>>,
) -> Result<Vec<T>, Error> {
    let rows = stream::iter(rows).buffered(READS_AT_ONCE);
    rows.try_filter_map(|row| async move { Ok(row) }).try_collect().await
}
