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
//! g/settings                                        what all processes on the bucket must share
//! g/cache-key                                       key of the MACs in the shared cache
//! g/keys                                            keys that sign tokens
//! g/usage                                           what namespaces with a quota store
//! g/probe/<id>                                      scratch record of the start-up check
//! g/writer/<id>                                     lease of the process that writes alone
//! g/collector                                       lease of the process that collects garbage
//! g/run                                             how far the garbage collection has come
//! g/seen/<repo>!                                    links that its last run found unreferenced
//! g/quarantine/<yyyymmdd>/<uuidv7>                  data that it will delete: `d/` with that rest
//! h/<repo>/_/<tag>/<rank>                           reserved: one change of a tag
//! o/<hh>/<uuidv7>                                   reserved: one event
//! ```
//!
//! All of them are records except `d/`. `<hh>` are two hexadecimal digits: the first two of `<hex>`
//! in `p/`, the last two of `<uuidv7>` in `o/`. `<uuidv7>` is 32 hexadecimal digits, `<id>` is an
//! [`UploadId`]. `<rank>` is 16 hexadecimal digits, and a later change has a smaller one.
//!
//! *Reserved* keys are parsed and printed, and this release neither reads nor writes them. The same
//! holds for locations `x:<name>/<key>`: data that an import points at in another bucket, see
//! [`Location::key`].
//!
//! - `_` cannot begin a component of a repository name, so `t/a/_/` never matches a key of `a/b`.
//! - `!` sorts before every character of a name, so the markers list in the order of the names.
//! - No key lies below another key: stores that keep objects as files refuse `x` beside `x/y`.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde_with::{DeserializeFromStr, SerializeDisplay};
use time::OffsetDateTime;
use uuid::{Builder, Uuid};

use crate::entropy;
use crate::oci::{Algorithm, Digest, RepositoryName, Tag, UploadId};

/// The version of the layout; part of every key.
const LAYOUT: &str = "v1/";
/// The same as a number.
pub const LAYOUT_VERSION: u64 = 1;

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
    /// What all processes on the bucket must share.
    Settings,
    /// The key with which processes authenticate what is in the shared cache.
    CacheKey,
    /// The keys that sign tokens.
    TokenKeys,
    /// What the namespaces with a quota store.
    Usage,
    /// A scratch record of the start-up check.
    Probe(UploadId),
    /// The lease of a process in single-writer mode, under an id of its own.
    Writer(UploadId),
    /// The lease of the process that collects garbage.
    Collector,
    /// How far the garbage collection has come.
    CollectorRun,
    /// The links of a repository that the last run of the collector found unreferenced.
    Seen(RepositoryName),
    /// The data object with this day and id is to be deleted.
    Quarantined(Day, Uuid),
    /// Reserved for the history of tags: one change of a tag, deletions included. The number is
    /// smaller for a later change, so that the newest is listed first.
    TagHistory(RepositoryName, Tag, u64),
    /// Reserved for events: one that is to be delivered. The UUID has version 7.
    Event(Uuid),
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
            Self::Settings => f.write_str("g/settings"),
            Self::CacheKey => f.write_str("g/cache-key"),
            Self::TokenKeys => f.write_str("g/keys"),
            Self::Usage => f.write_str("g/usage"),
            Self::Probe(id) => write!(f, "g/probe/{id}"),
            Self::Writer(id) => write!(f, "g/writer/{id}"),
            Self::Collector => f.write_str("g/collector"),
            Self::CollectorRun => f.write_str("g/run"),
            Self::Seen(name) => write!(f, "g/seen/{name}!"),
            Self::Quarantined(day, id) => write!(f, "g/quarantine/{day}/{}", id.simple()),
            Self::TagHistory(name, tag, rank) => write!(f, "h/{name}/_/{tag}/{rank:016x}"),
            // The first digits of the UUID are the time: the last ones spread the writes.
            Self::Event(id) => write!(f, "o/{:02x}/{}", id.as_bytes()[15], id.simple()),
        }
    }
}

impl RecordKey {
    /// The repository of the record, if it belongs to one.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Link(name, _)
            | Self::Manifest(name, _)
            | Self::Tag(name, _)
            | Self::TagIndex(name, ..)
            | Self::Referrer(name, ..)
            | Self::TagHistory(name, ..)
            | Self::Repository(name)
            | Self::Seen(name) => Some(name),
            _ => None,
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
        "g" if rest == "settings" => RecordKey::Settings,
        "g" if rest == "cache-key" => RecordKey::CacheKey,
        "g" if rest == "keys" => RecordKey::TokenKeys,
        "g" if rest == "usage" => RecordKey::Usage,
        "g" if rest == "collector" => RecordKey::Collector,
        "g" if rest == "run" => RecordKey::CollectorRun,
        "g" => match rest.split_once('/')? {
            ("probe", id) => RecordKey::Probe(id.parse().ok()?),
            ("writer", id) => RecordKey::Writer(id.parse().ok()?),
            ("seen", name) => RecordKey::Seen(name.strip_suffix('!')?.parse().ok()?),
            ("quarantine", data) => {
                let (day, id) = data.split_once('/')?;
                RecordKey::Quarantined(day.parse().ok()?, Uuid::try_parse(id).ok()?)
            }
            _ => return None,
        },
        "o" => {
            let id = Uuid::try_parse(rest.split_once('/')?.1).ok()?;
            (id.get_version_num() == 7).then_some(RecordKey::Event(id))?
        }
        "l" | "m" | "t" | "x" | "r" | "h" => in_repository(kind, rest)?,
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
        ("h", [tag, rank]) => {
            let rank = u64::from_str_radix(rank, 16).ok()?;
            Some(RecordKey::TagHistory(name, tag.parse().ok()?, rank))
        }
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
    /// The links of a repository: the rest is `<alg>/<hex>`.
    Links(RepositoryName),
    /// The manifests of a repository: the rest is `<alg>/<hex>`.
    Manifests(RepositoryName),
    /// The leases of processes in single-writer mode: the rest is the id.
    Writers,
    /// The candidates of the collector: the rest is the name and `!`.
    Seen,
    /// The data objects that are to be deleted: the rest is `<yyyymmdd>/<uuidv7>`.
    Quarantined,
    /// All records of one kind in the whole bucket, for scans: the rest is as in [`RecordKey`].
    All(Kind),
}

