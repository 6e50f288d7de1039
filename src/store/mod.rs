//! The object store: the only place where Longshore keeps anything.
//!
//! # Guarantees
//!
//! Every implementation promises the following, and `tests/integration/store_suite.rs` holds each of them
//! to it. The rest of the program relies on nothing else.
//!
//! 1. **Entries are linearizable registers.** A [`read`](ObjectStore::read) that starts after a
//!    write was acknowledged sees that write or a later one.
//! 2. **Conditions are atomic.** Of any number of concurrent [`create`](ObjectStore::create) calls
//!    on one key exactly one succeeds; of any number of concurrent
//!    [`replace`](ObjectStore::replace) calls that expect one version exactly one succeeds.
//! 3. **A version names one write.** Rewriting an entry with other bytes changes its version.
//!    (Rewriting it with the *same* bytes may not, which is why every entry carries a nonce.)
//! 4. **Ages are the store's.** [`Entry::age`] is the difference of two readings of the
//!    store's own clock, never of ours.
//! 5. **A deadline is enforced by the store.** A write with a [`Deadline`] that reaches the store
//!    after it has passed has no effect and fails with [`Error::Expired`].
//! 6. **Lists are ordered.** [`list`](ObjectStore::list) returns keys in ascending byte order,
//!    strictly after its cursor, and sees every entry whose write was acknowledged before it began.
//! 7. **Bytes appear whole or not at all.** Until [`complete`](ObjectStore::complete) or
//!    [`put_bytes`](ObjectStore::put_bytes) succeeds nothing can be read at a location, and
//!    afterwards exactly the bytes that were sent, in the order of the part numbers.
//! 8. **Acknowledged means durable**, as far as the store itself is durable.
//! 9. **An absent key is not an error of the store.** Only [`Error::NotFound`] may ever become a
//!    404; every other failure is an outage.

pub mod local;
pub mod memory;
pub mod s3;

mod error;
mod probe;

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

pub use crate::layout::{Kind, Location, Prefix, RecordKey};
pub use error::Error;
pub use probe::{Capabilities, ProbeReport, probe};

/// What identifies one write of an entry (an `ETag` on S3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub String);

/// An entry as it was read. Zero bytes mean that the entry is dead.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The bytes as written, empty if the entry was killed.
    pub body: Bytes,
    /// The write that is seen here.
    pub version: Version,
    /// How long ago it was written, by the store's clock, to the second.
    pub age: Duration,
}

/// One row of a listing. A size of zero means that the entry is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// The key, spelled whole.
    pub key: String,
    /// Bytes of the entry.
    pub size: u64,
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Rows in ascending byte order of their keys, dead entries included.
    pub rows: Vec<ListedKey>,
    /// Whether more keys follow the last row.
    pub more: bool,
}

/// The moment after which the store refuses a write, however late it arrives.
///
/// It is taken when a lease is checked and travels with everything that relies on that lease, so
/// that a frontend which stalls for days cannot publish a reference to something that was
/// collected meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When the lease was checked, by our clock. S3 signatures are dated with it.
    pub leased_at: SystemTime,
    /// How long after that the store still accepts the write, in whole seconds.
    pub valid_for: Duration,
}

/// The bytes of a blob on their way to a reader.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// A multipart upload in progress, by the store's own name for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipartId(pub String);

/// A part that the store has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// 1 to 10,000, ascending in the order of the bytes, not necessarily contiguous.
    pub number: u32,
    /// What the store returned for it (an `ETag` on S3).
    pub tag: String,
    /// Bytes of the part.
    pub size: u64,
}

/// How a presigned GET is made.
#[derive(Clone, Copy, Debug)]
pub struct PresignGet {
    /// The moment the signature is dated with; rounded by the caller so that URLs repeat.
    pub dated: SystemTime,
    /// How long after `dated` the store accepts it, in whole seconds.
    pub valid_for: Duration,
}

/// Where everything is kept. See the guarantees in the [module documentation](self).
#[async_trait]
pub trait ObjectStore: Send + Sync + fmt::Debug {
    /// Reads an entry. [`Error::NotFound`] if it was never created.
    async fn read(&self, key: &RecordKey) -> Result<Entry, Error>;

    /// Writes an entry that must not exist (not even dead). [`Error::Conflict`] if it does.
    ///
    /// After an ambiguous failure (a lost response that was retried) this may report a conflict
    /// with its own first attempt: callers compare nonces, see `registry::entry`.
    async fn create(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error>;

    /// Writes an entry whose present version must be `expected`. [`Error::Conflict`] if it is
    /// another one or the entry does not exist. An empty body kills the entry.
    async fn replace(
        &self,
        key: &RecordKey,
        expected: &Version,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error>;

    /// One page of keys below `prefix`, strictly after `after` (the rest of a key below the
    /// prefix), at most `limit` (1 to 1,000) of them.
    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error>;

    /// Writes the whole content of a location at once. `sha256`, where given, is verified by the
    /// store before the bytes become visible ([`Error::BadDigest`]).
    async fn put_bytes(
        &self,
        location: &Location,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
    ) -> Result<(), Error>;

    /// Opens the bytes at a location, all of them or a range that lies within them.
    async fn get_bytes(
        &self,
        location: &Location,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, Error>;

    /// Removes the bytes at a location. Removing what is not there succeeds.
    async fn delete_bytes(&self, location: &Location) -> Result<(), Error>;

    /// A URL from which a client can GET the location without further credentials, or `None` if
    /// this store cannot be reached by clients.
    async fn presign_get(
        &self,
        location: &Location,
        options: PresignGet,
    ) -> Result<Option<String>, Error>;

    /// Begins a multipart upload to a location.
    async fn start(&self, location: &Location) -> Result<MultipartId, Error>;

    /// Sends one part: at least 5 MiB unless it is the last, at most 5 GiB. A number is never sent
    /// twice with different bytes. [`Error::NotFound`] once the upload was completed or given up.
    async fn put_part(
        &self,
        location: &Location,
        id: &MultipartId,
        number: u32,
        bytes: Bytes,
    ) -> Result<Part, Error>;

    /// Makes the parts visible as one object without copying them. Repeating a call that had
    /// succeeded succeeds, whatever the tags are then.
    async fn complete(
        &self,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<(), Error>;

    /// Gives up a multipart upload and frees its parts. Repeating it succeeds.
    async fn abort(&self, location: &Location, id: &MultipartId) -> Result<(), Error>;

    /// Whether a multipart upload still takes parts: it was neither completed nor given up, and no
    /// rule of the store has ended it.
    async fn is_open(&self, location: &Location, id: &MultipartId) -> Result<bool, Error>;

    /// The time by the store's clock where it has one we can control, else by ours. Deadlines are
    /// dated with it.
    fn now(&self) -> SystemTime;

    /// The store in a few words, for logs and for the operator. Never a secret.
    fn describe(&self) -> String;
}
