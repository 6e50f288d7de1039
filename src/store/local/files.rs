//! The folder on disk: where things lie in it, and how something is put there to stay.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::OpenError;
use crate::store::Location;

/// What the file `layout` must say. Another program version that arranges the folder differently
/// says something else, and each refuses the folder of the other.
const LAYOUT: &str = "longshore local store, layout 1\n";

/// The paths below the root of the store.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Folders below `bytes/` that are known to outlive a loss of power. One is added a day.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Folder {
    /// Creates what is missing of the folder, and checks that it is ours.
    pub(super) fn prepare(root: &Path) -> Result<Self, OpenError> {
        let failed = |action| move |source| OpenError::new(action, root, source);
        fs::create_dir_all(root).map_err(failed("create"))?;
        // Every later message names the folder in full, wherever the process was started.
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
            fs::create_dir_all(root.join(name)).map_err(failed("write to"))?;
        }
        let durable = Mutex::new(HashSet::from([root.join("bytes")]));
        Ok(Self { root: root.clone(), durable })
    }

    /// Removes what was being written when the process ended: nobody was told of it, so nobody
    /// misses it. To be called once the database is open, which only one process can do at a time.
    pub(super) fn sweep(&self) -> io::Result<()> {
        // The database has just been created, perhaps, and so has the folder.
        sync_folder(&self.root)?;
        if let Some(parent) = self.root.parent() {
            // It need not be ours to read, and then whoever created it has to see to it.
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

    /// Whether the folder is where it was when it was opened.
    pub(super) fn is_there(&self) -> bool {
        self.root.join("layout").exists()
    }

    pub(super) fn entries(&self) -> PathBuf {
        self.root.join("entries.redb")
    }

    /// Where the bytes of a location lie: a file, or a folder of the parts they were sent in.
    pub(super) fn bytes(&self, location: &Location) -> PathBuf {
        self.root.join("bytes").join(location.as_str())
    }

    pub(super) fn all_parts(&self) -> PathBuf {
        self.root.join("parts")
    }

    /// Where the parts of a multipart upload are gathered.
    pub(super) fn parts(&self, id: Uuid) -> PathBuf {
        self.all_parts().join(id.simple().to_string())
    }

    /// A path for something that is on its way in or out, gone when the folder is next opened.
    pub(super) fn transient(&self, id: Uuid) -> PathBuf {
        self.root.join("incoming").join(id.simple().to_string())
    }

    /// Makes sure that a folder below `bytes/` exists and stays.
    pub(super) fn ensure(&self, folder: &Path) -> io::Result<()> {
        // One at a time: whoever finds the folder there must not acknowledge bytes in it before
        // whoever created it has seen it reach the disk.
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<&Path> =
            folder.ancestors().take_while(|ancestor| !durable.contains(*ancestor)).collect();
        for folder in missing.into_iter().rev() {
            match fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
            sync_parent(folder)?;
            durable.insert(folder.to_owned());
        }
        Ok(())
    }
}

/// A file under `incoming/` that removes itself unless it was moved to where it belongs.
#[derive(Debug)]
pub(super) struct Incoming(PathBuf);

impl Incoming {
    /// Writes the bytes and waits until they are on the disk.
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
        // After a successful move there is nothing left to remove, and after a failure the file is
        // in nobody's way: it goes when the folder is next opened.
        drop(fs::remove_file(&self.0));
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Waits until the names in a folder are on the disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Waits until the name of a file or folder is on the disk.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    sync_folder(path.parent().expect("a path in the store has a parent"))
}

/// Takes what is absent as removed.
pub(super) fn unless_absent(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) | Err(_) => outcome,
    }
}
