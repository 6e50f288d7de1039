//! The clock of the store: how far ours is from it, and whether dated writes are judged by it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::setting::format_duration;
use crate::store::{Deadline, Error, ObjectStore, Prefix, RecordKey, Version};

/// The age of the lease of the late write: more than any two clocks differ.
const LATE_BY: Duration = Duration::from_hours(24);
/// The store tells its time in whole seconds.
const RESOLUTION_MS: i64 = 1_000;

/// What the settings say about time.
#[derive(Clone, Copy, Debug)]
pub struct ProbeLimits {
    /// The largest difference between our clock and that of the store (`collection.clock_skew`).
    pub clock_skew: Duration,
    /// How long the store accepts a dated write (`collection.write_deadline`).
    pub write_deadline: Duration,
}

/// By how much our clock is ahead of the store's, at least and at most; negative if it is behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockDifference {
    least_ms: i64,
    most_ms: i64,
}

impl ClockDifference {
    /// One call.
    pub(super) async fn measure(store: &dyn ObjectStore) -> Result<Self, Error> {
        let before = store.now();
        let answered = store.list(&Prefix::Repositories, None, 1).await?.now;
        let after = store.now();
        Ok(Self {
            least_ms: ahead_ms(before, answered) - RESOLUTION_MS,
            most_ms: ahead_ms(after, answered),
        })
    }

    /// Refuses a difference that is certainly larger than `clock_skew`.
    pub(super) fn check(self, clock_skew: Duration) -> Result<(), Error> {
        let (by, side) = if self.least_ms > 0 {
            (self.least_ms, "ahead of")
        } else if self.most_ms < 0 {
            (self.most_ms, "behind")
        } else {
            return Ok(());
        };
        let by = Duration::from_millis(by.unsigned_abs());
        if by <= clock_skew {
            return Ok(());
        }
        let (by, allowed) =
            (format_duration(Duration::from_secs(by.as_secs())), format_duration(clock_skew));
        Err(Error::Refused(format!(
            "the clock of this machine is {by} {side} the clock of the store, and \
             collection.clock_skew allows {allowed}; the store would refuse writes that are in \
             time or accept writes that are late. Set the clock that is wrong (both should follow \
             NTP), or raise collection.clock_skew in all processes on this bucket"
        )))
    }
}

/// By how much `ours` is later than `store`.
fn ahead_ms(ours: SystemTime, store: SystemTime) -> i64 {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2);
    ours.duration_since(store).map_or_else(|behind| -ms(behind.duration()), ms)
}

/// What became of the punctual write.
pub(super) struct Punctual {
    pub(super) accepted: bool,
    /// The version of the record afterwards.
    pub(super) version: Version,
}

/// One call: a write within its deadline.
pub(super) async fn accepts_punctual(
    store: &dyn ObjectStore,
    key: &RecordKey,
    version: Version,
    limits: ProbeLimits,
) -> Result<Punctual, Error> {
    let deadline = Deadline { leased_at: store.now(), valid_for: limits.write_deadline };
    match store.replace(key, &version, Bytes::from_static(b"punctual"), Some(deadline)).await {
        Ok(version) => Ok(Punctual { accepted: true, version }),
        // Without compare-and-swap the version may be a wrong one.
        Err(Error::Conflict | Error::ConflictAfterRetry | Error::TryAgain) => {
            Ok(Punctual { accepted: false, version })
        }
        Err(Error::Expired) => Err(Error::Refused(format!(
            "it refused a write as too late that was dated just now and valid for {}; set the \
             clock of this machine and that of the store, or raise collection.write_deadline",
            format_duration(limits.write_deadline)
        ))),
        Err(error) => Err(error),
    }
}

/// One call. Returns also the version that the record has afterwards.
pub(super) async fn refuses_late(
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
