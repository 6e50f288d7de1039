//! What the processes say of themselves on their admin ports.

use std::collections::{BTreeMap, BTreeSet};

use super::Doctor;
use super::address::Address;
use super::client::Asked;
use super::finding::Class;

/// By how much the clocks of a process and of the store may differ, in seconds. A process starts
/// with more, up to `collection.clock_skew`.
const STORE_CLOCK_SECONDS_MAX: f64 = 60.0;
/// What the store may answer: 409 and 412 are decisions between two writers.
const STORE_OUTCOMES: [&str; 4] = ["2xx", "404", "409", "412"];

const BUILD: &str = "longshore_build_info";
const SETTINGS: &str = "longshore_settings_info";
const BREAKER: &str = "longshore_cache_breaker_state";
const CACHE_ERRORS: &str = "longshore_cache_errors_total";
const STORE_REQUESTS: &str = "longshore_s3_requests_total";
const STORE_CLOCK: &str = "longshore_store_clock_difference_seconds";
const RELOADED: &str = "longshore_config_last_reload_successful";

/// A process, as its admin port shows it.
pub(super) struct Process {
    admin: Address,
    samples: Vec<Sample>,
}

/// A line of the metrics.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Process {
    fn all<'a, 'n: 'a>(&'a self, name: &'n str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// The label of a metric whose only series says what the process is.
    fn info(&self, name: &'static str, label: &str) -> Option<&str> {
        let shown = self.all(name).find(|sample| sample.value > 0.0)?;
        shown.labels.get(label).map(String::as_str)
    }

    /// How much each series of a counter has grown since `before`, if it has.
    fn growth<'a>(&'a self, before: Option<&Self>, name: &'a str) -> Vec<(&'a Sample, f64)> {
        let former = |sample: &Sample| {
            let same = |other: &&Sample| other.labels == sample.labels;
            before.and_then(|before| before.all(name).find(same)).map_or(0.0, |sample| sample.value)
        };
        let grown = self.all(name).map(|sample| (sample, sample.value - former(sample)));
        grown.filter(|(_, by)| *by > 0.0).collect()
    }
}

