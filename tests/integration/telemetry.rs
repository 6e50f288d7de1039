//! Metrics, health endpoints and the log.
//!
//! Covers no section of the distribution-spec, which leaves all of this to implementations.

mod admin;
mod alerts;
mod aliases;
mod closed_labels;
mod every_metric;
mod log;
mod usage;

use longshore::telemetry::metrics::{Definition, Metrics, TABLE};

/// One line of the exposition.
#[derive(Clone, Debug)]
struct Sample {
    /// The metric, without `_bucket`, `_sum` and `_count`.
    metric: &'static Definition,
    /// The name in the exposition.
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// The samples of all metrics of Longshore. Fails for a line that the table does not define.
#[track_caller]
fn samples(metrics: &Metrics) -> Vec<Sample> {
    let text = metrics.exposition();
    let ours = |line: &&str| line.starts_with("longshore_");
    text.lines().filter(ours).map(sample).collect()
}

#[track_caller]
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a name and a value");
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.trim_end_matches('}');
    let labels = labels.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').expect("a label");
        (name.to_owned(), value.trim_matches('"').to_owned())
    });
    Sample {
        metric: definition(name).unwrap_or_else(|| panic!("{line} is not in the table")),
        name: name.to_owned(),
        labels: labels.collect(),
        value: value.parse().expect("a number"),
    }
}

/// The definition of the metric with this sample.
fn definition(name: &str) -> Option<&'static Definition> {
    let parts = ["", "_bucket", "_sum", "_count"];
    TABLE.iter().find(|row| {
        let rest = name.strip_prefix(row.name);
        rest.is_some_and(|rest| {
            rest.is_empty() || (row.kind == "histogram" && parts.contains(&rest))
        })
    })
}

/// The sum of the series with these labels, zero if there are none.
#[expect(clippy::cast_sign_loss, reason = "counts are whole, and not below zero")]
pub(crate) fn value(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> u64 {
    let has = |sample: &Sample| {
        labels.iter().all(|(name, value)| {
            sample.labels.iter().any(|(known, word)| known == name && word == value)
        })
    };
    let all = samples(metrics);
    let found = all.iter().filter(|sample| sample.name == name && has(sample));
    found.map(|sample| sample.value).sum::<f64>() as u64
}
