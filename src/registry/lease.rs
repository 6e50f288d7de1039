//! Leases: for how long a request may rely on a record that it has read.
//!
//! A request may rely on a record that is younger than the half-life `H`; it touches an older one
//! first. Each write that relies on such a record carries a deadline `W`, which the store enforces.
//! The collector considers only what is older than the grace `G` before its mark phase began. As
//! `H + W + skew < G`, the collector always sees a write that relies on a lease.

use std::time::{Duration, SystemTime};

use crate::setting::{
    DAY, GIB, HOUR, KIB, MIB, MINUTE, SECOND, bytes, choice, choice_of, count, duration,
    format_duration, settings,
};
use crate::store::Deadline;

/// With a shorter grace a slow push could lose content that it relies on.
const GRACE_MIN: Duration = Duration::from_hours(2);
const QUARANTINE_MIN: Duration = HOUR;
/// The least values with `unsafe_short_grace`.
const GRACE_FLOOR: Duration = SECOND;
const QUARANTINE_FLOOR: Duration = Duration::ZERO;

settings! {
    /// Garbage collection (docs/collection.md), and the lease times that keep it from deleting
    /// content that a client is about to use.
    ///
    /// All processes on one bucket must have the same `grace`, `write_deadline`, `clock_skew` and
    /// `quarantine`: the first start writes them into the bucket, and a process that differs does
    /// not start. `longshore settings show` prints what the bucket
    /// holds, `longshore settings set` changes it.
    ///
    /// `grace / 2 + write_deadline + clock_skew` must be less than `grace`, and
    /// `blobs.redirect_ttl + blobs.redirect_step + cache.ttl + cache.local_ttl + clock_skew` less
    /// than `quarantine`; for a folder or memory `cache.local_ttl` counts as 1h.
    pub struct LeaseSettings {
        /// How long unreferenced content is kept after its last use: 2h or more.
        grace: Duration = 2 * DAY, duration(GRACE_FLOOR..=365 * DAY);
        /// How long a write that relies on other content may take before the store refuses it.
        write_deadline: Duration = 5 * MINUTE, duration(SECOND..=DAY);
        /// The largest difference between the clocks of the registry and the store.
        clock_skew: Duration = 5 * MINUTE, duration(Duration::ZERO..=DAY);
        /// How long data is kept after its last record is gone: a presigned URL or a cache may
        /// still name it. 1h or more.
        quarantine: Duration = 2 * DAY, duration(QUARANTINE_FLOOR..=365 * DAY);
        /// Whether `serve` collects garbage in the background. `auto`: if the store has conditional
        /// writes, that is, not with `store.writers = "single"`. Of several processes on one bucket
        /// only one collects at a time. Not shared, as all the following.
        enabled: Collecting = Collecting::Auto, choice_of();
        /// The pause between two runs of the collection, up to a tenth longer or shorter. A blob is
        /// removed when two runs have found it unreferenced.
        interval: Duration = 6 * HOUR, duration(MINUTE..=30 * DAY);
        /// The requests to the store that the collection makes in a second, at most.
        requests_per_second: u32 = 500, count(1..=100_000);
        /// The bytes of records that the collection reads in a second, at most.
        bytes_per_second: usize = 64 * MIB, bytes(64 * KIB..=100 * GIB);
        /// The age from which the collection deletes manifests without a tag, as a client would by
        /// digest. It keeps a manifest that another one of the repository names, and one with a
        /// subject that exists. Without this setting it deletes no manifest. It is at least
        /// `grace`.
        untagged_after: Option<Duration> = None, duration(GRACE_FLOOR..=3650 * DAY) => "90d";
        /// Accepts a `grace` below 2h and any `quarantine`, for tests: pushes that take longer than
        /// the grace lose content, and pulls of deleted content may break off.
        unsafe_short_grace: bool = false, choice_of();
    }
}

choice! {
    /// Whether `serve` collects garbage.
    pub enum Collecting {
        /// Where the store has conditional writes.
        Auto = "auto",
        On = "true",
        Off = "false",
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
pub enum UnsafeLeases {
    #[error(
        "grace / 2 + write_deadline + clock_skew must be less than grace, or content could be \
         collected while a writer relies on it: {} + {} + {} is not less than {}",
        format_duration(.0.grace / 2),
        format_duration(.0.write_deadline),
        format_duration(.0.clock_skew),
        format_duration(.0.grace)
    )]
    Unequal(Box<LeaseSettings>),
    #[error(
        "{name} is {}, and less than {} loses the content of slow pushes: only \
         collection.unsafe_short_grace = true accepts it, for tests",
        format_duration(*.value),
        format_duration(*.least)
    )]
    TooShort { name: &'static str, value: Duration, least: Duration },
    #[error(
        "collection.untagged_after is {}, which is less than the grace, {}",
        format_duration(*.0),
        format_duration(*.1)
    )]
    UntaggedTooSoon(Duration, Duration),
}

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
        let Self { clock_skew, quarantine, unsafe_short_grace, .. } = *self;
        if unsafe_short_grace {
            return Ok(());
        }
        if redirect_ttl + redirect_step + cache_ttl + local_ttl + clock_skew < quarantine {
            return Ok(());
        }
        Err(UnsafeQuarantine { readers, clock_skew, quarantine })
    }
}

impl Leases {
    /// Checks that `G/2 + W + skew < G`, and what else keeps writers safe.
    pub fn new(settings: &LeaseSettings) -> Result<Self, UnsafeLeases> {
        let LeaseSettings { grace, write_deadline, clock_skew, quarantine, .. } = *settings;
        let least = [
            ("collection.grace", grace, GRACE_MIN),
            ("collection.quarantine", quarantine, QUARANTINE_MIN),
        ];
        let short = least.into_iter().find(|(_, value, least)| value < least);
        if let (Some((name, value, least)), false) = (short, settings.unsafe_short_grace) {
            return Err(UnsafeLeases::TooShort { name, value, least });
        }
        if let Some(untagged) = settings.untagged_after.filter(|untagged| *untagged < grace) {
            return Err(UnsafeLeases::UntaggedTooSoon(untagged, grace));
        }
        if grace / 2 + write_deadline + clock_skew < grace {
            Ok(Self { grace, write_deadline })
        } else {
            Err(UnsafeLeases::Unequal(Box::new(settings.clone())))
        }
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
