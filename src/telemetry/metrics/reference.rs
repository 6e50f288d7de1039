//! Generates `docs/metrics.md` from the table.

use std::fmt::{self, Write as _};

use super::alias::{ALIASES, Alias, HANDLERS};
use super::label::LabelSet;
use super::table::TABLE;

const HEAD: &str = "\
# Metrics

<!-- Generated: `longshore metrics-reference > docs/metrics.md`. A test compares this page. -->

With `admin.listen` set, `GET /metrics` on that address serves these metrics in the text format of \
Prometheus.
It also serves the metrics of the process (`process_resident_memory_bytes`, `process_open_fds`, \
`process_cpu_seconds_total` and so on).

Every label has a closed set of values ([below](#label-values)): never a repository, tag, digest, \
user or address, so clients cannot increase the number of series.
`fingerprint` is a hash of the settings, one for each process. \
The one exception is `namespace`, which needs `metrics.inventory`: it is the first component of a \
repository name. The 20 namespaces with the most bytes have a series each; `_rest` is the sum of \
the others.
`route` is the [operation](#label-values), as in the access log.
Each replica counts for itself: sum over all replicas.
The numbers of the usage scan describe the bucket: take the maximum over the replicas that scan \
([operations.md](operations.md#the-usage-scan)).

The alerts are in [deploy/prometheus/alerts.yml](../deploy/prometheus/alerts.yml); each has a \
[page](runbooks/README.md) that says what to do about it.
[dashboards.md](dashboards.md) shows the metrics in Grafana.

";

const ALIASES_HEAD: &str = "
## Names of distribution

With `metrics.aliases = true`, `/metrics` has the HTTP metrics a second time, under the names of \
the registry of distribution 2.8 and 3, so that its dashboards and alerts work.
The aliases are computed from the metrics above at each scrape.
Methods are in lower case (`get`; `unknown` for `other`), `route` is `handler`, and requests for \
unknown paths (`unmatched`) are left out, as in distribution.
Its metrics of storage, proxy and notifications have no aliases.

| metric | computed from | difference |
|---|---|---|
";

const ABSENT: &str = "
## Metrics that do not exist

Other registries have these; Longshore has nothing to count:

| metric | reason |
|---|---|
| `*_gc_*` | `longshore_collection_*` and `longshore_quarantine_*` say what garbage collection \
does. |
| `*_scrub_*`, `*_audit_*`, sizes | They are commands, see [audit.md](audit.md#for-a-cron-job): \
`--metrics-file` writes their results for the textfile collector of node_exporter. |
| `*_proxy_*` | There is no pull-through cache. |
| `*_events_*`, `*_notifications_*` | There are no notifications. |
| `*_token_issued_total` | An external server issues tokens. `longshore_auth_total` counts the \
decisions of this registry. |
| size of a repository, pulls of an image | The number of series would be unbounded. The access \
log has the repository of each request. |
| database connections | There is no database. `longshore_s3_*` and `longshore_cache_*` count \
every request to a backend. |
";

fn line(out: &mut String, line: fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a string accepts every write");
}

fn code(texts: &[&str]) -> String {
    texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
}

/// Every label with closed values, once, with the meaning of each value.
fn label_values(out: &mut String) {
    let mut sets: Vec<LabelSet> = Vec::new();
    for set in TABLE.iter().flat_map(|row| row.labels).filter(|set| !set.about.is_empty()) {
        if !sets.contains(set) {
            sets.push(*set);
        }
    }
    out.push_str("\n## Label values\n");
    for set in sets {
        let rows = TABLE.iter().filter(|row| row.labels.contains(&set));
        let metrics: Vec<&str> = rows.map(|row| row.name).collect();
        line(out, format_args!("\n`{}` of {}:{}\n", set.name, code(&metrics), set.about));
        let values = set.values.iter().zip(set.meanings);
        let (plain, explained): (Vec<_>, Vec<_>) = values.partition(|value| value.1.is_empty());
        if !plain.is_empty() {
            let plain: Vec<&str> = plain.iter().map(|(value, _)| **value).collect();
            line(out, format_args!("{}\n", code(&plain)));
        }
        if !explained.is_empty() {
            out.push_str("| value | meaning |\n|---|---|\n");
        }
        for (value, meaning) in explained {
            line(out, format_args!("| `{value}` | {} |", meaning.trim()));
        }
    }
}

/// `docs/metrics.md`.
pub fn reference_markdown() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("| metric | type, unit | labels | meaning | alerts |\n");
    out.push_str("|---|---|---|---|---|\n");
    for row in TABLE {
        let labels: Vec<&str> = row.labels.iter().map(|set| set.name).collect();
        let (labels, alerts) = (code(&labels), code(row.alerts));
        let (name, kind, unit, help) = (row.name, row.kind, row.unit.as_str(), row.help());
        let text = format_args!("| `{name}` | {kind}, {unit} | {labels} | {help} | {alerts} |");
        line(&mut out, text);
    }
    label_values(&mut out);
    out.push_str(ABSENT);
    out.push_str(ALIASES_HEAD);
    for Alias { name, of, remark } in ALIASES {
        line(&mut out, format_args!("| `{name}` | `{of}` | {remark} |"));
    }
    out.push_str("\n| `handler` | `route` |\n|---|---|\n");
    for (handler, routes) in HANDLERS {
        line(&mut out, format_args!("| `{handler}` | {} |", code(routes)));
    }
    out
}
