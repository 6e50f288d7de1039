//! Read cache for tags, manifests, blob links and pages of lists: process memory, then the shared
//! cache, then the store.
//!
//! Only requests that read use it; a request that is about to write reads the store itself. Every
//! write to a record passes [`InvalidatingStore`], which removes the key from the caches after the
//! store has responded and before the client gets a response.

mod invalidation;
mod layers;
mod single_flight;
mod value;

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::future::ready;
use futures_util::{FutureExt, TryFutureExt};

pub(super) use layers::ReadCache;
pub(super) use value::RecordAge;

use self::invalidation::InvalidatingStore;
use self::value::{CachedRecord, Loaded};
use super::Error;
use super::content::{Blob, StoredManifest};
use super::lists::{CachedPage, Found, Page, Row, Window, read_page, read_shown};
use crate::layout::encoding::Nonce;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::shared_cache::Key;
use crate::store::{self, Prefix, RecordKey, RecordStore};

impl ReadCache {
    /// The records of the store. Writing one invalidates it in this cache.
    pub(super) fn records(self: &Arc<Self>) -> Arc<dyn RecordStore> {
        Arc::new(InvalidatingStore { cache: self.clone() })
    }

    pub(super) async fn tag(
        self: &Arc<Self>,
        name: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Digest>, Error> {
        let found = self.read(RecordKey::Tag(name.clone(), tag.clone())).await?;
        Ok(if let CachedRecord::Tag(digest) = found { Some(digest) } else { None })
    }

    pub(super) async fn manifest(
        self: &Arc<Self>,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(Arc<StoredManifest>, RecordAge)>, Error> {
        let found = self.read(RecordKey::Manifest(name.clone(), *digest)).await?;
        let CachedRecord::Manifest(manifest, age) = found else { return Ok(None) };
        Ok(Some((manifest, age)))
    }

    pub(super) async fn link(
        self: &Arc<Self>,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(Arc<Blob>, RecordAge)>, Error> {
        let found = self.read(RecordKey::Link(name.clone(), *digest)).await?;
        Ok(if let CachedRecord::Link(blob, age) = found { Some((blob, age)) } else { None })
    }

    /// Reads a tag from the store, and replaces what the caches hold.
    pub(super) async fn reload_tag(
        self: &Arc<Self>,
        name: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Digest>, Error> {
        self.invalidate(Key::Record(RecordKey::Tag(name.clone(), tag.clone()))).await;
        self.tag(name, tag).await
    }

    /// Reads a manifest from the store, and replaces what the caches hold.
    pub(super) async fn reload_manifest(
        self: &Arc<Self>,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(Arc<StoredManifest>, RecordAge)>, Error> {
        self.invalidate(Key::Record(RecordKey::Manifest(name.clone(), *digest))).await;
        self.manifest(name, digest).await
    }

    /// Removes a record from all caches that a deletion has found absent: the process that deleted
    /// it may have stopped before it did this. What a client hears is deleted stays so.
    pub(super) async fn forget_deleted(&self, key: RecordKey) {
        self.invalidate(Key::Record(key)).await;
    }

    async fn read(self: &Arc<Self>, key: RecordKey) -> Result<CachedRecord, Error> {
        if self.caching.strict_tags && matches!(key, RecordKey::Tag(..)) {
            return Ok(Box::pin(self.clone().read_record(key)).await?.value);
        }
        let origin = || self.clone().read_record(key.clone()).boxed();
        Ok(self.look_up(Key::Record(key.clone()), &origin).await?)
    }

    /// The rows of a list after `last`, at most `count` of them.
    pub(super) async fn rows<T>(
        self: &Arc<Self>,
        list: Prefix,
        last: &str,
        count: usize,
        row: Row<T>,
    ) -> Result<Page<T>, Error>
    where
        T: Clone + Display + FromStr + Send + 'static,
    {
        let load = |store: Arc<dyn RecordStore>| {
            let (list, last) = (list.clone(), last.to_owned());
            async move { read_page(store.as_ref(), &list, &last, count, row).await }
        };
        self.page(list.clone(), last, count, load).await
    }

    /// The same without the rows that are not `shown`. Not cached: each caller sees others.
    pub(super) async fn shown_rows<T: Clone>(
        &self,
        list: &Prefix,
        window: Window<'_>,
        row: Row<T>,
        shown: &(dyn Fn(&T) -> bool + Send + Sync),
    ) -> Result<Page<T>, Error> {
        let row = |found: Found<'_>| row(found.rest);
        Ok(read_shown(self.store.as_ref(), list, window, row, shown).await?)
    }

    /// The page of a list with `count` rows after `after`, which `load` reads from the store. Only
    /// the first page of a list is cached, because most clients ask for it: clients choose cursors
    /// freely, and each cursor would be another page.
    pub(super) async fn page<T, F>(
        self: &Arc<Self>,
        list: Prefix,
        after: &str,
        count: usize,
        load: impl Fn(Arc<dyn RecordStore>) -> F + Send + Sync,
    ) -> Result<T, Error>
    where
        T: CachedPage + Send + 'static,
        F: Future<Output = Result<T, store::Error>> + Send + 'static,
    {
        // If no cached value survives its request, each epoch would be a new one.
        let keeps = self.shared.is_some() || !self.caching.local_ttl.is_zero();
        if !keeps || self.caching.strict_tags || count == 0 || !after.is_empty() {
            return Ok(load(self.store.clone()).await?);
        }
        let new_epoch = || {
            let epoch = CachedRecord::Epoch(Nonce::random().to_string().into());
            ready(Ok(Loaded::without_record(epoch))).boxed()
        };
        let epoch = self.look_up(Key::Epoch(list.clone()), &new_epoch).await?;
        let CachedRecord::Epoch(epoch) = epoch else {
            return Err(store::Error::Damaged(format!("the epoch of {list}")).into());
        };
        let origin = || {
            let page = load(self.store.clone()).map(|page| page?.encode());
            page.map_ok(|page| Loaded::without_record(CachedRecord::Page(page))).boxed()
        };
        let key = Key::Page { list, epoch, count };
        let CachedRecord::Page(page) = self.look_up(key.clone(), &origin).await? else {
            return Err(store::Error::Damaged(format!("the page {key}")).into());
        };
        match T::decode(&page) {
            Some(page) => Ok(page),
            None => Ok(load(self.store.clone()).await?),
        }
    }
}
