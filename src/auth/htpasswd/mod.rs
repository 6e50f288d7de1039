//! Users with passwords, in a file written by `htpasswd -B`.
//!
//! Verifying a bcrypt hash takes tens of milliseconds of CPU time by design. So results are cached,
//! and verification is limited: all clients together use at most half of the processors, and
//! [`queues`] says who waits for whom. Clients that flood the registry with wrong passwords delay
//! neither clients nor users whose logins were right before.

mod file;
mod queues;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

pub use self::file::{ListedUser, UserChange, change_users, list_users};
pub(super) use self::queues::TooManyAttempts;
use self::queues::{Queues, Rank};
use crate::client_network::ClientNetwork;
use crate::entropy;
use crate::reloaded_file::ReloadedFile;
use crate::telemetry::metrics::{CacheLayer, CacheResult, Cached, Metrics, ReloadedFileKind};

/// How long a verified login is cached after its last use. A changed line in the file ends it at
/// once, because the hash is part of the cache key.
const VERIFIED_FOR: Duration = Duration::from_mins(5);
/// How long a rejected login is cached.
const REJECTED_FOR: Duration = Duration::from_mins(1);
/// How long a client and a user go first after a verified login.
const KNOWN_FOR: Duration = Duration::from_hours(7 * 24);
/// The most entries in each cache.
const CACHED_MAX: usize = 10_000;
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
    /// Clients and users of verified logins.
    known: Mutex<LoginCache>,
    queues: Queues,
    metrics: Metrics,
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
        Ok(Self {
            users,
            key: entropy::bytes(),
            verified: Mutex::default(),
            rejected: Mutex::default(),
            known: Mutex::default(),
            queues: Queues::new(processors.max(1)),
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
        // bcrypt repeats what stands before a NUL, so another password would pass.
        if password.len() > PASSWORD_BYTES_MAX || password.contains('\0') {
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
        let network = client.map(ClientNetwork::from);
        let traces = self.traces(user, network);
        let (rank, own_queue) = self.rank(&traces, known.is_some());
        let turn = self.queues.turn(rank, network, own_queue.then_some(user)).await?;
        // A client starts with several requests at once: the first of them has filled the cache.
        if let Some(verified) = self.cached(&fingerprint) {
            self.count(CacheResult::Joined);
            return Ok(verified);
        }
        self.count(CacheResult::Miss);
        let permits = turn.processor().await?;
        let password = password.to_owned();
        let checked = tokio::task::spawn_blocking(move || {
            let verified = bcrypt::verify(password, &hash).unwrap_or(false);
            // Released only here: the thread keeps working if the request is cancelled.
            drop(permits);
            verified
        });
        let verified = checked.await.unwrap_or(false) && known.is_some();
        self.insert(fingerprint, verified);
        if verified {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for trace in traces {
                known.insert(trace, KNOWN_FOR);
            }
        }
        Ok(verified)
    }

    /// What changes when the password of the user changes, `None` if there is no such user. It says
    /// nothing about the password, nor about its hash.
    pub(super) fn version_of(&self, user: &str) -> Option<[u8; 16]> {
        let users = self.users.current();
        let hash = users.hashes.get(user)?;
        let digest = Sha256::new().chain_update(user).chain_update([0]).chain_update(hash);
        digest.finalize().first_chunk().copied()
    }

    /// What a verified login leaves behind: the client, the user, and both together.
    fn traces(&self, user: &str, network: Option<ClientNetwork>) -> [Fingerprint; 3] {
        let network = network.map_or_else(String::new, |network| network.to_string());
        [("client", "", &*network), ("user", user, ""), ("both", user, &*network)]
            .map(|(kind, user, network)| self.fingerprint(kind, user, network))
    }

    /// The rank of a login, and whether this user was right before from this client.
    fn rank(&self, traces: &[Fingerprint; 3], user_exists: bool) -> (Rank, bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let [client, user, both] = traces.each_ref().map(|trace| known.contains(trace, None));
        match (client, user && user_exists) {
            (true, user) => (Rank::KnownClient, user && both),
            (false, true) => (Rank::KnownUser, false),
            (false, false) => (Rank::Unknown, false),
        }
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
        let (mut cost_least, mut cost_most) = (None, None);
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
            cost_least = Some(cost_least.map_or(cost, |least: u32| least.min(cost)));
            cost_most = cost_most.max(Some(cost));
            if hashes.insert(user.to_owned(), hash.to_owned()).is_some() {
                return Err(bad("names a user for the second time"));
            }
        }
        if cost_least != cost_most {
            tracing::warn!(
                cost_least,
                cost_most,
                "passwords have bcrypt hashes of different costs: the time of a refusal shows who \
                 has a cheaper one; write all of them with the same `htpasswd -B -C`"
            );
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
