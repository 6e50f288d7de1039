//! What the router and its handlers share.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::settings::{BlobSettings, ListSettings, ListenerSettings};
use crate::auth::Authorizer;
use crate::clock::Clock;
use crate::registry::{ManifestSettings, Registry};
use crate::telemetry::RequestLog;
use crate::telemetry::metrics::Metrics;

/// The settings of the API.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listener: ListenerSettings,
    pub blobs: BlobSettings,
    pub manifests: ManifestSettings,
    pub lists: ListSettings,
    pub access_log: RequestLog,
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
