//! Storage quotas: how many bytes each namespace may store, by `[[quotas]]`.
//!
//! The record `g/usage` says what each namespace with a quota stores. One process counts it by a
//! scan of the bucket, every process reads it once a minute ([`QuotaScans`]), and requests only
//! look at what was read ([`Quotas::admit`]). So a quota is soft: a namespace may store more than
//! its quota by what it pushes between two scans.

mod scans;
mod settings;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

pub use self::scans::QuotaScans;
pub use self::settings::{NamespacePattern, Quota, QuotaBytes, UsageSettings};
use crate::layout::records::Usage;
use crate::oci::RepositoryName;
use crate::setting::Size;
use crate::telemetry::metrics::Metrics;
use crate::usage::NAMESPACES_SHOWN;

/// The quotas of a process, and the namespaces that have used theirs up.
#[derive(Debug)]
pub struct Quotas {
    tables: Vec<Quota>,
    /// By namespace; `None` without any.
    used_up: ArcSwapOption<HashMap<Box<str>, OverQuota>>,
    metrics: Metrics,
}

/// What a namespace stores and may store. As an error: it has used up its quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverQuota {
    namespace: Box<str>,
    stored: u64,
    limit: u64,
}

impl fmt::Display for OverQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stored, limit) = (Size(self.stored), Size(self.limit));
        write!(
            f,
            "the namespace {} stores {stored}, and its quota is {limit}: what is deleted counts \
             after the next scan of the bucket, layers after garbage collection",
            self.namespace
        )
    }
}

impl OverQuota {
    fn stored_times(&self, factor: u64) -> u128 {
        u128::from(self.stored) * u128::from(factor)
    }
}

impl Quotas {
    pub fn new(tables: Vec<Quota>, metrics: &Metrics) -> Self {
        Self { tables, used_up: ArcSwapOption::empty(), metrics: metrics.clone() }
    }

    /// Refuses a push to a repository whose namespace has used up its quota.
    pub fn admit(&self, name: &RepositoryName) -> Result<(), OverQuota> {
        let used_up = self.used_up.load();
        let over = used_up.as_ref().and_then(|used_up| used_up.get(name.namespace()));
        let Some(over) = over else { return Ok(()) };
        self.metrics.quota_refusals.inc(());
        Err(over.clone())
    }

    /// From now on these totals count.
    fn take(&self, usage: &Usage) {
        let counted = usage.namespaces.iter().map(|(name, bytes)| (name.clone(), *bytes));
        let fullest = self.fullest(counted);
        let series = |bytes: fn(&OverQuota) -> u64| {
            let shown = fullest.iter().take(NAMESPACES_SHOWN);
            let value = move |row: &OverQuota| {
                (row.namespace.clone(), i64::try_from(bytes(row)).unwrap_or(i64::MAX))
            };
            shown.map(value).collect::<Vec<_>>()
        };
        self.metrics.quota_used.replace(series(|row| row.stored));
        self.metrics.quota_limit.replace(series(|row| row.limit));
        if let Some(at) = usage.scanned_at {
            self.metrics.quota_scanned.set((), i64::try_from(at).unwrap_or(i64::MAX));
        }
        let used_up = fullest.into_iter().filter(|row| row.stored >= row.limit);
        let used_up: HashMap<_, _> = used_up.map(|row| (row.namespace.clone(), row)).collect();
        self.used_up.store((!used_up.is_empty()).then(|| Arc::new(used_up)));
    }

    /// The namespaces that have a quota: first those that have used most of theirs.
    fn fullest(&self, counted: impl IntoIterator<Item = (Box<str>, u64)>) -> Vec<OverQuota> {
        let row = |(namespace, stored): (Box<str>, u64)| {
            let limit = self.limit(&namespace)?;
            Some(OverQuota { namespace, stored, limit })
        };
        let mut rows: Vec<OverQuota> = counted.into_iter().filter_map(row).collect();
        rows.sort_by(|one, other| {
            // Compares the fractions without dividing.
            let (this, that) = (one.stored_times(other.limit), other.stored_times(one.limit));
            that.cmp(&this).then_with(|| one.namespace.cmp(&other.namespace))
        });
        rows
    }

    /// The quota of a namespace, if it has one.
    fn limit(&self, namespace: &str) -> Option<u64> {
        let name = namespace.parse().ok()?;
        let applies = |quota: &&Quota| quota.namespaces.iter().any(|one| one.matches(&name));
        self.tables.iter().find(applies).map(|quota| quota.bytes.0)
    }
}
