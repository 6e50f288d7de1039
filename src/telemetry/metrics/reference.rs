//! The table as a page of the documentation.

use std::fmt::Write as _;

use super::alias::{ALIASES, HANDLERS};
use super::table::TABLE;

const HEAD: &str = "\
# Metrics

<!-- Made by `longshore metrics-reference > docs/metrics.md`; a test compares. -->

With `admin.listen` set, `GET /metrics` on that address has what follows, in the text format of \
Prometheus.
Besides these there is what the kernel says of the process (`process_resident_memory_bytes`, \
`process_open_fds`, `process_cpu_seconds_total` and their kin).

Every label has a closed set of values: no repository, tag, digest, user or address is ever one, \
so the number of series does not depend on what clients send.
There is one exception, for those who ask for it with `metrics.inventory`: `namespace` is the \
first component of the names of repositories, for the 20 with the most bytes; the others are \
added up as `_rest`.
`route` is the identifier of the endpoint in the distribution-spec, as in the log.
The numbers are of one process; add them up over all of them.
What the survey of the bucket finds is of the bucket: take the maximum over the processes that \
have one ([operations.md](operations.md#the-inventory)).

The alerts are in [deploy/prometheus/alerts.yml](../deploy/prometheus/alerts.yml), each with what \
to do about it.

";

const ALIASES_HEAD: &str = "
## Names of distribution

With `metrics.aliases = true` the metrics of HTTP are there a second time, by the names that the \
registry of distribution 2.8 and 3 has for them, so that its dashboards and alerts go on to work.
They are made from the ones above when they are asked for.
Methods are in lower case (`get`; `unknown` for `other`), `route` is `handler`, and what is not \
served (`none`) is left out, as it is there.
Its metrics of storage, proxy and notifications have no names here.

| metric | made from | difference |
|---|---|---|
";

const ABSENT: &str = "
## What is not there

What others count, and what would be a name without a meaning here:

| looked for | why there is none |
|---|---|
| `*_gc_*` | There is no collector yet: nothing is marked or deleted in the background. |
| `*_scrub_*` | Content is hashed when it is received, and manifests when they are read; nothing \
goes over what is stored. |
| `*_proxy_*` | It is no proxy: there is no other registry that it asks. |
| `*_events_*`, `*_notifications_*` | It sends no notifications. |
| `*_token_issued_total` | Tokens come from an external server; what becomes of them here is \
`longshore_auth_total`. |
| sizes of a repository, pulls of an image | Their number has no bound. The log has a line for \
each request, with the name of the repository. |
| connections of a database | There is no database: what `longshore_s3_*` and `longshore_cache_*` \
count is all that is asked. |
";

/// `docs/metrics.md`.
pub fn reference_markdown() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("| metric | kind, unit | labels | what it tells | alerts |\n");
    out.push_str("|---|---|---|---|---|\n");
    for row in TABLE {
        let labels: Vec<String> = row.labels.iter().map(|set| format!("`{}`", set.name)).collect();
        let alerts: Vec<String> = row.alerts.iter().map(|alert| format!("`{alert}`")).collect();
        let (labels, alerts) = (labels.join(", "), alerts.join(", "));
        let (name, kind, unit, help) = (row.name, row.kind, row.unit.as_str(), row.help());
        writeln!(out, "| `{name}` | {kind}, {unit} | {labels} | {help} | {alerts} |")
            .expect("a string takes all");
    }
    out.push_str("\n## Values of labels\n\n");
    out.push_str("| metric | label | values |\n|---|---|---|\n");
    for row in TABLE {
        for set in row.labels.iter().filter(|set| !["version", "namespace"].contains(&set.name)) {
            let words: Vec<String> = set.words.iter().map(|word| format!("`{word}`")).collect();
            writeln!(out, "| `{}` | `{}` | {} |", row.name, set.name, words.join(", "))
                .expect("a string takes all");
        }
    }
    out.push_str(ABSENT);
    out.push_str(ALIASES_HEAD);
    for alias in ALIASES {
        writeln!(out, "| `{}` | `{}` | {} |", alias.name, alias.of, alias.remark)
            .expect("a string takes all");
    }
    out.push_str("\n| `handler` | `route` |\n|---|---|\n");
    for (handler, routes) in HANDLERS {
        let routes: Vec<String> = routes.iter().map(|route| format!("`{route}`")).collect();
        writeln!(out, "| `{handler}` | {} |", routes.join(", ")).expect("a string takes all");
    }
    out
}
