//! The real code in a simulated world: frontends, collectors and clients over one store in memory,
//! with virtual time, seeded delays, faults and crashes. `docs/simulation.md` says how to run it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::unchecked_time_subtraction,
    clippy::too_many_lines,
    clippy::unused_self,
    reason = "tests say what they did, and fail loudly where a program must not"
)]

mod bucket;
mod cache;
mod client;
mod collectors;
mod content;
mod effects;
mod fate;
mod frontend;
mod ledger;
mod manifests;
mod network;
mod planted;
mod profile;
mod random;
mod run;
mod timeline;
mod uploads;
mod verify;
mod world;

use std::fmt::Write as _;
use std::time::Instant;

use planted::Bug;
use profile::Profile;
use world::Outcome;

/// Seeds of a run in CI.
const SEEDS: u64 = 200;
/// Seeds after which a planted bug has to be found.
const HUNT_MAX: u64 = 100;
/// Lines of a trace that a failed test prints; all of them are in a file.
const LINES_SHOWN: usize = 60;

#[expect(clippy::disallowed_methods, reason = "the tests are configured by their environment")]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// How to repeat a run that has found a fault, and its trace.
fn report(seed: u64, outcome: &Outcome) -> String {
    let mut text = String::new();
    let path = std::env::temp_dir().join(format!("longshore-simulation-{seed}.log"));
    let written = std::fs::write(&path, outcome.trace.join("\n"));
    let fault = outcome.fault.as_deref().unwrap_or_default();
    // What happened to the keys that the fault names, and what happened before it.
    let keys: Vec<&str> = fault.split([' ', ',']).filter(|word| word.starts_with("v1/")).collect();
    let found = outcome.trace.iter().position(|line| line.contains("FAULT"));
    let end = found.map_or(outcome.trace.len(), |found| found + 1);
    for (number, line) in outcome.trace[..end].iter().enumerate() {
        let about = keys.iter().any(|key| line.contains(key));
        if about || number + LINES_SHOWN >= end {
            let _ = writeln!(text, "{line}");
        }
    }
    let _ = writeln!(text, "seed {seed}: {fault}");
    let _ = writeln!(
        text,
        "repeat it with LONGSHORE_SEEDS=1 LONGSHORE_SEED_FIRST={seed} \
         cargo test --test simulation -- every_seed\nall {} lines are in {} ({written:?})",
        outcome.trace.len(),
        path.display(),
    );
    text
}

#[test]
fn every_seed_keeps_every_promise() {
    let first = variable("LONGSHORE_SEED_FIRST").unwrap_or(1);
    let count = variable("LONGSHORE_SEEDS").unwrap_or(SEEDS);
    let (began, mut days) = (Instant::now(), 0);
    for seed in first..first + count {
        let outcome = run::run(Profile::of(seed), None);
        days += outcome.lasted.as_secs() / 86_400;
        assert!(outcome.fault.is_none(), "{}", report(seed, &outcome));
    }
    println!("{count} seeds, {days} days, in {:?}", began.elapsed());
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in 1..4 {
        let [one, two] = [(), ()].map(|()| run::run(Profile::of(seed), None));
        let differ = one.trace.iter().zip(&two.trace).find(|(one, two)| one != two);
        assert!(one.hash == two.hash, "seed {seed}: {differ:#?}");
    }
}

/// Runs until a planted bug is found, and prints how many seeds that took.
fn hunt(bug: Bug) {
    let began = Instant::now();
    for tried in 1..=HUNT_MAX {
        let outcome = run::run(Profile::with_focus(tried, bug.focus()), Some(bug));
        if let Some(fault) = outcome.fault {
            println!("{bug:?}: found by seed {tried} in {:?}: {fault}", began.elapsed());
            return;
        }
    }
    panic!("{bug:?}: not found in {HUNT_MAX} seeds");
}

/// A test for each planted bug.
macro_rules! planted {
    ($($test:ident $bug:ident,)+) => {
        mod planted_bug {
            use super::{Bug, hunt};

            $(
                #[test]
                fn $test() {
                    hunt(Bug::$bug);
                }
            )+
        }
    };
}

planted! {
    no_lease_is_found NoLease,
    an_unconditional_removal_is_found UnconditionalRemoval,
    no_deadline_is_found NoDeadline,
    no_second_sighting_is_found NoSecondSighting,
    equal_tombstones_are_found EqualTombstones,
    a_split_invalidation_is_found SplitInvalidation,
    an_untouched_commit_is_found UntouchedCommit,
    unlisted_foreign_layers_are_found UnlistedForeignLayers,
    pointers_before_sessions_are_found PointersBeforeSessions,
    try_again_as_a_lost_race_is_found TryAgainIsLost,
}
