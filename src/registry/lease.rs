//! Leases: for how long a request may rely on a record that it has read.
//!
//! A request may rely on a record that is younger than the half-life `H`; it touches an older one
//! first. Each write that relies on such a record carries a deadline `W`, which the store enforces.
//! The collector considers only what is older than the grace `G` before its mark phase began. As
//! `H + W + skew < G`, the collector always sees a write that relies on a lease.

use std::time::{Duration, SystemTime};

use crate::setting::{DAY, HOUR, MINUTE, SECOND, duration, format_duration, settings};
use crate::store::Deadline;

/// With a shorter grace a slow push could lose content that it relies on.
const GRACE_MIN: Duration = Duration::from_hours(2);

settings! {
    /// The lease times: they keep a garbage collector from deleting content that a client is about
    /// to use.
    ///
    /// All processes on one bucket must have the same: the first start writes them into the bucket,
    /// and a process that differs does not start. `longshore settings show` prints what the bucket
    /// holds, `longshore settings set` changes it.
    ///
    /// `grace / 2 + write_deadline + clock_skew` must be less than `grace`, and
    /// `blobs.redirect_ttl + blobs.redirect_step + cache.ttl + cache.local_ttl + clock_skew` less
    /// than `quarantine`; for a folder or memory `cache.local_ttl` counts as 1h.
    pub struct LeaseSettings {
        /// How long unreferenced content is kept after its last use.
        grace: Duration = 2 * DAY, duration(GRACE_MIN..=365 * DAY);
        /// How long a write that relies on other content may take before the store refuses it.
        write_deadline: Duration = 5 * MINUTE, duration(SECOND..=DAY);
        /// The largest difference between the clocks of the registry and the store.
        clock_skew: Duration = 5 * MINUTE, duration(Duration::ZERO..=DAY);
        /// How long data is kept after its last record is gone: a presigned URL or a cache may
        /// still name it.
        quarantine: Duration = 2 * DAY, duration(HOUR..=365 * DAY);
    }
}

/// The durations of the lease protocol.
#[derive(Clone, Copy, Debug)]
pub struct Leases {
    grace: Duration,
    write_deadline: Duration,
}

/// Durations with which the collector could remove a record that a writer relies on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "grace / 2 + write_deadline + clock_skew must be less than grace, or content could be \
     collected while a writer relies on it: {} + {} + {} is not less than {}",
    format_duration(.0.grace / 2),
    format_duration(.0.write_deadline),
    format_duration(.0.clock_skew),
    format_duration(.0.grace)
)]
pub struct UnsafeLeases(LeaseSettings);

/// For how long something outside of the records may name data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataReaders {
    /// How long a presigned URL is valid.
    pub redirect_ttl: Duration,
    /// How long the presigned URL of a blob stays the same.
    pub redirect_step: Duration,
    /// How long the shared cache keeps a link.
    pub cache_ttl: Duration,
    /// How long a process keeps a link in its memory.
    pub local_ttl: Duration,
}

/// Durations with which the collector could delete data that a client was sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "blobs.redirect_ttl + blobs.redirect_step + cache.ttl + cache.local_ttl + \
     collection.clock_skew must be less than collection.quarantine, or data could be deleted while \
     a presigned URL or a cache names it: {} + {} + {} + {} + {} is not less than {}",
    format_duration(.readers.redirect_ttl),
    format_duration(.readers.redirect_step),
    format_duration(.readers.cache_ttl),
    format_duration(.readers.local_ttl),
    format_duration(*.clock_skew),
    format_duration(*.quarantine)
)]
pub struct UnsafeQuarantine {
    readers: DataReaders,
    clock_skew: Duration,
    quarantine: Duration,
}

impl LeaseSettings {
    /// Checks that the quarantine outlasts those that read data without a record.
    pub fn outlasts(&self, readers: DataReaders) -> Result<(), UnsafeQuarantine> {
        let DataReaders { redirect_ttl, redirect_step, cache_ttl, local_ttl } = readers;
        let Self { clock_skew, quarantine, .. } = *self;
        if redirect_ttl + redirect_step + cache_ttl + local_ttl + clock_skew < quarantine {
            return Ok(());
        }
        Err(UnsafeQuarantine { readers, clock_skew, quarantine })
    }
}

impl Leases {
    /// Checks that `G/2 + W + skew < G`, and the minimum of the grace.
    pub fn new(settings: &LeaseSettings) -> Result<Self, UnsafeLeases> {
        let LeaseSettings { grace, write_deadline, clock_skew, quarantine: _ } = *settings;
        let safe = grace >= GRACE_MIN && grace / 2 + write_deadline + clock_skew < grace;
        if safe { Ok(Self { grace, write_deadline }) } else { Err(UnsafeLeases(settings.clone())) }
    }

    /// The age from which a record is touched before a request relies on it.
    pub fn half_life(&self) -> Duration {
        self.grace / 2
    }

    /// The age from which an upload rewrites the record of its session, so that the session does
    /// not look abandoned while a slow client sends.
    pub fn session_age_max(&self) -> Duration {
        self.half_life() / 2
    }

    /// The deadline of a write that relies on records read at `leased_at` or later.
    pub fn deadline(&self, leased_at: SystemTime) -> Deadline {
        Deadline { leased_at, valid_for: self.write_deadline }
    }
}
