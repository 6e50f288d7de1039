//! The folder on disk: the paths in it, and durable writes.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::error::OpenError;
use crate::layout::key::data_prefix;
use crate::store::{Day, ForeignLocation, Location};

/// The content of the file `layout`. A program version with another layout writes another text, and
/// each version refuses the folder of the other.
const LAYOUT: &str = "longshore local store, layout 1\n";

/// The permissions of new files and folders: content of private repositories is in them.
#[cfg(unix)]
const FILE_MODE: u32 = 0o600;
#[cfg(unix)]
const FOLDER_MODE: u32 = 0o700;

/// The paths below the root of the store.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Folders below `bytes/` whose names are known to be synced. One is added each day.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Folder {
    /// Creates what is missing of the folder, and checks its layout.
    pub(super) fn prepare(root: &Path) -> Result<Self, OpenError> {
        let failed = |action| move |source| OpenError::new(action, root, source);
        create_folders(root).map_err(failed("create"))?;
        // Later messages contain the absolute path, wherever the process was started.
        let root = &root.canonicalize().map_err(failed("find"))?;
        let failed = |action| move |source| OpenError::new(action, root, source);
        let layout = root.join("layout");
        match fs::read_to_string(&layout) {
            Ok(found) if found == LAYOUT => {}
            Ok(found) => return Err(OpenError::Layout { folder: root.clone(), found }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let fresh = root.join(format!("layout.{}", Uuid::now_v7().simple()));
                let written = write_durably(&fresh, LAYOUT.as_bytes());
                written.and_then(|()| fs::rename(&fresh, &layout)).map_err(failed("write to"))?;
            }
            Err(error) => return Err(OpenError::new("read", root, error)),
        }
        for name in ["bytes", "incoming", "parts"] {
            create_folders(&root.join(name)).map_err(failed("write to"))?;
        }
        let durable = Mutex::new(HashSet::from([root.join("bytes")]));
        Ok(Self { root: root.clone(), durable })
    }

    /// Removes what was being written when the process ended, none of which was acknowledged. Must
    /// be called after the database was opened, because that locks the folder.
    pub(super) fn clean_up(&self) -> io::Result<()> {
        // The database and the folder may have been created just now.
        sync_folder(&self.root)?;
        if let Some(parent) = self.root.parent() {
            // This process may not be allowed to open the parent.
            drop(sync_folder(parent));
        }
        for entry in fs::read_dir(self.root.join("incoming"))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the folder still exists.
    pub(super) fn is_there(&self) -> bool {
        self.root.join("layout").exists()
    }

    pub(super) fn database(&self) -> PathBuf {
        self.root.join("entries.redb")
    }

    /// The data of a location: a file, or a folder of the parts in which it was sent.
    pub(super) fn data(&self, location: &Location) -> Result<PathBuf, ForeignLocation> {
        Ok(self.root.join("bytes").join(location.key()?))
    }

    /// The folder of the days that have data.
    pub(super) fn days(&self) -> PathBuf {
        self.root.join("bytes").join(data_prefix(None))
    }

    /// The folder of the data of a day.
    pub(super) fn day(&self, day: &Day) -> PathBuf {
        self.root.join("bytes").join(data_prefix(Some(day)))
    }

    pub(super) fn all_parts(&self) -> PathBuf {
        self.root.join("parts")
    }

    /// A path for data that is being written or removed; deleted when the folder is next opened.
    pub(super) fn transient(&self, id: Uuid) -> PathBuf {
        self.root.join("incoming").join(id.simple().to_string())
    }

    /// Creates a folder below `bytes/` durably, unless it exists.
    pub(super) fn ensure(&self, folder: &Path) -> io::Result<()> {
        // One thread at a time: a thread that finds the folder must not acknowledge data in it
        // before the thread that created the folder has synced it.
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<&Path> =
            folder.ancestors().take_while(|ancestor| !durable.contains(*ancestor)).collect();
        for folder in missing.into_iter().rev() {
            match create_folder(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
            sync_parent(folder)?;
            durable.insert(folder.to_owned());
        }
        Ok(())
    }
}

/// A file under `incoming/` that is removed when dropped, unless it was moved to its final path.
#[derive(Debug)]
pub(super) struct Incoming(PathBuf);

impl Incoming {
    /// Writes and syncs the bytes.
    pub(super) fn write(path: PathBuf, bytes: &[u8]) -> io::Result<Self> {
        let incoming = Self(path);
        write_durably(&incoming.0, bytes)?;
        Ok(incoming)
    }

    /// Moves the file to its final path, which is durable once its folder is synced.
    pub(super) fn place(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.0, path)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // After a successful move there is nothing to remove, and if this fails, the file is
        // removed when the folder is next opened.
        drop(fs::remove_file(&self.0));
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private_file().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Options with which only the user of this process can read a new file. A file that exists keeps
/// its permissions.
pub(super) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, FILE_MODE);
    options
}

fn private_folders() -> DirBuilder {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, FOLDER_MODE);
    builder
}

/// Creates a folder that only the user of this process can read.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    private_folders().create(folder)
}

/// Creates what is missing of a folder and its parents. What exists keeps its permissions.
fn create_folders(folder: &Path) -> io::Result<()> {
    private_folders().recursive(true).create(folder)
}

/// Syncs the names in a folder.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Syncs the name of a file or folder.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    sync_folder(path.parent().expect("a path in the store has a parent"))
}

/// Removing an absent path succeeds.
pub(super) fn unless_absent(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) | Err(_) => outcome,
    }
}
