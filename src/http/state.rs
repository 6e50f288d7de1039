//! What the router and its handlers share.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio_util::task::TaskTracker;

use super::layers::peer::Client;
use crate::auth::Authorizer;
use crate::clock::Clock;
use crate::registry::Registry;
use crate::telemetry::metrics::{Metrics, ServeReason};

/// How the bytes of blobs reach clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Through this process.
    Proxy,
    /// By a redirect to a presigned URL of the store, where it has one.
    Redirect,
    /// By a redirect to clients in these networks, to all others through this process.
    RedirectWithin(Vec<IpNet>),
}

impl Delivery {
    /// Whether this client is to be redirected, and what that depends on. Of one whose address is
    /// not known it is not known either whether it can reach the store.
    pub(super) fn to(&self, client: Client) -> (bool, ServeReason) {
        match self {
            Self::Proxy => (false, ServeReason::Configured),
            Self::Redirect => (true, ServeReason::Configured),
            Self::RedirectWithin(networks) => {
                let within = client.address.is_some_and(|address| {
                    networks.iter().any(|network| network.contains(&address))
                });
                (within, ServeReason::Network)
            }
        }
    }
}

/// What the operator decides about the API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the bytes of blobs reach clients.
    pub delivery: Delivery,
    /// How long a presigned URL is good for, at least.
    pub redirect_ttl: Duration,
    /// How long the URL of one blob stays the same.
    pub redirect_step: Duration,
    /// How long a request body may make no progress.
    pub body_idle: Duration,
    /// Whether tags and manifests may be deleted.
    pub delete_manifests: bool,
    /// Whether blobs may be deleted.
    pub delete_blobs: bool,
    /// Whether the catalog is served.
    pub catalog: bool,
    /// The level of the line that each request has in the log. Nothing: there is none but for
    /// failures.
    pub request_log: Option<tracing::Level>,
}

/// The state of the router.
#[derive(Debug)]
pub struct Api {
    pub(super) registry: Arc<Registry>,
    pub(super) authorizer: Arc<dyn Authorizer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    pub(super) tasks: TaskTracker,
}

impl Api {
    /// The API over a registry. Requests that change something run on `tasks`: they are finished
    /// when their client goes away, and a shutdown waits for them.
    pub fn new(
        registry: Arc<Registry>,
        authorizer: Arc<dyn Authorizer>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        metrics: Metrics,
        tasks: TaskTracker,
    ) -> Self {
        Self { registry, authorizer, clock, settings, metrics, tasks }
    }
}
