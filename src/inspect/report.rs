//! What the store says of a target, as text and as JSON.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The fields of records that are seconds since 1970.
const MOMENTS: [&str; 6] = ["at", "created", "since", "began", "finished", "leaks_from_start"];
/// A field that the text shows elsewhere.
const REFERENCES: &str = "references";

/// What the store says of a target.
#[derive(Debug, Serialize)]
pub struct Report {
    pub target: String,
    /// Whether it is there. A tombstone is not.
    pub found: bool,
    pub objects: Vec<Object>,
    /// What a manifest names, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// What leads to a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub named_by: Option<NamedBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<Counts>,
}

/// One object of the store.
#[derive(Debug, Serialize)]
pub struct Object {
    pub kind: &'static str,
    pub key: String,
    pub state: State,
    /// What identifies its last write: the `ETag` on S3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Bytes of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Bytes that follow the header of a record: a manifest, a small blob, the tail of an upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// The header of a record.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
    /// What an operator should know besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Live,
    /// A tombstone.
    Deleted,
    Absent,
    /// Damaged, or of a later release.
    Unreadable,
}

/// How long the last write of a record protects what it stands for.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lease {
    /// Until then requests rely on the record as it is; later they touch it first.
    pub relied_on_until: Moment,
    /// Until then garbage collection leaves it alone, whether anything names it or not.
    pub kept_until: Moment,
}

/// A descriptor in a manifest, and the objects of its content.
#[derive(Debug, Serialize)]
pub struct Reference {
    pub digest: String,
    /// Bytes, as the manifest says.
    pub size: u64,
    pub objects: Vec<Object>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// Rows that lead to a manifest, the first of each.
#[derive(Debug, Default, Serialize)]
pub struct NamedBy {
    pub tags: Vec<String>,
    /// Tags in the index that point elsewhere, or that are gone: they once pointed here.
    pub former_tags: Vec<String>,
    /// Manifests with this one as their subject, as the rows of the list spell them.
    pub referrers: Vec<String>,
    /// Whether there are more rows than these.
    pub more: bool,
}

/// The records of a repository.
#[derive(Debug, Default, Serialize)]
pub struct Counts {
    pub tags: Count,
    pub manifests: Count,
    pub links: Count,
}

/// Rows of one list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub live: u64,
    pub deleted: u64,
    /// Whether the count stopped before the end of the list.
    pub more: bool,
}

/// A moment in whole seconds, written as RFC 3339 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub SystemTime);

impl Report {
    pub fn to_json(&self) -> Value {
        serde_json::json!(self)
    }
}

impl Object {
    pub(super) fn new(kind: &'static str, key: impl fmt::Display, state: State) -> Self {
        Self {
            kind,
            key: key.to_string(),
            state,
            version: None,
            bytes: None,
            payload_bytes: None,
            written: None,
            lease: None,
            fields: Map::new(),
            remarks: Vec::new(),
        }
    }

    /// Whether there is an object that is no tombstone.
    pub fn is_there(&self) -> bool {
        matches!(self.state, State::Live | State::Unreadable)
    }
}

impl Moment {
    fn of_seconds(seconds: u64) -> Option<Self> {
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).map(Self)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from(self.0);
        let time = time.replace_nanosecond(0).unwrap_or(time);
        f.write_str(&time.format(&Rfc3339).unwrap_or_else(|_| "a moment beyond 9999".to_owned()))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Deleted => "deleted",
            Self::Absent => "absent",
            Self::Unreadable => "unreadable",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.iter().try_for_each(|object| object.fmt(f))?;
        if let Some(named_by) = &self.named_by {
            named_by.fmt(f)?;
        }
        if let Some(counts) = &self.repository {
            counts.fmt(f)?;
        }
        if !self.references.is_empty() {
            writeln!(f, "the manifest names")?;
        }
        self.references.iter().try_for_each(|reference| reference.fmt(f))?;
        if self.found { Ok(()) } else { writeln!(f, "{} is not there", self.target) }
    }
}

/// An object and its properties, one in a line.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}: {}", self.kind, self.key, self.state)?;
        for (name, value) in self.fields.iter().filter(|(name, _)| *name != REFERENCES) {
            match value {
                Value::String(text) => writeln!(f, "  {name}: {text}")?,
                other => writeln!(f, "  {name}: {other}{}", moment_of(name, other))?,
            }
        }
        if let Some(bytes) = self.bytes {
            write!(f, "  object: {bytes} bytes")?;
            if let Some(payload) = self.payload_bytes.filter(|payload| *payload > 0) {
                write!(f, ", {payload} of them after the header")?;
            }
            writeln!(f)?;
        }
        if let Some(version) = &self.version {
            writeln!(f, "  version: {version}")?;
        }
        if let Some(written) = self.written {
            writeln!(f, "  written: {written}")?;
        }
        if let Some(Lease { relied_on_until, kept_until }) = self.lease {
            writeln!(f, "  lease: relied on until {relied_on_until}, kept until {kept_until}")?;
        }
        self.remarks.iter().try_for_each(|remark| writeln!(f, "  NOTE: {remark}"))
    }
}

/// The moment that a field of a record is, in brackets.
fn moment_of(name: &str, value: &Value) -> String {
    let seconds = value.as_u64().filter(|_| MOMENTS.contains(&name));
    let moment = seconds.and_then(Moment::of_seconds);
    moment.map(|moment| format!(" ({moment})")).unwrap_or_default()
}

/// One line for the content, one more for each remark.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}, {} bytes", self.digest, self.size)?;
        for (position, object) in self.objects.iter().enumerate() {
            let separator = if position == 0 { ": " } else { ", " };
            write!(f, "{separator}{} {}", object.kind, object.state)?;
        }
        writeln!(f)?;
        let of_objects = self.objects.iter().flat_map(|object| &object.remarks);
        let remarks = self.remarks.iter().chain(of_objects);
        remarks.into_iter().try_for_each(|remark| writeln!(f, "    NOTE: {remark}"))
    }
}

impl fmt::Display for NamedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tags, former_tags, referrers, more } = self;
        let rows = [
            ("tags", tags),
            ("tags that once pointed here", former_tags),
            ("referrers", referrers),
        ];
        for (name, rows) in rows.iter().filter(|(_, rows)| !rows.is_empty()) {
            writeln!(f, "{name}: {}", rows.join(", "))?;
        }
        if *more { writeln!(f, "and more tags or referrers") } else { Ok(()) }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [("tags", self.tags), ("manifests", self.manifests), ("links", self.links)];
        rows.iter().try_for_each(|(name, Count { live, deleted, more })| {
            let more = if *more { ", and more that were not counted" } else { "" };
            writeln!(f, "{name}: {live}, deleted: {deleted}{more}")
        })
    }
}
