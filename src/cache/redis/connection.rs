//! Connections to Redis, however it is set up.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use deadpool_redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::io::tcp::TcpSettings;
use deadpool_redis::redis::{
    Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo, RedisError, RedisFuture,
    ScriptInvocation,
};
use deadpool_redis::redis::{ErrorKind, Pipeline, Value};
use deadpool_redis::sentinel::{SentinelNodeConnectionInfo, SentinelServerType};
use deadpool_redis::{Runtime, cluster, sentinel};

/// Connections in the pool: one carries the requests, the others replace it after a failure.
const POOL_MAX: usize = 4;

/// How Redis is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Single,
    /// Sentinels that know the primary of this name.
    Sentinel {
        /// The name of the primary.
        primary: String,
    },
    /// A cluster.
    Cluster,
}

/// Where Redis is.
#[derive(Clone)]
pub struct Settings {
    /// `redis://` or `rediss://` URLs: of the server, the sentinels, or some nodes of the cluster.
    pub urls: Vec<String>,
    /// How it is set up.
    pub topology: Topology,
    /// The user of the access control list.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// How long one request may take.
    pub command_timeout: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("urls", &self.urls.len())
            .field("topology", &self.topology)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("command_timeout", &self.command_timeout)
            .finish()
    }
}

/// Settings that describe no Redis. Never repeats a URL: it may carry a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Redis settings cannot be used: {0}")]
pub struct ConfigError(String);

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

/// Where connections come from.
pub(super) struct Source {
    pool: Pool,
    current: Mutex<Option<Connection>>,
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

/// A URL with the user and the password of the settings in it.
fn connection_info(
    url: &str,
    settings: &Settings,
) -> Result<deadpool_redis::ConnectionInfo, ConfigError> {
    // The error of the parser repeats the URL, which may hold a password.
    let info = url
        .into_connection_info()
        .map_err(|_| ConfigError("a URL is not redis://host:port or rediss://host:port".into()))?;
    let mut info = deadpool_redis::ConnectionInfo::from(info);
    if settings.username.is_some() {
        info.redis.username.clone_from(&settings.username);
    }
    if settings.password.is_some() {
        info.redis.password.clone_from(&settings.password);
    }
    Ok(info)
}

/// Connects so that a request does not wait until the one before it was acknowledged, which both
/// the pool and the client do by default. Of Sentinel and Cluster the pool keeps that to itself.
fn manager(info: deadpool_redis::ConnectionInfo) -> Result<deadpool_redis::Manager, RedisError> {
    let tcp = TcpSettings::default().set_nodelay(true);
    deadpool_redis::Manager::new(ConnectionInfo::from(info).set_tcp_settings(tcp))
}

impl Source {
    pub(super) fn new(settings: &Settings) -> Result<Self, ConfigError> {
        let infos: Vec<_> = settings
            .urls
            .iter()
            .map(|url| connection_info(url, settings))
            .collect::<Result<_, _>>()?;
        let pool_config = deadpool_redis::PoolConfig::new(POOL_MAX);
        let refused = |error: &dyn fmt::Display| ConfigError(error.to_string());
        let runtime = Some(Runtime::Tokio1);
        let pool = match &settings.topology {
            Topology::Single => {
                let Some(info) = infos.into_iter().next() else {
                    return Err(ConfigError("no URL".into()));
                };
                let manager = manager(info).map_err(|error| refused(&error))?;
                let builder = deadpool_redis::Pool::builder(manager).config(pool_config);
                let pool = builder.runtime(Runtime::Tokio1).build();
                Pool::Single(pool.map_err(|error| refused(&error))?)
            }
            Topology::Sentinel { primary } => {
                let mut node = SentinelNodeConnectionInfo::default();
                if let Some(info) = infos.first() {
                    node.redis_connection_info = Some(info.redis.clone());
                }
                let config = sentinel::Config {
                    urls: None,
                    server_type: SentinelServerType::Master,
                    master_name: primary.clone(),
                    connections: Some(infos),
                    node_connection_info: Some(node),
                    pool: Some(pool_config),
                };
                Pool::Sentinel(config.create_pool(runtime).map_err(|error| refused(&error))?)
            }
            Topology::Cluster => {
                let config = cluster::Config {
                    urls: None,
                    connections: Some(infos),
                    pool: Some(pool_config),
                    ..cluster::Config::default()
                };
                Pool::Cluster(config.create_pool(runtime).map_err(|error| refused(&error))?)
            }
        };
        Ok(Self { pool, current: Mutex::new(None) })
    }

    /// The connection of this process, or a new one from the pool.
    pub(super) async fn get(&self) -> Result<Connection, RedisError> {
        if let Ok(current) = self.current.lock()
            && let Some(connection) = current.as_ref()
        {
            return Ok(connection.clone());
        }
        let failed = |error: String| RedisError::from((ErrorKind::Io, "no connection", error));
        let connection = match &self.pool {
            Pool::Single(pool) => {
                let taken = pool.get().await.map_err(|error| failed(error.to_string()))?;
                Connection::Direct(deadpool_redis::Connection::take(taken))
            }
            Pool::Sentinel(pool) => {
                let taken = pool.get().await.map_err(|error| failed(error.to_string()))?;
                Connection::Direct(sentinel::Connection::take(taken))
            }
            Pool::Cluster(pool) => {
                let taken = pool.get().await.map_err(|error| failed(error.to_string()))?;
                Connection::Cluster(cluster::Connection::take(taken))
            }
        };
        if let Ok(mut current) = self.current.lock() {
            *current = Some(connection.clone());
        }
        Ok(connection)
    }

    /// Drops the connection, so that the next request gets a new one.
    pub(super) fn discard(&self) {
        if let Ok(mut current) = self.current.lock() {
            *current = None;
        }
    }
}