/// A kind of record that scans list. Records of repositories whose names begin with the same
/// component are listed one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Pointers,
    Links,
    Manifests,
    Tags,
    TagIndexes,
    Referrers,
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
            Self::Writers => f.write_str("g/writer/"),
            Self::Seen => f.write_str("g/seen/"),
            Self::Quarantined => f.write_str("g/quarantine/"),
            Self::Links(name) => write!(f, "l/{name}/_/"),
            Self::Manifests(name) => write!(f, "m/{name}/_/"),
            Self::All(Kind::Pointers) => f.write_str("p/"),
            Self::All(Kind::TagIndexes) => f.write_str("x/"),
            Self::All(Kind::Referrers) => f.write_str("r/"),
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

    /// The place of a repository in the listings of [`Prefix::All`]: these list repositories in the
    /// order of this text.
    pub fn rank(name: &RepositoryName) -> String {
        format!("{name}/_/")
    }

    /// The cursor that continues a listing of one kind of record after all those of a repository.
    pub fn after_records_of(name: &RepositoryName) -> String {
        // `0` is the byte after `/`.
        format!("{name}/_0")
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

/// What the location of data in another bucket begins with.
const FOREIGN: &str = "x:";
/// Bytes of a key, the limit of S3.
const KEY_BYTES_MAX: usize = 1024;

/// Where the data of a blob is: `d/<yyyymmdd>/<uuidv7>`, never used twice.
///
/// Or, reserved for imports, `x:<name>/<key>`: a key in the bucket of another registry.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, SerializeDisplay, DeserializeFromStr,
)]
pub struct Location(Box<str>);

/// The data of a location is in the bucket of another registry, and only a later release can read
/// it. No release may change or delete it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data is at {0}, in a bucket of another registry, which this release cannot use")]
pub struct ForeignLocation(Location);

impl Location {
    /// A location that was never used before and is never returned again. Both the day and the id
    /// begin with `now`.
    pub fn new_unique(now: SystemTime) -> Self {
        let age = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let milliseconds = u64::try_from(age.as_millis()).unwrap_or_default();
        let id = Builder::from_unix_timestamp_millis(milliseconds, &entropy::bytes()).into_uuid();
        Self(format!("{}{}", data_prefix(Some(&Day::of(now))), id.simple()).into())
    }

    /// The complete key in the bucket, without the operator's prefix. An error if the data is in
    /// another bucket: that is no key of this one.
    pub fn key(&self) -> Result<&str, ForeignLocation> {
        if self.0.starts_with(FOREIGN) { Err(ForeignLocation(self.clone())) } else { Ok(&self.0) }
    }

    /// The day and the id of a location in this bucket.
    pub fn parts(&self) -> Option<(Day, Uuid)> {
        let (day, id) = self.0.strip_prefix(&data_prefix(None))?.split_once('/')?;
        Some((day.parse().ok()?, Uuid::try_parse(id).ok()?))
    }

    /// The location with these parts.
    pub fn of_parts(day: &Day, id: Uuid) -> Self {
        Self(format!("{}{}", data_prefix(Some(day)), id.simple()).into())
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
        if is_own(text) || is_foreign(text) {
            return Ok(Self(text.into()));
        }
        Err(KeyError(text.to_owned()))
    }
}

/// Whether a text is `v1/d/<yyyymmdd>/<uuidv7>`.
fn is_own(text: &str) -> bool {
    let day_and_id = text.strip_prefix(LAYOUT).and_then(|rest| rest.strip_prefix("d/"));
    day_and_id.and_then(|rest| rest.split_once('/')).is_some_and(|(day, id)| {
        let hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        day.parse::<Day>().is_ok() && id.len() == 32 && id.bytes().all(hex)
    })
}

/// Whether a text is `x:<name>/<key>`: a name of lower-case letters, digits and `-`, and any key
/// that S3 allows, except those with control characters.
fn is_foreign(text: &str) -> bool {
    let name_and_key = text.strip_prefix(FOREIGN).and_then(|rest| rest.split_once('/'));
    name_and_key.is_some_and(|(name, key)| {
        let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        !name.is_empty()
            && name.bytes().all(allowed)
            && (1..=KEY_BYTES_MAX).contains(&key.len())
            && !key.chars().any(char::is_control)
    })
}

#[cfg(test)]
mod tests;
