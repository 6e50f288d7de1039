//! Headers: typed in, typed out.

use std::ops::Range;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE,
    TRANSFER_ENCODING,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};

use crate::oci::{Accept, Digest, MediaType};
use crate::registry::TagCondition;

/// The digest of the content of a response (distribution-spec, "Pulling blobs").
pub(super) const DOCKER_CONTENT_DIGEST: HeaderName =
    HeaderName::from_static("docker-content-digest");
/// The identifier of an upload session (Docker registry API, kept by all clients).
pub(super) const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// Says that this is a registry (Docker registry API, "API Version Check").
pub(super) const DOCKER_API_VERSION: HeaderName =
    HeaderName::from_static("docker-distribution-api-version");
/// The subject whose referrers include what was pushed (distribution-spec, "Pushing Manifests").
pub(super) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// The tags that a push set (distribution-spec, "Pushing Manifests with Tags").
pub(super) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
/// The filters that a list of referrers applied (distribution-spec, "Listing Referrers").
pub(super) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// Ranges that one request may ask for; clients that pull parts of layers ask for as many. Each may
/// cost a request to the store.
const RANGES_MAX: usize = 1024;

/// Headers of a response with content: its own, and those of the layers and of hyper.
const CONTENT_HEADERS_EXPECTED: usize = 12;

/// The length of the body that a head announces, in bytes.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &CONTENT_LENGTH)?.parse().ok()
}

/// Whether the body has no other transfer coding than `chunked`, once. Proxies disagree on where
/// any other body ends (RFC 9112, section 11.2).
pub(super) fn is_framed_plainly(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

/// Whether a request has no second `Host` header, and has one where HTTP/1.1 demands it (RFC 9112,
/// section 3.2).
pub(super) fn names_one_host(version: Version, headers: &HeaderMap) -> bool {
    match headers.get_all(HOST).iter().count() {
        0 => version != Version::HTTP_11,
        count => count == 1,
    }
}

/// What of a representation a `Range` header asks for (RFC 9110, section 14.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it: there is no range, or one that may be ignored (another unit, an invalid form, too
    /// many ranges, or ranges that are longer together than all of it).
    Whole,
    /// These bytes, which lie within it.
    Part(Range<u64>),
    /// Several ranges, in the order in which they were asked for. Each lies within it.
    Parts(Vec<Range<u64>>),
    /// Nothing of it: 416.
    Unsatisfiable,
}

/// Reads the value of a `Range` header against the size of the representation.
pub fn byte_range(value: &str, size: u64) -> Selection {
    let Some((unit, set)) = value.trim().split_once('=') else { return Selection::Whole };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Selection::Whole;
    }
    let mut parts: Vec<Range<u64>> = Vec::new();
    let mut asked = 0;
    for one in set.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        asked += 1;
        match one_range(one, size) {
            _ if asked > RANGES_MAX => return Selection::Whole,
            Selection::Part(range) => parts.push(range),
            // Ranges outside count only if there is no other.
            Selection::Unsatisfiable => {}
            ignored @ (Selection::Whole | Selection::Parts(_)) => return ignored,
        }
    }
    let total = parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.end - part.start));
    match parts.as_slice() {
        [] if asked > 0 => Selection::Unsatisfiable,
        [one] => Selection::Part(one.clone()),
        [_, _, ..] if total.is_some_and(|total| total <= size) => Selection::Parts(parts),
        [] | [_, _, ..] => Selection::Whole,
    }
}

/// Reads one range of the set. `Whole` if it is invalid.
fn one_range(text: &str, size: u64) -> Selection {
    let Some((first, last)) = text.split_once('-') else { return Selection::Whole };
    let (first, last) = (first.trim(), last.trim());
    let selected = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        // An end before the beginning is invalid, and the conformance suite wants to hear so.
        (Some(_), Some(_)) => return Selection::Unsatisfiable,
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(suffix)) if first.is_empty() => size.saturating_sub(suffix)..size,
        (Some(_) | None, None) | (None, Some(_)) => return Selection::Whole,
    };
    if selected.is_empty() { Selection::Unsatisfiable } else { Selection::Part(selected) }
}

/// A decimal number; one that is too large for 64 bits counts as the largest.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// What is wrong with a `Content-Range` of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentRangeError {
    /// It is not `<first>-<last>`.
    Malformed,
    /// Its end lies before its beginning.
    Reversed,
}

