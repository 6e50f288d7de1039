//! Connections to Redis: one server, Sentinel, or Cluster.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::io::tcp::TcpSettings;
use deadpool_redis::redis::{
    Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo, RedisError, RedisFuture,
    ScriptInvocation,
};
use deadpool_redis::redis::{Pipeline, Value};
use deadpool_redis::sentinel::{SentinelNodeConnectionInfo, SentinelServerType, TlsMode};
use deadpool_redis::{ConnectionAddr, RedisConnectionInfo, Runtime, cluster, sentinel};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::timeout;

use super::failure::Failure;
use crate::shared_cache::settings::{CacheSettings, RedisUrls, Topology};
use crate::tasks::Tasks;

/// Connections in the pool: one carries all requests, the others replace it after a failure.
const POOL_MAX: usize = 4;
/// How long connecting may take, with TLS, the answers of sentinels and the nodes of a cluster. A
/// request waits no longer than the command timeout; the connection is then made without it.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// What is wrong with most URLs that cannot be parsed.
const NO_URL: &str = "a URL is not redis://host:port or rediss://host:port; in a URL, characters \
     of a password such as / and @ have to be percent-encoded, in cache.redis_password they need \
     not be";

/// Settings that describe no Redis. Never repeats a URL: it may carry a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Redis settings cannot be used: {0}")]
pub struct ConfigError(String);

#[derive(Clone)]
enum Pool {
    Single(deadpool_redis::Pool),
    Sentinel(sentinel::Pool),
    Cluster(cluster::Pool),
}

/// One connection, shared by all requests.
#[derive(Clone)]
pub(super) enum Connection {
    Direct(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        command.query_async(self).await
    }

