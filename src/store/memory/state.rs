//! The content of the store, and what each operation does to it.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::layout::key::data_prefix;
use crate::store::{
    DataObject, Day, Deadline, Error, LIST_ROWS_MAX, Listed, Listing, MultipartId, OpenMultipart,
    Part, Record, Removal, Version,
};

#[derive(Debug, Default)]
pub(super) struct State {
    records: BTreeMap<String, Written>,
    bytes: BTreeMap<String, Data>,
    multiparts: BTreeMap<String, Multipart>,
    last_multipart: u64,
}

#[derive(Debug)]
struct Written {
    body: Bytes,
    version: Version,
    at: SystemTime,
}

/// The data of a location.
#[derive(Debug)]
struct Data {
    segments: Vec<Bytes>,
    version: Version,
    at: SystemTime,
}

impl Data {
    fn new(segments: Vec<Bytes>, at: SystemTime) -> Self {
        let version = match segments.as_slice() {
            [whole] => tag_of(whole),
            // As on S3, where the ETag is that of the ETags of the parts.
            parts => tag_of(&parts.iter().map(tag_of).collect::<String>().into()),
        };
        Self { segments, version: Version(version), at }
    }

    fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len() as u64).sum()
    }
}

#[derive(Debug)]
struct Multipart {
    location: String,
    started: SystemTime,
    parts: BTreeMap<u32, Bytes>,
}

/// What must hold for a write to take effect.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition<'a> {
    Absent,
    Version(&'a Version),
}

impl State {
    pub(super) fn read(&self, key: &str, now: SystemTime) -> Result<Record, Error> {
        let written = self.records.get(key).ok_or(Error::NotFound)?;
        // A clock that was set back must not make the age negative.
        let age = now.duration_since(written.at).unwrap_or_default();
        Ok(Record {
            body: written.body.clone(),
            version: written.version.clone(),
            age: Duration::from_secs(age.as_secs()),
        })
    }

    pub(super) fn write(
        &mut self,
        key: &str,
        condition: Condition<'_>,
        body: Bytes,
        deadline: Option<Deadline>,
        now: SystemTime,
    ) -> Result<Version, Error> {
        let late = |deadline: Deadline| {
            now.duration_since(deadline.leased_at).is_ok_and(|age| age > deadline.valid_for)
        };
        if deadline.is_some_and(late) {
            return Err(Error::Expired);
        }
        let holds = match (condition, self.records.get(key)) {
            (Condition::Absent, None) => true,
            (Condition::Version(expected), Some(present)) => *expected == present.version,
            (Condition::Absent, Some(_)) | (Condition::Version(_), None) => false,
        };
        if !holds {
            return Err(Error::Conflict);
        }
        // As on S3, where the ETag of an object is the MD5 of its content.
        let version = Version(tag_of(&body));
        let written = Written { body, version: version.clone(), at: now };
        self.records.insert(key.to_owned(), written);
        Ok(version)
    }

