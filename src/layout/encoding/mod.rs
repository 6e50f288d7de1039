//! How records and tombstones are written as bytes.
//!
//! A record is one line of JSON, a newline, and a payload of raw bytes. The line holds, beside the
//! fields of one of the structs of [`records`](super::records):
//!
//! | field | |
//! |---|---|
//! | `v` | the version of this encoding |
//! | `nonce` | random: makes each write other bytes, and so another version of the object |
//! | `past` | the nonces of the last four versions before this one, the newest first |
//! | `need` | features that a program has to know before it may rewrite or delete the record |
//! | `need_read` | features that a program has to know before it may even read the record |
//!
//! `nonce` and `past` tell a writer that lost the response to a write whether the write happened,
//! also when another writer has replaced it since. A rewrite keeps the fields that it does not
//! know: a later release wrote them.
//!
//! A *tombstone*, which a deleted record leaves behind, is 36 raw bytes: its own nonce and those of
//! the two versions before it. Every live record is longer, so a listing tells the two apart.

use std::fmt;
use std::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::{self, DeserializeOwned, IgnoredAny, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with::{DeserializeFromStr, SerializeDisplay};

use crate::entropy;

/// Version of the encoding.
const ENCODING: u32 = 1;
const NONCE_BYTES: usize = 12;
/// Versions before a record that its `past` names.
const PAST_MAX: usize = 4;
/// Bytes of a tombstone: three nonces.
const TOMBSTONE_BYTES: usize = TOMBSTONE_NONCES * NONCE_BYTES;
const TOMBSTONE_NONCES: usize = 3;
/// The features that this release knows, for `need` and `need_read`.
const FEATURES: &[&str] = &[];

/// Whether an object of this size is a tombstone: the shortest live record has 43 bytes.
pub fn is_tombstone(bytes: u64) -> bool {
    bytes <= TOMBSTONE_BYTES as u64
}

/// 96 random bits that identify one write of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, SerializeDisplay, DeserializeFromStr)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// A nonce that differs from every other.
    pub fn random() -> Self {
        Self(entropy::bytes())
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Nonce {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, hex::FromHexError> {
        let mut nonce = [0; NONCE_BYTES];
        hex::decode_to_slice(text, &mut nonce)?;
        Ok(Self(nonce))
    }
}

/// Why the bytes of a record cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{0}")]
    Damaged(String),
    /// A later release wrote the record, and said that this one must not touch it.
    #[error("a later release wrote this record: it needs {0}, which this release does not know")]
    Newer(String),
}

impl DecodeError {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

/// The fields of the line that every record has.
#[derive(Debug, Serialize, Deserialize)]
struct Line<H> {
    v: u32,
    nonce: Nonce,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    past: Vec<Nonce>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    need: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    need_read: Vec<String>,
    #[serde(flatten)]
    header: H,
}

/// What the versions before a write leave to it: their nonces, and what this release does not know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lineage {
    /// The newest first, at most [`PAST_MAX`].
    past: Vec<Nonce>,
    need: Vec<String>,
    need_read: Vec<String>,
    unknown: Map<String, Value>,
}

impl Lineage {
    /// The lineage of a write over this record or tombstone.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Newer`] if this release may not rewrite the record.
    pub fn after(body: &Bytes, known: Known) -> Result<Self, DecodeError> {
        if is_tombstone(body.len() as u64) {
            return Ok(Self { past: nonces_of_tombstone(body), ..Self::default() });
        }
        let (line, _) = line::<Map<String, Value>>(body)?;
        require(&line.need)?;
        let Line { nonce, past, need, need_read, header: mut unknown, .. } = line;
        match known {
            Known::Fields(known) => unknown.retain(|name, _| !known.contains(&name.as_str())),
            Known::All => unknown.clear(),
        }
        Ok(Self { past, need, need_read, unknown }.then(nonce))
    }

    /// The lineage of the write that follows the one with this nonce.
    #[must_use]
    pub fn then(mut self, nonce: Nonce) -> Self {
        self.past.insert(0, nonce);
        self.past.truncate(PAST_MAX);
        self
    }
}

/// Which fields a new header does not take over from the record that it replaces.
#[derive(Clone, Copy, Debug)]
pub enum Known {
    Fields(&'static [&'static str]),
    /// The header begins with a copy of the one that it replaces.
    All,
}

/// The writes that a record or tombstone names: its own, and some before it.
#[derive(Clone, Debug)]
pub struct History {
    nonces: Vec<Nonce>,
    /// Whether these are all writes since the record was created.
    complete: bool,
}

impl History {
    pub fn of(body: &Bytes) -> Result<Self, DecodeError> {
        let nonces = if is_tombstone(body.len() as u64) {
            nonces_of_tombstone(body)
        } else {
            let (line, _) = line::<IgnoredAny>(body)?;
            std::iter::once(line.nonce).chain(line.past).collect()
        };
        // A tombstone that is full may have forgotten some, and so may what replaced it.
        let complete = nonces.len() < TOMBSTONE_NONCES;
        Ok(Self { nonces, complete })
    }

    /// Whether the write with this nonce is the last one.
    pub fn is_newest(&self, nonce: Nonce) -> bool {
        self.nonces.first() == Some(&nonce)
    }

