//! The keys of the bucket: how each is written and read back, here and nowhere else.
//!
//! Every key starts with the operator's prefix (which the store adds) and the layout version `v1/`:
//!
//! ```text
//! d/<yyyymmdd>/<uuidv7>                             data of a blob, at a location used only once
//! p/<alg>/<hh>/<hex>                                pointer: where the data of a digest is
//! l/<repo>/_/<alg>/<hex>                            link: makes a blob readable in a repository
//! m/<repo>/_/<alg>/<hex>                            manifest: header and the exact bytes
//! t/<repo>/_/<tag>                                  tag: the descriptor that it points at
//! x/<repo>/_/<alg>/<hex>/<tag>                      index of tags by digest, may name old tags
//! r/<repo>/_/<subj alg>/<subj hex>/<alg>-<hex>      referrer: one record each
//! c/<repo>!                                         catalog marker: the repository exists
//! u/<id>                                            upload session
//! g/probe/<id>                                      scratch record of the start-up check
//! ```
//!
//! All of them are records except `d/`. `<hh>` are the first two digits of `<hex>`, `<uuidv7>` is
//! 32 hexadecimal digits, `<id>` is an [`UploadId`].
//!
//! - `_` cannot begin a component of a repository name, so `t/a/_/` never matches a key of `a/b`.
//! - `!` sorts before every character of a name, so the markers list in the order of the names.
//! - No key lies below another key: stores that keep objects as files refuse `x` beside `x/y`.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde_with::{DeserializeFromStr, SerializeDisplay};
use time::OffsetDateTime;
use uuid::Builder;

use crate::entropy;
use crate::oci::{Algorithm, Digest, RepositoryName, Tag, UploadId};

/// The version of the layout; part of every key.
const LAYOUT: &str = "v1/";

/// The key of a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RecordKey {
    /// One per distinct content: where its data is.
    Pointer(Digest),
    /// Makes a blob readable in a repository.
    Link(RepositoryName, Digest),
    Manifest(RepositoryName, Digest),
    Tag(RepositoryName, Tag),
    /// A tag that points, or once pointed, at a manifest.
    TagIndex(RepositoryName, Digest, Tag),
    /// A subject, and a manifest that names it as its subject.
    Referrer(RepositoryName, Digest, Digest),
    /// The catalog marker of a repository.
    Repository(RepositoryName),
    Upload(UploadId),
    /// A scratch record of the start-up check.
    Probe(UploadId),
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LAYOUT)?;
        match self {
            Self::Pointer(digest) => {
                let hex = digest.hex();
                write!(f, "p/{}/{}/{hex}", digest.algorithm(), &hex[..2])
            }
            Self::Link(name, digest) => write!(f, "l/{name}/_/{}", Slashed(digest)),
            Self::Manifest(name, digest) => write!(f, "m/{name}/_/{}", Slashed(digest)),
            Self::Tag(name, tag) => write!(f, "t/{name}/_/{tag}"),
            Self::TagIndex(name, digest, tag) => write!(f, "x/{name}/_/{}/{tag}", Slashed(digest)),
            Self::Referrer(name, subject, referrer) => write!(
                f,
                "r/{name}/_/{}/{}-{}",
                Slashed(subject),
                referrer.algorithm(),
                referrer.hex()
            ),
            Self::Repository(name) => write!(f, "c/{name}!"),
            Self::Upload(id) => write!(f, "u/{id}"),
            Self::Probe(id) => write!(f, "g/probe/{id}"),
        }
    }
}

/// A digest as two segments of a key.
struct Slashed<'a>(&'a Digest);

impl fmt::Display for Slashed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.algorithm(), self.0.hex())
    }
}

/// A text that is no key of this layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key of this layout: {0}")]
pub struct KeyError(String);

