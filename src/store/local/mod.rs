//! A store in a folder of this machine: what `longshore serve` uses unless told otherwise.
//!
//! ```text
//! layout                            which arrangement this is
//! entries.redb                      the entries, in one ordered table
//! bytes/v1/d/<day>/<id>             bytes that came whole: a file
//! bytes/v1/d/<day>/<id>/<part>      bytes that came in parts: a folder of them, never copied
//! parts/<multipart id>/<part>       parts of an upload that goes on, also after a restart
//! incoming/<id>                     on its way in or out; emptied whenever the folder is opened
//! ```
//!
//! A file comes into being under `incoming/`, is synced, renamed to its place, and the place's
//! folder is synced; only then is it acknowledged. Entries are committed by redb. One process has
//! the folder at a time: redb locks its file, and the lock goes with the process.

mod database;
mod files;
mod parts;
mod reader;
mod records;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use self::database::Condition;
use self::files::{Folder, Incoming, sync_parent};
use self::parts::{Parts, parent, remove};
use self::reader::Pieces;
use self::records::Entries;
use super::{
    BlobStore, ByteStream, Deadline, Error, Listing, Location, MultipartId, ObjectStore, Part,
    Prefix, PresignGet, Record, RecordKey, RecordStore, Version,
};

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it, or this one has it already.
    #[error("the folder {} is in use by another process", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// This process may not write there.
    #[error("the folder {} is not writable: {source}", folder.display())]
    NotWritable {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It was written by a version of the program that arranges it differently.
    #[error(
        "the folder {} has another layout than this version of longshore reads: {found:?}",
        folder.display()
    )]
    Layout {
        /// The folder.
        folder: PathBuf,
        /// What its file `layout` says.
        found: String,
    },
    /// Its database cannot be read.
    #[error("the database of the folder {} cannot be opened: {reason}", folder.display())]
    Database {
        /// The folder.
        folder: PathBuf,
        /// What the database says.
        reason: String,
    },
    /// Anything else the system refuses.
    #[error("cannot {action} the folder {}: {source}", folder.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl OpenError {
    fn new(action: &'static str, folder: &Path, source: io::Error) -> Self {
        let folder = folder.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { folder, source }
            }
            _ => Self::Io { action, folder, source },
        }
    }

    fn database(folder: &Path, error: redb::Error) -> Self {
        let folder = folder.to_owned();
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { folder },
            redb::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => {
                Self::new("use the database of", &folder, error)
            }
            other => Self::Database { folder, reason: other.to_string() },
        }
    }
}

/// A store in a folder. See the [module documentation](self).
#[derive(Debug)]
pub struct Local {
    entries: Entries,
    files: Arc<Files>,
}

#[derive(Debug)]
struct Files {
    folder: Folder,
    parts: Parts,
}

impl Local {
    /// Opens a folder, and creates it if it is not there.
    ///
    /// Dropping the store waits for the writes that are queued, and leaves the folder free.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let folder = Folder::prepare(path.as_ref())?;
        let entries = Entries::open(folder.entries())
            .map_err(|error| OpenError::database(folder.root(), error))?;
        // From here on the folder is ours alone, so nobody is writing what is swept away.
        folder.sweep().map_err(|error| OpenError::new("tidy", folder.root(), error))?;
        Ok(Self { entries, files: Arc::new(Files { folder, parts: Parts::default() }) })
    }

    /// Acts on the files where waiting for the disk holds up nobody.
    async fn with_files<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Files) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let files = Arc::clone(&self.files);
        in_background(move || match act(&files) {
            // A volume that is not mounted any more holds nothing; that is not what is asked.
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
        let (ledger, key) = (self.entries.ledger(), key.to_string());
        in_background(move || ledger.read(&key)).await
    }

    async fn create(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        self.entries.write(key.to_string(), Condition::Absent, body, deadline).await
    }

    async fn replace(
        &self,
        key: &RecordKey,
        expected: &Version,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        // Versions are numbers that begin with 1: what is none was never given out.
        let condition = Condition::Version(expected.0.parse().unwrap_or(0));
        self.entries.write(key.to_string(), condition, body, deadline).await
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        let (ledger, prefix) = (self.entries.ledger(), prefix.to_string());
        let after = after.map(ToOwned::to_owned);
        in_background(move || ledger.list(&prefix, after.as_deref(), limit)).await
    }

    fn now(&self) -> SystemTime {
        told_time()
    }
}

