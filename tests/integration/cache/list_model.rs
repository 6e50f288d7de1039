//! The invalidation protocol of lists, in every order of its steps: a page is cached under the
//! epoch of its list, and a write deletes the epoch.
//!
//! One step is one request to the store or to the cache, and a request that fills the epoch may
//! arrive at any later time. The store counts its writes. Invariant: a reader that begins after a
//! write was acknowledged sees that write. The invariant fails for writers without invalidation,
//! for writers that delete the page instead of the epoch, and for epochs that are filled without a
//! token.

use std::collections::HashSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocol {
    /// Writers delete the epoch and its token.
    Epochs,
    /// Writers do not invalidate.
    NothingTold,
    /// Writers delete the present page.
    PageDeleted,
    /// As the first, but an epoch is filled without checking the token.
    NoToken,
}

/// The state of a process, with the oldest version that it may see.
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

/// In flight to the cache: an epoch, and the token of its sender.
type Filling = Option<(u8, u8)>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    store: u8,
    acknowledged: u8,
    epoch: Option<u8>,
    token: Option<u8>,
    /// The page of every epoch so far.
    pages: [Option<u8>; 2],
    given: u8,
    filling: [Filling; 4],
    processes: [Step; 4],
    /// A reader saw an older version than it must.
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

    /// The state after one more step of one process.
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
                // Epochs are random: each reader that creates one creates a different one.
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
                // Even without a token: the epoch is sufficient.
                next.pages[usize::from(epoch)] = Some(value);
                Step::Done
            }
            Step::Done => Step::Done,
        };
        next
    }

    /// A request that fills the epoch arrives.
    fn arrived(&self, process: usize, protocol: Protocol) -> Self {
        let mut next = self.clone();
        if let Some((epoch, token)) = next.filling[process].take()
            && (self.token == Some(token) || protocol == Protocol::NoToken)
        {
            (next.epoch, next.token) = (Some(epoch), None);
        }
        next
    }

    /// The cache is flushed.
    fn flushed(&self) -> Self {
        Self { epoch: None, token: None, pages: [None; 2], ..self.clone() }
    }
}

/// Explores every order, with a flush of the cache at any time. Returns the number of states, and
/// whether a reader saw a version that is too old in one of them.
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
fn pages_with_epochs_are_never_stale() {
    let (worlds, stale) = explore(Protocol::Epochs);
    assert!(!stale);
    assert!(worlds > 2_000, "only {worlds} worlds were tried");
}

#[test]
fn without_invalidation_pages_are_stale() {
    assert!(explore(Protocol::NothingTold).1);
}

#[test]
fn deleting_only_the_page_leaves_stale_pages() {
    assert!(explore(Protocol::PageDeleted).1);
}

#[test]
fn filling_an_epoch_without_a_token_leaves_stale_pages() {
    assert!(explore(Protocol::NoToken).1);
}
