//! What kind of run a seed makes. Runs differ in kind, because a fault that needs many long delays
//! is not found among many crashes.

use std::time::Duration;

use longshore::config::Settings;

use crate::random::Random;

/// The smallest part that the store accepts, and the size of the parts.
pub(crate) const PART_BYTES: usize = 16 * 1024;
/// The largest blob in a link.
const INLINE_BYTES: usize = 1024;
/// The shortest grace that the registry accepts.
pub(crate) const GRACE: Duration = Duration::from_hours(2);
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_mins(5);
pub(crate) const CLOCK_SKEW: Duration = Duration::from_mins(5);
pub(crate) const QUARANTINE: Duration = Duration::from_hours(2);

/// Whether the frontends share a cache, and what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caching {
    None,
    /// It never fails, and no write reaches the store late: every read is up to date.
    Perfect,
    /// It is flushed, and is away at times.
    Failing,
}

#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) seed: u64,
    pub(crate) caching: Caching,
    /// Of 1,000 calls of the store, how many fail in some way.
    pub(crate) faults: u32,
    /// Of 100,000 calls of the store, at how many the process crashes.
    pub(crate) crashes: u32,
    /// Of 1,000 calls of the store, how many take minutes, hours or days.
    pub(crate) stalls: u32,
    pub(crate) frontends: usize,
    pub(crate) collectors: usize,
    pub(crate) clients: usize,
    /// How many things each client does.
    pub(crate) acts: usize,
    /// The longest pause of a client between two acts.
    pub(crate) pause_max: Duration,
    /// Of 1,000 acts, how many delete.
    pub(crate) deletions: u32,
    /// Whether uploads may go on for many days.
    pub(crate) long_uploads: bool,
}

impl Profile {
    pub(crate) fn of(seed: u64) -> Self {
        let random = Random::of(seed, 0);
        let caching = *random.pick(&[Caching::None, Caching::Perfect, Caching::Failing]);
        // A late write makes a cached value outdated, and so does a crash between a write and its
        // invalidation: within the bound that is documented.
        let perfect = caching == Caching::Perfect;
        Self {
            seed,
            caching,
            faults: if perfect { 0 } else { *random.pick(&[0, 5, 20, 60]) },
            crashes: if perfect { 0 } else { *random.pick(&[0, 50, 200]) },
            stalls: *random.pick(&[0, 2, 6]),
            frontends: 2 + random.below(2),
            collectors: 1 + random.below(2),
            clients: 3 + random.below(3),
            acts: 14,
            pause_max: *random.pick(&[1, 8, 16].map(Duration::from_hours)),
            deletions: *random.pick(&[100, 300, 450]),
            long_uploads: random.chance(300),
        }
    }

    /// The settings of every process.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        // A bucket: its processes keep nothing in their memory unless they are told to.
        settings.store.url = "s3://simulated".parse().expect("the URL of a bucket");
        settings.uploads.part_bytes = PART_BYTES;
        settings.uploads.inline_bytes = INLINE_BYTES;
        settings.collection.grace = GRACE;
        settings.collection.write_deadline = WRITE_DEADLINE;
        settings.collection.clock_skew = CLOCK_SKEW;
        settings.collection.quarantine = QUARANTINE;
        settings.log.requests = longshore::telemetry::RequestLog::Off;
        settings
    }

    /// For how long a read may show what was true before.
    pub(crate) fn lag(&self) -> Duration {
        let cache = self.settings().cache;
        match self.caching {
            Caching::None | Caching::Perfect => Duration::ZERO,
            Caching::Failing => cache.tag_ttl + cache.local_ttl + Duration::from_secs(2),
        }
    }
}
