//! What a client asks for.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, request};
use md5::{Digest as _, Md5};
use percent_encoding::percent_decode_str;
use sha2::Sha256;
use time::PrimitiveDateTime;
use time::macros::format_description;

use super::BUCKET;
use super::answer::Answer;

/// How far in the future a presigned request may be dated.
const SKEW_MAX: Duration = Duration::from_mins(15);

/// An operation of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    GetObject,
    HeadObject,
    PutObject,
    DeleteObject,
    ListObjects,
    CreateMultipart,
    UploadPart,
    CompleteMultipart,
    AbortMultipart,
    ListParts,
    ListMultiparts,
}

/// A request that has arrived.
#[derive(Clone, Debug)]
pub(super) struct S3Request {
    pub(super) operation: Operation,
    /// The key, or the prefix of a list.
    pub(super) key: String,
    pub(super) body: Bytes,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
}

impl S3Request {
    pub(super) fn parse(head: &request::Parts, body: Bytes) -> Result<Self, Answer> {
        let path = decoded(head.uri.path());
        let path = path.strip_prefix('/').unwrap_or(&path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        if bucket != BUCKET {
            return Err(Answer::error(404, "NoSuchBucket"));
        }
        let pairs = head.uri.query().unwrap_or_default().split('&');
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let query: BTreeMap<String, String> =
            pairs.map(|(name, value)| (decoded(name), decoded(value))).collect();
        let asks = |name| query.contains_key(name);
        let operation = match head.method {
            Method::GET if key.is_empty() && asks("list-type") => Operation::ListObjects,
            Method::GET if key.is_empty() && asks("uploads") => Operation::ListMultiparts,
            Method::GET if asks("uploadId") => Operation::ListParts,
            Method::GET if !key.is_empty() => Operation::GetObject,
            Method::HEAD if !key.is_empty() => Operation::HeadObject,
            Method::PUT if asks("partNumber") => Operation::UploadPart,
            Method::PUT if !key.is_empty() => Operation::PutObject,
            Method::POST if asks("uploads") => Operation::CreateMultipart,
            Method::POST if asks("uploadId") => Operation::CompleteMultipart,
            Method::DELETE if asks("uploadId") => Operation::AbortMultipart,
            Method::DELETE if !key.is_empty() => Operation::DeleteObject,
            _ => return Err(Answer::error(501, "NotImplemented")),
        };
        let key = match operation {
            Operation::ListObjects | Operation::ListMultiparts => {
                query.get("prefix").cloned().unwrap_or_default()
            }
            _ => key.to_owned(),
        };
        Ok(Self { operation, key, body, query, headers: head.headers.clone() })
    }

    /// A parameter of the query.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        // The SDK moves headers of a presigned request into its query.
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .or_else(|| self.parameter(name))
    }

    /// Refuses a presigned request before its time and after it.
    pub(super) fn check_expiry(&self, now: SystemTime) -> Result<(), Answer> {
        let (Some(dated), Some(valid_for)) =
            (self.parameter("X-Amz-Date"), self.parameter("X-Amz-Expires"))
        else {
            return Ok(());
        };
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let dated = PrimitiveDateTime::parse(dated, format).expect("a date of a signature");
        let dated = SystemTime::from(dated.assume_utc());
        let valid_for = Duration::from_secs(valid_for.parse().expect("seconds"));
        if now > dated + valid_for {
            return Err(Answer::failed(403, "AccessDenied", "Request has expired"));
        }
        if dated > now + SKEW_MAX {
            return Err(Answer::failed(403, "AccessDenied", "Request is not valid yet"));
        }
        Ok(())
    }

    /// Refuses a body that is not the one which was announced.
    pub(super) fn check_digests(&self) -> Result<(), Answer> {
        let crc32 = || crc32fast::hash(&self.body).to_be_bytes().to_vec();
        let announced: [(&str, &dyn Fn() -> Vec<u8>); 3] = [
            ("content-md5", &|| Md5::digest(&self.body).to_vec()),
            ("x-amz-checksum-sha256", &|| Sha256::digest(&self.body).to_vec()),
            ("x-amz-checksum-crc32", &crc32),
        ];
        for (name, digest) in announced {
            if self.header(name).is_some_and(|text| text != BASE64_STANDARD.encode(digest())) {
                return Err(Answer::error(400, "BadDigest"));
            }
        }
        Ok(())
    }

    /// The bytes of `Range`, first and one past the last, of an object of this size.
    pub(super) fn range(&self, size: usize) -> Result<Option<(usize, usize)>, Answer> {
        let Some((first, last)) =
            self.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
        else {
            return Ok(None);
        };
        let range = match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) => (first, size.min(last + 1)),
            (Ok(first), Err(_)) => (first, size),
            (Err(_), Ok(length)) => (size.saturating_sub(length), size),
            (Err(_), Err(_)) => return Ok(None),
        };
        if range.0 < range.1 { Ok(Some(range)) } else { Err(Answer::error(416, "InvalidRange")) }
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().expect("UTF-8").into_owned()
}
