//! All states of one scenario: a bucket, the processes that work on it, and the writes under way.

use stateright::{Model, Property};

use crate::collector::Phase;
use crate::invariants;
use crate::process::{Answer, End, Found, Page, Process, Request, Row, Step, Stop, writer_of};
use crate::rules::Rules;
use crate::scenario::{Operation, Scenario};
use crate::store::{Body, Data, Decision, Key, Record, Store, Tick, Write};

/// How often a write whose response was lost may still arrive.
const DELIVERIES: u8 = 2;
/// The number of the collector that runs when everything else has stopped.
const LAST_PROCESS: u8 = 100;

/// What is checked in every state.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) rules: Rules,
    /// The number of the first process: every write has the nonce of its process.
    first: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) now: Tick,
    pub(crate) store: Store,
    pub(crate) running: Vec<Running>,
    /// Writes whose process does not wait for them, and how often each may still arrive.
    late: Vec<(Write, u8)>,
    losses: u8,
    busy: u8,
    pub(crate) seen: Seen,
}

/// What the store has done, as far as an invariant needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    /// Whose writes of the tag took effect, in their order.
    pub(crate) tag_writers: Vec<u8>,
    /// A session ended without a pointer to its data.
    pub(crate) ended_unpublished: bool,
    /// A pointer named the data of such a session afterwards.
    pub(crate) published_after_end: bool,
    /// The acknowledged offset of a session shrank, or the session came back.
    pub(crate) session_went_back: bool,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Running {
    answers: Vec<Answer>,
    /// What it asks for; `None` when it has ended.
    asks: Option<Request>,
    /// The client of the store sends the request once more.
    retried: bool,
    /// When the write that it asks for was first sent.
    sent: Option<Tick>,
    pub(crate) end: Option<End>,
}

impl Running {
    pub(crate) fn asks(&self) -> Option<Request> {
        self.asks
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.end.is_some() || !self.answers.is_empty() || self.retried
    }
}

/// One step: at most one request takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Time passes.
    Tick,
    /// The store answers what a process asks for.
    Step(usize),
    /// The response to a write is lost. It may take effect later, twice, or never; the process
    /// sends it again.
    Lose(usize),
    /// The store answers 409: something else is in progress on the key. It may apply the write
    /// later all the same.
    Busy(usize),
    /// A lost write arrives.
    Arrive(usize),
}

impl World {
    pub(crate) fn new(scenario: Scenario, rules: Rules) -> Self {
        Self { scenario, rules, first: 1 }
    }

    fn run(&self, index: usize, answers: &mut Vec<Answer>) -> Result<End, Stop> {
        let number = self.first + u8::try_from(index).expect("few processes");
        let mut process = Process::new(number, &self.rules, self.times(index), answers);
        perform(&mut process, &self.scenario.operations[index])
    }

    /// Where settings differ, a frontend believes in a longer grace than the collector.
    fn times(&self, index: usize) -> crate::store::Times {
        let mut times = self.scenario.times;
        let collects = matches!(self.scenario.operations[index], Operation::Collect(_));
        if !self.rules.equal_settings && !collects {
            times.half_life = 2 * times.grace;
        }
        times
    }

    /// Lets a process think until its next request.
    fn advance(&self, state: &mut State, index: usize) {
        let mut answers = std::mem::take(&mut state.running[index].answers);
        let stopped = self.run(index, &mut answers);
        let running = &mut state.running[index];
        running.answers = answers;
        match stopped {
            Err(Stop::Ask(request)) => running.asks = Some(request),
            Ok(end) | Err(Stop::End(end)) => {
                *running = Running {
                    answers: Vec::new(),
                    asks: None,
                    retried: false,
                    sent: None,
                    end: Some(end),
                };
            }
        }
    }

    fn step(&self, state: &mut State, index: usize) {
        let Some(request) = state.running[index].asks else { return };
        if matches!(request, Request::Write(_)) {
            state.running[index].sent.get_or_insert(state.now);
        }
        let answer = self.answer(state, index, request);
        self.receive(state, index, answer);
    }

