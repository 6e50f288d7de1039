//! Reading data: one file, or the parts of an upload one after the other.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream;

use super::data::part_names;
use super::error::{in_background, io_error};
use crate::store::{ByteStream, Error};

/// Bytes that are held in memory for a reader.
const CHUNK_BYTES: u64 = 256 * 1024;

/// What is still to be read.
#[derive(Debug)]
pub(super) struct Pieces {
    open: Option<(PathBuf, io::Take<File>)>,
    rest: VecDeque<Piece>,
}

/// A range of one file.
#[derive(Debug)]
struct Piece {
    path: PathBuf,
    offset: u64,
    length: u64,
}

impl Pieces {
    /// Opens a range of the data at a path.
    pub(super) fn open(place: &Path, range: Option<Range<u64>>) -> Result<Self, Error> {
        let failed = |error: io::Error| io_error("open", place, &error);
        let file = File::open(place).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_dir() {
            let range = within(range, found.len())?;
            let open = take(file, range.start, range.end - range.start).map_err(failed)?;
            return Ok(Self { open: Some((place.to_owned(), open)), rest: VecDeque::new() });
        }
        let (names, size) = part_names(place)?;
        let range = within(range, size)?;
        let mut rest = VecDeque::new();
        let mut begin = 0;
        for name in names {
            let (from, to) = (range.start.max(begin), range.end.min(begin + name.size));
            if from < to {
                let path = place.join(name.to_string());
                rest.push_back(Piece { path, offset: from - begin, length: to - from });
            }
            begin += name.size;
        }
        Ok(Self { open: None, rest })
    }

    pub(super) fn into_stream(self) -> ByteStream {
        Box::pin(stream::try_unfold(self, |mut pieces| {
            in_background(move || Ok(pieces.chunk()?.map(|chunk| (chunk, pieces))))
        }))
    }

    /// The next bytes, or nothing after the last.
    fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some((path, file)) = &mut self.open {
                if file.limit() > 0 {
                    return read(path, file).map(Some);
                }
                self.open = None;
            }
            let Some(Piece { path, offset, length }) = self.rest.pop_front() else {
                return Ok(None);
            };
            let opened = File::open(&path).and_then(|file| take(file, offset, length));
            let opened = opened.map_err(|error| match error.kind() {
                // The first bytes were read already, so the data did exist.
                io::ErrorKind::NotFound => {
                    Error::Unavailable(format!("{} was removed while it was read", path.display()))
                }
                _ => io_error("open", &path, &error),
            })?;
            self.open = Some((path, opened));
        }
    }
}

fn within(range: Option<Range<u64>>, size: u64) -> Result<Range<u64>, Error> {
    match range {
        None => Ok(0..size),
        Some(range) if range.start <= range.end && range.end <= size => Ok(range),
        Some(range) => Err(Error::Refused(format!("{range:?} lies outside of {size} bytes"))),
    }
}

fn take(mut file: File, offset: u64, length: u64) -> io::Result<io::Take<File>> {
    file.seek(SeekFrom::Start(offset))?;
    Ok(file.take(length))
}

fn read(path: &Path, file: &mut io::Take<File>) -> Result<Bytes, Error> {
    let length = file.limit().min(CHUNK_BYTES);
    let mut chunk = Vec::with_capacity(usize::try_from(length).expect("a chunk fits in memory"));
    let read = file.by_ref().take(length).read_to_end(&mut chunk);
    let read = read.map_err(|error| io_error("read", path, &error))?;
    if (read as u64) < length {
        return Err(Error::Damaged(format!("{} is shorter than it was", path.display())));
    }
    Ok(Bytes::from(chunk))
}
