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
//! then stay wrong (`tests/integration/cache/model.rs` shows each of them failing). Every value
//! also has a time to live: a writer that dies between the store and the cache leaves a value that
//! is wrong for that long at most.

pub mod redis;

mod settings;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::store::{Prefix, RecordKey};
use crate::telemetry::metrics::Cached;

pub use settings::{CacheSettings, RedisUrls, Topology};

/// What is cached.
///
/// A list has many pages, and one write makes all of them wrong. So a page is kept under the
/// **epoch** of its list, a random text that is a value like any other: the write forgets the
/// epoch, the next reader makes a new one, and the pages of the old one are never asked for again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// What an entry says.
    Entry(RecordKey),
    /// The epoch of a list.
    Epoch(Prefix),
    /// The first page of a list.
    Page {
        /// The list.
        list: Prefix,
        /// The epoch in which it was read.
        epoch: Box<str>,
        /// How many rows it was asked for.
        count: usize,
    },
}

/// How a key is written in a cache: that of an entry as in the bucket, the others so that no entry
/// is written like them.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(key) => key.fmt(f),
            Self::Epoch(list) => list.fmt(f),
            Self::Page { list, epoch, count } => write!(f, "{list}!{epoch}!{count}"),
        }
    }
}

impl Key {
    /// As what a lookup is counted. An epoch is only a step to its page, and some entries are never
    /// cached.
    pub(crate) fn metric_label(&self) -> Option<Cached> {
        match self {
            Self::Entry(RecordKey::Tag(..)) => Some(Cached::Tag),
            Self::Entry(RecordKey::Manifest(..)) => Some(Cached::Manifest),
            Self::Entry(RecordKey::Link(..)) => Some(Cached::Blob),
            Self::Page { .. } => Some(Cached::List),
            Self::Epoch(_)
            | Self::Entry(
                RecordKey::Pointer(_)
                | RecordKey::TagIndex(..)
                | RecordKey::Referrer(..)
                | RecordKey::Repository(_)
                | RecordKey::Upload(_)
                | RecordKey::Probe(_),
            ) => None,
        }
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
    async fn get(&self, key: &Key) -> Lookup;

    /// Fills a key, if the token is still alive. An error is nothing.
    async fn fill(&self, key: &Key, token: &Token, value: Bytes, ttl: Duration);

    /// Deletes value and token of a key: the one failure that a caller may have to know about.
    async fn forget(&self, key: &Key) -> Result<(), Stale>;
}
