//! The shared cache: records and list pages that replicas share, and that may be lost at any time.
//!
//! No request depends on it: a failed lookup is a miss. If the cache is down, slow, full or was
//! flushed, requests are slower and still answered. It must never keep a value that a write has
//! made outdated, which this protocol ensures:
//!
//! - A reader that misses takes a **token** for the key, reads the store, and may fill the key only
//!   while its token exists.
//! - A writer, after its write to the store and before it answers, deletes value **and** token.
//!
//! So a value that was read before a write is never filled in after it. Deleting the value alone,
//! or writing the new value, both lose against a slow reader or a second writer and then stay wrong
//! (`tests/integration/cache/model.rs` shows each of them failing). Every value also has a time to
//! live, which bounds how long a value is outdated if a writer crashes between the store and the
//! cache, or if the cache does not answer the writer.
//!
//! A program that can write to the cache must not be able to decide what the registry serves: a
//! [`Seal`] authenticates each value together with its key and its time to live.

pub mod redis;

mod seal;
mod settings;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::store::{Prefix, RecordKey};
use crate::telemetry::metrics::Cached;

pub use crate::layout::records::MacKey;
pub use seal::Seal;
pub use settings::{CacheSettings, RedisUrls, Topology};

/// Bytes of a value for the shared cache. Larger manifests are cached in the process only, larger
/// pages not at all.
pub const VALUE_BYTES_MAX: usize = 256 * 1024;

/// What is cached.
///
/// A list has many pages, and one write makes all of them outdated. So a page is cached under the
/// **epoch** of its list, a random text that is cached like a record: a write deletes the epoch,
/// the next reader makes a new one, and no one asks for the pages of the old epoch again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    Record(RecordKey),
    /// The epoch of a list.
    Epoch(Prefix),
    /// The first page of a list.
    Page {
        list: Prefix,
        /// The epoch in which the page was read.
        epoch: Box<str>,
        /// How many rows were asked for.
        count: usize,
    },
}

/// A record has the same key in a cache as in the bucket; no other key is written like one.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(key) => key.fmt(f),
            Self::Epoch(list) => list.fmt(f),
            Self::Page { list, epoch, count } => write!(f, "{list}!{epoch}!{count}"),
        }
    }
}

impl Key {
    /// The metric label of a lookup. An epoch is only a step to its page, and some records are
    /// never cached.
    pub(crate) fn metric_label(&self) -> Option<Cached> {
        match self {
            Self::Record(RecordKey::Tag(..)) => Some(Cached::Tag),
            Self::Record(RecordKey::Manifest(..)) => Some(Cached::Manifest),
            Self::Record(RecordKey::Link(..)) => Some(Cached::Blob),
            Self::Page { .. } => Some(Cached::List),
            Self::Epoch(_)
            | Self::Record(
                RecordKey::Pointer(_)
                | RecordKey::TagIndex(..)
                | RecordKey::Referrer(..)
                | RecordKey::Repository(_)
                | RecordKey::Upload(_)
                | RecordKey::Settings
                | RecordKey::CacheKey
                | RecordKey::TokenKeys
                | RecordKey::Usage
                | RecordKey::Probe(_)
                | RecordKey::Writer(_)
                | RecordKey::Collector
                | RecordKey::CollectorRun
                | RecordKey::Seen(_)
                | RecordKey::Quarantined(..)
                | RecordKey::TagHistory(..)
                | RecordKey::Event(_),
            ) => None,
        }
    }
}

/// The right to fill a key, as long as no write happened since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(pub String);

/// The answer of a cache.
#[derive(Clone, Debug)]
pub enum Lookup {
    Hit(Bytes),
    /// No value. The token is missing if another reader has it, or if the cache does not answer.
    Miss(Option<Token>),
}

/// A cache that several replicas share.
#[async_trait]
pub trait Cache: Send + Sync + fmt::Debug {
    /// Looks a key up. A failure is a miss.
    async fn get(&self, key: &Key) -> Lookup;

    /// Fills a key if its token still exists. Failures have no consequence.
    async fn fill(&self, key: &Key, token: &Token, value: Bytes, ttl: Duration);

    /// Deletes value and token of a key. If that fails, the cache logs it and tries again later:
    /// until then other replicas may read the outdated value, at most for its time to live.
    async fn invalidate(&self, key: &Key);
}
