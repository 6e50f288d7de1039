//! The objects of the bucket, and what each request does to them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header;
use md5::{Digest as _, Md5};
use time::OffsetDateTime;
use time::macros::format_description;

use super::answer::{Answer, escaped};
use super::multipart::{Multipart, PART_BYTES_MIN};
use super::request::{Operation, S3Request};

/// Rows of a page, at most.
const LIST_ROWS_MAX: usize = 1_000;

#[derive(Debug)]
pub(super) struct Object {
    pub(super) body: Bytes,
    /// With its quotes.
    pub(super) etag: String,
    pub(super) written: SystemTime,
}

/// What the server does with the condition of a write or of a deletion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Conditions {
    /// It takes an `ETag` with and without its quotes, as S3 does.
    #[default]
    Kept,
    /// It never matches an `ETag` without its quotes.
    Quoted,
    /// It never matches an `ETag` with its quotes.
    Bare,
    /// It writes whatever the condition says.
    Ignored,
    /// 501.
    Refused,
}

#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) objects: BTreeMap<String, Object>,
    pub(super) multiparts: BTreeMap<String, Multipart>,
    pub(super) last_multipart: u64,
    pub(super) part_bytes_min: usize,
    pub(super) conditions: Conditions,
    pub(super) answers_repeated_completions: bool,
    /// The sizes of the parts of each completed upload, in their order.
    pub(super) completed: Vec<Vec<usize>>,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            multiparts: BTreeMap::new(),
            last_multipart: 0,
            part_bytes_min: PART_BYTES_MIN,
            conditions: Conditions::default(),
            answers_repeated_completions: false,
            completed: Vec::new(),
        }
    }
}

impl Bucket {
    pub(super) fn object(&self, key: &str) -> Option<Bytes> {
        self.objects.get(key).map(|object| object.body.clone())
    }

    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        self.objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    pub(super) fn insert(&mut self, key: &str, body: Bytes, written: SystemTime) -> String {
        let etag = etag(&body);
        self.objects.insert(key.to_owned(), Object { body, etag: etag.clone(), written });
        etag
    }

    pub(super) fn remove(&mut self, key: &str) -> bool {
        self.objects.remove(key).is_some()
    }

    pub(super) fn backdate(&mut self, key: &str, by: Duration) {
        self.objects.get_mut(key).expect("an object").written -= by;
    }

    /// Lets a request take effect.
    pub(super) fn apply(&mut self, request: &S3Request, now: SystemTime) -> Answer {
        let answer = match request.operation {
            Operation::GetObject => self.get(request),
            Operation::HeadObject => self.get(request).map(Answer::without_body),
            Operation::PutObject => self.put(request, now),
            Operation::DeleteObject => self.delete(request),
            Operation::ListObjects => Ok(self.list(request)),
            Operation::CreateMultipart => Ok(self.create_multipart(request, now)),
            Operation::UploadPart => self.upload_part(request),
            Operation::CompleteMultipart => self.complete_multipart(request),
            Operation::AbortMultipart => self.abort_multipart(request),
            Operation::ListParts => self.list_parts(request),
            Operation::ListMultiparts => Ok(self.list_multiparts(request)),
        };
        match answer {
            Ok(answer) => answer,
            // An answer to HEAD has no body, not even for an error.
            Err(error) if request.operation == Operation::HeadObject => {
                Answer::new(error.status.as_u16())
            }
            Err(error) => error,
        }
    }

    fn get(&self, request: &S3Request) -> Result<Answer, Answer> {
        let object = self.objects.get(&request.key);
        let object = object.ok_or_else(|| Answer::error(404, "NoSuchKey"))?;
        if request.header("if-match").is_some_and(|tags| !names(tags, &object.etag)) {
            return Err(Answer::error(412, "PreconditionFailed"));
        }
        if request.header("if-none-match").is_some_and(|tags| names(tags, &object.etag)) {
            return Err(Answer::error(304, "NotModified"));
        }
        let size = object.body.len();
        let content_type = request.parameter("response-content-type");
        let described = |status| {
            Answer::new(status)
                .with(header::ETAG, &object.etag)
                .with(header::LAST_MODIFIED, httpdate::fmt_http_date(object.written))
                .with(header::ACCEPT_RANGES, "bytes")
                .with(header::CONTENT_TYPE, content_type.unwrap_or("binary/octet-stream"))
        };
        Ok(match request.range(size)? {
            None => described(200).body(object.body.clone()),
            Some((first, end)) => described(206)
                .with(header::CONTENT_RANGE, format!("bytes {first}-{}/{size}", end - 1))
                .body(object.body.slice(first..end)),
        })
    }

