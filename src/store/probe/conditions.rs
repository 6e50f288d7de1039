//! Races and stale versions.

use bytes::Bytes;
use futures_util::future::join_all;

use crate::store::{Dialect, Error, EtagSpelling, ObjectStore, RecordKey, Removal, Version};

/// Writers that race for one record. Each has a connection of its own, because a store may decide
/// rightly only for writers that reach the same of its processes.
const RACERS: u8 = 16;
/// A version that no write has, in the form of an `ETag`, so that the form is no reason to refuse.
const STALE_VERSION: &str = "\"00000000000000000000000000000000\"";

/// What the race of replacements showed.
pub(super) struct Swaps {
    pub(super) one_won: bool,
    pub(super) etag: EtagSpelling,
    /// The version of the record afterwards.
    pub(super) version: Version,
}

/// 16 calls, and a read. Whether one creation succeeded, and the version that the record has.
pub(super) async fn creates(
    store: &dyn ObjectStore,
    key: &RecordKey,
) -> Result<(bool, Version), Error> {
    let winners = race("created", |body| store.create(key, body, None)).await?;
    if winners.is_empty() {
        let text = "it says that a record exists which was never created";
        return Err(Error::Refused(text.to_owned()));
    }
    let version = store.read(key).await?.version;
    Ok((winners == [version.clone()], version))
}

/// 16 calls, or 32 on a store that never matches an `ETag` in quotes.
pub(super) async fn swaps(
    store: &dyn ObjectStore,
    key: &RecordKey,
    version: Version,
) -> Result<Swaps, Error> {
    for etag in [EtagSpelling::Quoted, EtagSpelling::Bare] {
        store.set_dialect(Dialect { etag, conditional_delete: false });
        let winners = race("replaced", |body| store.replace(key, &version, body, None)).await;
        match winners.as_deref() {
            Ok([]) => {}
            // Another spelling may be taken.
            Err(Error::Refused(_)) if etag == EtagSpelling::Quoted => {}
            Ok([one]) => return Ok(Swaps { one_won: true, etag, version: one.clone() }),
            Ok(_) => {
                let version = store.read(key).await?.version;
                return Ok(Swaps { one_won: false, etag, version });
            }
            Err(error) => return Err(error.clone()),
        }
    }
    let etag = EtagSpelling::default();
    store.set_dialect(Dialect { etag, conditional_delete: false });
    Ok(Swaps { one_won: false, etag, version })
}

/// Starts all writers at once, and returns what the successful ones have written. No two writers
/// write the same in any race: equal bytes may have equal versions, and each would then find the
/// version that it expects.
async fn race<F>(what: &str, write: impl Fn(Bytes) -> F) -> Result<Vec<Version>, Error>
where
    F: Future<Output = Result<Version, Error>>,
{
    let racers = (0..RACERS).map(|racer| write(Bytes::from(format!("{what} by {racer}"))));
    let mut winners = Vec::new();
    for outcome in join_all(racers).await {
        match outcome {
            Ok(version) => winners.push(version),
            // A store may answer a loser that others were writing.
            Err(Error::Conflict | Error::ConflictAfterRetry | Error::TryAgain) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(winners)
}

/// One call.
pub(super) async fn refuses_stale(store: &dyn ObjectStore, key: &RecordKey) -> Result<bool, Error> {
    let stale = Version(STALE_VERSION.to_owned());
    match store.replace(key, &stale, Bytes::from_static(b"stale"), None).await {
        Ok(_) => Ok(false),
        Err(Error::Conflict | Error::ConflictAfterRetry | Error::TryAgain) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Two calls, the last ones. A store that ignores the condition removes the record with the first
/// call; one that refuses conditional deletion keeps it, a few bytes under a key that is not read.
pub(super) async fn removes(
    store: &dyn ObjectStore,
    key: &RecordKey,
    version: &Version,
) -> Result<bool, Error> {
    let stale = Version(STALE_VERSION.to_owned());
    for (version, right) in [(&stale, Removal::Conflict), (version, Removal::Removed)] {
        match store.remove(key, version).await {
            Ok(removal) if removal == right => {}
            // A store that does not know the condition may say so.
            Ok(_) | Err(Error::Refused(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
