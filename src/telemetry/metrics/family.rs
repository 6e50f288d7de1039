//! Metrics with their labels: the series of a combination is looked up once, and from then on it is
//! an element of an array.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::Duration;

use prometheus::core::Collector as _;
use prometheus::proto::Metric;
use prometheus::{
    CounterVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
};

use super::label::{self, Labels};
use super::labels::Namespace;
use super::table::Declared;

/// Combinations up to which a counter shows all of them from the beginning, as zero: the rate of a
/// series that appears with its first event misses that event.
const SHOWN_FROM_THE_START_MAX: usize = 32;

/// What is counted, and how.
pub trait Kind {
    /// All series of a metric.
    type All;
    /// One series.
    type One;
    /// How the exposition calls it.
    const WORD: &'static str;
    /// Whether zero is what it is before anything happened.
    const BEGINS_AT_ZERO: bool;

    /// Makes and registers a metric.
    fn register(declared: &Declared, registry: &Registry) -> prometheus::Result<Self::All>;

    /// One series of it.
    fn one(all: &Self::All, words: &[&str]) -> Self::One;
}

fn names(declared: &Declared) -> Vec<&'static str> {
    declared.labels.iter().map(|set| set.name).collect()
}

macro_rules! kind {
    ($(#[$about:meta])* $type:ident: $all:ty => $one:ty, $word:literal, $zero:literal,
     $opts:expr) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug)]
        pub struct $type;

        impl Kind for $type {
            type All = $all;
            type One = $one;
            const WORD: &'static str = $word;
            const BEGINS_AT_ZERO: bool = $zero;

            fn register(declared: &Declared, registry: &Registry) -> prometheus::Result<$all> {
                let options = $opts;
                let all = <$all>::new(options(declared), &names(declared))?;
                registry.register(Box::new(all.clone()))?;
                Ok(all)
            }

            fn one(all: &$all, words: &[&str]) -> $one {
                all.with_label_values(words)
            }
        }
    };
}

fn opts(declared: &Declared) -> Opts {
    Opts::new(declared.name, declared.help())
}

kind! {
    /// Whole numbers that only grow.
    Counts: IntCounterVec => prometheus::IntCounter, "counter", true, opts
}
kind! {
    /// Seconds and the like that only grow.
    Sums: CounterVec => prometheus::Counter, "counter", true, opts
}
kind! {
    /// What is now.
    Levels: IntGaugeVec => prometheus::IntGauge, "gauge", false, opts
}
kind! {
    /// How what was measured is spread.
    Spreads: HistogramVec => prometheus::Histogram, "histogram", false, |declared: &Declared| {
        HistogramOpts::new(declared.name, declared.help()).buckets(declared.unit.buckets().to_vec())
    }
}

/// A metric with all its series.
pub struct Family<K: Kind, L> {
    all: K::All,
    cells: Box<[OnceLock<K::One>]>,
    labels: PhantomData<fn(L)>,
}

/// A metric that counts events.
pub type Counter<L> = Family<Counts, L>;
/// A metric that adds up seconds.
pub type Sum<L> = Family<Sums, L>;
/// A metric that goes up and down.
pub type Gauge<L> = Family<Levels, L>;
/// A metric that shows how durations or sizes are spread.
pub type Histogram<L> = Family<Spreads, L>;

impl<K: Kind, L> fmt::Debug for Family<K, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("cells", &self.cells.len()).finish_non_exhaustive()
    }
}

impl<K: Kind, L: Labels> Family<K, L> {
    pub(super) fn new(declared: &Declared, registry: &Registry) -> Self {
        // The table is constant, so this either never fails or in every test.
        let all = K::register(declared, registry).expect("the table has good names");
        let size = label::combinations(L::SETS);
        let cells = std::iter::repeat_with(OnceLock::new).take(size).collect();
        let family = Self { all, cells, labels: PhantomData };
        if K::BEGINS_AT_ZERO && size <= SHOWN_FROM_THE_START_MAX {
            for index in 0..size {
                family.at(index);
            }
        }
        family
    }

    fn at(&self, index: usize) -> &K::One {
        self.cells[index].get_or_init(|| K::one(&self.all, &label::words(L::SETS, index)))
    }

    fn of(&self, labels: L) -> &K::One {
        self.at(labels.index())
    }
}

impl<L: Labels> Counter<L> {
    /// One more.
    pub fn inc(&self, labels: L) {
        self.of(labels).inc();
    }
}

impl<L: Labels> Sum<L> {
    /// So much longer.
    pub fn add(&self, labels: L, took: Duration) {
        self.of(labels).inc_by(took.as_secs_f64());
    }
}

impl<L: Labels> Gauge<L> {
    /// It is this now.
    pub fn set(&self, labels: L, value: i64) {
        self.of(labels).set(value);
    }

    /// It is so much more.
    pub fn add(&self, labels: L, by: i64) {
        self.of(labels).add(by);
    }

    /// It is so much less.
    pub fn sub(&self, labels: L, by: i64) {
        self.of(labels).sub(by);
    }
}

impl Gauge<(Namespace,)> {
    /// There are these now and no others. Setting them is the only way to such a series.
    pub fn replace(&self, values: impl IntoIterator<Item = (Box<str>, i64)>) {
        let values: HashMap<Box<str>, i64> = values.into_iter().collect();
        for family in self.all.collect() {
            for label in family.get_metric().iter().flat_map(Metric::get_label) {
                if !values.contains_key(label.value()) {
                    // It was there a moment ago, and nobody else removes one.
                    let _ = self.all.remove_label_values(&[label.value()]);
                }
            }
        }
        for (name, value) in values {
            self.all.with_label_values(&[name]).set(value);
        }
    }
}

impl<L: Labels> Histogram<L> {
    /// It took so long.
    pub fn observe(&self, labels: L, duration: Duration) {
        self.of(labels).observe(duration.as_secs_f64());
    }

    /// It had so many bytes.
    #[expect(clippy::cast_precision_loss, reason = "buckets do not need the last byte of a peta")]
    pub fn had(&self, labels: L, bytes: u64) {
        self.of(labels).observe(bytes as f64);
    }
}