    pub(super) fn remove(&mut self, key: &str, expected: &Version) -> Removal {
        match self.records.get(key) {
            Some(present) if present.version == *expected => {
                self.records.remove(key);
                Removal::Removed
            }
            Some(_) | None => Removal::Conflict,
        }
    }

    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: SystemTime,
    ) -> Listing {
        page(&self.records, (prefix, after, limit), now, |written| {
            (written.body.len() as u64, written.version.clone(), written.at)
        })
    }

    pub(super) fn list_data(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: SystemTime,
    ) -> Listing {
        page(&self.bytes, (prefix, after, limit), now, |data| {
            (data.size(), data.version.clone(), data.at)
        })
    }

    pub(super) fn list_days(&self) -> Vec<Day> {
        let prefix = data_prefix(None);
        let day = |key: &String| key.strip_prefix(&prefix)?.split_once('/')?.0.parse().ok();
        let mut days: Vec<Day> = self.bytes.keys().filter_map(day).collect();
        days.dedup();
        days
    }

    pub(super) fn put(
        &mut self,
        location: &str,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
        now: SystemTime,
    ) -> Result<Version, Error> {
        if sha256.is_some_and(|expected| Sha256::digest(&bytes)[..] != expected[..]) {
            return Err(Error::BadDigest);
        }
        // A real store would overwrite. A location is never used twice, so this fails to make tests
        // find such mistakes; only a retried request may meet its own data.
        let data = || Data::new(vec![bytes.clone()], now);
        let present = self.bytes.entry(location.to_owned()).or_insert_with(data);
        if present.segments == [bytes] {
            Ok(present.version.clone())
        } else {
            Err(Error::Refused(format!("{location} already holds other bytes")))
        }
    }

    pub(super) fn head(&self, location: &str) -> Option<DataObject> {
        let data = self.bytes.get(location)?;
        Some(DataObject { size: data.size(), version: data.version.clone() })
    }

    /// The data of a range, in pieces that share memory with the store.
    pub(super) fn get(
        &self,
        location: &str,
        range: Option<Range<u64>>,
    ) -> Result<Vec<Bytes>, Error> {
        let data = self.bytes.get(location).ok_or(Error::NotFound)?;
        let size = data.size();
        let range = range.unwrap_or(0..size);
        if range.start > range.end || range.end > size {
            return Err(Error::Refused(format!("{range:?} lies outside of {size} bytes")));
        }
        let mut pieces = Vec::new();
        let mut begin = 0;
        for segment in &data.segments {
            let end = begin + segment.len() as u64;
            let (from, to) = (range.start.max(begin), range.end.min(end));
            if from < to {
                pieces.push(segment.slice(to_usize(from - begin)..to_usize(to - begin)));
            }
            begin = end;
        }
        Ok(pieces)
    }

    pub(super) fn delete(&mut self, location: &str) {
        self.bytes.remove(location);
    }

    pub(super) fn start(&mut self, location: &str, now: SystemTime) -> String {
        self.last_multipart += 1;
        let id = format!("multipart-{}", self.last_multipart);
        let (location, parts) = (location.to_owned(), BTreeMap::new());
        let multipart = Multipart { location, started: now, parts };
        self.multiparts.insert(id.clone(), multipart);
        id
    }

    pub(super) fn put_part(
        &mut self,
        location: &str,
        id: &str,
        number: u32,
        bytes: &Bytes,
    ) -> Result<Part, Error> {
        if !(1..=10_000).contains(&number) {
            return Err(Error::Refused(format!("{number} is not a part number")));
        }
        let multipart = self.multiparts.get_mut(id).filter(|found| found.location == location);
        let multipart = multipart.ok_or(Error::NotFound)?;
        let part = Part { number, tag: tag_of(bytes), size: bytes.len() as u64 };
        // On S3 the last one wins. It fails here for the same reason as in `put`.
        let present = multipart.parts.entry(number).or_insert_with(|| bytes.clone());
        if present == bytes {
            Ok(part)
        } else {
            Err(Error::Refused(format!("part {number} was sent before with other bytes")))
        }
    }

    pub(super) fn complete(
        &mut self,
        location: &str,
        id: &str,
        parts: &[Part],
        part_bytes_min: u64,
    ) -> Result<Version, Error> {
        let Some(multipart) = self.multiparts.get(id).filter(|open| open.location == location)
        else {
            // The location is used by this upload only: what is there is its result.
            let found = self.bytes.get(location).map(|data| data.version.clone());
            return found.ok_or(Error::NotFound);
        };
        if parts.is_empty() || !parts.is_sorted_by(|one, next| one.number < next.number) {
            return Err(Error::Refused("the parts are not in ascending order".to_owned()));
        }
        let mut segments = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            let sent = multipart.parts.get(&part.number);
            let sent = sent.filter(|bytes| tag_of(bytes) == part.tag);
            let sent = sent.ok_or_else(|| Error::Refused(format!("no part is {part:?}")))?;
            if (sent.len() as u64) < part_bytes_min && index + 1 < parts.len() {
                return Err(Error::Refused(format!("part {} is too small", part.number)));
            }
            segments.push(sent.clone());
        }
        // As on S3, the object is as old as the upload, not as its completion.
        let data = Data::new(segments, multipart.started);
        let version = data.version.clone();
        self.multiparts.remove(id);
        self.bytes.insert(location.to_owned(), data);
        Ok(version)
    }

    pub(super) fn abort(&mut self, id: &str) {
        self.multiparts.remove(id);
    }

    pub(super) fn is_open(&self, location: &str, id: &str) -> bool {
        self.multiparts.get(id).is_some_and(|open| open.location == location)
    }

    pub(super) fn list_multiparts(&self, limit: usize) -> Vec<OpenMultipart> {
        let row = |(id, open): (&String, &Multipart)| {
            let location = open.location.parse().ok()?;
            Some(OpenMultipart { location, id: MultipartId(id.clone()), started: open.started })
        };
        let mut rows: Vec<OpenMultipart> = self.multiparts.iter().filter_map(row).collect();
        rows.sort_by(|one, next| one.location.cmp(&next.location));
        rows.truncate(limit);
        rows
    }

    pub(super) fn data_objects(&self) -> Vec<(String, u64)> {
        self.bytes.iter().map(|(key, data)| (key.clone(), data.size())).collect()
    }

    pub(super) fn data_age(&self, location: &str, now: SystemTime) -> Option<Duration> {
        self.bytes.get(location).map(|data| now.duration_since(data.at).unwrap_or_default())
    }

    pub(super) fn records(&self) -> Vec<(String, Bytes)> {
        self.records.iter().map(|(key, written)| (key.clone(), written.body.clone())).collect()
    }

    pub(super) fn open_multiparts(&self) -> usize {
        self.multiparts.len()
    }
}

/// A page of the keys below a prefix. `row` returns the size, the version and the time of a value.
fn page<T>(
    all: &BTreeMap<String, T>,
    (prefix, after, limit): (&str, Option<&str>, usize),
    now: SystemTime,
    row: impl Fn(&T) -> (u64, Version, SystemTime),
) -> Listing {
    let cursor = format!("{prefix}{}", after.unwrap_or_default());
    let from = match after {
        Some(_) => Bound::Excluded(cursor.as_str()),
        None => Bound::Included(cursor.as_str()),
    };
    let below = all.range::<str, _>((from, Bound::Unbounded));
    let mut below = below.take_while(|(key, _)| key.starts_with(prefix)).map(|(key, value)| {
        let (size, version, written) = row(value);
        Listed { key: key.clone(), size, version, written }
    });
    let rows = below.by_ref().take(limit.clamp(1, LIST_ROWS_MAX)).collect();
    Listing { rows, more: below.next().is_some(), now }
}

fn tag_of(bytes: &Bytes) -> String {
    hex::encode(&Sha256::digest(bytes)[..16])
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).expect("an offset into memory fits")
}
