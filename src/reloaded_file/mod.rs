//! Files that are reloaded when they change: passwords, token keys, TLS certificates.
//!
//! No thread watches them. A request for the value calls `stat` on each file first, at most once a
//! second, so a change applies to the first request after that second. If a changed file is
//! invalid, the previous version stays in use.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use crate::telemetry::metrics::{Loaded, Metrics, ReloadedFileKind};

const CHECK_EVERY: Duration = Duration::from_secs(1);
/// A longer file is refused, so that a wrong path cannot fill the memory.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Parses the contents of the files, in the order of their paths.
type Parse<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync>;

/// The latest valid value of one or more files.
pub struct ReloadedFile<T> {
    paths: Vec<PathBuf>,
    file: ReloadedFileKind,
    metrics: Metrics,
    parse: Parse<T>,
    value: ArcSwap<T>,
    checked: Mutex<Checked>,
}

struct Checked {
    at: Instant,
    stamps: Vec<Option<Stamp>>,
}

/// Identifies a version of a file without reading it.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    #[cfg(unix)]
    node: u64,
}

impl<T> ReloadedFile<T> {
    /// Loads the files. The first version must be valid.
    pub fn open(
        paths: Vec<PathBuf>,
        file: ReloadedFileKind,
        metrics: &Metrics,
        parse: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let stamps = stamps(&paths);
        let value = ArcSwap::from_pointee(read(&paths, &parse)?);
        let checked = Mutex::new(Checked { at: Instant::now(), stamps });
        metrics.file_loaded(file, Loaded::Valid);
        Ok(Self { paths, file, metrics: metrics.clone(), parse: Box::new(parse), value, checked })
    }

    /// The current value, at most a second old.
    pub fn current(&self) -> Arc<T> {
        // If another request is checking, take the present value instead of waiting for the disk.
        if let Ok(mut checked) = self.checked.try_lock()
            && checked.at.elapsed() >= CHECK_EVERY
        {
            checked.at = Instant::now();
            self.reload_if_changed(&mut checked);
        }
        self.value.load_full()
    }

    fn reload_if_changed(&self, checked: &mut Checked) {
        let stamps = stamps(&self.paths);
        if stamps == checked.stamps {
            return;
        }
        // Kept even if the file is invalid, so that the error is logged once and not every second.
        checked.stamps = stamps;
        let files = self.shown();
        match read(&self.paths, &*self.parse) {
            Ok(value) => {
                self.value.store(Arc::new(value));
                self.metrics.file_loaded(self.file, Loaded::Valid);
                tracing::info!(files, "reloaded");
            }
            Err(error) => {
                self.metrics.file_loaded(self.file, Loaded::Invalid);
                tracing::error!(files, error, "reload failed, keeping the previous version");
            }
        }
    }

    fn shown(&self) -> String {
        let paths: Vec<String> = self.paths.iter().map(|path| path.display().to_string()).collect();
        paths.join(", ")
    }

    /// Checks the files without waiting for the next second, for tests.
    pub fn check_now(&self) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        self.reload_if_changed(&mut checked);
    }
}

/// Shows only the paths: the value may be a secret.
impl<T> fmt::Debug for ReloadedFile<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadedFile").field("paths", &self.paths).finish_non_exhaustive()
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    paths.iter().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
        #[cfg(unix)]
        node: std::os::unix::fs::MetadataExt::ino(&metadata),
    })
}

fn read<T>(
    paths: &[PathBuf],
    parse: &(impl Fn(&[Vec<u8>]) -> Result<T, String> + ?Sized),
) -> Result<T, String> {
    let contents: Vec<Vec<u8>> =
        paths.iter().map(|path| read_one(path)).collect::<Result<_, _>>()?;
    parse(&contents)
}

fn read_one(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error| format!("cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    let mut contents = Vec::new();
    let length = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut contents).map_err(failed)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(format!("{} is longer than {FILE_BYTES_MAX} bytes", path.display()));
    }
    Ok(contents)
}

#[cfg(test)]
mod tests;
