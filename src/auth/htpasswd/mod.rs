//! Users with passwords, in a file written by `htpasswd -B`.
//!
//! Verifying a bcrypt hash takes tens of milliseconds of CPU time by design. So results are cached,
//! and verification is limited twice: all clients together use at most half of the processors, and
//! the logins of one client run one after the other. A client that floods the registry with wrong
//! passwords delays only itself.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::entropy;
use crate::reloaded_file::ReloadedFile;
use crate::telemetry::metrics::{CacheLayer, CacheResult, Cached, Metrics, ReloadedFileKind};

/// How long a verified login is cached after its last use. A changed line in the file ends it at
/// once, because the hash is part of the cache key.
const VERIFIED_FOR: Duration = Duration::from_mins(5);
/// How long a rejected login is cached.
const REJECTED_FOR: Duration = Duration::from_mins(1);
/// The most logins in each cache.
const CACHED_MAX: usize = 10_000;
/// Clients are distributed over this many queues.
const CLIENT_QUEUES: usize = 64;
/// The most logins that wait in one queue. Further logins get 429.
const WAITING_MAX: usize = 64;
/// A longer password is rejected. bcrypt itself uses 72 bytes.
const PASSWORD_BYTES_MAX: usize = 1024;
/// From the minimum of bcrypt to a cost of one or two seconds.
const COSTS: std::ops::RangeInclusive<u32> = 4..=15;

#[derive(Debug)]
pub struct Htpasswd {
    users: ReloadedFile<Users>,
    /// A random key for the fingerprints, so that the caches reveal no password.
    key: [u8; 32],
    verified: Mutex<LoginCache>,
    rejected: Mutex<LoginCache>,
    processors: Arc<Semaphore>,
    client_queues: Vec<ClientQueue>,
    queue_hasher: std::hash::RandomState,
    metrics: Metrics,
}

/// Too many logins of one client are waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyAttempts;

#[derive(Debug)]
struct ClientQueue {
    waiting: Semaphore,
    turn: Arc<Semaphore>,
}

type Fingerprint = [u8; 32];

#[derive(Debug, Default)]
struct LoginCache {
    expiry: HashMap<Fingerprint, Instant>,
}

