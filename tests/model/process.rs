//! How a process of the model runs: a function that asks the store.
//!
//! The functions read like those in `src/registry`. [`Process::ask`] returns the answer if the
//! request was answered before, and otherwise stops the function with the request. Each step of
//! the model answers one request, and runs the function again from its beginning over the answers
//! so far. So the state of a process is the list of its answers, and every request is one action.

use crate::rules::Rules;
use crate::store::{Key, Location, Nonce, Prefix, Record, Tick, Times, Write};

/// More than one process writes.
const NONCES: Nonce = 256;
/// How often a request begins anew when others keep winning: `ATTEMPTS_MAX` of the code is larger.
pub(crate) const ATTEMPTS_MAX: u8 = 2;

/// A request to the store, or a look at its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    Now,
    Read(Key),
    Write(Write),
    Put(Location),
    Complete(Location),
    Abort(Location),
    Delete(Location),
    Head(Location),
    /// One page after a key. The first page of a phase begins its time T0.
    List {
        prefix: Prefix,
        after: Option<Key>,
        begun: Option<Tick>,
    },
    /// Data objects that are old enough to be a leak.
    ListData {
        begun: Option<Tick>,
    },
    /// A conditional DELETE of a tombstone.
    Remove(Key, Nonce),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    Time(Tick),
    Record(Option<Found>),
    Written,
    /// Whether an earlier attempt may have happened.
    Conflict {
        after_retry: bool,
    },
    TryAgain,
    Expired,
    Done,
    NotFound,
    Page(Page),
    Data(Vec<Location>),
    /// What a finished part of the function returned, and the nonces that were given out until
    /// then.
    Returned(u16, Nonce),
}

/// A record as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Found {
    pub(crate) record: Record,
    /// Whether it was younger than the half-life.
    pub(crate) young: bool,
    /// Whether it was there before the first attempt of the write that is being sent.
    pub(crate) older: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Page {
    /// T0: the store's time at the first page of the phase.
    pub(crate) begun: Tick,
    pub(crate) rows: Vec<Row>,
    pub(crate) more: bool,
}

/// A row of a listing. The collector knows the content of a version by its ETag, or reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) record: Record,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// 2xx
    Acknowledged,
    /// The same for a manifest with an external layer that the repository does not hold.
    AcknowledgedSparse,
    /// 4xx
    Refused,
    /// 503: the client does not know whether it happened.
    Unknown,
}

/// Why a function stops.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    Ask(Request),
    End(End),
}

pub(crate) type Step<T> = Result<T, Stop>;

/// What a finished part of a function may return: it replaces the answers of that part.
pub(crate) trait Kept {
    fn keep(&self) -> u16;
    fn restore(kept: u16) -> Self;
}

impl Kept for () {
    fn keep(&self) -> u16 {
        0
    }
    fn restore(_: u16) -> Self {}
}

impl Kept for bool {
    fn keep(&self) -> u16 {
        u16::from(*self)
    }
    fn restore(kept: u16) -> Self {
        kept == 1
    }
}

impl Kept for u8 {
    fn keep(&self) -> u16 {
        u16::from(*self)
    }
    fn restore(kept: u16) -> Self {
        u8::try_from(kept).expect("what was kept")
    }
}

impl Kept for Option<u8> {
    fn keep(&self) -> u16 {
        self.map_or(0, |value| 1 + u16::from(value))
    }
    fn restore(kept: u16) -> Self {
        kept.checked_sub(1).map(u8::restore)
    }
}

/// A process while its function runs over the answers so far.
pub(crate) struct Process<'a> {
    /// From 1 on; the writes before the beginning have the number 0.
    pub(crate) number: u8,
    pub(crate) rules: &'a Rules,
    pub(crate) times: Times,
    answers: &'a mut Vec<Answer>,
    at: usize,
    nonces: Nonce,
}

impl<'a> Process<'a> {
    pub(crate) fn new(
        number: u8,
        rules: &'a Rules,
        times: Times,
        answers: &'a mut Vec<Answer>,
    ) -> Self {
        Self { number, rules, times, answers, at: 0, nonces: 0 }
    }

    pub(crate) fn ask(&mut self, request: Request) -> Step<Answer> {
        let answer = self.answers.get(self.at).cloned().ok_or(Stop::Ask(request))?;
        self.at += 1;
        Ok(answer)
    }

    /// Runs a part of the function whose answers are forgotten when it has finished: only what it
    /// returns decides how the process goes on.
    pub(crate) fn part<T: Kept>(&mut self, part: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        if let Some(Answer::Returned(kept, nonces)) = self.answers.get(self.at) {
            self.nonces = *nonces;
            self.at += 1;
            return Ok(T::restore(*kept));
        }
        let begun = self.at;
        let value = part(self)?;
        self.answers.truncate(begun);
        self.answers.push(Answer::Returned(value.keep(), self.nonces));
        self.at = begun + 1;
        Ok(value)
    }

    /// A nonce that no other write has.
    pub(crate) fn nonce(&mut self) -> Nonce {
        self.nonces += 1;
        assert!(self.nonces < NONCES, "a process writes more than the model has nonces for");
        Nonce::from(self.number) * NONCES + self.nonces
    }

    /// The key of the data object that this process writes.
    pub(crate) fn location(&self) -> Location {
        self.number
    }

    pub(crate) fn now(&mut self) -> Step<Tick> {
        match self.ask(Request::Now)? {
            Answer::Time(now) => Ok(now),
            other => unreachable!("{other:?}"),
        }
    }

    pub(crate) fn read(&mut self, key: Key) -> Step<Option<Found>> {
        match self.ask(Request::Read(key))? {
            Answer::Record(found) => Ok(found),
            other => unreachable!("{other:?}"),
        }
    }

    /// Reads a listing to its end, page by page.
    pub(crate) fn list(&mut self, prefix: Prefix) -> Step<Page> {
        let mut all: Option<Page> = None;
        loop {
            let after = all.as_ref().and_then(|all| all.rows.last()).map(|row| row.key);
            let begun = all.as_ref().map(|all| all.begun);
            let Answer::Page(page) = self.ask(Request::List { prefix, after, begun })? else {
                unreachable!("a listing was answered otherwise")
            };
            let more = page.more;
            match &mut all {
                Some(all) => all.rows.extend(page.rows),
                None => all = Some(page),
            }
            if !more && let Some(all) = all {
                return Ok(all);
            }
        }
    }

    /// False if there was nothing to act upon.
    pub(crate) fn data(&mut self, request: Request) -> Step<bool> {
        Ok(self.ask(request)? == Answer::Done)
    }
}

/// The process that sent a write, by its nonce.
pub(crate) fn writer_of(nonce: Nonce) -> u8 {
    u8::try_from(nonce / NONCES).expect("the number of a process")
}
