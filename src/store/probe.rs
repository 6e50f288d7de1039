//! The start-up check: tests which guarantees the store gives.
//!
//! A store that ignores `If-Match` answers like one that honours it, until two writers race. So
//! writers race here, and each guarantee is tested with a request that the store has to refuse
//! beside one that it has to accept. The check takes 41 calls on random scratch keys, whatever the
//! size of the bucket; a store that takes only bare `ETag`s costs one race more.

mod clock;
mod conditions;

use std::fmt;

use bytes::Bytes;

use self::clock::ClockDifference;
pub use self::clock::ProbeLimits;
use super::{Dialect, Error, Location, ObjectStore, RecordKey};
use crate::oci::UploadId;

/// What an operator can do about a store that cannot decide which of several writers was first.
pub(crate) const NO_CONDITIONS: &str = "without conditional writes the store cannot keep apart \
     what several processes write; to use it with one process at a time, in single-writer mode, \
     set store.writers = \"single\" (docs/stores.md says what that mode lacks)";

/// The guarantees that a store was seen to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent guarantees")]
pub struct Capabilities {
    /// Of several concurrent creations exactly one succeeds.
    pub create: bool,
    /// Of several concurrent replacements of one version exactly one succeeds, and one that expects
    /// a version that never was is refused.
    pub compare_and_swap: bool,
    /// A write after its deadline is refused, and one before it is accepted.
    pub deadline: bool,
    /// Data that does not match its announced digest is refused.
    pub checksum: bool,
    /// A removal of a version that never was is refused, and one of the right version happens.
    /// Nothing depends on it but whether old tombstones can be removed.
    pub conditional_delete: bool,
}

/// The result of the check. `Display` writes it in one line.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// [`ObjectStore::describe`] of the store.
    pub store: String,
    pub capabilities: Capabilities,
}

impl ProbeReport {
    /// Whether any guarantee is missing.
    pub fn degraded(&self) -> bool {
        let Capabilities { create, compare_and_swap, deadline, checksum, .. } = self.capabilities;
        !(create && compare_and_swap && deadline && checksum)
    }

    /// Why the registry must not use the store, if that is so.
    pub fn refused(&self) -> Option<&'static str> {
        let Capabilities { create, compare_and_swap, deadline, .. } = self.capabilities;
        match (deadline, create && compare_and_swap) {
            (false, _) => Some("Longshore cannot use a store that accepts writes which are late"),
            (true, false) => Some(NO_CONDITIONS),
            (true, true) => None,
        }
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Capabilities { create, compare_and_swap, deadline, checksum, conditional_delete } =
            self.capabilities;
        write!(f, "{}:", self.store)?;
        let found = [
            ("create-if-absent", create),
            ("compare-and-swap", compare_and_swap),
            ("write deadlines", deadline),
            ("checksums", checksum),
        ];
        for (index, (name, works)) in found.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma} {name} {}", if works { "ok" } else { "MISSING" })?;
        }
        // Not in capitals: everything works without it.
        write!(f, ", conditional delete {}", if conditional_delete { "ok" } else { "missing" })?;
        if checksum {
            return Ok(());
        }
        f.write_str("; the store does not detect data that is damaged in transit")
    }
}

/// Checks the store, and tells it in which dialect it takes conditions. Must not run while others
/// use the same `store`.
///
/// # Errors
///
/// The store cannot be reached or used at all, or its clock and ours differ by too much; the text
/// contains advice for the operator.
pub async fn probe(store: &dyn ObjectStore, limits: ProbeLimits) -> Result<ProbeReport, Error> {
    match examine(store, limits).await {
        Ok((capabilities, dialect)) => {
            store.set_dialect(dialect);
            Ok(ProbeReport { store: store.describe(), capabilities })
        }
        Err(error) => {
            store.set_dialect(Dialect::default());
            Err(advised(store, error))
        }
    }
}

async fn examine(
    store: &dyn ObjectStore,
    limits: ProbeLimits,
) -> Result<(Capabilities, Dialect), Error> {
    // First, because a clock that is wrong makes other answers wrong.
    ClockDifference::measure(store).await?.check(limits.clock_skew)?;
    let (found, checksum) = tokio::join!(check_records(store, limits), checks_digests(store));
    let (found, dialect) = found?;
    Ok((Capabilities { checksum: checksum?, ..found }, dialect))
}

/// What the store does with records. The caller checks what it does with the checksums of data.
async fn check_records(
    store: &dyn ObjectStore,
    limits: ProbeLimits,
) -> Result<(Capabilities, Dialect), Error> {
    let key = RecordKey::Probe(UploadId::random());
    let (create, version) = conditions::creates(store, &key).await?;
    let swaps = conditions::swaps(store, &key, version).await?;
    let refuses_stale = conditions::refuses_stale(store, &key).await?;
    let compare_and_swap = swaps.one_won && refuses_stale;
    let written = clock::accepts_punctual(store, &key, swaps.version, limits).await?;
    let (refuses_late, version) = clock::refuses_late(store, &key, written.version).await?;
    let etag = swaps.etag;
    store.set_dialect(Dialect { etag, conditional_delete: true });
    let conditional_delete = conditions::removes(store, &key, &version).await?;
    let deadline = written.accepted && refuses_late;
    let found =
        Capabilities { create, compare_and_swap, deadline, checksum: false, conditional_delete };
    Ok((found, Dialect { etag, conditional_delete }))
}

/// Two calls. The second one also tests that the store reports absent keys: S3 answers 403 instead
/// of 404 without the permission to list the bucket, and every miss would look like an outage.
async fn checks_digests(store: &dyn ObjectStore) -> Result<bool, Error> {
    let location = Location::new_unique(store.now());
    match store.put(&location, Bytes::from_static(b"probe"), Some([0; 32])).await {
        Ok(_) => {
            store.delete(&location).await?;
            Ok(false)
        }
        Err(Error::BadDigest) => match store.get(&location, None).await {
            Ok(_) => Ok(false),
            Err(Error::NotFound) => Ok(true),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// The error that stops the start, with advice.
fn advised(store: &dyn ObjectStore, error: Error) -> Error {
    let store = store.describe();
    match error {
        Error::Unavailable(why) => Error::Unavailable(format!(
            "{store} cannot be reached; check the endpoint, the network and the credentials: {why}"
        )),
        Error::Refused(why) => Error::Refused(format!("{store} cannot be used: {why}")),
        Error::NotFound
        | Error::Conflict
        | Error::ConflictAfterRetry
        | Error::TryAgain
        | Error::Expired
        | Error::BadDigest => Error::Refused(format!("{store} gave an unexpected answer: {error}")),
        Error::Damaged(why) => Error::Damaged(format!("{store}: {why}")),
    }
}
