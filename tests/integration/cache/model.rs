//! The protocol between the store, the cache, writers and readers, in every order of their steps.
//!
//! One step is one request to the store or to the cache. The model explores every order of the
//! steps of two writers and two readers. Invariant at the end: the cache holds nothing, or the
//! value of the store. Two plausible protocols violate it; the implemented one does not.

use std::collections::HashSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocol {
    /// Writers delete the value after the write; readers fill with a plain SET.
    DeleteAfterWrite,
    /// Writers write the value through; readers fill with SET NX.
    WriteThrough,
    /// Readers fill only with a valid token; writers delete value and token.
    Tokens,
}

/// The state of a process, with the value that a reader has read.
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

    /// The state after one more step of one process.
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
                    // Another reader fills the value: this one only reads.
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

/// Explores every order. Returns the number of states, and a state that stays stale, if there is
/// one.
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
fn fill_tokens_never_leave_a_stale_value() {
    for flushes in [0, 2] {
        let (worlds, stale) = explore(Protocol::Tokens, flushes);
        assert_eq!(stale, None, "{flushes} flushes");
        assert!(worlds > 500, "only {worlds} worlds were tried");
    }
}

#[test]
fn deleting_after_the_write_leaves_stale_values() {
    assert!(explore(Protocol::DeleteAfterWrite, 0).1.is_some());
}

#[test]
fn writing_through_leaves_stale_values() {
    assert!(explore(Protocol::WriteThrough, 0).1.is_some());
}
