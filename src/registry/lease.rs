//! Leases: how long what was read may be relied on.
//!
//! An entry younger than the half-life `H` may be relied on; an older one is renewed first. What is
//! then written carries a deadline `W`, which the store enforces. The collector touches only what
//! is older than the grace `G` before its mark began, and `H + W + skew < G`, so it always sees
//! what was written on the strength of a lease (design: invariant I11).

use std::time::{Duration, SystemTime};

use crate::store::Deadline;

/// The constants of the lease protocol.
#[derive(Clone, Copy, Debug)]
pub struct Leases {
    grace: Duration,
    write_deadline: Duration,
}

/// The shortest grace that is accepted.
pub const GRACE_MIN: Duration = Duration::from_hours(2);

/// Constants that would let the collector take what a writer relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("half the grace, the write deadline and the clock skew must stay below the grace")]
pub struct UnsafeLeases;

impl Leases {
    /// Checks the inequality `G/2 + W + skew < G` and the minimum grace.
    pub fn new(
        grace: Duration,
        write_deadline: Duration,
        clock_skew: Duration,
    ) -> Result<Self, UnsafeLeases> {
        let safe = grace >= GRACE_MIN && grace / 2 + write_deadline + clock_skew < grace;
        if safe { Ok(Self { grace, write_deadline }) } else { Err(UnsafeLeases) }
    }

    /// The age from which an entry is renewed before it is relied on.
    pub fn half_life(&self) -> Duration {
        self.grace / 2
    }

    /// The deadline of a write that relies on what was read at `leased_at` or later.
    pub fn deadline(&self, leased_at: SystemTime) -> Deadline {
        Deadline { leased_at, valid_for: self.write_deadline }
    }
}
