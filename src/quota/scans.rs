//! The record `g/usage`: read once a minute, and written by the process that scans.
//!
//! A process claims a scan by a compare-and-swap, renews the claim while it scans, and writes the
//! totals with another compare-and-swap. The age of the record decides when a scan is due, so a
//! claim whose process has died is taken over after the same time. The process that has scanned
//! last goes first, because it remembers the sizes of all digests; another one scans when it is
//! late.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::{Quotas, UsageSettings};
use crate::entropy;
use crate::layout::encoding::Draft;
use crate::layout::records::{Usage, seconds};
use crate::registry::record::{Base, Current, Records, Written};
use crate::registry::{self, Leases};
use crate::store::{ObjectStore, RecordKey};
use crate::usage::{ScanError, UsageScan};

/// How often a process reads the totals, up to a quarter sooner or later: processes that start
/// together do not read together for ever.
const READ_EVERY: Duration = Duration::from_mins(1);
const JITTER: f64 = 0.25;
/// By how much a scan may be late before another process takes it over.
const LATE: Duration = Duration::from_mins(2);
/// How often a claim is renewed in the time after which it is taken over.
const RENEWALS: u32 = 4;
/// Namespaces in the record: those that have used most of their quotas.
const NAMESPACES_MAX: usize = 10_000;

/// Reads and counts what the namespaces with a quota store.
#[derive(Debug)]
pub struct QuotaScans {
    quotas: Arc<Quotas>,
    records: Records,
    scan: UsageScan,
    /// This process.
    scanner: String,
    interval: Duration,
    /// Whether the record could not be read the last time.
    unreadable: bool,
}

/// Why the totals are not new.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Record(#[from] registry::Error),
}

impl QuotaScans {
    /// `scanner` names this process for operators, and tells it from others.
    pub fn new(
        quotas: Arc<Quotas>,
        store: Arc<dyn ObjectStore>,
        leases: Leases,
        scan: UsageScan,
        scanner: String,
        settings: &UsageSettings,
    ) -> Self {
        let (records, interval) = (Records::new(store, leases), settings.interval);
        Self { quotas, records, scan, scanner, interval, unreadable: false }
    }

    /// Reads the totals, and scans when it is due, until the future is dropped.
    pub async fn repeat(mut self) {
        loop {
            self.look().await;
            let jitter = (entropy::fraction() * 2.0 - 1.0) * JITTER;
            sleep(READ_EVERY.mul_f64(1.0 + jitter)).await;
        }
    }

    /// Reads the totals, and scans if it is due. What fails leaves the last totals in force.
    pub async fn look(&mut self) {
        let (current, usage) = match self.read().await {
            Ok(read) => read,
            Err(error) => {
                if !std::mem::replace(&mut self.unreadable, true) {
                    tracing::warn!(%error, "cannot read g/usage: the last totals of quotas count");
                }
                return;
            }
        };
        self.unreadable = false;
        if let Some(usage) = &usage {
            self.quotas.take(usage);
        }
        if self.is_due(&current, usage.as_ref())
            && let Err(error) = self.scan(&current, usage.unwrap_or_default()).await
        {
            tracing::error!(%error, "scan for quotas failed: the last totals of quotas count");
        }
    }

    async fn read(&self) -> Result<(Current, Option<Usage>), registry::Error> {
        let current = self.records.read(&RecordKey::Usage).await?;
        let usage = current.header()?;
        Ok((current, usage))
    }

    fn is_due(&self, current: &Current, usage: Option<&Usage>) -> bool {
        let (Current::Live(record), Some(usage)) = (current, usage) else { return true };
        let late = if usage.scanner == self.scanner { Duration::ZERO } else { LATE };
        record.age >= self.interval + late
    }

    /// Claims the scan, counts, and writes the totals, unless another process is faster.
    async fn scan(&mut self, current: &Current, last: Usage) -> Result<(), Failure> {
        let claim = Usage { scanner: self.scanner.clone(), scanning: true, ..last };
        let draft = Draft::new(&claim, Bytes::new());
        let claimed = self.records.upsert(&RecordKey::Usage, current, &draft, None).await?;
        let Written::Ours(mut base) = claimed else { return Ok(()) };
        let counted = {
            let mut counting = pin!(self.scan.namespace_bytes());
            loop {
                tokio::select! {
                    biased;
                    counted = &mut counting => break counted?,
                    () = sleep(self.interval / RENEWALS) => {}
                }
                match replace(&self.records, &base, &claim).await? {
                    Some(renewed) => base = renewed,
                    None => return Ok(()),
                }
            }
        };
        let fullest = self.quotas.fullest(counted).into_iter().take(NAMESPACES_MAX);
        let usage = Usage {
            scanner: claim.scanner,
            scanning: false,
            scanned_at: Some(seconds(self.records.now())),
            namespaces: fullest.map(|row| (row.namespace, row.stored)).collect(),
        };
        if replace(&self.records, &base, &usage).await?.is_some() {
            self.quotas.take(&usage);
        }
        Ok(())
    }
}

/// Replaces the record. `None` if another process has claimed the scan.
async fn replace(
    records: &Records,
    base: &Base,
    usage: &Usage,
) -> Result<Option<Base>, registry::Error> {
    let draft = Draft::new(usage, Bytes::new());
    let written = records.replace(&RecordKey::Usage, base, &draft, None).await?;
    Ok(if let Written::Ours(base) = written { Some(base) } else { None })
}
