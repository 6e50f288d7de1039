//! Files whose change is noticed while the program runs: passwords, keys, certificates.
//!
//! There is no thread that watches. Whoever asks for the value looks at the files first, at most
//! once a second, which costs one `stat` for each. So a change counts for the first request after
//! that second, and a file that cannot be used leaves what was read before in place.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use crate::telemetry::metrics::{Metrics, ReloadedFileKind};

/// How long what was read is good without another look.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// No file of these is longer, so that a wrong path cannot fill the memory.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What is made of the contents of the files, in the order of their paths.
type Parse<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync>;

/// The latest good value of some files.
pub struct ReloadedFile<T> {
    paths: Vec<PathBuf>,
    file: ReloadedFileKind,
    metrics: Metrics,
    parse: Parse<T>,
    value: ArcSwap<T>,
    seen: Mutex<Seen>,
}

struct Seen {
    looked: Instant,
    stamps: Vec<Option<Stamp>>,
}

/// What tells one version of a file from another without reading it.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    #[cfg(unix)]
    node: u64,
}

impl<T> ReloadedFile<T> {
    /// Reads the files for the first time; then they have to be good.
    pub fn open(
        paths: Vec<PathBuf>,
        file: ReloadedFileKind,
        metrics: &Metrics,
        parse: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let stamps = stamps(&paths);
        let value = ArcSwap::from_pointee(read(&paths, &parse)?);
        let seen = Mutex::new(Seen { looked: Instant::now(), stamps });
        metrics.read_file(file, true);
        Ok(Self { paths, file, metrics: metrics.clone(), parse: Box::new(parse), value, seen })
    }

    /// The value as of now, or as of a second ago.
    pub fn current(&self) -> Arc<T> {
        // Whoever finds another at it takes what is there: nobody waits for a disk twice.
        if let Ok(mut seen) = self.seen.try_lock()
            && seen.looked.elapsed() >= LOOK_EVERY
        {
            seen.looked = Instant::now();
            self.look(&mut seen);
        }
        self.value.load_full()
    }

    fn look(&self, seen: &mut Seen) {
        let stamps = stamps(&self.paths);
        if stamps == seen.stamps {
            return;
        }
        // Remembered even if it is bad, so that this is said once and not every second.
        seen.stamps = stamps;
        let shown = self.shown();
        let read = read(&self.paths, &*self.parse);
        self.metrics.read_file(self.file, read.is_ok());
        match read {
            Ok(value) => {
                self.value.store(Arc::new(value));
                tracing::info!(files = shown, "read again after a change");
            }
            Err(error) => {
                tracing::error!(files = shown, error, "cannot be used, what was read before stays");
            }
        }
    }

    fn shown(&self) -> String {
        let paths: Vec<String> = self.paths.iter().map(|path| path.display().to_string()).collect();
        paths.join(", ")
    }

    /// Forgets that it has just looked, for tests that do not want to wait.
    pub fn look_again(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.look(&mut seen);
    }
}

/// The value may be a secret: only the paths are shown.
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
    let trouble = |error| format!("cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(trouble)?;
    let mut contents = Vec::new();
    let length = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut contents).map_err(trouble)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(format!("{} is longer than {FILE_BYTES_MAX} bytes", path.display()));
    }
    Ok(contents)
}

#[cfg(test)]
mod tests;