impl Htpasswd {
    /// Loads the file, which must be valid, and reloads it when it changes.
    pub fn open(path: PathBuf, metrics: &Metrics) -> Result<Self, String> {
        let shown = path.display().to_string();
        let users =
            ReloadedFile::open(vec![path], ReloadedFileKind::Users, metrics, move |contents| {
                Users::parse(&contents[0]).map_err(|error| format!("{shown}: {error}"))
            })?;
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get() / 2);
        let queue = || ClientQueue {
            waiting: Semaphore::new(WAITING_MAX),
            turn: Arc::new(Semaphore::new(1)),
        };
        Ok(Self {
            users,
            key: entropy::bytes(),
            verified: Mutex::default(),
            rejected: Mutex::default(),
            processors: Arc::new(Semaphore::new(processors.max(1))),
            client_queues: std::iter::repeat_with(queue).take(CLIENT_QUEUES).collect(),
            queue_hasher: std::hash::RandomState::new(),
            metrics: metrics.clone(),
        })
    }

    /// Whether this is the password of this user. Takes the same time for a user that does not
    /// exist.
    pub(super) async fn check(
        &self,
        user: &str,
        password: &str,
        client: Option<IpAddr>,
    ) -> Result<bool, TooManyAttempts> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let users = self.users.current();
        let known = users.hashes.get(user);
        let hash = known.unwrap_or(&users.unknown_user).clone();
        let fingerprint = self.fingerprint(user, password, &hash);
        if let Some(verified) = self.cached(&fingerprint) {
            self.count(CacheResult::Hit);
            return Ok(verified);
        }
        let queue = self.client_queue(client);
        let _waiting = queue.waiting.try_acquire().map_err(|_| TooManyAttempts)?;
        let turn = queue.turn.clone().acquire_owned().await.map_err(|_| TooManyAttempts)?;
        // A client starts with several requests at once: the first of them has filled the cache.
        if let Some(verified) = self.cached(&fingerprint) {
            self.count(CacheResult::Joined);
            return Ok(verified);
        }
        self.count(CacheResult::Miss);
        let processor = self.processors.clone().acquire_owned().await;
        let processor = processor.map_err(|_| TooManyAttempts)?;
        let password = password.to_owned();
        let checked = tokio::task::spawn_blocking(move || {
            let verified = bcrypt::verify(password, &hash).unwrap_or(false);
            // Released only here: the thread keeps working if the request is cancelled.
            drop((turn, processor));
            verified
        });
        let verified = checked.await.unwrap_or(false) && known.is_some();
        self.insert(fingerprint, verified);
        Ok(verified)
    }

    fn count(&self, result: CacheResult) {
        self.metrics.cache_requests.inc((Cached::Password, CacheLayer::Local, result));
    }

    fn fingerprint(&self, user: &str, password: &str, hash: &str) -> Fingerprint {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length fits");
        for text in [user, password, hash] {
            mac.update(&(text.len() as u64).to_le_bytes());
            mac.update(text.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    fn cached(&self, fingerprint: &Fingerprint) -> Option<bool> {
        let contains = |cache: &Mutex<LoginCache>, extend: Option<Duration>| {
            cache.lock().unwrap_or_else(PoisonError::into_inner).contains(fingerprint, extend)
        };
        if contains(&self.verified, Some(VERIFIED_FOR)) {
            return Some(true);
        }
        contains(&self.rejected, None).then_some(false)
    }

    fn insert(&self, fingerprint: Fingerprint, verified: bool) {
        let (cache, time) =
            if verified { (&self.verified, VERIFIED_FOR) } else { (&self.rejected, REJECTED_FOR) };
        cache.lock().unwrap_or_else(PoisonError::into_inner).insert(fingerprint, time);
    }

    /// The queue of a client. An IPv6 client is identified by its /64 network.
    fn client_queue(&self, client: Option<IpAddr>) -> &ClientQueue {
        let network = match client.map(|address| address.to_canonical()) {
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                Some(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
            Some(IpAddr::V4(address)) => Some(IpAddr::V4(address)),
            None => None,
        };
        let count = self.client_queues.len() as u64;
        let index = usize::try_from(self.queue_hasher.hash_one(network) % count).unwrap_or(0);
        &self.client_queues[index]
    }
}

impl LoginCache {
    fn contains(&mut self, fingerprint: &Fingerprint, extend: Option<Duration>) -> bool {
        let now = Instant::now();
        match self.expiry.get_mut(fingerprint) {
            Some(expiry) if now < *expiry => {
                if let Some(time) = extend {
                    *expiry = now + time;
                }
                true
            }
            Some(_) | None => false,
        }
    }

    fn insert(&mut self, fingerprint: Fingerprint, time: Duration) {
        let now = Instant::now();
        if self.expiry.len() >= CACHED_MAX {
            self.expiry.retain(|_, expiry| now < *expiry);
        }
        if self.expiry.len() >= CACHED_MAX {
            self.expiry.clear();
        }
        self.expiry.insert(fingerprint, now + time);
    }
}

/// The contents of the file.
struct Users {
    hashes: HashMap<String, String>,
    /// A hash to compare with if the user does not exist.
    unknown_user: String,
}

impl Users {
    fn parse(contents: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(contents).map_err(|_| "is not UTF-8".to_owned())?;
        let mut hashes = HashMap::new();
        let mut cost_most = None;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // Without the line itself, which is a secret.
            let bad = |what: &str| format!("line {}: {what}", index + 1);
            let (user, hash) =
                line.split_once(':').ok_or_else(|| bad("is not a name, a colon and a hash"))?;
            if user.is_empty() {
                return Err(bad("has no name before the colon"));
            }
            let cost = cost(hash).ok_or_else(|| {
                bad("is not a bcrypt hash ($2y$, cost 4 to 15): use `htpasswd -B`")
            })?;
            cost_most = cost_most.max(Some(cost));
            if hashes.insert(user.to_owned(), hash.to_owned()).is_some() {
                return Err(bad("names a user for the second time"));
            }
        }
        // The hash of no password, as expensive as the most expensive hash in the file.
        let unknown_user = format!("$2y${:02}${}", cost_most.unwrap_or(10), ".".repeat(53));
        Ok(Self { hashes, unknown_user })
    }
}

/// The cost of a bcrypt hash.
fn cost(hash: &str) -> Option<u32> {
    let prefixes = ["$2y$", "$2b$", "$2a$"];
    let rest = prefixes.iter().find_map(|prefix| hash.strip_prefix(prefix))?;
    let (cost, rest) = rest.split_once('$')?;
    let in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    let well_formed = cost.len() == 2 && rest.len() == 53 && rest.bytes().all(in_alphabet);
    cost.parse().ok().filter(|cost| well_formed && COSTS.contains(cost))
}

#[cfg(test)]
mod tests;
