//! Leases: for how long a request may rely on a record that it has read.
//!
//! A request may rely on a record that is younger than the half-life `H`; it touches an older one
//! first. Each write that relies on such a record carries a deadline `W`, which the store enforces.
//! The collector considers only what is older than the grace `G` before its mark phase began. As
//! `H + W + skew < G`, the collector always sees a write that relies on a lease.

use std::time::{Duration, SystemTime};

use crate::setting::{DAY, MINUTE, SECOND, duration, format_duration, settings};
use crate::store::Deadline;

/// With a shorter grace a slow push could lose content that it relies on.
const GRACE_MIN: Duration = Duration::from_hours(2);

settings! {
    /// The lease times: they keep a garbage collector from deleting content that a client is about
    /// to use.
    ///
    /// All processes on one bucket must have the same, and
    /// `grace / 2 + write_deadline + clock_skew < grace` must hold.
    pub struct LeaseSettings {
        /// How long unreferenced content is kept after its last use.
        grace: Duration = 2 * DAY, duration(GRACE_MIN..=365 * DAY);
        /// How long a write that relies on other content may take before the store refuses it.
        write_deadline: Duration = 5 * MINUTE, duration(SECOND..=DAY);
        /// The largest difference between the clocks of the registry and the store.
        clock_skew: Duration = 5 * MINUTE, duration(Duration::ZERO..=DAY);
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

impl Leases {
    /// Checks that `G/2 + W + skew < G`, and the minimum of the grace.
    pub fn new(settings: &LeaseSettings) -> Result<Self, UnsafeLeases> {
        let LeaseSettings { grace, write_deadline, clock_skew } = *settings;
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
