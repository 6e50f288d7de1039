//! The HTTP metrics under the names of the distribution registry, so that its dashboards work.
//!
//! The aliases are computed from the original series at each scrape: nothing is counted twice.

use std::collections::BTreeMap;

use prometheus::proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::label::Label as _;
use super::labels::Operation;

/// One metric of distribution.
pub(super) struct Alias {
    pub(super) name: &'static str,
    /// The original metric.
    pub(super) of: &'static str,
    /// The difference to the metric of distribution.
    pub(super) remark: &'static str,
}

/// All HTTP metrics of distribution.
pub(super) const ALIASES: &[Alias] = &[
    Alias {
        name: "registry_http_requests_total",
        of: "longshore_http_requests_total",
        remark: "`code` can also be `other` or `none`.",
    },
    Alias {
        name: "registry_http_request_duration_seconds",
        of: "longshore_http_request_duration_seconds",
        remark: "Other buckets.",
    },
    Alias {
        name: "registry_http_in_flight_requests",
        of: "longshore_http_requests_in_flight",
        remark: "The sum of all requests: no `handler`.",
    },
    Alias {
        name: "registry_http_request_size_bytes",
        of: "longshore_http_request_body_bytes",
        remark: "Only bodies: no headers, and no requests without a body. Other buckets.",
    },
    Alias {
        name: "registry_http_response_size_bytes",
        of: "longshore_http_response_body_bytes",
        remark: "Other buckets.",
    },
];

/// The name of a handler of distribution, and the operations that it serves. Other operations are
/// handlers of their own; unmatched requests are not counted there.
pub(super) const HANDLERS: &[(&str, &[&str])] = &[
    ("base", &["api_version"]),
    ("blob", &["get_blob", "delete_blob"]),
    ("manifest", &["get_manifest", "put_manifest", "delete_manifest"]),
    ("tags", &["list_tags"]),
    ("blob_upload", &["start_upload"]),
    ("blob_upload_chunk", &["upload_chunk", "finish_upload", "upload_status", "cancel_upload"]),
    ("catalog", &["list_catalog"]),
    // It has neither of these two.
    ("referrers", &["list_referrers"]),
    ("extensions", &["list_extensions"]),
];

/// The aliases of these metrics.
pub(super) fn families(ours: &[MetricFamily]) -> Vec<MetricFamily> {
    let alias = |alias: &Alias| {
        let family = ours.iter().find(|family| family.name() == alias.of)?;
        let series = merged(family.get_field_type(), family.get_metric());
        // The encoder refuses an empty family.
        if series.is_empty() {
            return None;
        }
        let mut made = MetricFamily::default();
        made.set_name(alias.name.to_owned());
        made.set_help(format!("The name of {} in distribution.", alias.of));
        made.set_field_type(family.get_field_type());
        made.set_metric(series);
        Some(made)
    };
    ALIASES.iter().filter_map(alias).collect()
}

/// One series for each combination of translated labels: some handlers of distribution serve what
/// are several operations here.
fn merged(kind: MetricType, series: &[Metric]) -> Vec<Metric> {
    let mut by_labels: BTreeMap<Vec<(String, String)>, Metric> = BTreeMap::new();
    for one in series {
        let labels: Option<Vec<_>> = one.get_label().iter().map(translated).collect();
        let Some(mut labels) = labels else { continue };
        // Sorted, as in every exposition.
        labels.sort_unstable();
        let sum = by_labels.entry(labels).or_default();
        match kind {
            MetricType::COUNTER => {
                let mut counter = Counter::default();
                counter.set_value(sum.get_counter().get_value() + one.get_counter().get_value());
                sum.set_counter(counter);
            }
            MetricType::HISTOGRAM => {
                sum.set_histogram(added(sum.get_histogram(), one.get_histogram()));
            }
            _ => sum.set_gauge(one.get_gauge().clone()),
        }
    }
    let labelled = |(labels, mut metric): (Vec<(String, String)>, Metric)| {
        metric.set_label(labels.into_iter().map(pair).collect());
        metric
    };
    by_labels.into_iter().map(labelled).collect()
}

/// A label as distribution spells it. `None` if distribution does not count the request.
fn translated(label: &LabelPair) -> Option<(String, String)> {
    let (name, value) = (label.name(), label.value());
    let translated = match name {
        "route" if value == Operation::Unmatched.as_str() => return None,
        "route" => {
            let handler = HANDLERS.iter().find(|(_, routes)| routes.contains(&value));
            ("handler".to_owned(), handler.map_or(value, |(handler, _)| *handler).to_owned())
        }
        "method" if value == "other" => (name.to_owned(), "unknown".to_owned()),
        "method" => (name.to_owned(), value.to_lowercase()),
        _ => (name.to_owned(), value.to_owned()),
    };
    Some(translated)
}

fn pair((name, value): (String, String)) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name);
    pair.set_value(value);
    pair
}

/// The sum of two histograms with the same buckets.
fn added(sum: &Histogram, one: &Histogram) -> Histogram {
    let before = |index: usize| sum.get_bucket().get(index).map_or(0, Bucket::cumulative_count);
    let buckets = one.get_bucket().iter().enumerate().map(|(index, bucket)| {
        let mut added = Bucket::default();
        added.set_upper_bound(bucket.upper_bound());
        added.set_cumulative_count(before(index) + bucket.cumulative_count());
        added
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_sum(sum.get_sample_sum() + one.get_sample_sum());
    histogram.set_sample_count(sum.get_sample_count() + one.get_sample_count());
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{Method, TABLE};

    #[test]
    fn every_operation_that_is_served_has_one_handler() {
        for route in Operation::SET.values {
            let mut label = LabelPair::default();
            label.set_name("route".to_owned());
            label.set_value((*route).to_owned());
            let handler = translated(&label).map(|(name, _)| name);
            let served = *route != Operation::Unmatched.as_str();
            assert_eq!(handler.as_deref(), served.then_some("handler"), "{route}");
            let handlers = HANDLERS.iter().filter(|(_, routes)| routes.contains(route));
            assert!(handlers.count() <= 1, "{route}");
        }
        let mut routes = HANDLERS.iter().flat_map(|(_, routes)| routes.iter());
        assert!(routes.all(|route| Operation::SET.values.contains(route)));
    }

    #[test]
    fn every_alias_has_a_metric() {
        for alias in ALIASES {
            assert!(TABLE.iter().any(|row| row.name == alias.of), "{}", alias.of);
        }
        assert!(Method::SET.values.contains(&"other"), "distribution calls it unknown");
    }
}
