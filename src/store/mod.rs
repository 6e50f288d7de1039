//! The object store: the only place where Longshore keeps anything.
//!
//! It keeps two kinds of objects, each behind a trait: small *records*, which are read, listed and
//! changed under conditions ([`RecordStore`]), and the *data* of blobs, which is written once
//! ([`BlobStore`]). A store is both ([`ObjectStore`]).
//!
//! # Guarantees
//!
//! Every implementation gives these guarantees, `tests/integration/store_suite.rs` tests each
//! implementation for each of them, and the rest of the program relies on nothing else.
//!
//! 1. **Records are linearizable registers.** A [`read`](RecordStore::read) that starts after a
//!    write was acknowledged returns that write or a later one.
//! 2. **Conditions are atomic.** Of any number of concurrent [`create`](RecordStore::create) calls
//!    on one key exactly one succeeds; of any number of concurrent
//!    [`replace`](RecordStore::replace) calls that expect one version exactly one succeeds.
//! 3. **A version identifies one write.** Replacing a record by other bytes changes its version.
//!    (Replacing it by the *same* bytes may not, which is why every record carries a nonce.)
//!    A listing shows the same version as a read.
//! 4. **Ages are measured by the store's clock.** [`Record::age`] is the difference of two
//!    readings of the store's own clock, never of ours. So are [`Listing::now`] and
//!    [`Listed::written`].
//! 5. **The store enforces deadlines.** A write with a [`Deadline`] that reaches the store after
//!    the deadline has no effect and fails with [`Error::Expired`].
//! 6. **Lists are ordered.** [`list`](RecordStore::list) returns keys in ascending byte order,
//!    strictly after its cursor, and contains every record whose write was acknowledged before the
//!    call started.
//! 7. **Blob data appears whole or not at all.** Until [`complete`](BlobStore::complete) or
//!    [`put`](BlobStore::put) succeeds nothing can be read at a location, and afterwards exactly
//!    the bytes that were sent, in the order of the part numbers.
//! 8. **Acknowledged means durable**, as far as the store itself is durable.
//! 9. **A failure is never reported as an absent key.** Only [`Error::NotFound`] may become a 404;
//!    every other error is an outage.

pub mod local;
pub mod memory;
pub mod s3;

mod error;
mod pages;
mod probe;
mod settings;
mod url;

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

pub use crate::layout::{Day, ForeignLocation, Kind, Location, Prefix, RecordKey};
pub use error::Error;
pub use pages::{DataPages, ObjectPages, RecordPages};
pub(crate) use probe::NO_CONDITIONS;
pub use probe::{Capabilities, ProbeLimits, ProbeReport, probe};
pub use settings::{Settings, Writers};
pub use url::StoreUrl;

/// Identifies one write of a record or of a data object (an `ETag` on S3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub String);

/// A record as it was read.
#[derive(Clone, Debug)]
pub struct Record {
    /// The bytes as written; a [tombstone](crate::layout::encoding), too, which a deleted record
    /// leaves.
    pub body: Bytes,
    /// The write that was read.
    pub version: Version,
    /// Time since that write by the store's clock, in whole seconds.
    pub age: Duration,
}

/// One row of a listing: a record or a data object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The complete key, without the operator's prefix.
    pub key: String,
    /// Bytes of the object; few for a tombstone, see [`crate::layout::encoding`].
    pub size: u64,
    /// The write that was listed: what [`RecordStore::read`] returns for the same record, and
    /// [`BlobStore::put`] or [`BlobStore::complete`] for the same data.
    pub version: Version,
    /// When the object was written, by the store's clock. For data that was sent in parts this may
    /// be the start of the upload.
    pub written: SystemTime,
}

/// Rows of a listing, at most (S3's own bound).
pub const LIST_ROWS_MAX: usize = 1_000;

/// A page of a listing.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Rows in ascending byte order of their keys, tombstones included.
    pub rows: Vec<Listed>,
    /// Whether more keys follow the last row.
    pub more: bool,
    /// The store's clock when it answered, to compare with [`Listed::written`].
    pub now: SystemTime,
}

impl Listing {
    /// A page of `limit` keys, out of this page and another one with as many keys after the same
    /// cursor.
    fn merged(mut self, other: Self, limit: usize) -> Self {
        self.rows.extend(other.rows);
        self.rows.sort_unstable_by(|one, next| one.key.cmp(&next.key));
        self.more |= other.more || self.rows.len() > limit;
        self.rows.truncate(limit);
        self
    }
}

