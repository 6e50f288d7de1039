//! Results as Prometheus metrics in a file, for the textfile collector of `node_exporter`: commands
//! that cron runs have no port to scrape.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::audit::{Class, Level, Summary};
use crate::usage::Explained;

/// What an audit or a scrub has found. All classes are there, so that a rule can compare with 0.
pub(super) fn findings(command: &str, summary: &Summary, now: SystemTime) -> String {
    let metric = format!("longshore_{command}_findings");
    let mut text = head(&metric, "Findings of the last complete run.");
    for class in Class::ALL {
        let level = match class.level() {
            Level::Damage => "damage",
            Level::Information => "information",
        };
        let count = summary.found.get(class).copied().unwrap_or_default();
        let _ = writeln!(text, "{metric}{{class=\"{}\",level=\"{level}\"}} {count}", class.name());
    }
    text + &finished(command, now)
}

/// What occupies how much.
pub(super) fn usage(explained: &Explained, now: SystemTime) -> String {
    let mut text = head("longshore_usage_bytes", "Bytes of the bucket.");
    for (class, sum) in &explained.classes {
        let (class, bytes) = (json!(class), sum.bytes);
        let _ = writeln!(text, "longshore_usage_bytes{{class={class}}} {bytes}");
    }
    text.push_str(&head("longshore_usage_objects", "Objects of the bucket."));
    for (class, sum) in &explained.classes {
        let (class, objects) = (json!(class), sum.objects);
        let _ = writeln!(text, "longshore_usage_objects{{class={class}}} {objects}");
    }
    text + &finished("usage", now)
}

fn head(metric: &str, help: &str) -> String {
    format!("# HELP {metric} {help}\n# TYPE {metric} gauge\n")
}

fn finished(command: &str, now: SystemTime) -> String {
    let metric = format!("longshore_{command}_last_run_timestamp_seconds");
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{}{metric} {seconds}\n", head(&metric, "When the last complete run ended."))
}

/// Replaces the file at once, so that no collector reads a part of it.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, path)
}
