//! What kind of run a seed makes. Runs differ in kind, because a fault that needs many long delays
//! is not found among many crashes.

use std::time::Duration;

use longshore::config::Settings;
use longshore::telemetry::RequestLog;

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

/// After so long a collector may compare the day on which an upload began with all names.
pub(crate) const LONG_UPLOAD: Duration = Duration::from_hours(7 * 24 + 18);
/// Long uploads end within so long after that.
pub(crate) const LONG_UPLOAD_ENDS: Duration = Duration::from_hours(3);

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// Whether the frontends share a cache, and what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caching {
    None,
    /// It never fails, and no write reaches the store late: every read is up to date.
    Perfect,
    /// It is flushed, and is away at times.
    Failing,
}

/// What a run looks at more closely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Focus {
    /// A bit of everything.
    Anything,
    /// Old content is pushed again while slow collectors run.
    Reuse,
    /// Requests take hours between a lease and the write that relies on it.
    Stalls,
    /// The store decides about manifests long after it has accepted them.
    SlowDecisions,
    /// Few names, many clients, writes that arrive late or twice.
    Contention,
    /// A cache that never fails, and readers that come at once.
    Cached,
    /// Clients continue their commits when the session is as old as the grace.
    Resumption,
    /// Uploads that go on for a week, and end when a collector compares the day of their start.
    LongUploads,
}

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) seed: u64,
    pub(crate) focus: Focus,
    pub(crate) caching: Caching,
    /// Of 1,000 calls of the store, how many fail in some way.
    pub(crate) faults: u32,
    /// Of 100,000 calls of the store, at how many the process crashes.
    pub(crate) crashes: u32,
    /// Of 1,000 calls of the store, how many take minutes, hours or days.
    pub(crate) stalls: u32,
    /// Of 1,000 writes of manifests, about how many the store decides late.
    pub(crate) slow_decisions: u32,
    pub(crate) frontends: usize,
    pub(crate) collectors: usize,
    /// How long an ordinary request of a collector takes at most, and of a frontend.
    pub(crate) collector_latency: Duration,
    pub(crate) frontend_latency: Duration,
    /// How much longer a listing of data takes at most: a bucket may have many pages of it.
    pub(crate) data_listing: Duration,
    /// When the first collector runs.
    pub(crate) collect_from: Duration,
    /// The pause between two runs of a collector.
    pub(crate) interval: (Duration, Duration),
    pub(crate) clients: usize,
    /// How many things each client does.
    pub(crate) acts: usize,
    /// The longest pause of a client between two acts.
    pub(crate) pause_max: Duration,
    /// Of 1,000 acts, how many delete, and how many of the others push manifests.
    pub(crate) deletions: u32,
    pub(crate) pushes: u32,
    /// Repositories, tags and documents that the clients use.
    pub(crate) names: (usize, usize, usize),
    /// Clients that upload one blob for a week.
    pub(crate) long_uploads: usize,
    /// Whether the store removes records under a condition, as some do not.
    pub(crate) conditional_removal: bool,
    /// When collectors delete manifests without a tag.
    pub(crate) untagged_after: Option<Duration>,
    /// For how long a process keeps what it has read.
    pub(crate) local_ttl: Duration,
}

impl Profile {
    pub(crate) fn of(seed: u64) -> Self {
        let random = Random::of(seed, 0);
        let others = [
            Focus::Reuse,
            Focus::Stalls,
            Focus::SlowDecisions,
            Focus::Contention,
            Focus::Cached,
            Focus::Resumption,
            Focus::LongUploads,
        ];
        let general = random.chance(400);
        Self::with_focus(seed, if general { Focus::Anything } else { *random.pick(&others) })
    }

