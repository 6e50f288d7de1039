//! The metrics reference is up to date, and alerts use existing metrics.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use longshore::telemetry::metrics::{TABLE, reference_markdown};

use super::definition;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_metrics_reference_is_up_to_date() {
    let fresh = read("docs/metrics.md") == reference_markdown();
    assert!(fresh, "docs/metrics.md is stale: longshore metrics-reference > docs/metrics.md");
}

/// Every metric in the expressions of an alert, with the alert.
fn uses(alerts: &str) -> BTreeSet<(String, String)> {
    let (mut alert, mut inside, mut uses) = (String::new(), false, BTreeSet::new());
    for line in alerts.lines() {
        let key = line.trim_start().trim_start_matches("- ");
        if let Some(name) = key.strip_prefix("alert: ") {
            name.clone_into(&mut alert);
        }
        inside = key.starts_with("expr:")
            || (inside && !["for:", "labels:"].iter().any(|end| key.starts_with(end)));
        if !inside {
            continue;
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for word in line.split(|c| !is_word(c)).filter(|word| word.starts_with("longshore_")) {
            let row = definition(word).unwrap_or_else(|| panic!("{alert}: there is no {word}"));
            uses.insert((alert.clone(), row.name.to_owned()));
        }
    }
    uses
}

#[test]
fn alerts_and_metrics_refer_to_each_other() {
    let used = uses(&read("deploy/prometheus/alerts.yml"));
    assert!(!used.is_empty());
    let named: BTreeSet<(String, String)> = TABLE
        .iter()
        .flat_map(|row| row.alerts.iter().map(|alert| ((*alert).to_owned(), row.name.to_owned())))
        .collect();
    let difference: Vec<_> = used.symmetric_difference(&named).collect();
    assert!(difference.is_empty(), "only in the table, or only in the alerts: {difference:?}");
}

/// A label value in an alert exists: with a misspelled one, the alert would never fire.
#[test]
fn alerts_use_existing_label_values() {
    let alerts = read("deploy/prometheus/alerts.yml");
    let compact: String = alerts.split_whitespace().collect();
    let mut asked = 0;
    for row in TABLE {
        for set in row.labels {
            for series in compact.split(row.name).skip(1) {
                let series = series.trim_start_matches("_bucket");
                let Some(selector) = series.strip_prefix('{') else { continue };
                let selector = &selector[..selector.find('}').expect("a closed selector")];
                let Some((_, value)) = selector.split_once(&format!("{}=", set.name)) else {
                    continue;
                };
                let value = value.trim_start_matches('~').trim_start_matches('"');
                let value = &value[..value.find('"').expect("a closed value")];
                for word in value.split('|') {
                    let meant =
                        |known: &&str| *known == word || (word == "5.." && known.starts_with('5'));
                    assert!(set.values.iter().any(meant), "{word} is no {}", set.name);
                    asked += 1;
                }
            }
        }
    }
    assert!(asked >= 10, "{asked}");
}
