//! How many requests and bytes a caller may use, by `[limits]`.
//!
//! Each limit is a token bucket (GCRA, of the crate `governor`). A request takes a token of its
//! client address before it is authorized, so passwords are bounded too, and one of its subject
//! after that. Bytes are counted while they flow, and beyond what a bucket holds: a transfer that
//! has begun is neither slowed nor cut, and the requests after it wait for what it has overdrawn.

mod account;
mod bucket;
mod keys;

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use governor::clock::MonotonicClock;

pub(super) use self::account::{Account, Direction};
use self::bucket::Buckets;
pub use self::keys::KEYS_MAX;
use super::endpoint::Effect;
use super::settings::{CallerLimitSettings, LimitSettings};
use crate::client_network::ClientNetwork;
use crate::telemetry::metrics::{Limit, LimitBy, Metrics};

/// Bytes of a token of the buckets of bytes.
const TOKEN_BYTES: usize = 1024;

/// The limits of a process.
#[derive(Debug)]
pub struct Limits {
    subject: OfCallers,
    address: OfCallers,
    /// Keys are hashes: so each takes 8 bytes, however long a subject is.
    hashes: RandomState,
    metrics: Metrics,
}

/// The limits of all subjects, or of all client addresses.
#[derive(Debug)]
struct OfCallers {
    requests: Option<Buckets>,
    upload: Option<Buckets>,
    download: Option<Buckets>,
}

/// A request that is refused because its caller has used up a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limited {
    limit: Limit,
    by: LimitBy,
    /// When the same request would be accepted, if the caller sends no other.
    pub(super) after: Duration,
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            LimitBy::Subject => "limits.subject",
            LimitBy::Address => "limits.address",
        };
        match self.limit {
            Limit::Requests => write!(f, "more requests than {by}.requests_per_second allows"),
            Limit::UploadBytes => {
                write!(f, "more bytes than {by}.upload_bytes_per_second allows")
            }
            Limit::DownloadBytes => {
                write!(f, "more bytes than {by}.download_bytes_per_second allows")
            }
        }
    }
}

impl OfCallers {
    fn new(settings: &CallerLimitSettings) -> Self {
        let of_bytes = |rate: Option<usize>, burst| {
            let rate = rate? / TOKEN_BYTES;
            Some(Buckets::new(saturating(rate), saturating(burst / TOKEN_BYTES)))
        };
        let requests = settings.requests_per_second;
        Self {
            requests: requests.map(|rate| Buckets::new(rate, settings.requests_burst)),
            upload: of_bytes(settings.upload_bytes_per_second, settings.upload_burst_bytes),
            download: of_bytes(settings.download_bytes_per_second, settings.download_burst_bytes),
        }
    }

    fn is_off(&self) -> bool {
        self.requests.is_none() && self.upload.is_none() && self.download.is_none()
    }

    /// Takes a token for a request, or says which limit its caller has used up. Bytes come first:
    /// a request that is refused for them takes no token of the requests.
    fn admit(&self, key: u64, effect: Effect) -> Result<(), (Limit, Duration)> {
        let (limit, bytes) = match effect {
            Effect::Mutates => (Limit::UploadBytes, &self.upload),
            Effect::Reads => (Limit::DownloadBytes, &self.download),
        };
        for (limit, buckets) in [(limit, bytes), (Limit::Requests, &self.requests)] {
            if let Some(buckets) = buckets {
                buckets.admit(key).map_err(|after| (limit, after))?;
            }
        }
        Ok(())
    }
}

impl Limits {
    pub fn new(settings: &LimitSettings, metrics: &Metrics) -> Self {
        Self {
            subject: OfCallers::new(&settings.subject),
            address: OfCallers::new(&settings.address),
            hashes: RandomState::new(),
            metrics: metrics.clone(),
        }
    }

    /// What the requests of a client address are charged to. It costs nothing without limits.
    pub(super) fn account(self: &Arc<Self>, address: Option<IpAddr>) -> Account {
        if self.address.is_off() && self.subject.is_off() {
            return Account::default();
        }
        let address = address.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
        let key = self.hashes.hash_one(ClientNetwork::from(address));
        Account::new(self.clone(), key)
    }

    fn subject_key(&self, subject: &str) -> Option<u64> {
        (!self.subject.is_off()).then(|| self.hashes.hash_one(subject))
    }

    fn admit(&self, by: LimitBy, key: u64, effect: Effect) -> Result<(), Limited> {
        let callers = match by {
            LimitBy::Subject => &self.subject,
            LimitBy::Address => &self.address,
        };
        callers.admit(key, effect).map_err(|(limit, after)| {
            self.metrics.limited.inc((limit, by));
            Limited { limit, by, after }
        })
    }
}

fn saturating(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
