//! Users with passwords, in a file as `htpasswd -B` writes it.
//!
//! Checking a password costs tens of milliseconds of a processor, on purpose. So a right answer is
//! remembered, and the questions that are left are bounded twice: all of them together never take
//! more than half of the processors, and those of one sender are answered one after the other. A
//! flood of wrong passwords makes itself wait, not the others.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::reloaded_file::ReloadedFile;
use crate::telemetry::metrics::{CacheLayer, CacheResult, Cached, Metrics, ReloadedFileKind};

/// How long a right login is remembered after its last use. It is forgotten at once when its line
/// in the file changes, because the line is part of what is remembered.
const RIGHT_FOR: Duration = Duration::from_mins(5);
/// How long a wrong login is remembered: as it is, it stays wrong as long as the file says the
/// same.
const WRONG_FOR: Duration = Duration::from_mins(1);
/// Logins that are remembered, of each kind.
const REMEMBERED_MAX: usize = 10_000;
/// Queues of senders. Two senders rarely share one.
const LANES: usize = 64;
/// Logins that wait in one queue; more are told to come back.
const WAITING_MAX: usize = 64;
/// Longer ones are wrong. bcrypt itself looks at 72 bytes.
const PASSWORD_BYTES_MAX: usize = 1024;
/// From the least that bcrypt knows to the most that is bearable: a second or two.
const COSTS: std::ops::RangeInclusive<u32> = 4..=15;

/// The users of a file, who are checked by their passwords.
#[derive(Debug)]
pub struct Htpasswd {
    users: ReloadedFile<Users>,
    /// Drawn at the start, so that nothing that is remembered says anything about a password.
    key: [u8; 32],
    right: Mutex<Remembered>,
    wrong: Mutex<Remembered>,
    processors: Arc<Semaphore>,
    client_queues: Vec<Lane>,
    lane_hasher: std::hash::RandomState,
    metrics: Metrics,
}

/// Too many logins of one sender are waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// The queue of a sender.
#[derive(Debug)]
struct Lane {
    waiting: Semaphore,
    turn: Arc<Semaphore>,
}

type Fingerprint = [u8; 32];

#[derive(Debug, Default)]
struct Remembered {
    until: HashMap<Fingerprint, Instant>,
}

