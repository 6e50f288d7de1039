//! The metrics of the process, for Prometheus.
//!
//! [`TABLE`] declares every metric once; [`Metrics`] has a field for each. A label is a closed
//! enum, so clients cannot add series, and counting is an addition in an array: no request looks up
//! a series by its text. Only this module uses the crate `prometheus`.

mod alias;
mod auth_labels;
mod definition;
mod family;
mod label;
mod labels;
mod limit_labels;
mod reference;
mod table;

use std::ops::Deref;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, Registry, TextEncoder};

pub use self::auth_labels::{AuthMethod, AuthReason, AuthResult, IssuerFetch};
pub use self::definition::{Definition, Unit};
pub use self::family::{Counter, Family, Gauge, Histogram, SecondsCounter};
pub use self::label::{Label, LabelSet, Labels};
pub use self::labels::{
    BrokenBy, CacheFailure, CacheLayer, CacheOperation, CacheRefusal, CacheResult, Cached,
    Collected, CollectionRun, Commit, ConditionalWrite, Fate, Method, Namespace, Operation,
    PresignKey, ReloadedFileKind, S3Operation, S3Outcome, ServeMode, ServeReason, Status,
    UsageScan, Version,
};
pub use self::limit_labels::{Limit, LimitBy};
pub use self::reference::reference_markdown;
pub use self::table::{Handles, TABLE};

/// The media type of the exposition.
pub const MEDIA_TYPE: &str = prometheus::TEXT_FORMAT;

/// The outcome of loading a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    Valid,
    Invalid,
}

/// The metrics of one registry. Clones share the series.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    handles: Handles,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let handles = Handles::register(&registry);
        #[cfg(target_os = "linux")]
        {
            let process = prometheus::process_collector::ProcessCollector::for_self();
            // Memory, CPU time and file descriptors of this process.
            registry.register(Box::new(process)).expect("its names differ from ours");
        }
        handles.build_info.set((Version,), 1);
        handles.http_in_flight.set((), 0);
        handles.upload_sessions.set((), 0);
        handles.upload_buffered.set((), 0);
        Self(Arc::new(Inner { registry, handles }))
    }
}

impl Deref for Metrics {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.0.handles
    }
}

impl Metrics {
    /// All metrics in the text format of Prometheus.
    pub fn exposition(&self) -> String {
        text(&self.0.registry.gather())
    }

    /// The same, followed by the aliases for distribution.
    pub fn exposition_with_aliases(&self) -> String {
        let mut families = self.0.registry.gather();
        families.extend(alias::families(&families));
        text(&families)
    }

    /// Counts a usage scan that has ended.
    pub fn usage_scanned(&self, scan: UsageScan) {
        self.usage_scans.inc((scan,));
        if scan == UsageScan::Done {
            self.usage_scan_success.set((), now());
        }
    }

    /// Counts a run of the garbage collection that has ended.
    pub fn collected(&self, run: CollectionRun) {
        self.collection_runs.inc((run,));
        if run == CollectionRun::Done {
            self.collection_finished.set((), now());
        }
    }

    /// Records an attempt to load a file.
    pub fn file_loaded(&self, file: ReloadedFileKind, loaded: Loaded) {
        match loaded {
            Loaded::Valid => {
                self.config_good.set((file,), 1);
                self.config_reloaded.set((file,), now());
            }
            Loaded::Invalid => self.config_good.set((file,), 0),
        }
    }
}

fn text(families: &[MetricFamily]) -> String {
    let mut text = Vec::new();
    // Writing to memory fails only for a family without a name.
    if let Err(error) = TextEncoder::new().encode(families, &mut text) {
        tracing::error!(%error, "cannot encode the metrics");
    }
    String::from_utf8(text).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "a metric shows the time of this machine")]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
