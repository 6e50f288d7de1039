//! The protocol between a store, a cache, writers and readers, in every order of their steps.
//!
//! One step is one request to the store or to the cache. Every order of the steps of two writers
//! and two readers is tried. What must hold when all is quiet: the cache holds nothing, or what the
//! store holds. Two protocols that look right fail; the one in use does not.

use std::collections::HashSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocol {
    /// Writers delete the value after the write; readers fill with a plain SET.
    DeleteAfterWrite,
    /// Writers write the value through; readers fill with SET NX.
    WriteThrough,
    /// Readers fill only with a live token; writers delete value and token.
    Tokens,
}

/// Where a process stands. What a reader has read travels with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    WriteStore(u8),
    TellCache(u8),
    AskCache,
    TakeToken,
    ReadStore { token: Option<u8> },
    Fill { value: u8, token: Option<u8> },
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    store: u8,
    value: Option<u8>,
    token: Option<u8>,
    tokens_given: u8,
    flushes_left: u8,
    processes: [Step; 4],
}

impl World {
    fn new(flushes_left: u8) -> Self {
        let processes = [Step::WriteStore(1), Step::WriteStore(2), Step::AskCache, Step::AskCache];
        Self { store: 0, value: None, token: None, tokens_given: 0, flushes_left, processes }
    }

    /// What is the case after one more step of one process.
    fn after(&self, process: usize, protocol: Protocol) -> Self {
        let mut next = self.clone();
        next.processes[process] = match self.processes[process] {
            Step::WriteStore(value) => {
                next.store = value;
                Step::TellCache(value)
            }
            Step::TellCache(value) => {
                next.value = (protocol == Protocol::WriteThrough).then_some(value);
                if protocol == Protocol::Tokens {
                    next.token = None;
                }
                Step::Done
            }
            Step::AskCache if self.value.is_some() => Step::Done,
            Step::AskCache if protocol == Protocol::Tokens => Step::TakeToken,
            Step::AskCache => Step::ReadStore { token: None },
            Step::TakeToken => {
                if self.token.is_none() {
                    next.tokens_given += 1;
                    next.token = Some(next.tokens_given);
                    Step::ReadStore { token: next.token }
                } else {
                    // Another reader fills: this one only reads.
                    Step::ReadStore { token: None }
                }
            }
            Step::ReadStore { token } => Step::Fill { value: self.store, token },
            Step::Fill { value, token } => {
                match protocol {
                    Protocol::DeleteAfterWrite => next.value = Some(value),
                    Protocol::WriteThrough => next.value = self.value.or(Some(value)),
                    Protocol::Tokens if token.is_some() && token == self.token => {
                        next.value = Some(value);
                        next.token = None;
                    }
                    Protocol::Tokens => {}
                }
                Step::Done
            }
            Step::Done => Step::Done,
        };
        next
    }

    fn flushed(&self) -> Self {
        let flushes_left = self.flushes_left - 1;
        Self { value: None, token: None, flushes_left, ..self.clone() }
    }
}

/// Tries every order. Returns how many worlds there are and one that is stale for ever, if any.
fn explore(protocol: Protocol, flushes: u8) -> (usize, Option<World>) {
    let mut seen = HashSet::new();
    let mut open = vec![World::new(flushes)];
    let mut stale = None;
    while let Some(world) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        let quiet = world.processes.iter().all(|step| *step == Step::Done);
        if quiet && world.value.is_some_and(|value| value != world.store) {
            stale = Some(world.clone());
        }
        for process in 0..world.processes.len() {
            if world.processes[process] != Step::Done {
                open.push(world.after(process, protocol));
            }
        }
        if world.flushes_left > 0 {
            open.push(world.flushed());
        }
    }
    (seen.len(), stale)
}

#[test]
fn tokens_are_never_stale_when_all_is_quiet() {
    for flushes in [0, 2] {
        let (worlds, stale) = explore(Protocol::Tokens, flushes);
        assert_eq!(stale, None, "{flushes} flushes");
        assert!(worlds > 500, "only {worlds} worlds were tried");
    }
}

#[test]
fn deleting_after_the_write_is_not_enough() {
    assert!(explore(Protocol::DeleteAfterWrite, 0).1.is_some());
}

#[test]
fn writing_through_is_not_enough() {
    assert!(explore(Protocol::WriteThrough, 0).1.is_some());
}
