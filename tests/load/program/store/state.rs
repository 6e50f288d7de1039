//! Objects, uploads in parts, and counts.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::ops::Bound;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use serde_json::Value;

use super::answer::Answer;

/// What is read where bytes were dropped.
static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

#[expect(clippy::disallowed_methods, reason = "the clock of a store is its own")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Reads `20261124T100531Z`.
pub(crate) fn amazon_date(text: &str) -> Option<SystemTime> {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let date = time::PrimitiveDateTime::parse(text, &format).ok()?.assume_utc();
    let seconds = u64::try_from(date.unix_timestamp()).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Writes `2026-11-24T10:05:31Z`.
fn list_date(time: SystemTime) -> String {
    let format =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    time::OffsetDateTime::from(time).format(&format).unwrap_or_default()
}

/// The bytes of an object, or how many they were.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) size: u64,
    pub(crate) pieces: Option<Vec<Bytes>>,
}

impl Default for Content {
    fn default() -> Self {
        Self { size: 0, pieces: Some(Vec::new()) }
    }
}

impl Content {
    pub(crate) fn add(&mut self, piece: Bytes) {
        self.size += piece.len() as u64;
        if let Some(pieces) = &mut self.pieces {
            pieces.push(piece);
        }
    }

    pub(crate) fn drop_bytes(&mut self) {
        self.pieces = None;
    }

    fn append(&mut self, other: Self) {
        self.size += other.size;
        match (&mut self.pieces, other.pieces) {
            (Some(mine), Some(others)) => mine.extend(others),
            (mine, _) => *mine = None,
        }
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        let mut bytes = BytesMut::new();
        self.pieces.unwrap_or_default().iter().for_each(|piece| bytes.extend_from_slice(piece));
        bytes.freeze()
    }

    fn range(&self, range: Range<u64>) -> Vec<Bytes> {
        let mut chosen = Vec::new();
        let Some(pieces) = &self.pieces else {
            let mut left = range.end - range.start;
            while left > 0 {
                let size = left.min(ZEROS.len() as u64);
                chosen.push(Bytes::from_static(&ZEROS[..usize::try_from(size).unwrap_or(0)]));
                left -= size;
            }
            return chosen;
        };
        let mut at = 0;
        for piece in pieces {
            let next = at + piece.len() as u64;
            let (from, to) = (range.start.clamp(at, next), range.end.clamp(at, next));
            let within = |place: u64| usize::try_from(place - at).unwrap_or(0);
            if from < to {
                chosen.push(piece.slice(within(from)..within(to)));
            }
            at = next;
        }
        chosen
    }
}

/// What must be true of a key for a write to happen.
pub(crate) enum Condition {
    None,
    Absent,
    Tag(String),
}

struct Object {
    tag: String,
    written: SystemTime,
    content: Content,
}

struct Upload {
    key: String,
    parts: BTreeMap<u32, (String, Content)>,
}

#[derive(Default)]
pub(crate) struct State {
    objects: BTreeMap<String, Object>,
    uploads: HashMap<String, Upload>,
    counts: BTreeMap<&'static str, u64>,
    last_tag: u128,
}

