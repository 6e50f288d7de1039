//! The shared cache: facts that are cheap to lose.
//!
//! Nothing depends on it. An error is a miss; a cache that is down, slow, full or flushed makes
//! answers slower and changes none of them. What it must never do is keep something that a write
//! has made wrong, and that is a matter of protocol:
//!
//! - A reader that misses takes a **token** for the key, reads the store, and may fill the key only
//!   while its token is alive.
//! - A writer, after its write to the store and before it answers, deletes value **and** token.
//!
//! So a value that was read before a write can never be filled in after it. Deleting the value
//! alone, or writing the new value through, both lose against a slow reader or a second writer and
//! then stay wrong (`tests/it/cache_model.rs` shows each of them failing). Every value also has a
//! time to live: a writer that dies between the store and the cache leaves a value that is wrong
//! for that long at most.

pub mod redis;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::store::EntryKey;
use crate::telemetry::metrics::Cached;

/// As what an entry is counted that is looked up. Nothing for what is never cached.
pub(crate) fn counted_as(key: &EntryKey) -> Option<Cached> {
    match key {
        EntryKey::Tag(..) => Some(Cached::Tag),
        EntryKey::Manifest(..) => Some(Cached::Manifest),
        EntryKey::Link(..) => Some(Cached::Blob),
        EntryKey::Pointer(_)
        | EntryKey::TagOf(..)
        | EntryKey::Referrer(..)
        | EntryKey::Repository(_)
        | EntryKey::Upload(_)
        | EntryKey::Probe(_) => None,
    }
}

/// The right to fill a key, as long as nobody wrote meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(pub(crate) String);

/// What a cache says about a key.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The value.
    Hit(Bytes),
    /// Nothing, and the right to fill it; none if another reader is about to, or the cache is away.
    Miss(Option<Token>),
}

/// A write could not be made known: others may see the old value until its time to live ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shared cache could not be told about a write")]
pub struct Stale;

/// A cache that several processes share.
#[async_trait]
pub trait Cache: Send + Sync + fmt::Debug {
    /// Looks a key up. An error is a miss.
    async fn get(&self, key: &EntryKey) -> Lookup;

    /// Fills a key, if the token is still alive. An error is nothing.
    async fn fill(&self, key: &EntryKey, token: &Token, value: Bytes, ttl: Duration);

    /// Deletes value and token of a key: the one failure that a caller may have to know about.
    async fn forget(&self, key: &EntryKey) -> Result<(), Stale>;
}
