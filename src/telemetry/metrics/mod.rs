//! What the process counts, for Prometheus.
//!
//! [`TABLE`] declares every metric once; [`Metrics`] has a field for each of them. A label is a
//! closed enum, so the number of series is bounded whatever clients send, and counting is an
//! addition in an array: no text is looked up while a request is answered.
//!
//! The rooms below are handed [`Metrics`] by `wiring` and know its fields. Only this room knows the
//! crate that writes the exposition.

mod alias;
mod family;
mod label;
mod labels;
mod reference;
mod table;

use std::ops::Deref;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, Registry, TextEncoder};

pub use self::family::{Counter, Family, Gauge, Histogram, Sum};
pub use self::label::{Label, LabelSet, Labels};
pub use self::labels::{
    AuthMethod, AuthReason, AuthResult, CacheLayer, CacheOperation, CacheResult, Cached, Commit,
    ConditionalWrite, Method, Namespace, PresignKey, ReloadedFileKind, Route, S3Operation,
    S3Outcome, ServeMode, ServeReason, Status, Survey, Version,
};
pub use self::reference::reference_markdown;
pub use self::table::{Declared, Handles, TABLE, Unit};

/// The media type of the exposition.
pub const MEDIA_TYPE: &str = prometheus::TEXT_FORMAT;

/// The metrics of one registry. A clone counts into the same ones.
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
            // What the kernel says of this process: memory, processor time, descriptors.
            registry.register(Box::new(process)).expect("its names are not ours");
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
    /// All of them as Prometheus reads them.
    pub fn exposition(&self) -> String {
        text(&self.0.registry.gather())
    }

    /// The same, and after it once more what distribution counts, too, by its names.
    pub fn exposition_with_aliases(&self) -> String {
        let mut families = self.0.registry.gather();
        families.extend(alias::families(&families));
        text(&families)
    }

    /// A survey of the bucket has ended.
    pub fn surveyed(&self, survey: Survey) {
        self.inventory_runs.inc((survey,));
        if survey == Survey::Done {
            self.inventory_success.set((), now());
        }
    }

    /// A watched file was read, well or not.
    pub fn read_file(&self, file: ReloadedFileKind, good: bool) {
        self.config_good.set((file,), i64::from(good));
        if good {
            self.config_reloaded.set((file,), now());
        }
    }
}

fn text(families: &[MetricFamily]) -> String {
    let mut text = Vec::new();
    // It writes into memory, and fails only for a family without a name.
    if let Err(error) = TextEncoder::new().encode(families, &mut text) {
        tracing::error!(%error, "the metrics could not be written");
    }
    String::from_utf8(text).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "what is told is when this process did something")]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