impl State {
    pub(crate) fn count(&mut self, verb: &'static str) {
        *self.counts.entry(verb).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> Value {
        self.counts.iter().map(|(verb, count)| ((*verb).to_owned(), Value::from(*count))).collect()
    }

    /// An `ETag` that nothing else has.
    fn tag(&mut self) -> String {
        self.last_tag += 1;
        format!("\"{:032x}\"", self.last_tag)
    }

    fn holds(&self, key: &str, condition: &Condition) -> Result<(), Answer> {
        let there = self.objects.get(key);
        let refused = || Answer::refused(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        match (condition, there) {
            (Condition::None, _) | (Condition::Absent, None) => Ok(()),
            (Condition::Tag(expected), Some(object)) if object.tag == *expected => Ok(()),
            (Condition::Tag(_), None) => Err(no_such_key()),
            (Condition::Absent | Condition::Tag(_), Some(_)) => Err(refused()),
        }
    }

    pub(crate) fn put(&mut self, key: &str, condition: &Condition, content: Content) -> Answer {
        if let Err(refused) = self.holds(key, condition) {
            return refused;
        }
        let tag = self.tag();
        let answer = Answer::ok().header(header::ETAG, &tag);
        self.objects.insert(key.to_owned(), Object { tag, written: now(), content });
        answer
    }

    pub(crate) fn get(&self, key: &str, range: Option<&str>) -> Answer {
        let Some(object) = self.objects.get(key) else { return no_such_key() };
        let size = object.content.size;
        let described = |answer: Answer| {
            let answer = answer.header(header::ETAG, &object.tag).modified(object.written);
            answer.header(header::ACCEPT_RANGES, "bytes")
        };
        let Some(range) = range.and_then(|range| range.strip_prefix("bytes=")) else {
            return described(Answer::ok()).content(object.content.range(0..size), size);
        };
        let (first, last) = range.split_once('-').unwrap_or((range, ""));
        let start = first.parse().unwrap_or(0);
        let end = last.parse::<u64>().map_or(size, |last| (last + 1).min(size));
        if start >= end {
            return Answer::refused(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
        }
        described(Answer::ok().status(StatusCode::PARTIAL_CONTENT))
            .header(header::CONTENT_RANGE, &format!("bytes {start}-{}/{size}", end - 1))
            .content(object.content.range(start..end), end - start)
    }

    pub(crate) fn delete(&mut self, key: &str, condition: &Condition) -> Answer {
        if let Err(refused) = self.holds(key, condition) {
            return refused;
        }
        self.objects.remove(key);
        Answer::empty()
    }

    pub(crate) fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Answer {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after.to_owned()),
            Some(_) | None => Bound::Included(prefix.to_owned()),
        };
        let mut rows = self
            .objects
            .range((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix));
        let mut contents = String::new();
        let (mut count, mut last) = (0, "");
        for (key, object) in rows.by_ref().take(limit) {
            let Object { tag, content, written } = object;
            let (key_text, tag, size) = (escaped(key), escaped(tag), content.size);
            let written = list_date(*written);
            let _ = write!(
                contents,
                "<Contents><Key>{key_text}</Key><LastModified>{written}</LastModified>\
                 <ETag>{tag}</ETag><Size>{size}</Size>\
                 <StorageClass>STANDARD</StorageClass></Contents>"
            );
            (count, last) = (count + 1, key);
        }
        let more = rows.next().is_some();
        let next = escaped(last);
        let token = if more {
            format!("<NextContinuationToken>{next}</NextContinuationToken>")
        } else {
            String::new()
        };
        let prefix = escaped(prefix);
        Answer::xml(&format!(
            "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{bucket}\
             </Name><Prefix>{prefix}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>{limit}</MaxKeys>\
             <IsTruncated>{more}</IsTruncated>{token}{contents}</ListBucketResult>"
        ))
    }

    pub(crate) fn create_upload(&mut self, bucket: &str, key: &str) -> Answer {
        let id = self.tag().trim_matches('"').to_owned();
        let name = escaped(key);
        let answer = Answer::xml(&format!(
            "<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{name}</Key>\
             <UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        ));
        self.uploads.insert(id, Upload { key: key.to_owned(), parts: BTreeMap::new() });
        answer
    }

    pub(crate) fn put_part(&mut self, id: &str, number: u32, content: Content) -> Answer {
        let tag = self.tag();
        let Some(upload) = self.uploads.get_mut(id) else { return no_such_upload() };
        let answer = Answer::ok().header(header::ETAG, &tag);
        upload.parts.insert(number, (tag, content));
        answer
    }

    pub(crate) fn list_parts(&self, id: &str) -> Answer {
        let Some(upload) = self.uploads.get(id) else { return no_such_upload() };
        let mut parts = String::new();
        for (number, (tag, content)) in &upload.parts {
            let (tag, size) = (escaped(tag), content.size);
            let _ = write!(
                parts,
                "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag>\
                 <Size>{size}</Size></Part>"
            );
        }
        let more = "<IsTruncated>false</IsTruncated>";
        Answer::xml(&format!("<ListPartsResult>{more}{parts}</ListPartsResult>"))
    }

    /// Puts together the parts that the body names, in its order, if they are those that were put.
    pub(crate) fn complete_upload(
        &mut self,
        id: &str,
        body: &[u8],
        condition: &Condition,
    ) -> Answer {
        let Some(upload) = self.uploads.get(id) else { return no_such_upload() };
        if let Err(refused) = self.holds(&upload.key, condition) {
            return refused;
        }
        let text = String::from_utf8_lossy(body).replace("&quot;", "\"");
        let mut content = Content::default();
        for part in text.split("<Part>").skip(1) {
            let number = element(part, "PartNumber").and_then(|number| number.parse().ok());
            let found = number.and_then(|number: u32| upload.parts.get(&number));
            match (found, element(part, "ETag")) {
                (Some((tag, bytes)), Some(named))
                    if tag.trim_matches('"') == named.trim_matches('"') =>
                {
                    content.append(bytes.clone());
                }
                _ => return Answer::refused(StatusCode::BAD_REQUEST, "InvalidPart"),
            }
        }
        let key = upload.key.clone();
        self.uploads.remove(id);
        let tag = self.tag();
        let (name, etag) = (escaped(&key), escaped(&tag));
        self.objects.insert(key, Object { tag, written: now(), content });
        Answer::xml(&format!(
            "<CompleteMultipartUploadResult><Key>{name}</Key><ETag>{etag}</ETag>\
             </CompleteMultipartUploadResult>"
        ))
    }

    pub(crate) fn abort_upload(&mut self, id: &str) -> Answer {
        if self.uploads.remove(id).is_some() { Answer::empty() } else { no_such_upload() }
    }
}

fn no_such_key() -> Answer {
    Answer::refused(StatusCode::NOT_FOUND, "NoSuchKey")
}

fn no_such_upload() -> Answer {
    Answer::refused(StatusCode::NOT_FOUND, "NoSuchUpload")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}
