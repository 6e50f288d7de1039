//! The scans for the quotas, in the background of `serve`.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::collect::this_process;
use super::{ABANDONED_AFTER, StartError};
use crate::config::Settings;
use crate::quota::{QuotaScans, Quotas};
use crate::registry::Leases;
use crate::store::ObjectStore;
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;
use crate::usage::UsageScan;

/// What counts for the quotas. `scanner` names this process for operators.
pub fn quota_scans(
    settings: &Settings,
    store: Arc<dyn ObjectStore>,
    quotas: Arc<Quotas>,
    scanner: String,
    metrics: &Metrics,
) -> Result<QuotaScans, StartError> {
    let leases = Leases::new(&settings.collection)?;
    let scan = UsageScan::new(store.clone(), metrics.clone(), ABANDONED_AFTER);
    Ok(QuotaScans::new(quotas, store, leases, scan, scanner, &settings.usage))
}

/// Counts until the token is cancelled, if the settings have a quota.
pub(super) fn scan_in_background(
    settings: &Settings,
    store: &Arc<dyn ObjectStore>,
    quotas: &Arc<Quotas>,
    metrics: &Metrics,
    stopped: CancellationToken,
) -> Result<(), StartError> {
    if settings.quotas.is_empty() {
        return Ok(());
    }
    let (store, quotas) = (store.clone(), quotas.clone());
    let scans = quota_scans(settings, store, quotas, this_process(), metrics)?;
    // The shutdown does not wait for it: another process scans when the claim has aged.
    Tasks::new().spawn(stopped.run_until_cancelled_owned(scans.repeat()));
    Ok(())
}