impl Htpasswd {
    /// Reads the file, which has to be good, and reads it again when it changes.
    pub fn open(path: PathBuf, metrics: &Metrics) -> Result<Self, String> {
        let shown = path.display().to_string();
        let users =
            ReloadedFile::open(vec![path], ReloadedFileKind::Users, metrics, move |contents| {
                Users::parse(&contents[0]).map_err(|error| format!("{shown}: {error}"))
            })?;
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| format!("no random numbers: {error}"))?;
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get() / 2);
        let lane =
            || Lane { waiting: Semaphore::new(WAITING_MAX), turn: Arc::new(Semaphore::new(1)) };
        Ok(Self {
            users,
            key,
            right: Mutex::default(),
            wrong: Mutex::default(),
            processors: Arc::new(Semaphore::new(processors.max(1))),
            client_queues: std::iter::repeat_with(lane).take(LANES).collect(),
            lane_hasher: std::hash::RandomState::new(),
            metrics: metrics.clone(),
        })
    }

    /// Whether this is the password of this user. Takes as long for a user that does not exist.
    pub(super) async fn check(
        &self,
        user: &str,
        password: &str,
        client: Option<IpAddr>,
    ) -> Result<bool, TooMany> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let users = self.users.current();
        let known = users.hashes.get(user);
        let hash = known.unwrap_or(&users.nobody).clone();
        let fingerprint = self.fingerprint(user, password, &hash);
        if let Some(answer) = self.remembered(&fingerprint) {
            self.count(CacheResult::Hit);
            return Ok(answer);
        }
        let lane = self.lane(client);
        let _waiting = lane.waiting.try_acquire().map_err(|_| TooMany)?;
        let turn = lane.turn.clone().acquire_owned().await.map_err(|_| TooMany)?;
        // A client begins with several requests at once: the first of them has the answer by now.
        if let Some(answer) = self.remembered(&fingerprint) {
            self.count(CacheResult::Joined);
            return Ok(answer);
        }
        self.count(CacheResult::Miss);
        let processor = self.processors.clone().acquire_owned().await.map_err(|_| TooMany)?;
        let password = password.to_owned();
        let checked = tokio::task::spawn_blocking(move || {
            let right = bcrypt::verify(password, &hash).unwrap_or(false);
            // Not before: the work goes on even if nobody waits for it any more.
            drop((turn, processor));
            right
        });
        let right = checked.await.unwrap_or(false) && known.is_some();
        self.remember(fingerprint, right);
        Ok(right)
    }

    fn count(&self, found: CacheResult) {
        self.metrics.cache_requests.inc((Cached::Password, CacheLayer::Local, found));
    }

    fn fingerprint(&self, user: &str, password: &str, hash: &str) -> Fingerprint {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length fits");
        for text in [user, password, hash] {
            mac.update(&(text.len() as u64).to_le_bytes());
            mac.update(text.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    fn remembered(&self, fingerprint: &Fingerprint) -> Option<bool> {
        let has = |remembered: &Mutex<Remembered>, again: Option<Duration>| {
            remembered.lock().unwrap_or_else(PoisonError::into_inner).has(fingerprint, again)
        };
        if has(&self.right, Some(RIGHT_FOR)) {
            return Some(true);
        }
        has(&self.wrong, None).then_some(false)
    }

    fn remember(&self, fingerprint: Fingerprint, right: bool) {
        let (remembered, time) =
            if right { (&self.right, RIGHT_FOR) } else { (&self.wrong, WRONG_FOR) };
        remembered.lock().unwrap_or_else(PoisonError::into_inner).insert(fingerprint, time);
    }

    /// The queue of a sender. A sender of IPv6 has a whole network of addresses.
    fn lane(&self, client: Option<IpAddr>) -> &Lane {
        let sender = match client.map(|address| address.to_canonical()) {
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                Some(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
            Some(IpAddr::V4(address)) => Some(IpAddr::V4(address)),
            None => None,
        };
        let client_queues = self.client_queues.len() as u64;
        let number =
            usize::try_from(self.lane_hasher.hash_one(sender) % client_queues).unwrap_or(0);
        &self.client_queues[number]
    }
}

impl Remembered {
    fn has(&mut self, fingerprint: &Fingerprint, again: Option<Duration>) -> bool {
        let now = Instant::now();
        match self.until.get_mut(fingerprint) {
            Some(until) if now < *until => {
                if let Some(time) = again {
                    *until = now + time;
                }
                true
            }
            Some(_) | None => false,
        }
    }

    fn insert(&mut self, fingerprint: Fingerprint, time: Duration) {
        let now = Instant::now();
        if self.until.len() >= REMEMBERED_MAX {
            self.until.retain(|_, until| now < *until);
        }
        if self.until.len() >= REMEMBERED_MAX {
            self.until.clear();
        }
        self.until.insert(fingerprint, now + time);
    }
}

/// The contents of the file.
struct Users {
    hashes: HashMap<String, String>,
    /// What the password of a user is compared with who does not exist.
    nobody: String,
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
            // Never the line itself, which is a secret.
            let bad = |what: &str| format!("line {}: {what}", index + 1);
            let (user, hash) =
                line.split_once(':').ok_or_else(|| bad("is not a name, a colon and a hash"))?;
            if user.is_empty() {
                return Err(bad("has no name before the colon"));
            }
            let cost = cost(hash)
                .ok_or_else(|| bad("is no bcrypt hash ($2y$, cost 4 to 15): use `htpasswd -B`"))?;
            cost_most = cost_most.max(Some(cost));
            if hashes.insert(user.to_owned(), hash.to_owned()).is_some() {
                return Err(bad("names a user for the second time"));
            }
        }
        // A hash that no password has, as costly as those of the others.
        let nobody = format!("$2y${:02}${}", cost_most.unwrap_or(10), ".".repeat(53));
        Ok(Self { hashes, nobody })
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