    /// Whether the write with this nonce happened.
    pub fn has(&self, nonce: Nonce) -> bool {
        self.nonces.contains(&nonce)
    }

    /// Whether a write over `base` that is not in this history did certainly not happen: the
    /// history reaches back to what the write would have replaced.
    pub fn reaches(&self, base: &Lineage) -> bool {
        match base.past.first() {
            Some(replaced) => self.has(*replaced),
            None => self.complete,
        }
    }
}

fn nonces_of_tombstone(body: &Bytes) -> Vec<Nonce> {
    let nonces = body.chunks_exact(NONCE_BYTES).filter_map(|nonce| nonce.try_into().ok());
    nonces.filter(|nonce| *nonce != [0; NONCE_BYTES]).map(Nonce).collect()
}

fn require(features: &[String]) -> Result<(), DecodeError> {
    match features.iter().find(|feature| !FEATURES.contains(&feature.as_str())) {
        None => Ok(()),
        Some(feature) => Err(DecodeError::Newer(feature.clone())),
    }
}

/// A record that will be written, whatever it replaces.
#[derive(Clone, Debug)]
pub struct Draft {
    nonce: Nonce,
    /// A JSON object.
    header: Vec<u8>,
    known: Known,
    payload: Bytes,
}

impl Draft {
    /// # Panics
    ///
    /// The header is not plain data with string keys, which all our headers are.
    pub fn new<H: Serialize + DeserializeOwned>(header: &H, payload: Bytes) -> Self {
        let header = serde_json::to_vec(header).expect("headers are plain data with string keys");
        Self { nonce: Nonce::random(), header, known: Known::Fields(fields_of::<H>()), payload }
    }

    /// A draft whose header has all fields that the record will have: it takes none over from the
    /// record that it replaces.
    ///
    /// # Panics
    ///
    /// As [`Draft::new`].
    pub fn whole(header: &Map<String, Value>, payload: Bytes) -> Self {
        Self { known: Known::All, ..Self::new(header, payload) }
    }

    pub fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// Which fields of the record that it replaces it does not take over.
    pub fn known(&self) -> Known {
        self.known
    }

    /// The bytes of the record.
    pub fn encode(&self, lineage: &Lineage) -> Bytes {
        assemble(self.nonce, &self.header, lineage, &self.payload)
    }
}

/// The bytes of a record whose payload is not copied more than once.
///
/// # Panics
///
/// As [`Draft::new`].
pub fn encode<H: Serialize>(header: &H, payload: &[u8], nonce: Nonce, lineage: &Lineage) -> Bytes {
    let header = serde_json::to_vec(header).expect("headers are plain data with string keys");
    assemble(nonce, &header, lineage, payload)
}

fn assemble(nonce: Nonce, header: &[u8], lineage: &Lineage, payload: &[u8]) -> Bytes {
    let Lineage { past, need, need_read, unknown } = lineage.clone();
    let line = Line { v: ENCODING, nonce, past, need, need_read, header: unknown };
    let line = serde_json::to_vec(&line).expect("a line is plain data with string keys");
    let fields = &header[1..];
    let mut body = BytesMut::with_capacity(line.len() + fields.len() + 1 + payload.len());
    body.put_slice(&line[..line.len() - 1]);
    if fields != b"}" {
        body.put_u8(b',');
    }
    body.put_slice(fields);
    body.put_u8(b'\n');
    body.put_slice(payload);
    body.freeze()
}

/// The bytes of a tombstone.
pub fn tombstone(nonce: Nonce, lineage: &Lineage) -> Bytes {
    let mut body = BytesMut::zeroed(TOMBSTONE_BYTES);
    let nonces = std::iter::once(&nonce).chain(&lineage.past);
    for (bytes, nonce) in body.chunks_exact_mut(NONCE_BYTES).zip(nonces) {
        bytes.copy_from_slice(&nonce.0);
    }
    body.freeze()
}

fn line<H: DeserializeOwned>(body: &Bytes) -> Result<(Line<H>, Bytes), DecodeError> {
    let end = body.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| DecodeError::damaged("a record without a header line"))?;
    let line: Line<H> = serde_json::from_slice(&body[..end])
        .map_err(|error| DecodeError::damaged(format!("the header of a record: {error}")))?;
    if line.v != ENCODING {
        return Err(DecodeError::Newer(format!("encoding {}", line.v)));
    }
    require(&line.need_read)?;
    Ok((line, body.slice(end + 1..)))
}

/// Reads the header and the payload of a record that is not a tombstone.
pub fn decode<H: DeserializeOwned>(body: &Bytes) -> Result<(H, Bytes), DecodeError> {
    let (line, payload) = line(body)?;
    Ok((line.header, payload))
}

/// A draft of the same record, to be written with a new nonce. Keeps all fields.
pub fn touched(body: &Bytes) -> Result<Draft, DecodeError> {
    let (header, payload) = decode::<Map<String, Value>>(body)?;
    Ok(Draft::whole(&header, payload))
}

/// The names of the fields of a struct, as serde writes them.
pub fn fields_of<H: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // Fails always: the struct is only asked which fields it wants.
    drop(H::deserialize(FieldNames(&mut fields)));
    fields
}

struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> de::Deserializer<'de> for FieldNames<'_> {
    type Error = de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(de::Error::custom("no value"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("not a struct"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests;
