//! The shared cache with a real Redis that is killed, paused, filled and flushed: requests still
//! succeed. Values that others wrote are not served. And the invalidation protocol, tested in every
//! order of its steps.
//!
//! Covers distribution-spec "Pulling manifests" (end-3), "Pulling blobs" (end-2) and the deletions
//! (end-9, end-10), with several replicas.

mod commands;
mod deletions;
mod foreign_values;
mod key;
mod list_model;
mod lists;
mod model;
mod outages;
mod own_writes;
mod redis_deployments;
pub(crate) mod redis_server;
mod shared;
pub(crate) mod stalling;

use std::sync::Arc;

use longshore::config::Settings;
use longshore::store::memory::Memory;

use crate::STORE;
use crate::support::App;
use redis_server::RedisServer;

/// A replica over a shared store and a shared Redis.
async fn frontend(memory: &Arc<Memory>, redis: &RedisServer) -> App {
    frontend_at(memory, &redis.url()).await
}

async fn frontend_at(memory: &Arc<Memory>, url: &str) -> App {
    let mut settings = Settings::default();
    settings.cache.redis = Some(url.parse().expect("a URL"));
    // A busy machine must not count as a failure of Redis.
    settings.cache.redis_timeout = std::time::Duration::from_millis(500);
    App::over_memory(memory.clone(), settings).await
}

/// The digest of a tag at a replica.
pub(crate) async fn tag(app: &App, repository: &str, tag: &str) -> Option<String> {
    let reply = app.get(&format!("/v2/{repository}/manifests/{tag}")).send().await;
    match reply.status.as_u16() {
        200 => Some(reply.header("docker-content-digest").expect("a digest").to_owned()),
        404 => None,
        _ => panic!("{reply:?}"),
    }
}