/// Reads the `Content-Range` of a chunk: the first and the last byte. This header of the
/// distribution-spec ("Pushing a blob in chunks") is not the one of RFC 9110: it has neither a unit
/// nor a size. Where a client sends them all the same, they are understood.
pub fn content_range(value: &str) -> Result<(u64, u64), ContentRangeError> {
    let value = value.trim();
    let value = value.strip_prefix("bytes ").unwrap_or(value);
    let value = value.split_once('/').map_or(value, |(range, _)| range);
    let (first, last) = value.split_once('-').ok_or(ContentRangeError::Malformed)?;
    match (number(first.trim()), number(last.trim())) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        (Some(_), Some(_)) => Err(ContentRangeError::Reversed),
        (Some(_) | None, None) | (None, Some(_)) => Err(ContentRangeError::Malformed),
    }
}

/// The part of the request's `Range` that is to be answered, `If-Range` considered.
pub(super) fn selection(headers: &HeaderMap, etag: &Digest, size: u64) -> Selection {
    let Some(range) = text(headers, &RANGE) else { return Selection::Whole };
    if let Some(condition) = text(headers, &IF_RANGE)
        && !names(condition, etag)
    {
        return Selection::Whole;
    }
    byte_range(range, size)
}

/// The value of a header that is there once, as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The host that the request was sent to: HTTP/2 has it in the URI.
pub(super) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    uri.authority().map(Authority::as_str).or_else(|| text(headers, &HOST))
}

/// What the client accepts. An entry that is not ASCII is invalid, so the header need not be.
pub(super) fn accept(headers: &HeaderMap) -> Accept {
    let values = headers.get_all(ACCEPT).iter();
    Accept::parse(values.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok()))
}

/// The declared type of the body.
pub(super) fn content_type(headers: &HeaderMap) -> Option<MediaType> {
    let value = text(headers, &CONTENT_TYPE)?;
    Some(value.parse().unwrap_or_else(|error| match error {}))
}

/// The entity tags of a condition: quoted, weak or bare, as clients of all ages send them.
fn entity_tags(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'))
}

fn names(condition: &str, etag: &Digest) -> bool {
    let etag = etag.to_string();
    entity_tags(condition).any(|tag| tag == etag)
}

/// How a conditional read is to be answered (RFC 9110, section 13.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precondition {
    /// As usual.
    Holds,
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client wants.
    Failed,
}

/// Evaluates the conditions of a GET or HEAD of something that exists.
pub(super) fn precondition(headers: &HeaderMap, etag: &Digest) -> Precondition {
    if let Some(condition) = text(headers, &IF_MATCH)
        && condition.trim() != "*"
        && !names(condition, etag)
    {
        return Precondition::Failed;
    }
    match text(headers, &IF_NONE_MATCH) {
        Some(condition) if condition.trim() == "*" || names(condition, etag) => {
            Precondition::NotModified
        }
        Some(_) | None => Precondition::Holds,
    }
}

/// The condition of a change to a tag.
pub(super) fn tag_condition(headers: &HeaderMap) -> TagCondition {
    let digests = |value: &str| -> Vec<Digest> {
        entity_tags(value).filter_map(|tag| tag.parse().ok()).collect()
    };
    match (text(headers, &IF_MATCH), text(headers, &IF_NONE_MATCH)) {
        (Some("*"), _) => TagCondition::Present,
        (Some(value), _) => TagCondition::PointsAt(digests(value)),
        (None, Some("*")) => TagCondition::Absent,
        (None, Some(value)) => TagCondition::PointsElsewhere(digests(value)),
        (None, None) => TagCondition::None,
    }
}

/// A response with room for the headers of content and for those that the layers add, so that the
/// map does not grow several times.
pub(super) fn content_response(body: Body) -> Response {
    let mut response = Response::new(body);
    *response.headers_mut() = HeaderMap::with_capacity(CONTENT_HEADERS_EXPECTED);
    response
}

/// Sets the two headers that name the content of a response, from its digest in quotation marks.
pub(super) fn name_content(headers: &mut HeaderMap, quoted_digest: Bytes) {
    let digest = quoted_digest.slice(1..quoted_digest.len() - 1);
    headers.insert(DOCKER_CONTENT_DIGEST, shared_value(digest));
    headers.insert(ETAG, shared_value(quoted_digest));
}

/// A value made of what our own types print, which is always visible ASCII.
pub(super) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The same without a copy.
pub(super) fn shared_value(text: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
