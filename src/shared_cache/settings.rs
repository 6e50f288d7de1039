//! The settings of the read cache: in memory and in Redis.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::setting::{
    HOUR, Kind, MIB, MILLISECOND, MINUTE, SECOND, Secret, Shape, TIB, bytes, choice, choice_of,
    duration, secret, settings, text, word,
};

settings! {
    /// The read cache for tags, manifests, blob records and lists.
    ///
    /// Without Redis every request still works, with more requests to the store. After an outage of
    /// Redis a tag or a list may be stale for up to `tag_ttl`.
    pub struct CacheSettings {
        /// The memory of the read cache in this process.
        local_bytes: usize = 64 * MIB, bytes(0..=TIB);
        /// How long a process uses what its memory holds without asking Redis or the bucket. So
        /// much later it may see a write of another process, hence 0 by default. A folder has only
        /// one process, which sees every write: there this setting has no effect.
        local_ttl: Duration = Duration::ZERO, duration(Duration::ZERO..=HOUR);
        /// How long Redis keeps tags and pages of lists. They may be stale for so long after a
        /// failure of Redis.
        tag_ttl: Duration = 30 * SECOND, duration(SECOND..=HOUR);
        /// How long Redis keeps manifests and blob records.
        ttl: Duration = 10 * MINUTE, duration(SECOND..=HOUR);
        /// Whether each read of a tag or of a list asks the bucket, whatever the cache holds.
        strict_tags: bool = false, choice_of();
        /// Redis: `redis://host:port`, or `rediss://host:port` with TLS. For `sentinel` and
        /// `cluster` give several, separated by commas: the sentinels, or some nodes of the
        /// cluster. The file in the variable `SSL_CERT_FILE` holds the certificate authorities for
        /// TLS; without it those of the machine count.
        redis: Option<RedisUrls> = None, redis_urls() => "redis://127.0.0.1:6379";
        /// How Redis is set up: `single`, `sentinel` or `cluster`.
        redis_topology: Topology = Topology::Single, choice_of();
        /// The name of the primary at the sentinels.
        redis_primary: String = "mymaster".to_owned(), text(word);
        /// The user for Redis itself. A user for the sentinels belongs into their URLs.
        redis_username: Option<String> = None, text(word) => "longshore";
        /// The password of this user.
        redis_password: Option<Secret> = None, secret() => "secret";
        /// The prefix of all keys in Redis. Registries on buckets with the same name at different
        /// S3 servers must not share it.
        redis_prefix: String = "longshore".to_owned(), text(word);
        /// How long one request to Redis may take. After five failures in a row the registry sends
        /// none for a second.
        redis_timeout: Duration = 50 * MILLISECOND, duration(MILLISECOND..=HOUR);
    }
}

choice! {
    /// How Redis is set up.
    pub enum Topology {
        /// One server.
        Single = "single",
        /// Sentinels that know which server is the primary.
        Sentinel = "sentinel",
        Cluster = "cluster",
    }
}

/// URLs of Redis: of the server, the sentinels, or some nodes of the cluster. Nothing prints the
/// passwords that they may contain.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrls(Vec<String>);

impl RedisUrls {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl FromStr for RedisUrls {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = |url: &str| url.starts_with("redis://") || url.starts_with("rediss://");
        let urls: Vec<String> = text.split(',').map(|url| url.trim().to_owned()).collect();
        if urls.iter().all(|url| known(url)) {
            return Ok(Self(urls));
        }
        Err("is not redis://host:port or rediss://host:port, or several with commas".to_owned())
    }
}

/// Without users and passwords.
impl fmt::Display for RedisUrls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, url) in self.iter().enumerate() {
            let (scheme, rest) = url.split_once("://").unwrap_or_default();
            let host = rest.rsplit('@').next().unwrap_or_default();
            let host = host.split(['/', '?']).next().unwrap_or_default();
            write!(formatter, "{}{scheme}://{host}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Debug for RedisUrls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

fn redis_urls() -> Kind<RedisUrls> {
    Kind::new(Shape::Text, RedisUrls::from_str, |_| String::new())
}