    fn receive(&self, state: &mut State, index: usize, answer: Answer) {
        let running = &mut state.running[index];
        running.retried = false;
        if !matches!(answer, Answer::Conflict { .. } | Answer::TryAgain) {
            running.sent = None;
        }
        running.answers.push(answer);
        self.advance(state, index);
    }

    fn answer(&self, state: &mut State, index: usize, request: Request) -> Answer {
        let now = state.now;
        match request {
            Request::Now => Answer::Time(now),
            Request::Read(key) => {
                let times = self.times(index);
                let sent = state.running[index].sent;
                Answer::Record(state.store.record(key).map(|record| Found {
                    record: Record { written: 0, ..*record },
                    young: now - record.written < times.half_life,
                    older: sent.is_some_and(|sent| record.written < sent),
                }))
            }
            Request::Write(write) => match self.apply(state, &write) {
                Decision::Written => Answer::Written,
                Decision::Conflict => {
                    Answer::Conflict { after_retry: state.running[index].retried }
                }
                Decision::Expired => Answer::Expired,
            },
            Request::Put(location) => {
                state.store.set_data(location, Data::Whole, now);
                Answer::Done
            }
            Request::Complete(location) => match state.store.state_of(location) {
                Data::Gone => Answer::NotFound,
                Data::Open | Data::Whole => {
                    state.store.set_data(location, Data::Whole, now);
                    Answer::Done
                }
            },
            Request::Abort(location) => {
                if state.store.state_of(location) == Data::Open {
                    state.store.set_data(location, Data::Gone, now);
                }
                Answer::Done
            }
            Request::Delete(location) => {
                state.store.set_data(location, Data::Gone, now);
                Answer::Done
            }
            Request::Head(location) => match state.store.state_of(location) {
                Data::Whole => Answer::Done,
                Data::Open | Data::Gone => Answer::NotFound,
            },
            Request::List { prefix, after, begun } => {
                let rest = state
                    .store
                    .records()
                    .filter(|(key, _)| prefix.has(*key) && after.is_none_or(|after| *key > after));
                let mut rows: Vec<Row> =
                    rest.map(|(key, record)| Row { key: *key, record: *record }).collect();
                let more = rows.len() > self.scenario.page_rows;
                rows.truncate(self.scenario.page_rows);
                Answer::Page(Page { begun: begun.unwrap_or(now), rows, more })
            }
            Request::ListData { .. } => {
                let times = self.scenario.times;
                let old = state.store.data().filter(|object| {
                    object.data == Data::Whole
                        && object.begun + times.grace + times.leak_margin < now
                });
                Answer::Data(old.map(|object| object.location).collect())
            }
            Request::Remove(key, version) => {
                state.store.remove(key, version, &self.rules);
                Answer::Done
            }
        }
    }

    /// A write arrives at the store.
    fn apply(&self, state: &mut State, write: &Write) -> Decision {
        let before = state.store.record(write.key).copied();
        let decision = state.store.write(write, state.now, self.scenario.times, &self.rules);
        if decision == Decision::Written {
            state.seen.note(&state.store, before, write);
        }
        decision
    }

    /// Runs the whole collector again and again after every process has stopped, with a long time
    /// in between: what remains then remains for ever.
    pub(crate) fn settled(&self, state: &State) -> Store {
        let mut state = State { running: Vec::new(), late: Vec::new(), ..state.clone() };
        let times = self.scenario.times;
        let alone = Self {
            scenario: Scenario {
                operations: vec![Operation::Collect(&Phase::ALL)],
                page_rows: usize::MAX,
                ..self.scenario.clone()
            },
            rules: self.rules,
            first: LAST_PROCESS,
        };
        for _ in 0..4 {
            state.now += times.grace + times.leak_margin + times.quarantine + 1;
            state.running = vec![Running::new()];
            alone.advance(&mut state, 0);
            while state.running[0].end.is_none() {
                alone.step(&mut state, 0);
            }
        }
        state.store
    }
}

impl Running {
    fn new() -> Self {
        Self { answers: Vec::new(), asks: None, retried: false, sent: None, end: None }
    }
}

