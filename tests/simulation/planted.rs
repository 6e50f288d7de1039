//! Bugs that the run can have, to show that it would find them. Each is a change of what the store
//! or the cache answers to one kind of process: the registry itself is always the real code.

use std::time::SystemTime;

use bytes::Bytes;
use longshore::store::{Listed, RecordKey, Version};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::profile::Focus;

/// A bug. Its comment says how the store or the cache makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Every record looks new to a frontend, so it touches none.
    NoLease,
    /// The store removes and deletes for a collector whatever version is there.
    UnconditionalRemoval,
    /// The store accepts every write of a frontend, however late.
    NoDeadline,
    /// A collector reads that the last run has seen every record that there is.
    NoSecondSighting,
    /// A collector reads pointers as they were before it has read the sessions.
    PointersBeforeSessions,
    /// All tombstones have one version.
    EqualTombstones,
    /// The cache acknowledges an invalidation before it happens.
    SplitInvalidation,
    /// A frontend takes the answer "try again" for a lost race.
    TryAgainIsLost,
    /// A frontend believes to have touched a session whose commit it continues.
    UntouchedCommit,
    /// A manifest does not list its layers with URLs.
    UnlistedForeignLayers,
}

impl Bug {
    /// What a run looks at that finds it.
    pub(crate) fn focus(self) -> Focus {
        match self {
            Self::NoLease | Self::UnconditionalRemoval | Self::UnlistedForeignLayers => {
                Focus::Reuse
            }
            Self::NoDeadline => Focus::Stalls,
            Self::NoSecondSighting => Focus::SlowDecisions,
            Self::PointersBeforeSessions => Focus::LongUploads,
            Self::EqualTombstones | Self::TryAgainIsLost => Focus::Contention,
            Self::SplitInvalidation => Focus::Cached,
            Self::UntouchedCommit => Focus::Resumption,
        }
    }
}

/// The header of a record, `None` for a tombstone.
fn header(body: &Bytes) -> Option<(serde_json::Map<String, Value>, usize)> {
    let end = body.iter().position(|byte| *byte == b'\n')?;
    Some((serde_json::from_slice(&body[..end]).ok()?, end))
}

/// A manifest record without its list of layers with URLs.
pub(crate) fn without_foreign_layers(body: &Bytes) -> Bytes {
    let Some((mut fields, end)) = header(body) else { return body.clone() };
    fields.remove("external");
    let mut changed = serde_json::to_vec(&fields).expect("JSON");
    changed.extend_from_slice(&body[end..]);
    changed.into()
}

/// Whether a write of a session only touches one that is being committed.
pub(crate) fn touches_commit(before: &Bytes, after: &Bytes) -> bool {
    let committing = |body: &Bytes| {
        let (fields, _) = header(body)?;
        let digests = fields.get("committing")?.as_array()?.len();
        (digests > 0).then(|| (fields.get("offset").cloned(), digests))
    };
    committing(before).is_some_and(|before| committing(after) == Some(before))
}

/// The version of all tombstones.
pub(crate) fn equal_version(size: u64, version: Version) -> Version {
    if size <= 36 { Version("tombstone".to_owned()) } else { version }
}

/// What a collector reads if the last run has seen all links in the versions that they have.
pub(crate) fn seen(links: &[Listed]) -> Bytes {
    let nonce = "0".repeat(24);
    let header = json!({ "v": 1, "nonce": nonce, "run": "the one before" });
    let mut body = format!("{header}\n").into_bytes();
    for link in links {
        let sighting = Sha256::digest(format!("{}\n{}", link.key, link.version.0));
        body.extend_from_slice(&sighting[..16]);
    }
    body.into()
}

/// The row of that record.
pub(crate) fn seen_row(repository: &str, written: SystemTime) -> Listed {
    let key = RecordKey::Seen(repository.parse().expect("a name")).to_string();
    Listed { key, size: 1_000, version: Version("seen".to_owned()), written }
}
