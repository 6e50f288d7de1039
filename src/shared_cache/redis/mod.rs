//! The shared cache in Redis: one server, Sentinel, or Cluster.
//!
//! Connections come from deadpool-redis. What it hands out is a multiplexed connection, of which a
//! clone costs nothing: one connection carries all requests of this process, and is taken from the
//! pool again after a failure. A circuit breaker turns a Redis that is away into misses at once.

mod breaker;
mod connection;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use deadpool_redis::redis::{RedisError, Script, cmd};
use futures_util::{StreamExt as _, stream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use self::breaker::Breaker;
use self::connection::{Connection, Source};
use super::settings::{CacheSettings, RedisUrls};
use super::{Cache, Key, Lookup, Stale, Token};
use crate::telemetry::metrics::{CacheLayer, CacheOperation, CacheResult, Metrics};

pub use self::connection::ConfigError;

/// How long a reader may take to read the store before its token dies.
const TOKEN_TTL: Duration = Duration::from_secs(3);
/// How long a write goes on trying to make itself known while the breaker is closed.
const FORGET_MAX: Duration = Duration::from_secs(1);
/// The pause between two of these tries.
const FORGET_PAUSE: Duration = Duration::from_millis(50);
/// Keys that are deleted later because Redis was away; more are left to their time to live.
const OWED_MAX: usize = 100_000;
/// How many of them are deleted at once.
const PAID_AT_ONCE: usize = 64;
/// What a full Redis answers to a write. It still reads, by the same connection.
const FULL: &str = "OOM";

/// Fills the value if the token is still there: `KEYS` value and token, `ARGV` token, value, ttl.
const FILL: &str = "if redis.call('GET', KEYS[2]) == ARGV[1] then \
     redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) redis.call('DEL', KEYS[2]) return 1 \
     else return 0 end";

/// A Redis, as a cache.
#[derive(Debug)]
pub struct Redis {
    source: Source,
    prefix: String,
    command_timeout: Duration,
    breaker: Breaker,
    fill: FillScript,
    /// Keys whose deletion failed. They are deleted before anything is believed again.
    owed: Mutex<HashSet<String>>,
    /// Wakes the task that tries Redis again.
    wakes: Arc<Notify>,
    metrics: Metrics,
}

struct FillScript(Script);

impl std::fmt::Debug for FillScript {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FillScript")
    }
}

