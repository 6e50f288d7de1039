//! The shared cache in Redis: one server, Sentinel, or Cluster.
//!
//! Connections come from deadpool-redis. They are multiplexed and cheap to clone: one connection
//! carries all requests of this process, and is replaced from the pool after a failure. While Redis
//! does not answer, a circuit breaker turns lookups into misses without asking it.

mod breaker;
mod cache;
mod connection;
mod failure;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use deadpool_redis::redis::{Cmd, RedisError, Script, cmd};
use futures_util::{StreamExt as _, stream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use self::breaker::Breaker;
use self::connection::{Connection, Source};
use self::failure::Failure;
use super::Key;
use super::settings::{CacheSettings, RedisUrls};
use crate::tasks::Tasks;
use crate::telemetry::metrics::{CacheFailure, CacheOperation, Label as _, Metrics};

pub use self::cache::RedisCache;
pub use self::connection::ConfigError;

/// How long a reader may take to read the store before its token expires.
const TOKEN_TTL: Duration = Duration::from_secs(3);
/// How long a write retries its invalidation while the breaker is closed.
const INVALIDATE_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause between two of these attempts.
const INVALIDATE_PAUSE: Duration = Duration::from_millis(50);
/// Keys whose invalidation failed and is queued; further keys are left to their time to live.
const QUEUED_INVALIDATIONS_MAX: usize = 100_000;
/// How many queued invalidations are sent at once.
const INVALIDATIONS_AT_ONCE: usize = 64;

/// Fills the value if the token is still there: `KEYS` value and token, `ARGV` token, value, ttl.
const FILL: &str = "if redis.call('GET', KEYS[2]) == ARGV[1] then \
     redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) redis.call('DEL', KEYS[2]) return 1 \
     else return 0 end";

/// A Redis: its connection, its circuit breaker, and the invalidations that it missed.
#[derive(Debug)]
pub struct Redis {
    source: Source,
    prefix: String,
    command_timeout: Duration,
    breaker: Breaker,
    fill: FillScript,
    /// Keys whose invalidation failed. They are deleted before any other value is read.
    queued: Mutex<BTreeSet<String>>,
    wake_recovery: Arc<Notify>,
    metrics: Metrics,
}

struct FillScript(Script);

impl std::fmt::Debug for FillScript {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FillScript")
    }
}

