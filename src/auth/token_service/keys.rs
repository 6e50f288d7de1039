//! The keys with which all processes on a store sign and verify tokens.
//!
//! They are read when they are first needed, again when a minute has passed, and at once when a
//! token names another key. While the store is away, the last keys stay in use.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::auth::jwks::{Key, Keys};
use crate::auth::key_source::{KeySource, SigningKey};
use crate::tasks::Tasks;

/// How old the keys may become. What the operator has revoked ends within this time.
const READ_EVERY: Duration = Duration::from_mins(1);
/// The pause between two reads for keys that are not known, or that were never read.
const READ_AGAIN_PAUSE: Duration = Duration::from_secs(1);
/// How long a request waits for the keys. The read goes on without it.
const READ_WAIT_MAX: Duration = Duration::from_secs(2);
/// The most keys: a token that names none is tried with each of them.
const KEYS_MAX: usize = 32;

/// The keys of this process.
#[derive(Debug)]
pub(super) struct TokenKeys(Arc<Inner>);

struct Inner {
    source: OnceLock<(Arc<dyn KeySource>, Tasks)>,
    current: ArcSwapOption<KeySet>,
    /// When the last read began.
    began: Mutex<Option<Instant>>,
    reads: AtomicBool,
    /// Changes when a read has ended.
    ended: watch::Sender<()>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKeys").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Keys that were read together.
pub(super) struct KeySet {
    given: Vec<SigningKey>,
    pub(super) verifying: Arc<Keys>,
    /// In the order of their ids in `given`.
    signing: Vec<Ed25519KeyPair>,
}

impl TokenKeys {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            source: OnceLock::new(),
            current: ArcSwapOption::empty(),
            began: Mutex::default(),
            reads: AtomicBool::new(false),
            ended: watch::Sender::new(()),
        }))
    }

    /// Gives the keys their source. The first one stays.
    pub(super) fn connect(&self, source: Arc<dyn KeySource>, tasks: Tasks) {
        let _ = self.0.source.set((source, tasks));
    }

    /// The keys, at most a minute old if the store answers; `None` if they were never read.
    pub(super) async fn current(&self) -> Option<Arc<KeySet>> {
        match self.0.current.load_full() {
            None => self.read(READ_AGAIN_PAUSE).await,
            Some(_) if self.is_older_than(READ_EVERY) => self.read(READ_EVERY).await,
            Some(_) => {}
        }
        self.0.current.load_full()
    }

    /// The same, and read again if this key is not among them.
    pub(super) async fn with(&self, id: Option<&str>) -> Option<Arc<KeySet>> {
        let keys = self.current().await?;
        if id.is_none_or(|id| keys.given.iter().any(|key| key.id == id)) {
            return Some(keys);
        }
        self.read(READ_AGAIN_PAUSE).await;
        self.0.current.load_full()
    }

    fn is_older_than(&self, age: Duration) -> bool {
        let began = *self.0.began.lock().unwrap_or_else(PoisonError::into_inner);
        began.is_none_or(|began| began.elapsed() >= age)
    }

    /// Reads the keys if the last read began so long ago, and waits for a read that is under way.
    async fn read(&self, pause: Duration) {
        let Some((source, tasks)) = self.0.source.get() else { return };
        let mut ended = self.0.ended.subscribe();
        let begins = {
            let mut began = self.0.began.lock().unwrap_or_else(PoisonError::into_inner);
            let due = began.is_none_or(|began| began.elapsed() >= pause)
                && !self.0.reads.load(Ordering::Acquire);
            if due {
                *began = Some(Instant::now());
                self.0.reads.store(true, Ordering::Release);
            }
            due
        };
        if begins {
            let (inner, source) = (self.0.clone(), source.clone());
            // A task: the read goes on when its client leaves.
            tasks.spawn(async move {
                inner.take(source.read().await);
                inner.reads.store(false, Ordering::Release);
                inner.ended.send_replace(());
            });
        } else if !self.0.reads.load(Ordering::Acquire) {
            return;
        }
        let _ = timeout(READ_WAIT_MAX, ended.changed()).await;
    }
}

impl Inner {
    fn take(&self, read: Result<Vec<SigningKey>, String>) {
        let known = self.current.load_full();
        match read.and_then(|given| match &known {
            // The same object: tokens that were verified with it stay verified.
            Some(known) if known.given == given => Ok(None),
            Some(_) | None => KeySet::new(given).map(Some),
        }) {
            Ok(None) => {}
            Ok(Some(keys)) => {
                let ids: Vec<&str> = keys.given.iter().map(|key| key.id.as_str()).collect();
                tracing::info!(keys = ids.join(", "), "read the keys of tokens");
                self.current.store(Some(Arc::new(keys)));
            }
            Err(error) if known.is_some() => {
                tracing::warn!(error, "cannot read the keys of tokens, keeping the last ones");
            }
            Err(error) => {
                tracing::error!(error, "cannot read the keys of tokens: there are no tokens");
            }
        }
    }
}

impl KeySet {
    fn new(given: Vec<SigningKey>) -> Result<Self, String> {
        if given.is_empty() || given.len() > KEYS_MAX {
            return Err(format!("there are {} keys, not 1 to {KEYS_MAX}", given.len()));
        }
        let pair = |key: &SigningKey| {
            Ed25519KeyPair::from_seed_unchecked(&key.seed)
                .map_err(|error| format!("the key {} cannot be used: {error}", key.id))
        };
        let signing = given.iter().map(pair).collect::<Result<Vec<_>, String>>()?;
        let public = |(key, pair): (&SigningKey, &Ed25519KeyPair)| Key {
            id: Some(key.id.clone()),
            algorithm: Algorithm::EdDSA,
            public: DecodingKey::from_ed_der(pair.public_key().as_ref()),
        };
        let verifying = Arc::new(Keys::of(given.iter().zip(&signing).map(public).collect()));
        Ok(Self { given, verifying, signing })
    }

    /// Signs claims with the key whose turn it is: the last one that has begun to sign.
    pub(super) fn sign(&self, now: u64, claims: &Value) -> String {
        let pairs = || self.given.iter().zip(&self.signing);
        let begun = pairs().filter(|(key, _)| key.signs_from <= now);
        let turn = begun.max_by_key(|(key, _)| (key.signs_from, key.id.as_str()));
        // None has begun where this clock is behind that of the store.
        let turn = turn.or_else(|| pairs().min_by_key(|(key, _)| key.signs_from));
        let (key, pair) = turn.expect("a set has a key");
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": key.id });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}
