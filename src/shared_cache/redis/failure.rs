//! Why a request to Redis failed, for the log and for the metric.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::PoolError;
use deadpool_redis::redis::{ErrorKind, RedisError};

use crate::telemetry::metrics::CacheFailure;

/// A request to Redis that failed. Its text never has a password: no error of the client repeats
/// what it sent.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) reason: CacheFailure,
    text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Failure {
    /// `what` did not happen in this time.
    pub(super) fn timeout(what: &str, after: Duration) -> Self {
        Self { reason: CacheFailure::Timeout, text: format!("timed out: {what} within {after:?}") }
    }

    pub(super) fn other(error: &dyn fmt::Display) -> Self {
        Self { reason: CacheFailure::Other, text: error.to_string() }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let reason = reason(&error);
        // The client replaces what Redis says to a wrong password by words of its own.
        let hint = if reason == CacheFailure::Login {
            "; check cache.redis_username and cache.redis_password"
        } else {
            ""
        };
        Self { reason, text: format!("{error}{hint}") }
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            other => Self::other(&other),
        }
    }
}

/// The error of TLS that ended a connection. The client has it as the cause of an I/O error, in an
/// `Arc`.
fn tls_error(error: &RedisError) -> Option<&rustls::Error> {
    let cause: &Arc<dyn StdError + Send + Sync> = error.source()?.downcast_ref()?;
    cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

fn reason(error: &RedisError) -> CacheFailure {
    match error.code() {
        Some("WRONGPASS" | "NOAUTH") => return CacheFailure::Login,
        Some("NOPERM") => return CacheFailure::Permission,
        Some("OOM") => return CacheFailure::Full,
        Some("READONLY") => return CacheFailure::ReadOnly,
        Some(_) | None => {}
    }
    if tls_error(error).is_some() {
        CacheFailure::Tls
    } else if error.kind() == ErrorKind::AuthenticationFailed {
        CacheFailure::Login
    } else if error.is_connection_refusal() {
        CacheFailure::ConnectionRefused
    } else if error.is_timeout() {
        CacheFailure::Timeout
    } else if error.is_io_error() {
        CacheFailure::Connection
    } else {
        CacheFailure::Other
    }
}
