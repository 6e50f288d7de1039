//! The protocol of the write path and of the collector, explored exhaustively: docs/model.md.

mod blobs;
mod collector;
mod invariants;
mod manifests;
mod process;
mod records;
mod rules;
mod scenario;
mod scenarios;
mod store;
mod uploads;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Path};

use rules::Rules;
use scenario::{Ablation, Bounds, Scenario};
use world::{Action, State, World};

/// For how long one scenario is explored at most: a larger one is too large.
const SHORT_SECONDS_MAX: u64 = 60;
const LONG_SECONDS_MAX: u64 = 900;
/// Scenarios that are explored at once.
const THREADS: usize = 2;

/// A broken invariant, and the steps that lead there.
struct Broken {
    invariant: &'static str,
    steps: Vec<(State, Option<Action>)>,
}

impl Broken {
    fn of(invariant: &'static str, path: Path<State, Action>) -> Self {
        Self { invariant, steps: path.into_vec() }
    }

    /// Its number of steps: the last state has no action.
    fn length(&self) -> usize {
        self.steps.len() - 1
    }

    fn told(&self, scenario: &Scenario) -> String {
        let mut told = String::new();
        for (number, (state, action)) in self.steps.iter().enumerate() {
            let Some(action) = action else { continue };
            let number = number + 1;
            told += &match action {
                Action::Step(index) | Action::Lose(index) | Action::Busy(index) => {
                    let operation = &scenario.operations[*index];
                    let asks = state.running[*index].asks();
                    format!("{number:5} {action:?} {operation:?} asks {asks:?}\n")
                }
                Action::Tick | Action::Arrive(_) => format!("{number:5} {action:?}\n"),
            };
        }
        told
    }
}

/// Explores a scenario until its end, or until an invariant breaks. One thread, so that the
/// counterexample is a shortest one.
fn explore(scenario: &Scenario, rules: Rules, limit: Duration) -> Exploration {
    let world = World::new(scenario.clone(), rules);
    let checker = world.checker().finish_when(HasDiscoveries::Any).timeout(limit);
    let begun = Instant::now();
    let checker = checker.spawn_bfs().join();
    let found = checker.discoveries().into_iter();
    let found = found.map(|(invariant, path)| Broken::of(invariant, path));
    let broken = found.min_by_key(Broken::length);
    let is_whole = begun.elapsed() < limit;
    Exploration { states: checker.unique_state_count(), broken, is_whole }
}

/// What an exploration has found.
struct Exploration {
    states: usize,
    broken: Option<Broken>,
    /// Whether it ended within its time.
    is_whole: bool,
}

/// What was found out about a scenario.
#[derive(Debug, Default)]
pub struct Explored {
    /// Lines of the table.
    pub lines: Vec<String>,
    pub faults: Vec<String>,
    pub counterexamples: Vec<String>,
}

impl Explored {
    fn of(scenario: &Scenario, limit: Duration) -> Self {
        let mut explored = Self::default();
        let Exploration { states, broken, is_whole } = explore(scenario, Rules::ALL, limit);
        let outcome = match &broken {
            None if is_whole => "holds",
            None => "too large",
            Some(broken) => broken.invariant,
        };
        explored.lines.push(format!("| {} | {states} states | {outcome} |", scenario.name));
        if outcome != "holds" {
            let told = broken.map(|broken| broken.told(scenario)).unwrap_or_default();
            explored.faults.push(format!("{}: {outcome}\n{told}", scenario.name));
        }
        for ablation in &scenario.ablations {
            explored.without(*ablation, scenario, limit);
        }
        explored
    }

    fn without(&mut self, (rule, take_away): Ablation, scenario: &Scenario, limit: Duration) {
        let mut rules = Rules::ALL;
        take_away(&mut rules);
        let Some(broken) = explore(scenario, rules, limit).broken else {
            self.faults.push(format!("{}: nothing breaks without: {rule}", scenario.name));
            return;
        };
        let (steps, invariant) = (broken.length(), broken.invariant);
        self.lines.push(format!("| &emsp;without: {rule} | {steps} steps | {invariant} |"));
        let told = broken.told(scenario);
        self.counterexamples.push(format!("{}, without: {rule}\n{told}", scenario.name));
    }
}

/// Explores the scenarios with `only` in their names, and returns what was found in their order.
#[expect(clippy::missing_panics_doc, reason = "only a test calls it")]
pub fn explore_all(long: bool, only: &str) -> Vec<Explored> {
    let (bounds, seconds) =
        if long { (Bounds::Long, LONG_SECONDS_MAX) } else { (Bounds::Short, SHORT_SECONDS_MAX) };
    let limit = Duration::from_secs(seconds);
    let mut scenarios = scenarios::all(bounds);
    scenarios.retain(|scenario| scenario.name.contains(only));
    let next = AtomicUsize::new(0);
    let explored = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(scenario) = scenarios.get(number) else { return };
            let found = Explored::of(scenario, limit);
            explored.lock().expect("no thread has failed").insert(number, found);
        }
    };
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(work);
        }
    });
    explored.into_inner().expect("no thread has failed").into_values().collect()
}
