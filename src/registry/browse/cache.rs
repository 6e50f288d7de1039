//! What this process keeps of what it has shown.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::Nature;
use super::tags::{ReferrerCounts, SeenTag};
use crate::layout::records;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::lists::Page;
use crate::store::Version;

/// How long a listing is shown again. Longer would show a person an old list after a push.
const LISTING_TTL: Duration = Duration::from_secs(5);
/// Listings that are kept. The largest has 10,000 tags, which take about a megabyte.
const LISTINGS_MAX: usize = 16;
/// Records of tags that are kept, of some 500 bytes each: all that one order by size needs.
const TAGS_MAX: usize = 2 * super::SORTED_TAGS_MAX;
/// Manifests of which is kept what they are, some 200 bytes each.
const MANIFESTS_MAX: usize = 5_000;

/// Values that are good for [`LISTING_TTL`].
#[derive(Debug)]
pub(super) struct Recent<K, V>(Cache<K, (Instant, Arc<V>)>);

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    fn new() -> Self {
        Self(Cache::new(LISTINGS_MAX))
    }

    pub(super) fn get(&self, key: &K) -> Option<Arc<V>> {
        let (until, value) = self.0.get(key)?;
        (until > Instant::now()).then_some(value)
    }

    pub(super) fn insert(&self, key: K, value: V) -> Arc<V> {
        let value = Arc::new(value);
        self.0.insert(key, (Instant::now() + LISTING_TTL, value.clone()));
        value
    }
}

/// A listing of tags: the repository, the prefix, after which tag, and how many.
pub(super) type TagList = (RepositoryName, String, String, usize);

pub(super) struct BrowseCache {
    pub(super) tag_lists: Recent<TagList, Page<SeenTag>>,
    pub(super) referrers: Recent<RepositoryName, ReferrerCounts>,
    pub(super) untagged: Recent<(RepositoryName, String), super::ManifestRows>,
    tags: Cache<(RepositoryName, Tag), (Version, Arc<records::Tag>)>,
    manifests: Cache<Digest, Arc<Nature>>,
}

impl std::fmt::Debug for BrowseCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrowseCache").finish_non_exhaustive()
    }
}

impl Default for BrowseCache {
    fn default() -> Self {
        Self {
            tag_lists: Recent::new(),
            referrers: Recent::new(),
            untagged: Recent::new(),
            tags: Cache::new(TAGS_MAX),
            manifests: Cache::new(MANIFESTS_MAX),
        }
    }
}

impl BrowseCache {
    /// The record of a tag in the version that was listed.
    pub(super) fn tag(&self, name: &RepositoryName, seen: &SeenTag) -> Option<Arc<records::Tag>> {
        let (version, record) = self.tags.get(&(name.clone(), seen.tag.clone()))?;
        (version == seen.version).then_some(record)
    }

    pub(super) fn keep_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        (version, record): (Version, Arc<records::Tag>),
    ) {
        self.tags.insert((name.clone(), tag.clone()), (version, record));
    }

    /// What a manifest is, which its digest determines.
    pub(super) fn manifest(&self, digest: &Digest) -> Option<Arc<Nature>> {
        self.manifests.get(digest)
    }

    pub(super) fn keep_manifest(&self, digest: Digest, nature: Arc<Nature>) {
        self.manifests.insert(digest, nature);
    }
}
