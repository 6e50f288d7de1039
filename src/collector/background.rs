//! The collection in the background of `serve`.
//!
//! All processes on a bucket look at the record of the last run, and whichever finds it old enough
//! begins the next one: so the interval is that of the bucket, however many processes there are,
//! and however often they restart.

use std::time::Duration;

use tokio::time::sleep;

use super::{Collector, Error, Mode};
use crate::entropy;
use crate::layout::encoding::decode;
use crate::layout::records::CollectorRun;
use crate::registry::record::{Current, Records};
use crate::store::RecordKey;

/// How often a process looks whether a run is due: this part of the interval, and these limits.
const LOOKS_PER_INTERVAL: u32 = 20;
const LOOK_EVERY_MIN: Duration = Duration::from_secs(5);
const LOOK_EVERY_MAX: Duration = Duration::from_mins(10);
/// By how much the interval varies.
const JITTER: f64 = 0.1;

/// Collects at intervals.
#[derive(Debug)]
pub struct Background(Collector);

/// A duration up to [`JITTER`] longer or shorter.
fn about(duration: Duration) -> Duration {
    duration.mul_f64(1. - JITTER + 2. * JITTER * entropy::fraction())
}

impl Background {
    pub fn new(collector: Collector) -> Self {
        Self(collector)
    }

    /// Collects until the future is dropped. The next run continues what that cuts off.
    pub async fn repeat(self) {
        let interval = self.0.settings.interval;
        let look = (interval / LOOKS_PER_INTERVAL).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
        let seconds = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
        self.0.metrics.collection_interval.set((), seconds);
        loop {
            sleep(about(look)).await;
            match self.is_due(about(interval)).await {
                Ok(true) => self.collect().await,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the state of the collection is not known"),
            }
        }
    }

    async fn collect(&self) {
        match self.0.run(Mode::Collect).await {
            Ok(report) => {
                tracing::info!(report = %report.to_json(), "garbage collection finished");
            }
            Err(Error::Busy(holder)) => {
                tracing::debug!(%holder, "another process collects garbage");
            }
            Err(error) => tracing::error!(%error, "garbage collection failed"),
        }
    }

    /// Whether the last run is older than the interval, or was cut off.
    async fn is_due(&self, interval: Duration) -> Result<bool, Error> {
        let records = Records::new(self.0.registry.invalidating_records(), self.0.leases);
        let Current::Live(record) = records.read(&RecordKey::CollectorRun).await? else {
            return Ok(true);
        };
        let (run, _) = decode::<CollectorRun>(&record.body)?;
        if let Some(finished) = run.finished {
            let finished = i64::try_from(finished).unwrap_or(i64::MAX);
            self.0.metrics.collection_finished.set((), finished);
        }
        Ok(run.phase.is_some() || record.age >= interval)
    }
}
