//! A store in a local folder: the default of `longshore serve`.
//!
//! ```text
//! layout                            the version of this layout
//! entries.redb                      the records, in one ordered table
//! bytes/v1/d/<day>/<id>             data that was written whole: a file
//! bytes/v1/d/<day>/<id>/<part>      data that was written in parts: a folder, never copied
//! parts/<location>~<id>/<part>      parts of an upload in progress, also after a restart;
//!                                   removed a week after the last of them has arrived
//! incoming/<id>                     being written or removed; emptied when the folder is opened
//! ```
//!
//! A file is written under `incoming/`, synced, renamed to its final path, and its folder is
//! synced; only then is the write acknowledged. redb commits the records. One process opens the
//! folder at a time: redb locks its file, and the lock ends with the process.

mod data;
mod database;
mod error;
mod files;
mod parts;
mod reader;
mod records;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use self::database::{Condition, now};
pub use self::error::OpenError;
use self::error::{in_background, io_error};
use self::files::{Folder, Incoming, sync_parent};
use self::parts::{Parts, parent, remove};
use self::reader::Pieces;
use self::records::Records;
use super::{
    BlobStore, ByteStream, DataObject, Day, Deadline, Error, LIST_ROWS_MAX, Listing, Location,
    MultipartId, ObjectStore, OpenMultiparts, Part, Prefix, PresignGet, Record, RecordKey,
    RecordStore, Removal, Version,
};
use crate::layout::key::data_prefix;

/// A store in a folder. See the [module documentation](self).
#[derive(Debug)]
pub struct Local {
    records: Records,
    files: Arc<Files>,
}

#[derive(Debug)]
struct Files {
    folder: Folder,
    parts: Parts,
}

impl Local {
    /// Opens a folder, and creates it if it does not exist.
    ///
    /// Dropping the store waits for the queued writes and unlocks the folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let folder = Folder::prepare(path.as_ref())?;
        let records = Records::open(folder.database())
            .map_err(|error| OpenError::database(folder.root(), error))?;
        // Only this process uses the folder now, so what is left in `incoming/` is abandoned.
        folder.clean_up().map_err(|error| OpenError::new("clean up", folder.root(), error))?;
        let parts = Parts::open(&folder, now());
        Ok(Self { records, files: Arc::new(Files { folder, parts }) })
    }

    /// Uses the files on a thread that may block.
    async fn with_files<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Files) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let files = Arc::clone(&self.files);
        in_background(move || match act(&files) {
            // If the volume is not mounted any more, the whole folder is absent.
            Err(Error::NotFound) if !files.folder.is_there() => {
                Err(Error::Unavailable(format!("{} is gone", files.folder.root().display())))
            }
            outcome => outcome,
        })
        .await
    }
}

#[async_trait]
impl RecordStore for Local {
    async fn read(&self, key: &RecordKey) -> Result<Record, Error> {
        let (database, key) = (self.records.database(), key.to_string());
        in_background(move || database.read(&key)).await
    }

    async fn create(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        self.records.write(key.to_string(), Condition::Absent, Some(body), deadline).await
    }

    async fn replace(
        &self,
        key: &RecordKey,
        expected: &Version,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        self.records.write(key.to_string(), having(expected), Some(body), deadline).await
    }

    async fn remove(&self, key: &RecordKey, expected: &Version) -> Result<Removal, Error> {
        match self.records.write(key.to_string(), having(expected), None, None).await {
            Ok(_) => Ok(Removal::Removed),
            Err(Error::Conflict) => Ok(Removal::Conflict),
            Err(error) => Err(error),
        }
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        let (database, prefix) = (self.records.database(), prefix.to_string());
        let after = after.map(ToOwned::to_owned);
        in_background(move || database.list(&prefix, after.as_deref(), limit)).await
    }

    fn now(&self) -> SystemTime {
        now()
    }
}

#[async_trait]
impl BlobStore for Local {
    async fn put(
        &self,
        location: &Location,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
    ) -> Result<Version, Error> {
        let location = location.clone();
        self.with_files(move |files| files.put(&location, &bytes, sha256)).await
    }

    async fn head(&self, location: &Location) -> Result<Option<DataObject>, Error> {
        let location = location.clone();
        let found = self.with_files(move |files| data::find(&files.folder.data(&location)?)).await;
        Ok(or_absent(found)?.map(data::Found::object))
    }