impl Doctor<'_> {
    /// Asks every admin port. What cannot be asked is a finding.
    pub(super) async fn look_at_processes(&mut self) -> Vec<Process> {
        if self.plan.admins.is_empty() {
            for what in ["processes", "redis", "store"] {
                self.leave_out(what, "there is no --admin");
            }
            return Vec::new();
        }
        for what in ["processes", "redis", "store"] {
            self.checked(what);
        }
        let mut processes = Vec::new();
        for admin in self.plan.admins.clone() {
            match self.client.send(Asked::get(admin.at("/readyz"))).await {
                Err(error) => {
                    let what = format!("the admin port {admin} gives no answer");
                    self.find(Class::Admin, what, error.to_string());
                    continue;
                }
                Ok(answer) if !answer.status.is_success() => {
                    let what = format!("the process at {admin} should be sent no requests");
                    let why = String::from_utf8_lossy(&answer.body).trim().to_owned();
                    self.find(Class::NotReady, what, format!("/readyz: {why}"));
                }
                Ok(_) => {}
            }
            processes.extend(self.metrics(admin).await);
        }
        processes
    }

    async fn metrics(&mut self, admin: Address) -> Option<Process> {
        let answer = self.client.send(Asked::get(admin.at("/metrics"))).await;
        let text = answer.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
        let samples: Vec<Sample> =
            text.iter().flat_map(|text| text.lines()).filter_map(sample).collect();
        let process = Process { admin, samples };
        if process.all(BUILD).next().is_some() {
            return Some(process);
        }
        let what = format!("{} shows no metrics of Longshore", process.admin);
        let seen = text.err().map_or_else(|| format!("no {BUILD}"), |error| error.to_string());
        self.find(Class::Admin, what, seen);
        None
    }

    /// Compares the processes with each other, and with what they were before the other checks.
    pub(super) async fn compare_processes(&mut self, before: Vec<Process>) {
        let mut after = Vec::new();
        for process in &before {
            after.extend(self.metrics(process.admin.clone()).await);
        }
        self.compare(
            &after,
            Class::Versions,
            "the processes are of different releases",
            |process| process.info(BUILD, "version"),
        );
        self.compare(&after, Class::Settings, "the processes have different settings", |process| {
            process.info(SETTINGS, "fingerprint")
        });
        for process in &after {
            let former = before.iter().find(|former| former.admin == process.admin);
            self.check_redis(process, former);
            self.check_store(process, former);
            self.check_reloads(process);
        }
    }

    fn compare<'p>(
        &mut self,
        processes: &'p [Process],
        class: Class,
        what: &str,
        of: impl Fn(&'p Process) -> Option<&'p str>,
    ) {
        let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for process in processes {
            // A release that does not say it yet is another release.
            groups.entry(of(process).unwrap_or("?")).or_default().push(process.admin.to_string());
        }
        if groups.len() > 1 {
            let seen =
                groups.iter().map(|(value, admins)| format!("{value} at {}", admins.join(", ")));
            self.find(class, what, seen.collect::<Vec<_>>().join("; "));
        }
    }

    fn check_redis(&mut self, process: &Process, before: Option<&Process>) {
        let admin = &process.admin;
        let reasons = |samples: Vec<(&Sample, f64)>| {
            let label =
                |sample: &Sample, name| sample.labels.get(name).cloned().unwrap_or_default();
            let mut counts: BTreeMap<String, f64> = BTreeMap::new();
            for (sample, by) in samples {
                *counts.entry(label(sample, "reason")).or_default() += by;
            }
            let shown = counts.iter().map(|(reason, count)| format!("{count} {reason}"));
            shown.collect::<Vec<_>>().join(", ")
        };
        if process.all(BREAKER).any(|sample| sample.value > 0.0) {
            let what = format!("the process at {admin} has lost Redis");
            let since = reasons(process.growth(None, CACHE_ERRORS));
            self.find(
                Class::Redis,
                what,
                format!("{BREAKER} is 1; errors since its start: {since}"),
            );
            return;
        }
        let grown = process.growth(before, CACHE_ERRORS);
        if !grown.is_empty() {
            let what = format!("Redis refuses requests of the process at {admin}");
            let seen = format!("{CACHE_ERRORS} has grown meanwhile: {}", reasons(grown));
            self.find(Class::RedisErrors, what, seen);
        }
    }

    fn check_store(&mut self, process: &Process, before: Option<&Process>) {
        let admin = &process.admin;
        let grown = process.growth(before, STORE_REQUESTS);
        let outcomes = grown.iter().filter_map(|(sample, _)| sample.labels.get("outcome"));
        let failed: BTreeSet<&str> = outcomes
            .map(String::as_str)
            .filter(|outcome| !STORE_OUTCOMES.contains(outcome))
            .collect();
        if !failed.is_empty() {
            let what = format!("the store fails requests of the process at {admin}");
            let failed = failed.into_iter().collect::<Vec<_>>().join(", ");
            self.find(
                Class::Store,
                what,
                format!("{STORE_REQUESTS} has grown meanwhile: {failed}"),
            );
        }
        if let Some(clock) = process.all(STORE_CLOCK).next()
            && clock.value.abs() > STORE_CLOCK_SECONDS_MAX
        {
            let what = format!("the clocks of the process at {admin} and of the store differ");
            self.find(Class::StoreClock, what, format!("{STORE_CLOCK} is {}", clock.value));
        }
    }

    fn check_reloads(&mut self, process: &Process) {
        let failed = process.all(RELOADED).filter(|sample| sample.value < 1.0);
        let failed: Vec<String> =
            failed.map(|sample| sample.labels.values().cloned().collect()).collect();
        if !failed.is_empty() {
            let what = format!("the process at {} could not reload a file", process.admin);
            self.find(Class::Reload, what, format!("{RELOADED} is 0: {}", failed.join(", ")));
        }
    }
}

/// A line of the text format of Prometheus: `name{label="value"} 1`.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let value = value.parse().ok()?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    // No label of Longshore has a comma, a quotation mark or a brace in its value.
    let pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
    let labels = pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()));
    Some(Sample { name: name.to_owned(), labels: labels.collect(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_metrics_is_read() {
        let read = sample("a_total{op=\"get\",reason=\"login\"} 3").expect("a sample");
        assert_eq!((read.name.as_str(), read.value), ("a_total", 3.0));
        assert_eq!(read.labels["reason"], "login");
        assert_eq!(sample("b 1.5").expect("a sample").labels.len(), 0);
        assert_eq!(sample("# HELP b 1"), None);
    }
}
