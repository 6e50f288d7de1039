//! The start-up check: tests which guarantees the store gives.
//!
//! A store that ignores `If-Match` answers like one that honours it, until two writers race. So
//! each guarantee is tested with a request that the store has to refuse. The check takes at most
//! eight calls on random scratch keys, whatever the size of the bucket.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{Deadline, Error, Location, ObjectStore, RecordKey, Version};
use crate::oci::UploadId;

/// The age of the lease of the late write: more than any two clocks differ.
const LATE_BY: Duration = Duration::from_hours(24);
/// A version that no write has, in the form of an `ETag`, so that the form is no reason to refuse.
const STALE_VERSION: &str = "\"00000000000000000000000000000000\"";

/// The guarantees that a store was seen to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent guarantees")]
pub struct Capabilities {
    /// Of several concurrent creations one succeeds, and an existing record is not created again.
    pub create: bool,
    /// A replacement that expects another version is refused, one with the right version is not.
    pub compare_and_swap: bool,
    /// A write after its deadline is refused.
    pub deadline: bool,
    /// Data that does not match its announced digest is refused.
    pub checksum: bool,
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
        let Capabilities { create, compare_and_swap, deadline, checksum } = self.capabilities;
        !(create && compare_and_swap && deadline && checksum)
    }

    /// Whether concurrent tag changes or garbage collection would be unsafe.
    pub fn append_only(&self) -> bool {
        let Capabilities { create, compare_and_swap, deadline, checksum: _ } = self.capabilities;
        !(create && compare_and_swap && deadline)
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Capabilities { create, compare_and_swap, deadline, checksum } = self.capabilities;
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
        if self.append_only() {
            f.write_str(
                "; append-only mode: no garbage collection, concurrent writers may \
                 overwrite each other",
            )
        } else if !checksum {
            f.write_str("; the store does not detect data that is damaged in transit")
        } else {
            Ok(())
        }
    }
}

/// Checks the store.
///
/// # Errors
///
/// The store cannot be reached or used at all; the text contains advice for the operator.
pub async fn probe(store: &dyn ObjectStore) -> Result<ProbeReport, Error> {
    match examine(store).await {
        Ok(capabilities) => Ok(ProbeReport { store: store.describe(), capabilities }),
        Err(error) => Err(advised(store, error)),
    }
}

async fn examine(store: &dyn ObjectStore) -> Result<Capabilities, Error> {
    let key = RecordKey::Probe(UploadId::random());
    let (create, version) = creates(store, &key).await?;
    let refuses_stale = refuses_stale(store, &key).await?;
    let checksum = checks_digests(store).await?;
    let (deadline, version) = refuses_late(store, &key, version).await?;
    let replaces = match store.replace(&key, &version, Bytes::new(), None).await {
        Ok(_) => true,
        // A record that was created twice, or wrongly replaced, has an unknown version. It stays, a
        // few bytes under a key that is never read.
        Err(Error::Conflict | Error::ConflictAfterRetry | Error::TryAgain) => false,
        Err(error) => return Err(error),
    };
    Ok(Capabilities { create, compare_and_swap: refuses_stale && replaces, deadline, checksum })
}

/// Three calls: two concurrent creations, and one after them.
async fn creates(store: &dyn ObjectStore, key: &RecordKey) -> Result<(bool, Version), Error> {
    let create = |body: &'static [u8]| store.create(key, Bytes::from_static(body), None);
    let (first, second) = tokio::join!(create(b"first"), create(b"second"));
    let third = create(b"third").await;
    let mut winners = Vec::with_capacity(3);
    for outcome in [first, second, third] {
        match outcome {
            Ok(version) => winners.push(version),
            Err(Error::Conflict | Error::ConflictAfterRetry | Error::TryAgain) => {}
            Err(error) => return Err(error),
        }
    }
    let one = winners.len() == 1;
    let last = winners.pop().ok_or_else(|| {
        Error::Refused("it says that a record exists which was never created".to_owned())
    })?;
    Ok((one, last))
}

/// One call.
async fn refuses_stale(store: &dyn ObjectStore, key: &RecordKey) -> Result<bool, Error> {
    let stale = Version(STALE_VERSION.to_owned());
    match store.replace(key, &stale, Bytes::from_static(b"stale"), None).await {
        Ok(_) => Ok(false),
        Err(Error::Conflict | Error::ConflictAfterRetry | Error::TryAgain) => Ok(true),
        Err(error) => Err(error),
    }
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

/// One call. Returns also the version that the record has afterwards.
async fn refuses_late(
    store: &dyn ObjectStore,
    key: &RecordKey,
    version: Version,
) -> Result<(bool, Version), Error> {
    let long_ago = store.now().checked_sub(LATE_BY).unwrap_or(SystemTime::UNIX_EPOCH);
    let late = Deadline { leased_at: long_ago, valid_for: Duration::from_secs(1) };
    match store.replace(key, &version, Bytes::from_static(b"late"), Some(late)).await {
        Ok(written) => Ok((false, written)),
        Err(Error::Expired) => Ok((true, version)),
        // The version was not the current one, and the store checked that before the deadline.
        Err(Error::Conflict | Error::ConflictAfterRetry | Error::TryAgain) => Ok((false, version)),
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
