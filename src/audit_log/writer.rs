//! The thread that writes the lines.
//!
//! Each line is one `write(2)` to a file that is open for appending, so the lines of several
//! processes do not mix, and a file that is truncated goes on at its beginning.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::settings::Destination;

/// How often the thread looks whether the path still names the file that is open.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// For the owner alone. A file that is there keeps its mode.
const MODE: u32 = 0o600;

/// A line on its way, and where its writing is acknowledged.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) text: Bytes,
    pub(super) written: oneshot::Sender<io::Result<()>>,
}

/// What the thread owns.
#[derive(Debug)]
pub(super) struct Writer {
    file: File,
    /// Nothing for standard output.
    path: Option<PathBuf>,
    checked: Option<Instant>,
    /// Whether the file ends with a part of a line.
    cut: bool,
}

impl Writer {
    pub(super) fn open(destination: &Destination) -> io::Result<Self> {
        let (file, path) = match destination {
            Destination::Stdout => (File::from(io::stdout().as_fd().try_clone_to_owned()?), None),
            Destination::File(path) => (append(path, true)?, Some(path.clone())),
        };
        Ok(Self { file, path, checked: Some(Instant::now()), cut: false })
    }

    /// Writes lines until there will be none any more.
    pub(super) fn run(mut self, mut lines: mpsc::Receiver<Line>) {
        while let Some(Line { text, written }) = lines.blocking_recv() {
            // Who has stopped waiting has counted the line.
            let _ = written.send(self.write(&text));
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.reopen_if_moved()?;
        let written = if self.cut {
            self.write_whole(&[b"\n", line].concat())
        } else {
            self.write_whole(line)
        };
        if written.is_err() {
            // Whatever is wrong may be over when the file is opened again.
            self.checked = None;
        }
        written
    }

    /// Opens the path again if it names another file: the file was renamed, or deleted.
    fn reopen_if_moved(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if self.checked.is_some_and(|checked| checked.elapsed() < CHECK_EVERY) {
            return Ok(());
        }
        let open = self.file.metadata()?;
        let same = match fs::metadata(path) {
            Ok(named) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !same {
            self.file = append(path, true)?;
            self.cut = false;
        }
        self.checked = Some(Instant::now());
        Ok(())
    }

    fn write_whole(&mut self, line: &[u8]) -> io::Result<()> {
        let mut rest = line;
        loop {
            match self.file.write(rest) {
                Ok(count) if count == rest.len() => {
                    self.cut = false;
                    return Ok(());
                }
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                // A pipe takes a long line in pieces.
                Ok(count) if self.path.is_none() => rest = &rest[count..],
                Ok(count) => {
                    self.take_back(count);
                    return Err(ErrorKind::StorageFull.into());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the part of a line that a full disk has taken, unless another process has appended
    /// something meanwhile.
    fn take_back(&mut self, count: usize) {
        let removed = (|| {
            let end = self.file.stream_position()?;
            if self.file.metadata()?.len() != end {
                return Err(ErrorKind::ResourceBusy.into());
            }
            self.file.set_len(end.saturating_sub(count as u64))
        })();
        self.cut |= removed.is_err_and(|error: io::Error| error.kind() != ErrorKind::ResourceBusy);
    }
}

fn append(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().append(true).create(create).mode(MODE).open(path)
}

/// Whether lines could be written, without creating the file.
pub(super) fn check(destination: &Destination) -> io::Result<()> {
    let Destination::File(path) = destination else { return Ok(()) };
    match append(path, false) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            fs::metadata(folder.unwrap_or(Path::new("."))).map(drop)
        }
        opened => opened.map(drop),
    }
}