/// The time after which the store refuses a write, however late the write arrives.
///
/// It is taken when a lease is checked and is attached to every write that relies on that lease,
/// so that a replica that stalls for days cannot publish a reference to data that was collected
/// meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When the lease was checked, by our clock. S3 signatures carry this date.
    pub leased_at: SystemTime,
    /// How long after `leased_at` the store accepts the write, in whole seconds.
    pub valid_for: Duration,
}

/// Blob data that is being read.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// The store's id of a multipart upload in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipartId(pub String);

/// A multipart upload that was neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenMultipart {
    pub location: Location,
    pub id: MultipartId,
    /// When it was started, by the store's clock.
    pub started: SystemTime,
}

/// Multipart uploads in progress.
#[derive(Clone, Debug)]
pub struct OpenMultiparts {
    /// Rows in ascending byte order of their locations, so the oldest days are first.
    pub rows: Vec<OpenMultipart>,
    /// The store's clock when it answered, to compare with [`OpenMultipart::started`].
    pub now: SystemTime,
}

/// A part that the store has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// 1 to 10,000, ascending in the order of the bytes, not necessarily contiguous.
    pub number: u32,
    /// What the store returned for the part (an `ETag` on S3).
    pub tag: String,
    /// Bytes of the part.
    pub size: u64,
}

/// What is at a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataObject {
    /// Bytes of the data.
    pub size: u64,
    /// What [`BlobStore::put`] or [`BlobStore::complete`] returned for it.
    pub version: Version,
}

/// Options of a presigned GET.
#[derive(Clone, Copy, Debug)]
pub struct PresignGet {
    /// The date of the signature; the caller rounds it so that URLs repeat.
    pub dated: SystemTime,
    /// How long after `dated` the store accepts the URL, in whole seconds.
    pub valid_for: Duration,
}

/// What became of a conditional removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The record is gone: no key and no tombstone is left.
    Removed,
    /// The record has another version, or is absent. Nothing was removed.
    Conflict,
    /// The store cannot remove under a condition. Nothing was sent.
    Unsupported,
}

/// How a store takes conditional requests, as the probe found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    pub etag: EtagSpelling,
    /// Whether the store compares the version before it deletes. Otherwise
    /// [`RecordStore::remove`] sends nothing.
    pub conditional_delete: bool,
}

/// How a store wants an `ETag` in `If-Match`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EtagSpelling {
    /// With its quotes, as HTTP says.
    #[default]
    Quoted,
    /// Without them. Some stores never match a quoted one.
    Bare,
}

