//! The key that authenticates the shared cache, in the record `g/cache-key`.
//!
//! The first process that uses a shared cache creates it, and every other one reads it at its
//! start. A program that can read it can also read every blob of the bucket. A process keeps the
//! key that it has read; a new one takes effect with the next start, and until all processes have
//! it, each reads from the store what another one has cached.

use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use super::lease::Leases;
use super::record::{Current, Records, Written, contended};
use crate::layout::encoding::Draft;
use crate::layout::records::{CacheKey, MacKey};
use crate::store::{self, ObjectStore, RecordKey};

/// The key of the bucket, `None` if no process has needed one yet.
pub async fn read_cache_key(
    store: Arc<dyn ObjectStore>,
    leases: Leases,
) -> Result<Option<MacKey>, store::Error> {
    let records = Records::new(store, leases);
    let current = records.read(&RecordKey::CacheKey).await.map_err(Error::into_store)?;
    key_of(&current)
}

/// The key of the bucket, which this creates if there is none.
pub async fn read_or_create_cache_key(
    store: Arc<dyn ObjectStore>,
    leases: Leases,
) -> Result<MacKey, store::Error> {
    let records = Records::new(store, leases);
    let current = records.read(&RecordKey::CacheKey).await.map_err(Error::into_store)?;
    if let Some(key) = key_of(&current)? {
        return Ok(key);
    }
    let created = CacheKey { key: MacKey::random() };
    let draft = Draft::new(&created, Bytes::new());
    let written = records.upsert(&RecordKey::CacheKey, &current, &draft, None);
    match written.await.map_err(Error::into_store)? {
        Written::Ours(_) => Ok(created.key),
        // Another process started at the same moment.
        Written::Replaced(now) | Written::Lost(now) => {
            key_of(&now)?.ok_or_else(|| contended().into_store())
        }
    }
}

fn key_of(current: &Current) -> Result<Option<MacKey>, store::Error> {
    let header: Option<CacheKey> = current.header().map_err(Error::into_store)?;
    Ok(header.map(|header| header.key))
}