impl Redis {
    /// The Redis at `urls`. It connects on first use: a Redis that is down does not keep the
    /// registry from starting.
    ///
    /// `prefix` separates the keys of several registries. Needs a runtime, for the task that tries
    /// Redis again after a failure; the task ends with the cache.
    pub fn start(
        urls: &RedisUrls,
        settings: &CacheSettings,
        prefix: &str,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, ConfigError> {
        metrics.cache_breaker.set((), 0);
        let wake_recovery = Arc::new(Notify::new());
        let redis = Arc::new(Self {
            source: Source::new(urls, settings)?,
            prefix: prefix.to_owned(),
            command_timeout: settings.redis_timeout,
            breaker: Breaker::default(),
            fill: FillScript(Script::new(FILL)),
            queued: Mutex::default(),
            wake_recovery: wake_recovery.clone(),
            metrics: metrics.clone(),
        });
        Tasks::new().spawn(recover(Arc::downgrade(&redis), wake_recovery));
        Ok(redis)
    }

    /// Whether Redis answers now; if not, the reason.
    ///
    /// Reads a key that is never written: users of Redis who may do all that a cache needs need not
    /// be allowed to PING.
    pub async fn ping(&self) -> Result<(), String> {
        let probe = self.probe();
        let asking = async {
            let mut connection = self.source.get().await?;
            let answer = timeout(self.command_timeout, connection.run::<()>(&probe)).await;
            Ok(answer.map_err(|_| self.no_answer())??)
        };
        asking.await.map_err(|failure: Failure| {
            self.source.discard(true);
            failure.to_string()
        })
    }

    fn no_answer(&self) -> Failure {
        Failure::timeout("no answer", self.command_timeout)
    }

    fn probe(&self) -> Cmd {
        cmd("GET").arg(format!("{}probe", self.prefix)).to_owned()
    }

    /// The key of the value and that of the token. Both hash to one slot of a Cluster.
    fn keys(&self, key: &Key) -> (String, String) {
        let value = format!("{}{{{key}}}", self.prefix);
        let token = format!("{value}t");
        (value, token)
    }

    /// Sends one request, unless the breaker is open.
    async fn send<T>(
        &self,
        command: &'static str,
        operation: CacheOperation,
        request: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, NoAnswer> {
        if !self.breaker.admits() {
            return Err(NoAnswer::NotSent);
        }
        let started = Instant::now();
        let sending = timeout(self.command_timeout, async {
            let mut connection = self.source.get().await?;
            if !self.queued().is_empty() {
                self.send_queued(&mut connection).await?;
            }
            Ok::<T, Failure>(request(&mut connection).await?)
        });
        let span = command_span(command);
        let sent = sending.instrument(span.clone()).await;
        self.metrics.cache_latency.observe((operation,), started.elapsed());
        let answer = match sent.unwrap_or_else(|_| Err(self.no_answer())) {
            Ok(answer) => {
                if self.breaker.succeeded() {
                    tracing::info!("redis answers again: the shared cache is used");
                }
                Ok(answer)
            }
            Err(failure) => {
                span.record("otel.status_code", "ERROR");
                span.record("error.type", failure.reason.as_str());
                self.failed(command, operation, &failure);
                Err(NoAnswer::Failed)
            }
        };
        self.metrics.cache_breaker.set((), i64::from(self.breaker.is_open()));
        answer
    }

    fn failed(&self, command: &'static str, operation: CacheOperation, failure: &Failure) {
        let reason = failure.reason.as_str();
        tracing::debug!(error = %failure, reason, command, "redis command failed");
        self.metrics.cache_errors.inc((operation, failure.reason));
        let opened = self.breaker.failed();
        // A full Redis still answers reads, on the same connection.
        if failure.reason != CacheFailure::Full {
            self.source.discard(self.breaker.is_open());
        }
        if opened {
            self.wake_recovery.notify_one();
            tracing::warn!(
                error = %failure,
                reason,
                "redis does not answer: reading from the store until it does"
            );
        }
    }

    /// Sends the queued invalidations, so that no value from before the failure is read.
    async fn send_queued(&self, connection: &mut Connection) -> Result<(), RedisError> {
        let keys: Vec<String> = self.queued().iter().cloned().collect();
        // One command per key, because the nodes of a cluster share the keys. If the time does not
        // suffice for all, the next request goes on with the rest.
        let sending = keys.into_iter().map(|key| {
            let mut connection = connection.clone();
            async move {
                let token = format!("{key}t");
                connection.run::<()>(cmd("DEL").arg(&key).arg(token)).await.map(|()| key)
            }
        });
        let mut sent = stream::iter(sending).buffer_unordered(INVALIDATIONS_AT_ONCE);
        let mut count = 0;
        while let Some(key) = sent.next().await {
            count += usize::from(self.queued().remove(&key?));
        }
        if count > 0 {
            tracing::info!(count, "queued redis invalidations were sent");
        }
        Ok(())
    }

    /// Queues an invalidation that failed. Logs the first one only; the metric counts all.
    fn queue(&self, key: String) {
        self.metrics.cache_stale.inc(());
        let mut queued = self.queued();
        if queued.is_empty() {
            tracing::warn!(
                key,
                "redis invalidation failed and is queued: other replicas may serve the previous \
                 value for up to cache.tag_ttl (tags, lists) or cache.ttl (manifests, blobs)"
            );
        }
        if queued.len() < QUEUED_INVALIDATIONS_MAX {
            queued.insert(key);
        }
        drop(queued);
        // The breaker may be closed: one node of a cluster fails, and the others answer.
        self.wake_recovery.notify_one();
    }

    fn queued(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.wake_recovery.notify_one();
    }
}

/// Asks Redis while the breaker is open or invalidations are queued, also if no client sends a
/// request: otherwise other replicas would go on to read outdated values, and an idle replica would
/// never report that Redis is back.
async fn recover(redis: Weak<Redis>, wake: Arc<Notify>) {
    loop {
        wake.notified().await;
        loop {
            let Some(redis) = redis.upgrade() else { return };
            if !redis.breaker.is_open() && redis.queued().is_empty() {
                break;
            }
            let command = redis.probe();
            let probing = redis.send("GET", CacheOperation::Probe, async |connection| {
                connection.run::<()>(&command).await
            });
            // A failure was counted like any other, and means another round.
            let _answer = probing.await;
            drop(redis);
            tokio::time::sleep(breaker::OPEN_FOR).await;
        }
    }
}

fn command_span(command: &'static str) -> Span {
    tracing::info_span!(
        target: "traces",
        "redis",
        otel.name = command,
        otel.kind = "client",
        otel.status_code = Empty,
        db.system.name = "redis",
        db.operation.name = command,
        error.type = Empty,
    )
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug)]
enum NoAnswer {
    /// The command failed or timed out.
    Failed,
    /// The breaker is open.
    NotSent,
}
