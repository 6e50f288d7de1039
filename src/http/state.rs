//! What the router and its handlers share.

use std::sync::Arc;

use super::admin::Readiness;
use super::limits::Limits;
use super::response_budget::ResponseBudget;
use super::settings::{BlobSettings, ListSettings, ListenerSettings, PageSettings};
use crate::audit_log::AuditLog;
use crate::auth::Authorizer;
use crate::clock::Clock;
use crate::quota::Quotas;
use crate::registry::{ManifestSettings, Registry};
use crate::tasks::Tasks;
use crate::telemetry::RequestLog;
use crate::telemetry::metrics::Metrics;

/// The settings of the API.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listener: ListenerSettings,
    pub blobs: BlobSettings,
    pub manifests: ManifestSettings,
    pub lists: ListSettings,
    pub pages: PageSettings,
    pub access_log: RequestLog,
}

/// The state of the router. Requests that change something run on `tasks`: they are finished when
/// their client goes away, and a shutdown waits for them.
#[derive(Debug)]
pub struct Api {
    pub registry: Arc<Registry>,
    pub authorizer: Arc<dyn Authorizer>,
    pub audit_log: AuditLog,
    pub clock: Arc<dyn Clock>,
    pub readiness: Readiness,
    pub settings: Settings,
    /// The memory for responses in flight.
    pub responses: Arc<ResponseBudget>,
    /// What each caller may use.
    pub limits: Arc<Limits>,
    /// What each namespace may store.
    pub quotas: Arc<Quotas>,
    pub metrics: Metrics,
    pub tasks: Tasks,
}