impl From<ForeignLocation> for Error {
    fn from(error: ForeignLocation) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Small objects that are changed under conditions. See the [guarantees](self#guarantees).
#[async_trait]
pub trait RecordStore: Send + Sync + fmt::Debug {
    /// Reads a record. [`Error::NotFound`] if it was never created.
    async fn read(&self, key: &RecordKey) -> Result<Record, Error>;

    /// Creates a record. [`Error::Conflict`] if the key exists, even as a tombstone.
    ///
    /// After a lost response and a retry this may report a conflict with its own first attempt, as
    /// [`Error::ConflictAfterRetry`]: callers compare nonces, see `registry::record`.
    async fn create(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error>;

    /// Replaces the version `expected` of a record.
    /// [`Error::Conflict`] if the record has another version or does not exist.
    async fn replace(
        &self,
        key: &RecordKey,
        expected: &Version,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error>;

    /// Removes the version `expected` of a record: the only way in which a key becomes absent
    /// again.
    ///
    /// After a lost response that was retried this may report a conflict although the first attempt
    /// removed the record.
    async fn remove(&self, key: &RecordKey, expected: &Version) -> Result<Removal, Error>;

    /// Removes the version `expected` of a record that no request writes again: the tombstone of an
    /// upload session, or a record of the collector itself. A store that cannot remove under a
    /// condition may remove any version.
    async fn discard(&self, key: &RecordKey, expected: &Version) -> Result<(), Error> {
        self.remove(key, expected).await.map(drop)
    }

    /// One page of the keys below `prefix`, strictly after `after` (the rest of a key below the
    /// prefix), at most `limit` (1 to 1,000) of them.
    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error>;

    /// The clock that dates deadlines: the store's where we control it, else ours.
    fn now(&self) -> SystemTime;
}

/// The data of blobs, written once and never changed. See the [guarantees](self#guarantees).
///
/// Every call with a location in a bucket of another registry fails with [`Error::Refused`].
#[async_trait]
pub trait BlobStore: Send + Sync + fmt::Debug {
    /// Writes the whole data of a location at once. The store verifies `sha256`, where given,
    /// before the data becomes visible ([`Error::BadDigest`]).
    async fn put(
        &self,
        location: &Location,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
    ) -> Result<Version, Error>;

    /// What is at a location, `None` if there is nothing.
    ///
    /// An answer to this request has no body that could tell the 404 of the store from that of a
    /// proxy, so `None` is not as certain as [`Error::NotFound`] of [`get`](Self::get): no caller
    /// may answer a client with 404, or delete anything, because of it.
    async fn head(&self, location: &Location) -> Result<Option<DataObject>, Error>;

    /// Opens the data at a location, all of it or a range that lies within it.
    async fn get(
        &self,
        location: &Location,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, Error>;

    /// Deletes the data at a location. Deleting an absent location succeeds.
    async fn delete(&self, location: &Location) -> Result<(), Error>;

    /// A URL from which a client can GET the location without further credentials, or `None` if
    /// clients cannot reach this store.
    async fn presign_get(
        &self,
        location: &Location,
        options: PresignGet,
    ) -> Result<Option<String>, Error>;

    /// Starts a multipart upload to a location.
    async fn start(&self, location: &Location) -> Result<MultipartId, Error>;

    /// Uploads one part: at least 5 MiB unless it is the last, at most 5 GiB. A number is never
    /// used twice with different bytes. [`Error::NotFound`] after the upload was completed or
    /// aborted.
    async fn put_part(
        &self,
        location: &Location,
        id: &MultipartId,
        number: u32,
        bytes: Bytes,
    ) -> Result<Part, Error>;

    /// Makes the parts visible as one object without copying them. Repeating a call that succeeded
    /// succeeds again with the same version. It also succeeds with other tags, but then some stores
    /// answer with another version.
    async fn complete(
        &self,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<Version, Error>;

    /// Aborts a multipart upload and deletes its parts. Repeating it succeeds.
    async fn abort(&self, location: &Location, id: &MultipartId) -> Result<(), Error>;

    /// Whether a multipart upload still accepts parts: it was neither completed nor aborted, and
    /// no lifecycle rule of the store has ended it.
    async fn is_open(&self, location: &Location, id: &MultipartId) -> Result<bool, Error>;

    /// The days whose locations hold data, in ascending order. A day may be listed after its last
    /// data object was deleted.
    async fn list_days(&self) -> Result<Vec<Day>, Error>;

    /// One page of the data objects of a day, strictly after `after` (the rest of a key below the
    /// day), at most `limit` (1 to 1,000) of them. Uploads in progress are not listed.
    async fn list_data(
        &self,
        day: &Day,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error>;

    /// The first `limit` multipart uploads in progress, as far as the store lists them.
    ///
    /// `MinIO` lists uploads by one whole key only, so there the result is empty although uploads
    /// may be in progress; it aborts old ones by itself.
    async fn list_multiparts(&self, limit: usize) -> Result<OpenMultiparts, Error>;
}

/// A store for records and blob data.
#[async_trait]
pub trait ObjectStore: RecordStore + BlobStore {
    /// The store in a few words, for logs and for the operator. Never a secret.
    fn describe(&self) -> String;

    /// One page of all objects below the operator's prefix, strictly after the key `after`, at most
    /// `limit` (1 to 1,000) of them: records, data objects, and what Longshore did not write. Keys
    /// are as in [`list`](RecordStore::list), without the prefix. Uploads in progress are not
    /// listed.
    async fn list_objects(&self, after: Option<&str>, limit: usize) -> Result<Listing, Error>;

    /// Sets how conditional requests are sent. Only the probe calls this, before anybody else uses
    /// the store. A store of which nothing has to be found out ignores it.
    fn set_dialect(&self, _dialect: Dialect) {}

    /// Takes the lease without which a process may not write, if the store needs one.
    /// [`Error::Refused`] if another process has it.
    async fn begin_writing(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Ends when this process has lost that lease, and says why. From then on every write fails.
    async fn writing_ended(&self) -> String {
        std::future::pending().await
    }

    /// Gives the lease back. Nothing writes afterwards.
    async fn end_writing(&self) {}
}
