//! Runs the model of the protocol. It is a package of its own (`lib.rs`), which `Cargo.toml`
//! optimizes also in a debug build: it explores a million states.

use std::time::Instant;

#[test]
#[expect(clippy::disallowed_methods, reason = "the bounds of this test are no configuration")]
fn the_rules_hold_and_each_is_needed() {
    let given = |name: &str| std::env::var(name).unwrap_or_default();
    let long = given("LONGSHORE_MODEL") == "long";
    let (only, traces) = (given("LONGSHORE_MODEL_ONLY"), given("LONGSHORE_MODEL_TRACE"));
    let (begun, mut faults) = (Instant::now(), Vec::new());
    println!("| scenario | size | outcome |\n|---|---|---|");
    for explored in longshore_model::explore_all(long, &only) {
        explored.lines.iter().for_each(|line| println!("{line}"));
        if !traces.is_empty() {
            explored.counterexamples.iter().for_each(|told| println!("\n{told}"));
        }
        faults.extend(explored.faults);
    }
    println!("{:.0} s", begun.elapsed().as_secs_f64());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
