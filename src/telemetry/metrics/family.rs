//! Metrics with labels: the series of a combination of labels is looked up once, and is an array
//! element from then on.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::Metric;
use prometheus::{
    CounterVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
};

use super::definition::Definition;
use super::label::{self, Labels, OpenLabel};

/// A counter with up to this many combinations of labels exposes all of them from the start, as
/// zero: the rate of a series that appears with its first event misses that event.
const INITIAL_SERIES_MAX: usize = 48;

/// A type of metric of the crate `prometheus`, with all its series.
pub trait MetricVec: Collector + Clone + Sized + 'static {
    /// One series.
    type Series;
    /// The type in the exposition.
    const KIND: &'static str;
    const STARTS_AT_ZERO: bool;

    fn create(definition: &Definition, labels: &[&str]) -> prometheus::Result<Self>;

    fn series(&self, values: &[&str]) -> Self::Series;
}

macro_rules! metric_vec {
    ($vec:ty => $series:ty, $kind:literal, $starts_at_zero:literal, $options:expr) => {
        impl MetricVec for $vec {
            type Series = $series;
            const KIND: &'static str = $kind;
            const STARTS_AT_ZERO: bool = $starts_at_zero;

            fn create(definition: &Definition, labels: &[&str]) -> prometheus::Result<Self> {
                Self::new($options(definition), labels)
            }

            fn series(&self, values: &[&str]) -> $series {
                self.with_label_values(values)
            }
        }
    };
}

fn opts(definition: &Definition) -> Opts {
    Opts::new(definition.name, definition.help())
}

fn histogram_opts(definition: &Definition) -> HistogramOpts {
    HistogramOpts::from(opts(definition)).buckets(definition.unit.buckets().to_vec())
}

metric_vec!(IntCounterVec => prometheus::IntCounter, "counter", true, opts);
metric_vec!(CounterVec => prometheus::Counter, "counter", true, opts);
metric_vec!(IntGaugeVec => prometheus::IntGauge, "gauge", false, opts);
metric_vec!(HistogramVec => prometheus::Histogram, "histogram", false, histogram_opts);

/// A metric with all its series, by labels that are closed enums.
pub struct Family<V: MetricVec, L> {
    vec: V,
    series: Box<[OnceLock<V::Series>]>,
    labels: PhantomData<fn(L)>,
}

/// Counts events.
pub type Counter<L> = Family<IntCounterVec, L>;
/// Adds up durations.
pub type SecondsCounter<L> = Family<CounterVec, L>;
/// A current value.
pub type Gauge<L> = Family<IntGaugeVec, L>;
/// The distribution of durations or sizes.
pub type Histogram<L> = Family<HistogramVec, L>;

impl<V: MetricVec, L> fmt::Debug for Family<V, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("series", &self.series.len()).finish_non_exhaustive()
    }
}

impl<V: MetricVec, L: Labels> Family<V, L> {
    pub(super) const KIND: &'static str = V::KIND;

    pub(super) fn new(definition: &Definition, registry: &Registry) -> Self {
        let names: Vec<&str> = definition.labels.iter().map(|set| set.name).collect();
        // The table is constant, so this fails in every test or never.
        let vec = V::create(definition, &names).expect("the table has valid names");
        registry.register(Box::new(vec.clone())).expect("the table has different names");
        let size = label::combinations(L::SETS);
        let series = std::iter::repeat_with(OnceLock::new).take(size).collect();
        let family = Self { vec, series, labels: PhantomData };
        if V::STARTS_AT_ZERO && size <= INITIAL_SERIES_MAX {
            for index in 0..size {
                family.at(index);
            }
        }
        family
    }

    fn at(&self, index: usize) -> &V::Series {
        self.series[index].get_or_init(|| self.vec.series(&label::values(L::SETS, index)))
    }

    fn of(&self, labels: L) -> &V::Series {
        self.at(labels.index())
    }
}

impl<L: Labels> Counter<L> {
    pub fn inc(&self, labels: L) {
        self.of(labels).inc();
    }

    pub fn add(&self, labels: L, count: u64) {
        self.of(labels).inc_by(count);
    }
}

impl<L: Labels> SecondsCounter<L> {
    pub fn add(&self, labels: L, duration: Duration) {
        self.of(labels).inc_by(duration.as_secs_f64());
    }
}

impl<L: Labels> Gauge<L> {
    pub fn set(&self, labels: L, value: i64) {
        self.of(labels).set(value);
    }

    pub fn add(&self, labels: L, by: i64) {
        self.of(labels).add(by);
    }

    pub fn sub(&self, labels: L, by: i64) {
        self.of(labels).sub(by);
    }
}

impl<L: OpenLabel> Gauge<(L,)> {
    /// Replaces all series. This is the only way to create a series of an open label.
    pub fn replace(&self, values: impl IntoIterator<Item = (Box<str>, i64)>) {
        let values: HashMap<Box<str>, i64> = values.into_iter().collect();
        for family in self.vec.collect() {
            for label in family.get_metric().iter().flat_map(Metric::get_label) {
                if !values.contains_key(label.value()) {
                    // It fails only for a series that is gone, and nothing else removes one.
                    let _ = self.vec.remove_label_values(&[label.value()]);
                }
            }
        }
        for (name, value) in values {
            self.vec.with_label_values(&[name]).set(value);
        }
    }
}

impl<L: Labels> Histogram<L> {
    pub fn observe(&self, labels: L, duration: Duration) {
        self.of(labels).observe(duration.as_secs_f64());
    }

    #[expect(clippy::cast_precision_loss, reason = "buckets need no exact petabytes")]
    pub fn observe_bytes(&self, labels: L, bytes: u64) {
        self.of(labels).observe(bytes as f64);
    }
}
