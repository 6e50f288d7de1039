//! The keys of an issuer: fetched from time to time, and once more for a key that is not known.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::fetch::{FetchError, Fetcher};
use crate::auth::jwks::Keys;
use crate::auth::token_service::Failure;
use crate::clock::Clock;
use crate::telemetry::metrics::{IssuerFetch, Metrics};

/// How often keys are fetched.
const REFRESH_EVERY: Duration = Duration::from_mins(10);
/// The pause after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// How soon after the last fetch a token with a key that is not known causes another one. A client
/// that sends made-up tokens causes no more fetches than this.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(5);
/// How long keys are used while the issuer is away. A key that its issuer has withdrawn is good for
/// no longer.
pub(super) const KEYS_USED_MAX: Duration = Duration::from_hours(24);

/// The keys that an issuer publishes.
#[derive(Debug)]
pub(super) struct PublishedKeys {
    name: String,
    fetcher: Fetcher,
    latest: ArcSwapOption<Fetched>,
    /// One fetch at a time: whoever waits for it finds its keys.
    fetching: tokio::sync::Mutex<Attempts>,
    clock: Arc<dyn Clock>,
    /// When each issuer was fetched last, shared by all of them.
    oldest: Arc<Oldest>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Fetched {
    keys: Arc<Keys>,
    at: Instant,
}

#[derive(Debug, Default)]
struct Attempts {
    last: Option<Instant>,
    failing: bool,
}

/// When the keys of each issuer were fetched, in seconds since 1970. The metric is the oldest.
#[derive(Debug, Default)]
pub(super) struct Oldest(Mutex<Vec<(String, i64)>>);

impl PublishedKeys {
    /// Keys that are fetched from now on, for as long as they are needed.
    pub(super) fn start(
        name: &str,
        fetcher: Fetcher,
        (clock, oldest): (Arc<dyn Clock>, Arc<Oldest>),
        (tasks, metrics): (&crate::tasks::Tasks, &Metrics),
    ) -> Arc<Self> {
        let keys = Arc::new(Self {
            name: name.to_owned(),
            fetcher,
            latest: ArcSwapOption::empty(),
            fetching: tokio::sync::Mutex::default(),
            clock,
            oldest,
            metrics: metrics.clone(),
        });
        // Without a runtime nothing is verified either: `longshore access explain`.
        if tokio::runtime::Handle::try_current().is_ok() {
            drop(tasks.spawn(refresh(Arc::downgrade(&keys))));
        }
        keys
    }

    /// The keys that may have signed a token with this key identifier. Fetches them if there are
    /// none yet, or if this one is not among them.
    pub(super) async fn for_token(&self, key_id: Option<&str>) -> Result<Arc<Keys>, Failure> {
        match self.current() {
            Some(keys) if key_id.is_none_or(|id| keys.contains(id)) => Ok(keys),
            Some(_) | None => {
                // The failure is logged, and what is there is used on.
                let _ = self.fetch(UNKNOWN_KEY_PAUSE).await;
                self.current().ok_or(Failure::NoKeys)
            }
        }
    }

    fn current(&self) -> Option<Arc<Keys>> {
        let latest = self.latest.load();
        let fetched = latest.as_ref().filter(|fetched| fetched.at.elapsed() < KEYS_USED_MAX)?;
        Some(fetched.keys.clone())
    }

    /// Fetches the keys, unless they were fetched, or could not be fetched, less than `pause` ago.
    pub(super) async fn fetch(&self, pause: Duration) -> Result<(), FetchError> {
        let mut attempts = self.fetching.lock().await;
        if attempts.last.is_some_and(|last| last.elapsed() < pause) {
            return Ok(());
        }
        let fetched = self.fetcher.keys().await;
        attempts.last = Some(Instant::now());
        let was_failing = std::mem::replace(&mut attempts.failing, fetched.is_err());
        match fetched {
            Ok(keys) => {
                if was_failing {
                    tracing::info!(issuer = self.name, "the keys of the issuer were fetched again");
                }
                let keys = Arc::new(keys);
                self.latest.store(Some(Arc::new(Fetched { keys, at: Instant::now() })));
                let oldest = self.oldest.fetched(&self.name, self.clock.now());
                self.metrics.issuer_keys_fetched.set((), oldest);
                self.metrics.issuer_fetches.inc((IssuerFetch::Ok,));
                Ok(())
            }
            Err(error) => {
                let issuer = self.name.as_str();
                tracing::warn!(issuer, %error, "the keys of the issuer could not be fetched");
                self.metrics.issuer_fetches.inc((IssuerFetch::Failed,));
                Err(error)
            }
        }
    }
}

/// Fetches keys for as long as they are needed.
async fn refresh(keys: Weak<PublishedKeys>) {
    while let Some(keys) = keys.upgrade() {
        let fetched = keys.fetch(UNKNOWN_KEY_PAUSE).await;
        drop(keys);
        tokio::time::sleep(if fetched.is_ok() { REFRESH_EVERY } else { RETRY_AFTER }).await;
    }
}

impl Oldest {
    /// Notes a fetch, and returns the time of the oldest.
    fn fetched(&self, name: &str, now: std::time::SystemTime) -> i64 {
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|(known, _)| known == name) {
            Some((_, at)) => *at = now,
            None => all.push((name.to_owned(), now)),
        }
        all.iter().map(|(_, at)| *at).min().unwrap_or(now)
    }
}
