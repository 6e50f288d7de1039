//! Errors of the local store.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::Error;

/// Why a folder cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process uses it, or this one does already.
    #[error("the folder {} is in use by another process", folder.display())]
    InUse { folder: PathBuf },
    #[error("the folder {} is not writable: {source}", folder.display())]
    NotWritable { folder: PathBuf, source: io::Error },
    /// A version of the program with another layout wrote it.
    #[error(
        "the folder {} has another layout than this version of longshore reads: {found:?}",
        folder.display()
    )]
    Layout {
        folder: PathBuf,
        /// The content of its file `layout`.
        found: String,
    },
    #[error("the database of the folder {} cannot be opened: {reason}", folder.display())]
    Database { folder: PathBuf, reason: String },
    #[error("cannot {action} the folder {}: {source}", folder.display())]
    Io { action: &'static str, folder: PathBuf, source: io::Error },
}

impl OpenError {
    pub(super) fn new(action: &'static str, folder: &Path, source: io::Error) -> Self {
        let folder = folder.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { folder, source }
            }
            _ => Self::Io { action, folder, source },
        }
    }

    pub(super) fn database(folder: &Path, error: redb::Error) -> Self {
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

/// Runs on a thread that may block.
pub(super) async fn in_background<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let outcome = tokio::task::spawn_blocking(act).await;
    outcome.unwrap_or_else(|error| Err(Error::Unavailable(format!("a task panicked: {error}"))))
}

/// What an error of the file system means to the caller.
pub(super) fn io_error(action: &str, path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::Unavailable(format!("the disk is full: cannot {action} {path}"))
        }
        _ => Error::Unavailable(format!("cannot {action} {path}: {error}")),
    }
}