impl FromStr for RecordKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        parse(text).ok_or_else(|| KeyError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<RecordKey> {
    let (kind, rest) = text.strip_prefix(LAYOUT)?.split_once('/')?;
    let key = match kind {
        "p" => {
            let (algorithm, rest) = rest.split_once('/')?;
            let (shard, hex) = rest.split_once('/')?;
            let digest = digest(algorithm, hex)?;
            (digest.hex().get(..2)? == shard).then_some(RecordKey::Pointer(digest))?
        }
        "c" => RecordKey::Repository(rest.strip_suffix('!')?.parse().ok()?),
        "u" => RecordKey::Upload(rest.parse().ok()?),
        "g" => RecordKey::Probe(rest.strip_prefix("probe/")?.parse().ok()?),
        "l" | "m" | "t" | "x" | "r" => in_repository(kind, rest)?,
        _ => return None,
    };
    // Each key has one spelling: a text that prints differently is no key.
    (key.to_string() == text).then_some(key)
}

fn in_repository(kind: &str, rest: &str) -> Option<RecordKey> {
    let (name, rest) = rest.split_once("/_/")?;
    let name: RepositoryName = name.parse().ok()?;
    let segments: Vec<&str> = rest.split('/').collect();
    match (kind, segments.as_slice()) {
        ("l", [algorithm, hex]) => Some(RecordKey::Link(name, digest(algorithm, hex)?)),
        ("m", [algorithm, hex]) => Some(RecordKey::Manifest(name, digest(algorithm, hex)?)),
        ("t", [tag]) => Some(RecordKey::Tag(name, tag.parse().ok()?)),
        ("x", [algorithm, hex, tag]) => {
            Some(RecordKey::TagIndex(name, digest(algorithm, hex)?, tag.parse().ok()?))
        }
        ("r", [algorithm, hex, referrer]) => {
            let (referrer_algorithm, referrer_hex) = referrer.split_once('-')?;
            Some(RecordKey::Referrer(
                name,
                digest(algorithm, hex)?,
                digest(referrer_algorithm, referrer_hex)?,
            ))
        }
        _ => None,
    }
}

fn digest(algorithm: &str, hex: &str) -> Option<Digest> {
    let algorithm: Algorithm = algorithm.parse().ok()?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// The keys that a listing contains. The rest of each key below the prefix is the cursor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// The tags of a repository: the rest is the tag.
    Tags(RepositoryName),
    /// The tags that point, or once pointed, at a manifest: the rest is the tag.
    TagIndexes(RepositoryName, Digest),
    /// The referrers of a subject: the rest is `<alg>-<hex>`.
    Referrers(RepositoryName, Digest),
    /// All repositories: the rest is the name and `!`.
    Repositories,
    /// All records of one kind in the whole bucket, for the usage scan: the rest is as in
    /// [`RecordKey`].
    All(Kind),
}

/// A kind of record that the usage scan lists. Records of repositories whose names begin with the
/// same component are listed one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Links,
    Manifests,
    Tags,
    Uploads,
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LAYOUT)?;
        match self {
            Self::Tags(name) => write!(f, "t/{name}/_/"),
            Self::TagIndexes(name, digest) => write!(f, "x/{name}/_/{}/", Slashed(digest)),
            Self::Referrers(name, subject) => write!(f, "r/{name}/_/{}/", Slashed(subject)),
            Self::Repositories => f.write_str("c/"),
            Self::All(Kind::Links) => f.write_str("l/"),
            Self::All(Kind::Manifests) => f.write_str("m/"),
            Self::All(Kind::Tags) => f.write_str("t/"),
            Self::All(Kind::Uploads) => f.write_str("u/"),
        }
    }
}

impl Prefix {
    /// The cursor that continues a listing after a repository.
    pub fn after_repository(name: &str) -> String {
        format!("{name}!")
    }
}

/// The day in the key of a data object, `<yyyymmdd>`: when its upload began.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(Box<str>);

impl Day {
    /// The day of a moment, by UTC.
    pub fn of(time: SystemTime) -> Self {
        let (year, month, day) = OffsetDateTime::from(time).to_calendar_date();
        Self(format!("{year:04}{:02}{day:02}", u8::from(month)).into())
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Day {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { Ok(Self(text.into())) } else { Err(KeyError(text.to_owned())) }
    }
}

/// What the keys of the data objects of a day begin with, or those of all data objects.
pub fn data_prefix(day: Option<&Day>) -> String {
    match day {
        Some(day) => format!("{LAYOUT}d/{day}/"),
        None => format!("{LAYOUT}d/"),
    }
}

/// Where the data of a blob is: `d/<yyyymmdd>/<uuidv7>`, never used twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash, SerializeDisplay, DeserializeFromStr)]
pub struct Location(Box<str>);

impl Location {
    /// A location that was never used before and is never returned again. Both the day and the id
    /// begin with `now`.
    pub fn new_unique(now: SystemTime) -> Self {
        let age = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let milliseconds = u64::try_from(age.as_millis()).unwrap_or_default();
        let id = Builder::from_unix_timestamp_millis(milliseconds, &entropy::bytes()).into_uuid();
        Self(format!("{}{}", data_prefix(Some(&Day::of(now))), id.simple()).into())
    }

    /// The complete key, without the operator's prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Location {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let well_formed = || {
            let (day, id) = text.strip_prefix(LAYOUT)?.strip_prefix("d/")?.split_once('/')?;
            day.parse::<Day>().ok()?;
            let hex =
                id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            hex.then_some(())
        };
        match well_formed() {
            Some(()) => Ok(Self(text.into())),
            None => Err(KeyError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;