impl Seen {
    fn note(&mut self, store: &Store, before: Option<Record>, write: &Write) {
        match write.key {
            Key::Tag(_) => self.tag_writers.push(writer_of(write.nonce)),
            Key::Session(_) => {
                let Some(before) = before else { return };
                match (before.body, write.body) {
                    (Body::Session { location: Some(location), .. }, Body::Tombstone) => {
                        let named = Body::Pointer { location: Some(location) };
                        let named = store.records().any(|(_, record)| record.body == named);
                        self.ended_unpublished |= !named;
                    }
                    (Body::Session { offset, .. }, Body::Session { offset: now, .. }) => {
                        self.session_went_back |= now < offset;
                    }
                    (Body::Tombstone, Body::Session { .. }) => self.session_went_back = true,
                    _ => {}
                }
            }
            // A session of the model has the only multipart upload or staged object.
            Key::Pointer(_) => self.published_after_end |= self.ended_unpublished,
            _ => {}
        }
    }
}

/// What the client or the collector of an operation does.
fn perform(process: &mut Process<'_>, operation: &Operation) -> Step<End> {
    match *operation {
        Operation::PushSmall(blob) => process.push_small(blob),
        Operation::PushInline(blob) => process.push_inline(blob),
        Operation::Stage => process.stage(0),
        Operation::Append => process.append(0),
        Operation::Finish(blob) => process.finish(0, blob),
        Operation::Cancel => process.cancel(0),
        Operation::Mount { source, target } => process.mount(source, target, 0),
        Operation::DeleteBlob(repository, digest) => process.delete_blob(repository, digest),
        Operation::PushManifest(push) => process.put_manifest(push),
        Operation::DeleteManifest(manifest) => process.delete_manifest(manifest, None),
        Operation::PushTag(manifest, condition) => process.push_tag(0, manifest, condition),
        Operation::DeleteTag => process.delete_record(Key::Tag(0)),
        Operation::Collect(phases) => process.collect(phases).map(|()| End::Acknowledged),
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let begin = |store| {
            let mut state = State {
                now: self.scenario.begin(),
                store,
                running: vec![Running::new(); self.scenario.operations.len()],
                late: Vec::new(),
                losses: self.scenario.losses,
                busy: self.scenario.busy,
                seen: Seen::default(),
            };
            for index in 0..state.running.len() {
                self.advance(&mut state, index);
            }
            state
        };
        self.scenario.stores().into_iter().map(begin).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now < self.scenario.end() {
            actions.push(Action::Tick);
        }
        for (index, running) in state.running.iter().enumerate() {
            let Some(request) = running.asks else { continue };
            let waits = self
                .scenario
                .after
                .iter()
                .any(|(first, second)| *second == index && state.running[*first].end.is_none());
            if waits {
                continue;
            }
            actions.push(Action::Step(index));
            let faulty = self.scenario.faulty.contains(&index) && !running.retried;
            if faulty && matches!(request, Request::Write(_)) {
                if state.losses > 0 {
                    actions.push(Action::Lose(index));
                }
                if state.busy > 0 {
                    actions.push(Action::Busy(index));
                }
            }
        }
        actions.extend((0..state.late.len()).map(Action::Arrive));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => state.now += 1,
            Action::Step(index) => self.step(&mut state, index),
            Action::Lose(index) => {
                let Some(Request::Write(write)) = state.running[index].asks else { return None };
                state.losses -= 1;
                state.late.push((write, DELIVERIES));
                let now = state.now;
                let running = &mut state.running[index];
                running.retried = true;
                running.sent.get_or_insert(now);
            }
            Action::Busy(index) => {
                let Some(Request::Write(write)) = state.running[index].asks else { return None };
                state.busy -= 1;
                state.late.push((write, 1));
                let now = state.now;
                state.running[index].sent.get_or_insert(now);
                self.receive(&mut state, index, Answer::TryAgain);
            }
            Action::Arrive(at) => {
                let write = state.late[at].0;
                self.apply(&mut state, &write);
                state.late[at].1 -= 1;
                state.late.retain(|(_, deliveries)| *deliveries > 0);
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        invariants::ALL.iter().map(|(name, holds)| Property::always(name, *holds)).collect()
    }
}
