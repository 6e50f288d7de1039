//! The protocol of the shared cache, over a Redis.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use deadpool_redis::redis::cmd;
use tokio::time::Instant;

use super::{INVALIDATE_PAUSE, INVALIDATE_TIMEOUT, NoAnswer, Redis, TOKEN_TTL};
use crate::clock::Clock;
use crate::entropy;
use crate::shared_cache::{Cache, Key, Lookup, Seal, Token};
use crate::telemetry::metrics::{CacheLayer, CacheOperation, CacheRefusal, CacheResult};

/// How often the log mentions a value that failed authentication. The metric counts all.
const FORGED_LOG_PAUSE: Duration = Duration::from_mins(1);

/// The values in a Redis, each under the seal of the registry.
#[derive(Debug)]
pub struct RedisCache {
    redis: Arc<Redis>,
    seal: Seal,
    clock: Arc<dyn Clock>,
    /// When the log mentioned a value that failed authentication.
    forged_logged: Mutex<Option<Instant>>,
}

impl RedisCache {
    pub fn new(redis: Arc<Redis>, seal: Seal, clock: Arc<dyn Clock>) -> Self {
        Self { redis, seal, clock, forged_logged: Mutex::new(None) }
    }

    /// Opens a value that Redis returned. `None` if it must not be used.
    fn opened(&self, key: &Key, sealed: Vec<u8>) -> Option<Bytes> {
        let refusal = match self.seal.open(key, &sealed.into(), self.clock.now()) {
            Ok(value) => return Some(value),
            Err(refusal) => refusal,
        };
        self.redis.metrics.cache_refused.inc((refusal,));
        match refusal {
            CacheRefusal::Expired => tracing::debug!(%key, "a value in redis has expired"),
            CacheRefusal::Forged if self.may_log() => tracing::warn!(
                %key,
                "a value in redis failed authentication and is not used: another program writes to \
                 redis, or the registry has a new g/cache-key"
            ),
            CacheRefusal::Forged => {}
        }
        None
    }

    fn may_log(&self) -> bool {
        let mut logged = self.forged_logged.lock().unwrap_or_else(PoisonError::into_inner);
        let may = logged.is_none_or(|when| when.elapsed() >= FORGED_LOG_PAUSE);
        if may {
            *logged = Some(Instant::now());
        }
        may
    }
}

fn new_token() -> Token {
    Token(hex::encode(entropy::bytes::<8>()))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, key: &Key) -> Lookup {
        let (value, token) = self.redis.keys(key);
        let found = self.redis.send("GET", CacheOperation::Get, async |connection| {
            connection.run::<Option<Vec<u8>>>(cmd("GET").arg(&value)).await
        });
        // A value that is not ours is a miss, so that the next fill overwrites it.
        let found = found.await.map(|found| found.and_then(|sealed| self.opened(key, sealed)));
        let result = match &found {
            Ok(Some(_)) => CacheResult::Hit,
            Ok(None) => CacheResult::Miss,
            Err(NoAnswer::Failed) => CacheResult::Error,
            Err(NoAnswer::NotSent) => CacheResult::Skipped,
        };
        if let Some(cached) = key.metric_label() {
            self.redis.metrics.cache_requests.inc((cached, CacheLayer::Redis, result));
        }
        match found {
            Ok(Some(value)) => return Lookup::Hit(value),
            Ok(None) => {}
            Err(_) => return Lookup::Miss(None),
        }
        let mine = new_token();
        let taken = self.redis.send("SET", CacheOperation::FillToken, async |connection| {
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
        let (value_key, token_key) = self.redis.keys(key);
        let sealed = self.seal.seal(key, &value, self.clock.now() + ttl);
        let mut call = self.redis.fill.0.prepare_invoke();
        call.key(value_key).key(token_key).arg(&token.0).arg(sealed).arg(milliseconds(ttl));
        let filled = self.redis.send("EVALSHA", CacheOperation::Fill, async |connection| {
            connection.invoke(&call).await
        });
        let filled = filled.await;
        tracing::trace!(?filled, %key, "filled");
    }

    async fn invalidate(&self, key: &Key) {
        let (value, token) = self.redis.keys(key);
        let started = Instant::now();
        loop {
            let delete = cmd("DEL").arg(&value).arg(&token).to_owned();
            let deleted = self.redis.send("DEL", CacheOperation::Invalidate, async |connection| {
                connection.run::<()>(&delete).await
            });
            if deleted.await.is_ok() {
                return;
            }
            if self.redis.breaker.is_open() || started.elapsed() >= INVALIDATE_TIMEOUT {
                return self.redis.queue(value);
            }
            tokio::time::sleep(INVALIDATE_PAUSE).await;
        }
    }
}
