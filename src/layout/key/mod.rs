//! The layout of the bucket, spelled here and nowhere else.
//!
//! Everything lies below a root prefix (chosen by the operator, spelled by the store) and the
//! layout version `v1/`:
//!
//! ```text
//! d/<yyyymmdd>/<ulid>                               bytes of a blob, under a key never used again
//! p/<alg>/<hh>/<hex>                                blob pointer: one per distinct content
//! l/<repo>/_/<alg>/<hex>                            blob link: makes a blob readable in a repo
//! m/<repo>/_/<alg>/<hex>                            manifest: header and the exact bytes
//! t/<repo>/_/<tag>                                  tag: the descriptor it points at
//! x/<repo>/_/<alg>/<hex>/<tag>                      digest -> tags, a superset of the truth
//! r/<repo>/_/<subj alg>/<subj hex>/<alg>-<hex>      referrer: one entry each
//! c/<repo>!                                         catalog marker
//! u/<id>                                            upload session
//! g/probe/<id>                                      scratch of the start-up probe
//! ```
//!
//! - `_` cannot begin a component of a repository name, so `t/a/_/` never matches a key of `a/b`.
//! - `!` sorts below every character of a name, so the markers list in the order of the names.
//! - No key lies below another key: stores that keep objects as files refuse `x` beside `x/y`.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::oci::serde_from_str::serde_as_text;
use crate::oci::{Algorithm, Digest, RepositoryName, Tag, UploadId};

/// The version of the layout; part of every key.
const LAYOUT: &str = "v1/";

/// The key of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RecordKey {
    /// One per distinct content: where its bytes are.
    Pointer(Digest),
    /// Makes a blob readable in a repository.
    Link(RepositoryName, Digest),
    /// A manifest of a repository.
    Manifest(RepositoryName, Digest),
    /// A tag of a repository.
    Tag(RepositoryName, Tag),
    /// Says that a tag points, or once pointed, at a manifest.
    TagIndex(RepositoryName, Digest, Tag),
    /// Says that the second manifest names the first one as its subject.
    Referrer(RepositoryName, Digest, Digest),
    /// Says that a repository exists.
    Repository(RepositoryName),
    /// An upload session.
    Upload(UploadId),
    /// Scratch space of the start-up probe.
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

/// A string that is no key of this layout.
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
    // There is one spelling of each key: what parses must print as it was.
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

/// What a listing is asked for. The rest of each key below it is what clients page by.
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
    /// Everything of one kind in the whole bucket, to survey it: the rest is what
    /// [`RecordKey`] spells.
    All(Kind),
}

/// A kind of entry of which there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The blobs of all repositories. What is below one first component of their names comes in
    /// one piece, as with manifests and tags.
    Links,
    /// The manifests of all repositories.
    Manifests,
    /// The tags of all repositories.
    Tags,
    /// The upload sessions.
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

/// Where the bytes of a blob lie: `d/<yyyymmdd>/<ulid>`, never used twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location(Box<str>);

impl Location {
    /// A location that nothing has used and nothing will use again.
    pub fn new_unique(now: SystemTime) -> Self {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (year, month, day) = civil(seconds / 86_400);
        let id = uuid::Uuid::now_v7().simple().to_string();
        Self(format!("{LAYOUT}d/{year:04}{month:02}{day:02}/{id}").into())
    }

    /// The whole key, without the operator's root prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Days since 1970 as year, month and day (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
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
            let digits = day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit());
            let hex =
                id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            (digits && hex).then_some(())
        };
        match well_formed() {
            Some(()) => Ok(Self(text.into())),
            None => Err(KeyError(text.to_owned())),
        }
    }
}

serde_as_text!(Location);

#[cfg(test)]
mod tests;
