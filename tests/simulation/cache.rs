//! The cache that frontends share: in this process, with the protocol of the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use longshore::shared_cache::{Cache, Key, Lookup, Token};
use longshore::tasks::Tasks;
use tokio::time::{Instant, sleep};

use crate::planted::Bug;
use crate::profile::Caching;
use crate::world::World;

/// How long a reader that holds a token keeps others from filling the key.
const TOKEN_TTL: Duration = Duration::from_secs(10);
/// The pause before an invalidation that has failed is repeated.
const REPEAT_PAUSE: Duration = Duration::from_secs(1);

/// What the server holds.
#[derive(Default)]
pub(crate) struct Server {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    values: BTreeMap<String, (Bytes, Instant)>,
    tokens: BTreeMap<String, (String, Instant)>,
    away_until: Option<Instant>,
}

/// The connection of one process.
pub(crate) struct CacheConnection {
    server: Arc<Server>,
    world: Arc<World>,
    tasks: Tasks,
    /// Keys that the server did not delete yet: the process itself does not use their values.
    owed: Arc<Mutex<BTreeSet<String>>>,
}

impl fmt::Debug for CacheConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheConnection")
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// The server as one process reaches it.
    pub(crate) fn connect(self: &Arc<Self>, world: &Arc<World>, tasks: &Tasks) -> Arc<dyn Cache> {
        let (server, world, tasks) = (self.clone(), world.clone(), tasks.clone());
        Arc::new(CacheConnection { server, world, tasks, owed: Arc::default() })
    }

    /// Flushes the server, or takes it away for a while, again and again.
    pub(crate) async fn fail(self: Arc<Self>, world: Arc<World>) {
        while world.profile.caching == Caching::Failing && !world.is_calm() {
            sleep(world.random.between(Duration::from_mins(10), Duration::from_hours(12))).await;
            let mut state = locked(&self.state);
            state.values.clear();
            state.tokens.clear();
            if world.random.chance(500) {
                let away = world.random.between(Duration::from_secs(1), Duration::from_mins(30));
                state.away_until = Some(Instant::now() + away);
            }
        }
    }

    fn is_away(&self) -> bool {
        locked(&self.state).away_until.is_some_and(|until| Instant::now() < until)
    }

    fn delete(&self, key: &str) -> bool {
        if self.is_away() {
            return false;
        }
        let mut state = locked(&self.state);
        state.values.remove(key);
        state.tokens.remove(key);
        true
    }
}

impl CacheConnection {
    async fn travel(&self) {
        let (least, most) = (Duration::from_micros(100), Duration::from_millis(20));
        sleep(self.world.random.between(least, most)).await;
    }
}

#[async_trait]
impl Cache for CacheConnection {
    async fn get(&self, key: &Key) -> Lookup {
        self.travel().await;
        let key = key.to_string();
        if self.server.is_away() || locked(&self.owed).contains(&key) {
            return Lookup::Miss(None);
        }
        let lookup = {
            let (mut state, now) = (locked(&self.server.state), Instant::now());
            match state.values.get(&key) {
                Some((value, until)) if now < *until => Lookup::Hit(value.clone()),
                _ if state.tokens.get(&key).is_some_and(|(_, until)| now < *until) => {
                    Lookup::Miss(None)
                }
                _ => {
                    let token = self.world.random.next().to_string();
                    state.tokens.insert(key, (token.clone(), now + TOKEN_TTL));
                    Lookup::Miss(Some(Token(token)))
                }
            }
        };
        self.travel().await;
        lookup
    }

    async fn fill(&self, key: &Key, token: &Token, value: Bytes, ttl: Duration) {
        self.travel().await;
        if self.server.is_away() {
            return;
        }
        let key = key.to_string();
        let mut state = locked(&self.server.state);
        if state.tokens.get(&key).is_some_and(|(held, _)| *held == token.0) {
            state.tokens.remove(&key);
            state.values.insert(key, (value, Instant::now() + ttl));
        }
    }

    async fn invalidate(&self, key: &Key) {
        let key = key.to_string();
        if self.world.bug == Some(Bug::SplitInvalidation) {
            let (server, world) = (self.server.clone(), self.world.clone());
            self.tasks.spawn(async move {
                sleep(world.random.between(REPEAT_PAUSE / 10, 60 * REPEAT_PAUSE)).await;
                server.delete(&key);
            });
            return;
        }
        self.travel().await;
        if !self.server.delete(&key) {
            locked(&self.owed).insert(key.clone());
            let (server, owed) = (self.server.clone(), self.owed.clone());
            self.tasks.spawn(async move {
                while !server.delete(&key) {
                    sleep(REPEAT_PAUSE).await;
                }
                locked(&owed).remove(&key);
            });
        }
        self.travel().await;
    }
}