    pub(crate) fn with_focus(seed: u64, focus: Focus) -> Self {
        let (random, store) = (Random::of(seed, 2), Random::of(seed, 3));
        let caching = *random.pick(&[Caching::None, Caching::Perfect, Caching::Failing]);
        let profile = Self {
            seed,
            focus,
            caching,
            faults: *random.pick(&[0, 5, 20, 60]),
            crashes: *random.pick(&[0, 50, 200]),
            stalls: *random.pick(&[0, 2, 6]),
            slow_decisions: 0,
            frontends: 2 + random.below(2),
            collectors: 1 + random.below(2),
            collector_latency: *random.pick(&[SECOND / 5, 2 * SECOND, MINUTE / 2]),
            frontend_latency: SECOND / 5,
            data_listing: Duration::ZERO,
            collect_from: Duration::ZERO,
            interval: (20 * MINUTE, 4 * HOUR),
            clients: 3 + random.below(2),
            acts: 10,
            pause_max: *random.pick(&[1, 8, 16].map(Duration::from_hours)),
            deletions: *random.pick(&[100, 300, 450]),
            pushes: 600,
            names: (3, 3, usize::MAX),
            long_uploads: 0,
            conditional_removal: store.chance(600),
            untagged_after: store.chance(300).then(|| *store.pick(&[3, 12, 48].map(hours))),
            local_ttl: if store.chance(250) { MINUTE / 2 } else { Duration::ZERO },
        };
        let mut profile = profile.looking_at(focus);
        if profile.caching == Caching::Perfect {
            profile.local_ttl = Duration::ZERO;
            // A late write makes a cached value outdated, and so does a crash between a write and
            // its invalidation: within the bound that is documented.
            (profile.faults, profile.crashes) = (0, 0);
        }
        profile
    }

    fn looking_at(self, focus: Focus) -> Self {
        match focus {
            Focus::Anything => self,
            Focus::Reuse => Self {
                collector_latency: 2 * MINUTE,
                interval: (MINUTE, HOUR),
                names: (1, 3, usize::MAX),
                pause_max: 3 * HOUR,
                deletions: 450,
                pushes: 900,
                acts: 20,
                ..self
            },
            Focus::Stalls => Self {
                stalls: 25,
                interval: (MINUTE, HOUR),
                names: (1, 3, usize::MAX),
                deletions: 300,
                pushes: 900,
                ..self
            },
            Focus::SlowDecisions => Self {
                slow_decisions: 500,
                stalls: 0,
                // The bound of a slow decision follows from these.
                collectors: 1,
                interval: (2 * HOUR, 3 * HOUR),
                deletions: 400,
                pushes: 900,
                ..self
            },
            Focus::Contention => Self {
                caching: Caching::None,
                faults: 100,
                names: (1, 2, 3),
                clients: 5,
                acts: 24,
                pause_max: 2 * MINUTE,
                deletions: 500,
                pushes: 800,
                frontend_latency: 2 * SECOND,
                ..self
            },
            Focus::Cached => Self {
                caching: Caching::Perfect,
                names: (1, 2, 4),
                clients: 5,
                acts: 24,
                pause_max: MINUTE,
                pushes: 400,
                ..self
            },
            Focus::Resumption => Self {
                faults: 60,
                stalls: 0,
                interval: (2 * MINUTE, 12 * MINUTE),
                collector_latency: SECOND / 5,
                frontend_latency: MINUTE,
                pushes: 100,
                deletions: 0,
                acts: 8,
                ..self
            },
            Focus::LongUploads => Self {
                collectors: 2,
                collector_latency: 2 * SECOND,
                data_listing: LONG_UPLOAD_ENDS,
                collect_from: LONG_UPLOAD - HOUR,
                interval: (5 * MINUTE, 40 * MINUTE),
                stalls: 0,
                faults: 0,
                crashes: 0,
                clients: 1,
                long_uploads: 5,
                ..self
            },
        }
    }

    /// For how long the store may think about a manifest that it has accepted. A link that the
    /// manifest names is at least this much younger than the grace when the request arrives, and
    /// two runs have to see it before it goes.
    pub(crate) fn slow_decision_max(&self) -> Duration {
        let (pause_min, _) = self.interval;
        let young = GRACE - GRACE / 2 - WRITE_DEADLINE - CLOCK_SKEW;
        young + pause_min - 10 * MINUTE
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
        settings.collection.untagged_after = self.untagged_after;
        settings.cache.local_ttl = self.local_ttl;
        settings.log.requests = RequestLog::Off;
        if self.seed.is_multiple_of(2) {
            settings.blobs.delivery = longshore::http::Delivery::Redirect;
        }
        settings
    }

    /// For how long a read may show what was true before.
    pub(crate) fn lag(&self) -> Duration {
        let cache = self.settings().cache;
        match self.caching {
            Caching::None | Caching::Perfect => cache.local_ttl,
            Caching::Failing => cache.tag_ttl + cache.local_ttl + 2 * SECOND,
        }
    }
}
