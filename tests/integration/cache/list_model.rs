//! The protocol of lists, in every order of its steps: a page is kept under the epoch of its list,
//! and a write forgets the epoch.
//!
//! One step is one request to the store or to the cache, and what a reader sends to fill the epoch
//! may arrive at any later time. The store counts its writes. What must hold: a reader that begins
//! after a write was acknowledged sees it. A writer that tells the cache nothing breaks that, one
//! that deletes the page and not the epoch does, and so do epochs that are filled without a token.

use std::collections::HashSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocol {
    /// Writers forget the epoch and its token.
    Epochs,
    /// Writers say nothing.
    NothingTold,
    /// Writers delete the page that is there.
    PageDeleted,
    /// As the first, but an epoch is filled whatever happened to the token.
    NoToken,
}

/// Where a process stands. What it must at least see travels with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    WriteStore,
    TellCache { version: u8 },
    AskEpoch,
    TakeToken { floor: u8 },
    AskPage { floor: u8, epoch: u8 },
    ReadStore { floor: u8, epoch: u8 },
    FillPage { value: u8, epoch: u8 },
    Done,
}

/// On its way to the cache: an epoch, and the token that its sender took.
type Filling = Option<(u8, u8)>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    store: u8,
    acknowledged: u8,
    epoch: Option<u8>,
    token: Option<u8>,
    /// The page of each epoch that there ever was.
    pages: [Option<u8>; 2],
    given: u8,
    filling: [Filling; 4],
    processes: [Step; 4],
    /// A reader saw less than it had to.
    stale: bool,
}

impl World {
    fn new() -> Self {
        let (writer, reader) = (Step::WriteStore, Step::AskEpoch);
        Self {
            store: 0,
            acknowledged: 0,
            epoch: None,
            token: None,
            pages: [None; 2],
            given: 0,
            filling: [None; 4],
            processes: [writer, writer, reader, reader],
            stale: false,
        }
    }

    fn sees(&mut self, value: u8, floor: u8) {
        self.stale |= value < floor;
    }

    /// What is the case after one more step of one process.
    fn after(&self, process: usize, protocol: Protocol) -> Self {
        let mut next = self.clone();
        next.processes[process] = match self.processes[process] {
            Step::WriteStore => {
                next.store += 1;
                Step::TellCache { version: next.store }
            }
            Step::TellCache { version } => {
                match protocol {
                    Protocol::Epochs | Protocol::NoToken => (next.epoch, next.token) = (None, None),
                    Protocol::PageDeleted => {
                        if let Some(epoch) = self.epoch {
                            next.pages[usize::from(epoch)] = None;
                        }
                    }
                    Protocol::NothingTold => {}
                }
                next.acknowledged = next.acknowledged.max(version);
                Step::Done
            }
            Step::AskEpoch => match self.epoch {
                Some(epoch) => Step::AskPage { floor: self.acknowledged, epoch },
                None => Step::TakeToken { floor: self.acknowledged },
            },
            Step::TakeToken { floor } => {
                // Epochs are random texts: each reader that makes one makes another one.
                let epoch = self.given;
                next.given += 1;
                if self.token.is_none() {
                    next.token = Some(epoch);
                    next.filling[process] = Some((epoch, epoch));
                }
                Step::AskPage { floor, epoch }
            }
            Step::AskPage { floor, epoch } => match self.pages[usize::from(epoch)] {
                Some(value) => {
                    next.sees(value, floor);
                    Step::Done
                }
                None => Step::ReadStore { floor, epoch },
            },
            Step::ReadStore { floor, epoch } => {
                next.sees(self.store, floor);
                Step::FillPage { value: self.store, epoch }
            }
            Step::FillPage { value, epoch } => {
                // Even without a token of its own: the epoch is enough.
                next.pages[usize::from(epoch)] = Some(value);
                Step::Done
            }
            Step::Done => Step::Done,
        };
        next
    }

    /// What a process sent to fill the epoch arrives.
    fn arrived(&self, process: usize, protocol: Protocol) -> Self {
        let mut next = self.clone();
        if let Some((epoch, token)) = next.filling[process].take()
            && (self.token == Some(token) || protocol == Protocol::NoToken)
        {
            (next.epoch, next.token) = (Some(epoch), None);
        }
        next
    }

    /// The cache forgets everything at once.
    fn flushed(&self) -> Self {
        Self { epoch: None, token: None, pages: [None; 2], ..self.clone() }
    }
}

/// Tries every order, with the cache flushed at any time. Returns how many worlds there are and
/// whether a reader saw too little in one of them.
fn explore(protocol: Protocol) -> (usize, bool) {
    let (mut seen, mut open) = (HashSet::new(), vec![World::new()]);
    let mut stale = false;
    while let Some(world) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        stale |= world.stale;
        open.push(world.flushed());
        for process in 0..world.processes.len() {
            if world.processes[process] != Step::Done {
                open.push(world.after(process, protocol));
            }
            if world.filling[process].is_some() {
                open.push(world.arrived(process, protocol));
            }
        }
    }
    (seen.len(), stale)
}

#[test]
fn a_page_under_its_epoch_is_never_too_old() {
    let (worlds, stale) = explore(Protocol::Epochs);
    assert!(!stale);
    assert!(worlds > 2_000, "only {worlds} worlds were tried");
}

#[test]
fn a_write_has_to_be_told() {
    assert!(explore(Protocol::NothingTold).1);
}

#[test]
fn deleting_the_page_is_not_enough() {
    assert!(explore(Protocol::PageDeleted).1);
}

#[test]
fn an_epoch_that_arrives_late_must_not_live_again() {
    assert!(explore(Protocol::NoToken).1);
}
