//! What the unit of systemd and `docker-compose.yml` allow a process: enough for the defaults of
//! the settings, which `docs/configuration.md` lists.

use std::fs;

use super::root;

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("a text")
}

/// The values of a key in one section of the unit.
fn values(section: &str, key: &str) -> Vec<String> {
    let unit = text("deploy/longshore.service");
    let mut inside = false;
    let mut found = Vec::new();
    for line in unit.lines() {
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
        } else if let Some((name, value)) = line.split_once('=')
            && inside
            && name == key
        {
            found.push(value.to_owned());
        }
    }
    found
}

/// The default of a setting, as the reference writes it.
fn default_of(setting: &str) -> String {
    let reference = text("docs/configuration.md");
    let start = format!("#{setting} = ");
    let mut lines = reference.lines().filter_map(|line| line.strip_prefix(&start));
    let value = lines.next().unwrap_or_else(|| panic!("no default of {setting}"));
    assert_eq!(lines.next(), None, "two settings are called {setting}");
    value.trim_matches('"').to_owned()
}

/// An amount in the units of Longshore, of systemd or of compose.
fn amount(text: &str) -> u64 {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let worth = match unit {
        "" | "s" => 1,
        "MiB" | "M" => 1 << 20,
        "m" => 60,
        "GiB" | "G" | "g" => 1 << 30,
        _ => panic!("{text} has an unknown unit"),
    };
    number.parse::<u64>().expect("a number") * worth
}

/// The most memory that a process takes with the defaults (`docs/production.md`, "How much it
/// needs").
fn memory_needed() -> u64 {
    const BEGINNING_OF_AN_UPLOAD: u64 = 64 << 10;
    const EVERYTHING_ELSE: u64 = 40 << 20;
    amount(&default_of("buffer_bytes"))
        + amount(&default_of("concurrent_max")) * BEGINNING_OF_AN_UPLOAD
        + amount(&default_of("response_bytes"))
        + amount(&default_of("local_bytes"))
        + EVERYTHING_ELSE
}

#[test]
fn systemd_never_gives_up_while_the_store_is_away() {
    // In the section of the service it would be ignored.
    assert_eq!(values("Unit", "StartLimitIntervalSec"), ["0"]);
    assert_eq!(values("Service", "StartLimitIntervalSec"), [""; 0]);
    assert_eq!(values("Service", "Restart"), ["always"]);
}

#[test]
fn supervisors_wait_for_the_drain() {
    let drain = amount(&default_of("drain_delay")) + amount(&default_of("drain_timeout"));
    let [waits] = &values("Service", "TimeoutStopSec")[..] else { panic!("no TimeoutStopSec") };
    assert!(amount(waits) > drain, "systemd kills after {waits}, the drain takes {drain} s");
    let compose = text("docker-compose.yml");
    let (_, rest) = compose.split_once("stop_grace_period: ").expect("a grace period");
    let waits = rest.lines().next().expect("its value");
    assert!(amount(waits) > drain, "compose kills after {waits}, the drain takes {drain} s");
}

#[test]
fn supervisors_allow_the_memory_that_the_settings_allow() {
    let needed = memory_needed();
    let page = format!("is the most that a process should take, {} MiB by default", needed >> 20);
    assert!(text("docs/production.md").contains(&page), "docs/production.md does not say: {page}");
    let [limit] = &values("Service", "MemoryMax")[..] else { panic!("no MemoryMax") };
    assert!(amount(limit) > needed, "the unit allows {limit}, and {needed} bytes are needed");
    let compose = text("docker-compose.yml");
    let (_, longshore) = compose.split_once("x-longshore").expect("the part of Longshore");
    let (_, rest) = longshore.split_once("mem_limit: ").expect("a limit");
    let limit = rest.lines().next().expect("its value");
    assert!(amount(limit) > needed, "compose allows {limit}, and {needed} bytes are needed");
}

#[test]
fn systemd_allows_the_open_files_of_the_defaults() {
    let page = text("docs/limits.md");
    let (before, _) = page.split_once(" with the defaults.\nAt the start").expect("the number");
    let number = before.rsplit(": ").next().expect("a number").replace(',', "");
    let [limit] = &values("Service", "LimitNOFILE")[..] else { panic!("no LimitNOFILE") };
    assert!(amount(limit) >= amount(&number), "{limit} open files, and {number} may be needed");
}