impl Redis {
    /// A cache over the Redis at `urls`. Connects when it is first used: a Redis that is down must
    /// not keep the registry from starting.
    ///
    /// `prefix` keeps the keys of several registries apart. Needs a runtime, for the task that
    /// tries Redis again after a failure; it ends with the cache.
    pub fn start(
        urls: &RedisUrls,
        settings: &CacheSettings,
        prefix: &str,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, ConfigError> {
        metrics.cache_breaker.set((), 0);
        let wakes = Arc::new(Notify::new());
        let redis = Arc::new(Self {
            source: Source::new(urls, settings)?,
            prefix: prefix.to_owned(),
            command_timeout: settings.redis_timeout,
            breaker: Breaker::default(),
            fill: FillScript(Script::new(FILL)),
            owed: Mutex::default(),
            wakes: wakes.clone(),
            metrics: metrics.clone(),
        });
        // Nobody waits for it: it ends with the cache.
        TaskTracker::new().spawn(try_again(Arc::downgrade(&redis), wakes));
        Ok(redis)
    }

    /// Whether requests are sent to Redis right now.
    pub fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// Whether Redis answers now; if not, the reason.
    pub async fn ping(&self) -> Result<(), String> {
        let probe = cmd("GET").arg(format!("{}probe", self.prefix)).to_owned();
        let mut connection = self.source.get().await.map_err(|error| error.to_string())?;
        match timeout(self.command_timeout, connection.run::<()>(&probe)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {:?}", self.command_timeout)),
        }
    }

    /// The key of the value and that of the token. Both hash to one slot of a Cluster.
    fn keys(&self, key: &Key) -> (String, String) {
        let value = format!("{}{{{key}}}", self.prefix);
        let token = format!("{value}t");
        (value, token)
    }

    /// Sends one request, if the breaker lets it through.
    async fn ask<T>(
        &self,
        command: &'static str,
        operation: CacheOperation,
        request: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, NoAnswer> {
        if !self.breaker.admits() {
            return Err(NoAnswer::NotAsked);
        }
        let begun = Instant::now();
        let asked = timeout(self.command_timeout, async {
            let mut connection = self.source.get().await?;
            if self.owes() {
                self.pay(&mut connection).await?;
            }
            request(&mut connection).await
        });
        let span = asking(command);
        let asked = asked.instrument(span.clone()).await;
        self.metrics.cache_latency.observe((operation,), begun.elapsed());
        let answer = match asked {
            Ok(Ok(answer)) => {
                self.breaker.succeeded();
                Ok(answer)
            }
            failed => {
                span.record("otel.status_code", "ERROR");
                span.record("error.type", if failed.is_err() { "timeout" } else { "redis" });
                if let Ok(Err(error)) = &failed {
                    tracing::debug!(%error, "Redis failed");
                }
                self.metrics.cache_errors.inc((operation,));
                let opened = self.breaker.failed();
                if !matches!(&failed, Ok(Err(error)) if error.code() == Some(FULL)) {
                    self.source.discard(self.breaker.is_open());
                }
                if opened {
                    self.wakes.notify_one();
                    tracing::warn!("Redis is away: reading from the store until it is back");
                }
                Err(NoAnswer::Failed)
            }
        };
        self.metrics.cache_breaker.set((), i64::from(self.breaker.is_open()));
        answer
    }

    /// Deletes what could not be deleted before, so that nothing from before the failure is read.
    async fn pay(&self, connection: &mut Connection) -> Result<(), RedisError> {
        let owed: Vec<String> = match self.owed.lock() {
            Ok(owed) => owed.iter().cloned().collect(),
            Err(_) => return Ok(()),
        };
        // Each by itself, because the nodes of a cluster share them. If there is no time for all,
        // the next try goes on from here.
        let paying = owed.into_iter().map(|key| {
            let mut connection = connection.clone();
            async move {
                let token = format!("{key}t");
                connection.run::<()>(cmd("DEL").arg(&key).arg(token)).await.map(|()| key)
            }
        });
        let mut paid = stream::iter(paying).buffer_unordered(PAID_AT_ONCE);
        while let Some(key) = paid.next().await {
            let key = key?;
            if let Ok(mut all) = self.owed.lock() {
                all.remove(&key);
            }
        }
        Ok(())
    }

    fn owe(&self, key: String) {
        self.metrics.cache_stale.inc(());
        match self.owed.lock() {
            Ok(mut owed) if owed.len() < OWED_MAX => {
                owed.insert(key);
            }
            Ok(_) | Err(_) => tracing::warn!("too many writes that Redis does not know of"),
        }
        // The breaker may be closed: one node of a cluster fails, and the others answer.
        self.wakes.notify_one();
    }

    /// Whether there are writes that Redis does not know of.
    fn owes(&self) -> bool {
        self.owed.lock().is_ok_and(|owed| !owed.is_empty())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.wakes.notify_one();
    }
}

/// Tries Redis while the breaker is open or Redis is owed something. That is paid then, and the
/// breaker closes, also while nobody asks for anything: other processes would go on reading what
/// should be gone, and an idle one would say for ever that Redis is away.
async fn try_again(redis: Weak<Redis>, opened: Arc<Notify>) {
    loop {
        opened.notified().await;
        loop {
            let Some(redis) = redis.upgrade() else { return };
            if !redis.is_open() && !redis.owes() {
                break;
            }
            // A failure only means another round, and was counted like any other. A key is read
            // that nobody writes: PING might be forbidden to one who may do what a cache needs.
            let nothing = format!("{}probe", redis.prefix);
            let asked = redis.ask("GET", CacheOperation::Probe, async |connection| {
                connection.run::<()>(cmd("GET").arg(&nothing)).await
            });
            let _answer = asked.await;
            drop(redis);
            tokio::time::sleep(breaker::OPEN_FOR).await;
        }
    }
}

/// The span of one request to Redis, which is named after its command.
fn asking(command: &'static str) -> Span {
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

/// Why Redis said nothing.
#[derive(Clone, Copy, Debug)]
enum NoAnswer {
    /// It failed, or took too long.
    Failed,
    /// The breaker is open.
    NotAsked,
}

fn new_token() -> Option<Token> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).ok()?;
    Some(Token(hex::encode(random)))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[async_trait]
impl Cache for Redis {
    async fn get(&self, key: &Key) -> Lookup {
        let (value, token) = self.keys(key);
        let found = self.ask("GET", CacheOperation::Get, async |connection| {
            connection.run::<Option<Vec<u8>>>(cmd("GET").arg(&value)).await
        });
        let found = found.await;
        let result = match &found {
            Ok(Some(_)) => CacheResult::Hit,
            Ok(None) => CacheResult::Miss,
            Err(NoAnswer::Failed) => CacheResult::Error,
            Err(NoAnswer::NotAsked) => CacheResult::Skipped,
        };
        if let Some(cached) = key.metric_label() {
            self.metrics.cache_requests.inc((cached, CacheLayer::Redis, result));
        }
        match found {
            Ok(Some(bytes)) => return Lookup::Hit(Bytes::from(bytes)),
            Ok(None) => {}
            Err(_) => return Lookup::Miss(None),
        }
        let Some(mine) = new_token() else { return Lookup::Miss(None) };
        let taken = self.ask("SET", CacheOperation::FillToken, async |connection| {
            let ttl = milliseconds(TOKEN_TTL);
            let take = cmd("SET").arg(&token).arg(&mine.0).arg("NX").arg("PX").arg(ttl).to_owned();
            connection.run::<Option<String>>(&take).await
        });
        match taken.await {
            Ok(Some(_)) => Lookup::Miss(Some(mine)),
            Ok(None) | Err(_) => Lookup::Miss(None),
        }
    }

    async fn fill(&self, key: &Key, token: &Token, value: Bytes, ttl: Duration) {
        let (value_key, token_key) = self.keys(key);
        let mut call = self.fill.0.prepare_invoke();
        call.key(value_key).key(token_key).arg(&token.0).arg(value.as_ref()).arg(milliseconds(ttl));
        let filled = self.ask("EVALSHA", CacheOperation::Fill, async |connection| {
            connection.invoke(&call).await
        });
        let filled = filled.await;
        tracing::trace!(?filled, %key, "filled");
    }

    async fn forget(&self, key: &Key) -> Result<(), Stale> {
        let (value, token) = self.keys(key);
        let begun = Instant::now();
        loop {
            let delete = cmd("DEL").arg(&value).arg(&token).to_owned();
            let deleted = self.ask("DEL", CacheOperation::Invalidate, async |connection| {
                connection.run::<()>(&delete).await
            });
            if deleted.await.is_ok() {
                return Ok(());
            }
            // With the breaker open there is nothing to wait for.
            if self.breaker.is_open() || begun.elapsed() >= FORGET_MAX {
                self.owe(value);
                return Err(Stale);
            }
            tokio::time::sleep(FORGET_PAUSE).await;
        }
    }
}
