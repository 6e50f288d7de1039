//! What the records of the bucket contain. [`key`](super::key) says where each of them lies.
//!
//! A record is one line of JSON, a newline, and a payload of raw bytes. The line holds the version
//! of this encoding, a nonce, and the fields of one of the structs below:
//!
//! | key | line | payload |
//! |---|---|---|
//! | `p/` | [`Pointer`] | none |
//! | `l/` | [`Link`] | the blob, if it is small |
//! | `m/` | [`Manifest`] | the manifest exactly as it was pushed |
//! | `t/` | [`Tag`] | none |
//! | `x/`, `c/` | [`Marker`] | none |
//! | `r/` | [`Referrer`] | none |
//! | `u/` | [`Session`] | the received bytes that are not in a part yet |
//!
//! A tombstone, which is what a deleted record leaves behind, has no bytes at all.
//!
//! The nonce makes each rewrite of a record a different sequence of bytes, and so a new version. It
//! also lets a writer that lost the response to a write recognise that write as its own.

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::key::Location;
use crate::oci::{Algorithm, Digest, RepositoryName};

/// Version of the encoding.
const ENCODING: u32 = 1;

/// `p/`: one per distinct content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pointer {
    /// Bytes of the blob.
    pub size: u64,
    /// The data object. Absent while all copies of the content are payloads of links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// A repository that had a link to the blob when this was written: a hint for mounts that name
    /// no source.
    pub repository: RepositoryName,
}

/// `l/`: a blob of one repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Link {
    /// Bytes of the blob.
    pub size: u64,
    /// The data object. Absent if the payload of this record is the blob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

/// `m/`: a manifest of one repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The media type with which it was pushed.
    pub media_type: String,
    /// Digests of the blobs and manifests that it names, so that a collector need not parse it.
    pub references: Vec<String>,
    /// The manifest that this one refers to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
    /// Stays the same while the manifest is pushed again, and changes when it is pushed after a
    /// deletion.
    #[serde(rename = "life", default)]
    pub generation: String,
}

/// `t/`: the manifest that a tag points at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// The digest of the manifest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub size: u64,
    /// Whether the push that wrote this had no precondition.
    #[serde(default)]
    pub unconditional: bool,
}

/// `x/` and `c/`: the key says everything.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Marker {}

/// `r/`: a manifest that names a subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Referrer {
    /// The descriptor of the manifest, as the list of referrers shows it.
    pub descriptor: serde_json::Value,
}

/// `u/`: an upload session, with all that any process needs to continue it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// The repository that the blob is uploaded to.
    pub repository: RepositoryName,
    /// The subject of the caller who started the session; no other caller may continue it. Releases
    /// before this field wrote sessions that every caller may continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Bytes that were acknowledged to the client: those of the parts and of the payload, or all
    /// bytes of the single object.
    pub offset: u64,
    /// The state of each hash at `offset`.
    pub hashes: Vec<(Algorithm, String)>,
    /// The object that holds all acknowledged bytes, if they came in one request that probably sent
    /// the whole blob.
    #[serde(rename = "staged", default, skip_serializing_if = "Option::is_none")]
    pub single_object: Option<Location>,
    /// The object that was the single object before more bytes followed.
    #[serde(rename = "left", default, skip_serializing_if = "Option::is_none")]
    pub former_object: Option<Location>,
    /// The multipart upload; absent until there are enough bytes for a part.
    #[serde(rename = "target")]
    pub multipart: Option<Multipart>,
    /// The parts that the store acknowledged, in ascending order of their numbers.
    pub parts: Vec<Part>,
    /// The first part number that no request has used.
    pub part_next: u32,
    /// Set while a request sends parts: only that request uses the numbers below this bound. A
    /// later request that finds it set (the writer died, or still runs) begins at the bound, so no
    /// two requests send a part under the same number.
    pub reserved_to: Option<u32>,
    /// The digests with which the session is being committed, that of the blob first; empty before
    /// the commit. No bytes can follow then, and each request that continues the commit verifies
    /// all of them: content that one request rejected must not be published by another.
    pub committing: Vec<Digest>,
}