    pub(super) async fn invoke(&mut self, call: &ScriptInvocation<'_>) -> Result<u8, RedisError> {
        call.invoke_async(self).await
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Direct(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Direct(connection) => connection.req_packed_commands(commands, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Direct(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// A connection that is being made, or was made. All requests that wait get the same one.
type Connecting = Shared<BoxFuture<'static, Result<Connection, Failure>>>;

/// The pool, and the connection that is in use.
pub(super) struct Source {
    pool: Pool,
    current: Mutex<Option<Connecting>>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.pool {
            Pool::Single(_) => "Redis",
            Pool::Sentinel(_) => "Redis behind Sentinel",
            Pool::Cluster(_) => "Redis Cluster",
        })
    }
}

/// Parses a URL. The parser's error is not used, because it repeats the URL with its password.
fn parsed(url: &str) -> Result<deadpool_redis::ConnectionInfo, ConfigError> {
    let info = url.into_connection_info().map_err(|_| ConfigError(NO_URL.to_owned()))?;
    Ok(deadpool_redis::ConnectionInfo::from(info))
}

fn log_in(info: &mut RedisConnectionInfo, settings: &CacheSettings) {
    if settings.redis_username.is_some() {
        info.username.clone_from(&settings.redis_username);
    }
    if let Some(password) = &settings.redis_password {
        info.password = Some(password.expose().to_owned());
    }
}

/// Sentinels have their own passwords, and most have none: a server without a password refuses a
/// client that sends one. So the URLs contain the password of the sentinels, and the settings that
/// of the server which they name. The database number is that server's, too: sentinels have none.
fn behind_sentinels(
    mut sentinels: Vec<deadpool_redis::ConnectionInfo>,
    settings: &CacheSettings,
) -> sentinel::Config {
    let mut login = RedisConnectionInfo::default();
    log_in(&mut login, settings);
    login.db = sentinels.first().map_or(0, |info| info.redis.db);
    for info in &mut sentinels {
        info.redis.db = 0;
    }
    let secure = sentinels.iter().any(|info| matches!(info.addr, ConnectionAddr::TcpTls { .. }));
    sentinel::Config {
        urls: None,
        server_type: SentinelServerType::Master,
        master_name: settings.redis_primary.clone(),
        connections: Some(sentinels),
        node_connection_info: Some(SentinelNodeConnectionInfo {
            tls_mode: secure.then_some(TlsMode::Secure),
            redis_connection_info: Some(login),
        }),
        pool: Some(pool_config()),
    }
}

fn pool_config() -> deadpool_redis::PoolConfig {
    deadpool_redis::PoolConfig::new(POOL_MAX)
}

/// Sets `TCP_NODELAY`, which neither the pool nor the client does by default: without it a request
/// waits for the acknowledgement of the one before. For Sentinel and Cluster the pool has no way to
/// set it.
fn manager(info: deadpool_redis::ConnectionInfo) -> Result<deadpool_redis::Manager, RedisError> {
    let tcp = TcpSettings::default().set_nodelay(true);
    deadpool_redis::Manager::new(ConnectionInfo::from(info).set_tcp_settings(tcp))
}

impl Pool {
    fn new(urls: &RedisUrls, settings: &CacheSettings) -> Result<Self, ConfigError> {
        let mut infos: Vec<_> = urls.iter().map(parsed).collect::<Result<_, _>>()?;
        match settings.redis_topology {
            Topology::Sentinel => {}
            Topology::Single | Topology::Cluster => {
                for info in &mut infos {
                    log_in(&mut info.redis, settings);
                }
            }
        }
        let refused = |error: &dyn fmt::Display| ConfigError(error.to_string());
        let runtime = Some(Runtime::Tokio1);
        Ok(match settings.redis_topology {
            Topology::Single => {
                let manager = manager(infos.swap_remove(0)).map_err(|error| refused(&error))?;
                let builder = deadpool_redis::Pool::builder(manager).config(pool_config());
                let pool = builder.runtime(Runtime::Tokio1).build();
                Self::Single(pool.map_err(|error| refused(&error))?)
            }
            Topology::Sentinel => {
                let config = behind_sentinels(infos, settings);
                Self::Sentinel(config.create_pool(runtime).map_err(|error| refused(&error))?)
            }
            Topology::Cluster => {
                let config = cluster::Config {
                    urls: None,
                    connections: Some(infos),
                    pool: Some(pool_config()),
                    ..cluster::Config::default()
                };
                Self::Cluster(config.create_pool(runtime).map_err(|error| refused(&error))?)
            }
        })
    }

    /// A new connection, taken out of the pool.
    async fn connect(self) -> Result<Connection, Failure> {
        Ok(match self {
            Self::Single(pool) => {
                Connection::Direct(deadpool_redis::Connection::take(pool.get().await?))
            }
            Self::Sentinel(pool) => {
                Connection::Direct(sentinel::Connection::take(pool.get().await?))
            }
            Self::Cluster(pool) => {
                Connection::Cluster(cluster::Connection::take(pool.get().await?))
            }
        })
    }
}

impl Source {
    pub(super) fn new(urls: &RedisUrls, settings: &CacheSettings) -> Result<Self, ConfigError> {
        // The first provider of the process stays installed, and every caller installs this one.
        // With the local store no one else does.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Ok(Self { pool: Pool::new(urls, settings)?, current: Mutex::new(None) })
    }

    fn current(&self) -> MutexGuard<'_, Option<Connecting>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection of this process, or a new one.
    ///
    /// A separate task connects. With TLS, sentinels or a cluster that may take longer than a
    /// request waits, and if each request started over, none would ever get a connection.
    pub(super) async fn get(&self) -> Result<Connection, Failure> {
        let connecting = {
            let mut current = self.current();
            match current.clone().and_then(Connecting::now_or_never) {
                Some(Ok(connection)) => return Ok(connection),
                // It failed earlier, which says nothing about now.
                Some(Err(_)) => *current = None,
                None => {}
            }
            current.get_or_insert_with(|| self.connect()).clone()
        };
        connecting.await
    }

    fn connect(&self) -> Connecting {
        let made = timeout(CONNECT_MAX, self.pool.clone().connect());
        let made = Tasks::new().spawn(async move {
            made.await.unwrap_or_else(|_| Err(Failure::timeout("no connection", CONNECT_MAX)))
        });
        let made = made.map(|made| made.unwrap_or_else(|ended| Err(Failure::other(&ended))));
        made.boxed().shared()
    }

    /// Drops the connection after a failure, so that the next request gets a new one.
    ///
    /// A connection that is still being made stays: only a request has timed out. The connection
    /// to a cluster stays, too, unless everything fails: it finds the remaining nodes by itself,
    /// while a new one would first wait for the node that is gone.
    pub(super) fn discard(&self, everything_fails: bool) {
        let mut current = self.current();
        let keep = match current.as_ref().and_then(Connecting::peek) {
            None => true,
            Some(Ok(Connection::Cluster(_))) => !everything_fails,
            Some(_) => false,
        };
        if !keep {
            *current = None;
        }
    }
}
