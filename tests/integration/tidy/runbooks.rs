//! Each alert has a page that says what to do, and each of these pages has an alert: the rules,
//! their links, the copy in the chart, the tests of the rules and the index name the same alerts.

use std::collections::BTreeSet;
use std::fs;

use longshore::telemetry::metrics::TABLE;

use super::{root, sources};

const RULES: &str = "deploy/prometheus/alerts.yml";
const RULE_TESTS: &str = "deploy/prometheus/alerts_test.yml";
const FOLDER: &str = "docs/runbooks";
/// The sections of a page, in their order.
const SECTIONS: [&str; 5] = [
    "What it means",
    "Who is hurt",
    "The first three commands",
    "How to mend it",
    "How it was provoked",
];
/// Lines of a page: it is read in a hurry.
const PAGE_LINES_MAX: usize = 60;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a rule file says of an alert, as far as the pages repeat it.
#[derive(Debug, PartialEq)]
struct Alert {
    name: String,
    severity: String,
    runbook_url: String,
}

fn alerts(rules: &str) -> Vec<Alert> {
    let blocks = rules.split("- alert: ").skip(1);
    let field = |block: &str, key: &str| {
        let rest = block.split_once(key).map_or("", |(_, rest)| rest);
        rest.split(['\n', '}']).next().unwrap_or_default().trim().to_owned()
    };
    let alerts = blocks.map(|block| Alert {
        name: block.lines().next().unwrap_or_default().trim().to_owned(),
        severity: field(block, "severity: "),
        runbook_url: field(block, "runbook_url: "),
    });
    alerts.collect()
}

/// The headings of a page with their texts. A `#` in a block of code is no heading.
fn sections(page: &str) -> Vec<(&str, String)> {
    let (mut code, mut sections) = (false, Vec::<(&str, String)>::new());
    for line in page.lines() {
        code ^= line.starts_with("```");
        match line.strip_prefix("## ").filter(|_| !code) {
            Some(heading) => sections.push((heading, String::new())),
            None => {
                if let Some((_, text)) = sections.last_mut() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }
    sections
}

/// Blocks of code that begin with a command and show what it prints.
fn commands(text: &str) -> usize {
    let blocks = text.split("```").skip(1).step_by(2);
    let runs = |block: &&str| {
        let mut lines = block.lines().skip(1);
        lines.next().is_some_and(|line| line.starts_with("$ ")) && lines.next().is_some()
    };
    blocks.filter(runs).count()
}

/// The names of tests in a text: words in backticks that are spelled as functions of several words.
fn named_tests(text: &str) -> BTreeSet<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_function = |word: &&str| {
        let spelled =
            word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        spelled && word.contains('_') && !word.starts_with("longshore_")
    };
    quoted.filter(is_function).collect()
}

#[test]
fn each_alert_has_a_page_and_each_page_an_alert() {
    let alerts = alerts(&read(RULES));
    assert!(alerts.len() >= 10, "{alerts:?}");
    let named: BTreeSet<String> = alerts.iter().map(|alert| format!("{}.md", alert.name)).collect();
    let entries = fs::read_dir(root().join(FOLDER)).expect("the folder of the pages");
    let files =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let pages: BTreeSet<String> = files.filter(|name| name != "README.md").collect();
    let difference: Vec<_> = named.symmetric_difference(&pages).collect();
    assert!(difference.is_empty(), "only an alert, or only a page: {difference:?}");
    for alert in &alerts {
        assert_eq!(alert.runbook_url, format!("{FOLDER}/{}.md", alert.name), "{alert:?}");
    }
}

#[test]
fn each_page_has_all_sections() {
    let tests: String =
        sources("tests/integration").into_iter().map(|source| source.text).collect();
    let rule_tests = read(RULE_TESTS);
    for Alert { name, .. } in alerts(&read(RULES)) {
        let page = read(&format!("{FOLDER}/{name}.md"));
        assert!(page.starts_with(&format!("# {name}\n")), "{name}: the heading");
        assert!(page.lines().count() <= PAGE_LINES_MAX, "{name}: the page is long");
        let sections = sections(&page);
        let headings: Vec<&str> = sections.iter().map(|(heading, _)| *heading).collect();
        assert_eq!(headings, SECTIONS, "{name}");
        for (heading, text) in &sections {
            assert!(!text.trim().is_empty(), "{name}: nothing in {heading}");
        }
        assert_eq!(commands(&sections[2].1), 3, "{name}: commands with what they print");
        let provoked = &sections[4].1;
        assert!(provoked.contains(&format!("`{name}` in `{RULE_TESTS}`")), "{name}: its test");
        assert!(rule_tests.contains(&format!("  - name: {name}\n")), "{name} has no test");
        for test in named_tests(provoked) {
            assert!(tests.contains(&format!("fn {test}(")), "{name}: there is no {test}");
        }
    }
}

/// A page that sends its reader to a metric under a former name leads nowhere.
#[test]
fn the_pages_use_existing_metrics() {
    let mut asked = 0;
    for Alert { name, .. } in alerts(&read(RULES)) {
        let page = read(&format!("{FOLDER}/{name}.md"));
        let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("longshore_")) {
            let is = |row: &str| {
                let rest = word.strip_prefix(row);
                rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
            };
            assert!(TABLE.iter().any(|row| is(row.name)), "{name}: there is no {word}");
            asked += 1;
        }
    }
    assert!(asked >= 20, "{asked}");
}

#[test]
fn the_index_has_each_alert_with_its_severity() {
    let index = read(&format!("{FOLDER}/README.md"));
    let rows: Vec<String> = index
        .lines()
        .filter(|line| line.starts_with("| ["))
        .map(|line| line.rsplit_once(" | ").map_or(line, |(cells, _)| cells).to_owned())
        .collect();
    let row = |Alert { name, severity, .. }: &Alert| format!("| [{name}]({name}.md) | {severity}");
    let expected: Vec<String> = alerts(&read(RULES)).iter().map(row).collect();
    assert_eq!(rows, expected, "the table of {FOLDER}/README.md, in the order of the rules");
}

#[test]
fn the_chart_has_the_same_alerts() {
    let chart = "helm/longshore/files/alerts.yml";
    assert!(read(chart) == read(RULES), "{chart} is stale: helm/longshore/generate");
}

/// A check that finds nothing proves nothing, unless it finds what is there.
#[test]
fn alerts_commands_and_tests_are_found() {
    let rules = "- alert: A\n  labels: {severity: page}\n  annotations:\n    runbook_url: b/A.md\n";
    let [name, severity, runbook_url] = ["A", "page", "b/A.md"].map(str::to_owned);
    assert_eq!(alerts(rules), [Alert { name, severity, runbook_url }]);
    let command = "```console\n$ c # d\n## e\n```\n";
    let page = format!("# A\n\n## B\n\n{command}\n`one_test`, `a.b`, `longshore_x`\n\n## F\n");
    let found = sections(&page);
    assert_eq!(found.iter().map(|(heading, _)| *heading).collect::<Vec<_>>(), ["B", "F"]);
    assert_eq!(commands(&found[0].1), 1);
    assert_eq!(commands("```\n$ only a command\n```\n```\nonly output\n```\n"), 0);
    assert_eq!(named_tests(&found[0].1).into_iter().collect::<Vec<_>>(), ["one_test"]);
}