    fn put(&mut self, request: &S3Request, now: SystemTime) -> Result<Answer, Answer> {
        request.check_digests()?;
        self.check_condition(request)?;
        let etag = self.insert(&request.key, request.body.clone(), now);
        Ok(Answer::new(200).with(header::ETAG, etag))
    }

    /// Refuses a write whose condition does not hold.
    pub(super) fn check_condition(&self, request: &S3Request) -> Result<(), Answer> {
        let has = |name| request.header(name).is_some();
        match self.conditions {
            Conditions::Ignored => return Ok(()),
            Conditions::Refused if has("if-match") || has("if-none-match") => {
                return Err(Answer::error(501, "NotImplemented"));
            }
            _ => {}
        }
        let present = self.objects.get(&request.key);
        if let Some(expected) = request.header("if-match") {
            let present = present.ok_or_else(|| Answer::error(404, "NoSuchKey"))?;
            if !self.matches(expected, &present.etag) {
                return Err(Answer::error(412, "PreconditionFailed"));
            }
        }
        match (request.header("if-none-match"), present) {
            (Some("*"), Some(_)) => Err(Answer::error(412, "PreconditionFailed")),
            (Some("*") | None, _) => Ok(()),
            (Some(_), _) => Err(Answer::error(501, "NotImplemented")),
        }
    }

    /// Whether the condition of a write or of a deletion names this `ETag`.
    fn matches(&self, condition: &str, etag: &str) -> bool {
        match self.conditions {
            Conditions::Quoted => condition == etag,
            Conditions::Bare => condition == etag.trim_matches('"'),
            Conditions::Kept | Conditions::Ignored | Conditions::Refused => names(condition, etag),
        }
    }

    fn delete(&mut self, request: &S3Request) -> Result<Answer, Answer> {
        // Deleting what is absent succeeds on S3, even with a condition.
        if self.objects.contains_key(&request.key) {
            self.check_condition(request)?;
        }
        self.remove(&request.key);
        Ok(Answer::new(204))
    }

    fn list(&self, request: &S3Request) -> Answer {
        let rows_max = request.parameter("max-keys").and_then(|text| text.parse().ok());
        let rows_max = rows_max.unwrap_or(LIST_ROWS_MAX).min(LIST_ROWS_MAX);
        let delimiter = request.parameter("delimiter").filter(|text| !text.is_empty());
        let token = request.parameter("continuation-token");
        let after = token.or(request.parameter("start-after")).unwrap_or_default();
        let prefix = request.key.as_str();
        let range = (Bound::Excluded(after), Bound::Unbounded);
        let (mut contents, mut groups) = (String::new(), String::new());
        let (mut rows, mut last, mut more) = (0, String::new(), false);
        for (key, object) in self.objects.range::<str, _>(range) {
            let Some(rest) = key.strip_prefix(prefix) else { continue };
            let group = delimiter.and_then(|delimiter| {
                rest.find(delimiter).map(|at| &key[..prefix.len() + at + delimiter.len()])
            });
            // A group is one row, and a token that names it stands for all its keys.
            if group.is_some_and(|group| last == group || token == Some(group)) {
                continue;
            }
            if rows == rows_max {
                more = true;
                break;
            }
            rows += 1;
            match group {
                Some(group) => {
                    let prefix = escaped(group);
                    let row = format!("<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>");
                    groups.push_str(&row);
                }
                None => row(&mut contents, key, object),
            }
            group.unwrap_or(key).clone_into(&mut last);
        }
        let next = format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(&last));
        Answer::new(200).xml(&format!(
            "<ListBucketResult><Prefix>{}</Prefix><KeyCount>{rows}</KeyCount>\
             <MaxKeys>{rows_max}</MaxKeys><IsTruncated>{more}</IsTruncated>{}{contents}{groups}\
             </ListBucketResult>",
            escaped(prefix),
            if more { next.as_str() } else { "" },
        ))
    }
}

/// A row of a listing.
fn row(contents: &mut String, key: &str, object: &Object) {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].000Z");
    let written = OffsetDateTime::from(object.written).format(format).expect("a date");
    let (key, etag, size) = (escaped(key), escaped(&object.etag), object.body.len());
    write!(
        contents,
        "<Contents><Key>{key}</Key><LastModified>{written}</LastModified><ETag>{etag}</ETag>\
         <Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )
    .expect("a string takes all");
}

/// The `ETag` of an object that was written whole.
pub(super) fn etag(body: &[u8]) -> String {
    format!("\"{}\"", hex::encode(Md5::digest(body)))
}

/// Whether a condition names this `ETag`. S3 takes it with and without its quotes.
pub(super) fn names(condition: &str, etag: &str) -> bool {
    condition == "*" || condition.trim_matches('"') == etag.trim_matches('"')
}