#[async_trait]
impl BlobStore for Local {
    async fn put(
        &self,
        location: &Location,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
    ) -> Result<(), Error> {
        let location = location.clone();
        self.with_files(move |files| files.put(&location, &bytes, sha256)).await
    }

    async fn get(
        &self,
        location: &Location,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, Error> {
        let location = location.clone();
        let pieces = self
            .with_files(move |files| Pieces::open(&files.folder.bytes(&location), range))
            .await?;
        Ok(pieces.into_stream())
    }

    async fn delete(&self, location: &Location) -> Result<(), Error> {
        let location = location.clone();
        self.with_files(move |files| remove(&files.folder, &files.folder.bytes(&location))).await
    }

    async fn presign_get(
        &self,
        _location: &Location,
        _options: PresignGet,
    ) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn start(&self, _location: &Location) -> Result<MultipartId, Error> {
        self.with_files(|files| Parts::start(&files.folder)).await
    }

    async fn put_part(
        &self,
        _location: &Location,
        id: &MultipartId,
        number: u32,
        bytes: Bytes,
    ) -> Result<Part, Error> {
        let id = id.clone();
        self.with_files(move |files| files.parts.put(&files.folder, &id, number, &bytes)).await
    }

    async fn complete(
        &self,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<(), Error> {
        let (location, id, parts) = (location.clone(), id.clone(), parts.to_vec());
        self.with_files(move |files| files.parts.complete(&files.folder, &location, &id, &parts))
            .await
    }

    async fn abort(&self, _location: &Location, id: &MultipartId) -> Result<(), Error> {
        let id = id.clone();
        self.with_files(move |files| files.parts.abort(&files.folder, &id)).await
    }

    async fn is_open(&self, _location: &Location, id: &MultipartId) -> Result<bool, Error> {
        let id = id.clone();
        self.with_files(move |files| Parts::is_open(&files.folder, &id)).await
    }
}

impl ObjectStore for Local {
    fn describe(&self) -> String {
        format!("local folder {}", self.files.folder.root().display())
    }
}

impl Files {
    fn put(
        &self,
        location: &Location,
        bytes: &[u8],
        sha256: Option<[u8; 32]>,
    ) -> Result<(), Error> {
        if sha256.is_some_and(|expected| Sha256::digest(bytes)[..] != expected[..]) {
            return Err(Error::BadDigest);
        }
        let place = self.folder.bytes(location);
        let write = || {
            let incoming = Incoming::write(self.folder.transient(Uuid::now_v7()), bytes)?;
            self.folder.ensure(parent(&place))?;
            incoming.place(&place)?;
            sync_parent(&place)
        };
        write().map_err(|error| match io_error("write", &place, &error) {
            // Writing needs nothing that may be absent: it is the folder that is gone.
            Error::NotFound => Error::Unavailable(format!("{} is gone", place.display())),
            other => other,
        })
    }
}

/// The time of this store, by which it tells ages and deadlines.
#[expect(clippy::disallowed_methods, reason = "a store tells its own time")]
fn told_time() -> SystemTime {
    SystemTime::now()
}

/// Runs what waits for the disk on a thread that may wait.
async fn in_background<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let outcome = tokio::task::spawn_blocking(act).await;
    outcome.unwrap_or_else(|error| Err(Error::Unavailable(format!("a task was lost: {error}"))))
}

/// What a failure of the file system means to the rest of the program.
fn io_error(action: &str, path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::Unavailable(format!("the disk is full: cannot {action} {path}"))
        }
        _ => Error::Unavailable(format!("cannot {action} {path}: {error}")),
    }
}
