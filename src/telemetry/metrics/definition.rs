//! The definition of a metric: name, unit, labels and help text.

use super::label::LabelSet;

/// The unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    Seconds,
    Bytes,
    UnixSeconds,
    Flag,
}

const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 10., 30., 60., 300.];

const KIB: f64 = 1024.;
const MIB: f64 = KIB * KIB;
const GIB: f64 = MIB * KIB;
const BYTES: &[f64] = &[
    KIB,
    16. * KIB,
    64. * KIB,
    256. * KIB,
    MIB,
    4. * MIB,
    16. * MIB,
    64. * MIB,
    256. * MIB,
    GIB,
    4. * GIB,
    16. * GIB,
];

impl Unit {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::UnixSeconds => "seconds since 1970",
            Self::Flag => "1 or 0",
        }
    }

    /// The bounds of the buckets of a histogram.
    pub(super) fn buckets(self) -> &'static [f64] {
        match self {
            Self::Seconds => SECONDS,
            Self::Bytes => BYTES,
            Self::Count | Self::UnixSeconds | Self::Flag => &[],
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub unit: Unit,
    pub labels: &'static [LabelSet],
    /// The alerts of `deploy/prometheus/alerts.yml` that use the metric.
    pub alerts: &'static [&'static str],
    pub(super) comment: &'static str,
}

impl Definition {
    /// The help text, in one line.
    pub fn help(&self) -> String {
        self.comment.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