    async fn get(
        &self,
        location: &Location,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, Error> {
        let location = location.clone();
        let pieces = self
            .with_files(move |files| Pieces::open(&files.folder.data(&location)?, range))
            .await?;
        Ok(pieces.into_stream())
    }

    async fn delete(&self, location: &Location) -> Result<(), Error> {
        let location = location.clone();
        self.with_files(move |files| remove(&files.folder, &files.folder.data(&location)?)).await
    }

    async fn presign_get(
        &self,
        location: &Location,
        _options: PresignGet,
    ) -> Result<Option<String>, Error> {
        location.key()?;
        Ok(None)
    }

    async fn start(&self, location: &Location) -> Result<MultipartId, Error> {
        let location = location.clone();
        self.with_files(move |files| files.parts.start(&files.folder, &location, now())).await
    }

    async fn put_part(
        &self,
        location: &Location,
        id: &MultipartId,
        number: u32,
        bytes: Bytes,
    ) -> Result<Part, Error> {
        let (location, id) = (location.clone(), id.clone());
        self.with_files(move |files| {
            files.parts.put(&files.folder, (&location, &id), number, &bytes)
        })
        .await
    }

    async fn complete(
        &self,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<Version, Error> {
        let (location, id, parts) = (location.clone(), id.clone(), parts.to_vec());
        self.with_files(move |files| files.parts.complete(&files.folder, &location, &id, &parts))
            .await
    }

    async fn abort(&self, location: &Location, id: &MultipartId) -> Result<(), Error> {
        let (location, id) = (location.clone(), id.clone());
        self.with_files(move |files| files.parts.abort(&files.folder, &location, &id)).await
    }

    async fn is_open(&self, location: &Location, id: &MultipartId) -> Result<bool, Error> {
        let (location, id) = (location.clone(), id.clone());
        self.with_files(move |files| Parts::is_open(&files.folder, &location, &id)).await
    }

    async fn list_days(&self) -> Result<Vec<Day>, Error> {
        let listed = self.with_files(|files| data::days(&files.folder)).await;
        Ok(or_absent(listed)?.unwrap_or_default())
    }

    async fn list_data(
        &self,
        day: &Day,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        let (day, after) = (day.clone(), after.map(ToOwned::to_owned));
        let listed =
            self.with_files(move |files| data::list(&files.folder, &day, after.as_deref(), limit));
        let none = || Listing { rows: Vec::new(), more: false, now: now() };
        Ok(or_absent(listed.await)?.unwrap_or_else(none))
    }

    async fn list_multiparts(&self, limit: usize) -> Result<OpenMultiparts, Error> {
        let rows = self.with_files(move |files| Parts::list(&files.folder, limit)).await?;
        Ok(OpenMultiparts { rows, now: now() })
    }
}

#[async_trait]
impl ObjectStore for Local {
    fn describe(&self) -> String {
        format!("local folder {}", self.files.folder.root().display())
    }

    /// A folder holds nothing but what this store has written.
    async fn list_objects(&self, after: Option<&str>, limit: usize) -> Result<Listing, Error> {
        let limit = limit.clamp(1, LIST_ROWS_MAX);
        let (database, from) = (self.records.database(), after.map(ToOwned::to_owned));
        let listed = in_background(move || database.list("", from.as_deref(), limit)).await?;
        let mut data = Listing { rows: Vec::new(), more: false, now: now() };
        for day in self.list_days().await? {
            let below = data_prefix(Some(&day));
            let rest = match after {
                Some(after) if after.starts_with(&below) => Some(&after[below.len()..]),
                Some(after) if after > below.as_str() => continue,
                Some(_) | None => None,
            };
            let page = self.list_data(&day, rest, limit).await?;
            data.more |= page.more;
            data.rows.extend(page.rows);
            if data.rows.len() > limit {
                break;
            }
        }
        Ok(listed.merged(data, limit))
    }
}

fn having(version: &Version) -> Condition {
    // Versions are numbers from 1 on, so any other text is the version of no write.
    Condition::Version(version.0.parse().unwrap_or(0))
}

/// A path that does not exist, although the folder does, holds nothing.
fn or_absent<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Files {
    fn put(
        &self,
        location: &Location,
        bytes: &[u8],
        sha256: Option<[u8; 32]>,
    ) -> Result<Version, Error> {
        if sha256.is_some_and(|expected| Sha256::digest(bytes)[..] != expected[..]) {
            return Err(Error::BadDigest);
        }
        let place = self.folder.data(location)?;
        let write = || {
            let incoming = Incoming::write(self.folder.transient(Uuid::now_v7()), bytes)?;
            self.folder.ensure(parent(&place))?;
            incoming.place(&place)?;
            sync_parent(&place)?;
            Ok(data::version_of(bytes.len() as u64))
        };
        write().map_err(|error| match io_error("write", &place, &error) {
            // A write needs no existing file, so the folder itself is gone.
            Error::NotFound => Error::Unavailable(format!("{} is gone", place.display())),
            other => other,
        })
    }
}