/// The multipart upload of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Multipart {
    /// The data object that completing the upload creates.
    pub location: Location,
    /// The identifier that the store gave the upload.
    #[serde(rename = "multipart")]
    pub id: String,
}

/// A part that the store acknowledged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u32,
    /// What the store returned for it (an `ETag` on S3).
    pub tag: String,
    /// Bytes of the part.
    pub size: u64,
}

impl Session {
    /// A session without any bytes.
    pub fn new(repository: RepositoryName, subject: String) -> Self {
        Self {
            repository,
            subject: Some(subject),
            offset: 0,
            hashes: Vec::new(),
            single_object: None,
            former_object: None,
            multipart: None,
            parts: Vec::new(),
            part_next: 1,
            reserved_to: None,
            committing: Vec::new(),
        }
    }

    /// Reads a session and its payload, and checks that its bytes add up to its offset.
    pub fn decode(body: &Bytes) -> Result<(Self, Bytes), DecodeError> {
        let (session, tail) = decode::<Self>(body)?;
        let damaged = |what: &str| Err(DecodeError(format!("an upload session {what}")));
        let Some(in_parts) =
            session.parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.size))
        else {
            return damaged("with impossible part sizes");
        };
        if session.single_object.is_some() {
            if !session.parts.is_empty() || !tail.is_empty() {
                return damaged("whose bytes are in two places");
            }
        } else if in_parts.checked_add(tail.len() as u64) != Some(session.offset) {
            return damaged("whose parts and payload are not as long as its offset");
        }
        Ok((session, tail))
    }
}

#[derive(Serialize, Deserialize)]
struct Line<H> {
    v: u32,
    nonce: String,
    #[serde(flatten)]
    header: H,
}

/// Why the bytes of a record cannot be understood. They are damaged, or a later release wrote them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(String);

/// 96 random bits in hex: a text that differs from every other.
///
/// # Panics
///
/// The operating system provides no randomness.
pub fn nonce() -> String {
    let mut nonce = [0u8; 12];
    // Without randomness nothing here can work; the operating system always has some.
    getrandom::fill(&mut nonce).expect("the operating system provides randomness");
    hex::encode(nonce)
}

/// The bytes of a record, with a new nonce.
///
/// # Panics
///
/// The header is not plain data with string keys, which all our headers are.
pub fn encode<H: Serialize>(header: &H, payload: &[u8]) -> Bytes {
    let line = Line { v: ENCODING, nonce: nonce(), header };
    let line = serde_json::to_vec(&line).expect("headers are plain data with string keys");
    let mut body = BytesMut::with_capacity(line.len() + 1 + payload.len());
    body.put_slice(&line);
    body.put_u8(b'\n');
    body.put_slice(payload);
    body.freeze()
}

/// Reads the header and the payload of a record that is not a tombstone.
pub fn decode<H: DeserializeOwned>(body: &Bytes) -> Result<(H, Bytes), DecodeError> {
    let end = body.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| DecodeError("a record without a header line".to_owned()))?;
    let line: Line<H> = serde_json::from_slice(&body[..end])
        .map_err(|error| DecodeError(format!("the header of a record: {error}")))?;
    if line.v != ENCODING {
        let version = line.v;
        return Err(DecodeError(format!("a record of encoding {version}, this program knows 1")));
    }
    Ok((line.header, body.slice(end + 1..)))
}

/// The same record with a new nonce. Fields that this release does not know are kept.
pub fn with_new_nonce(body: &Bytes) -> Result<Bytes, DecodeError> {
    let (header, payload) = decode::<serde_json::Map<String, serde_json::Value>>(body)?;
    Ok(encode(&header, &payload))
}
