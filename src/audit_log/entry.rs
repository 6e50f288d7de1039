//! One line of the audit log: its fields, in their order, and their limits.

use std::net::IpAddr;
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::oci::{Digest, RepositoryName, Tag};

/// Bytes of a text in a line that a client or the configuration chose. What is longer is cut.
const TEXT_BYTES_MAX: usize = 512;
/// Tags in a line. It counts the others.
const TAGS_MAX: usize = 64;

/// RFC 3339, in UTC.
const TIME: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A line. `docs/audit-log.md` explains each field; a field that does not apply is left out.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// When the request was answered.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    pub request_id: Text,
    #[serde(flatten)]
    pub who: Who,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    pub operation: &'static str,
    pub method: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryName>,
    /// The upload session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    /// Of the manifest or the blob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    #[serde(flatten)]
    pub tags: Tags,
    /// Bytes of the manifest or the blob, or of the upload so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounted_from: Option<RepositoryName>,
    pub outcome: Outcome,
    pub status: u16,
    /// The rule that has allowed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Text>,
    /// The error code that the client got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Why the caller was refused. The client does not learn it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<&'static str>,
    /// The message that the client got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Text>,
}

/// Who has made a request.
#[derive(Clone, Debug, Serialize)]
pub struct Who {
    /// Nothing if the login has failed: then a name says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Text>,
    /// By what the caller has proved it, or has tried to.
    pub credential: Text,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    /// The caller may not do it, or a condition, a limit or a setting forbids it.
    Refused,
    /// It was tried and not carried out, or not all of it.
    Failed,
}

/// The tags of a request, at most 64 of them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tags {
    #[serde(rename = "tags", skip_serializing_if = "Vec::is_empty")]
    shown: Vec<TagChange>,
    #[serde(rename = "tags_left_out", skip_serializing_if = "is_zero")]
    left_out: usize,
}

/// A tag, and what it pointed at before and after the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TagChange {
    pub tag: Tag,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Digest>,
}

impl TagChange {
    /// Whether the tag was there and points elsewhere now.
    pub fn moved(&self) -> bool {
        self.before.is_some() && self.after.is_some() && self.before != self.after
    }
}

/// A text of limited length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Text(Box<str>);

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text[..text.floor_char_boundary(TEXT_BYTES_MAX)].into())
    }
}

impl From<Vec<TagChange>> for Tags {
    fn from(mut tags: Vec<TagChange>) -> Self {
        let left_out = tags.len().saturating_sub(TAGS_MAX);
        tags.truncate(TAGS_MAX);
        Self { shown: tags, left_out }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = OffsetDateTime::from(*time).format(TIME).unwrap_or_default();
    serializer.serialize_str(&text)
}

impl Entry {
    /// The line, with its end.
    pub(super) fn line(&self) -> Bytes {
        let mut line =
            serde_json::to_vec(self).expect("an entry has nothing but texts and numbers");
        line.push(b'\n');
        line.into()
    }
}
