//! What a test wants to happen to single requests.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::answer::Answer;
use super::request::{Operation, S3Request};

/// How long a test waits for a request before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// The requests that a rule is about: an operation on keys below a prefix, and by default the first
/// one that arrives.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    operation: Operation,
    prefix: String,
    header: Option<&'static str>,
    nth: usize,
    always: bool,
}

impl Match {
    /// Requests of an operation whose key, or prefix for a list, begins with `prefix`.
    pub(crate) fn of(operation: Operation, prefix: &str) -> Self {
        Self { operation, prefix: prefix.to_owned(), header: None, nth: 1, always: false }
    }

    pub(crate) fn get(prefix: &str) -> Self {
        Self::of(Operation::GetObject, prefix)
    }

    /// Objects that are written whole; parts are [`Operation::UploadPart`].
    pub(crate) fn put(prefix: &str) -> Self {
        Self::of(Operation::PutObject, prefix)
    }

    pub(crate) fn delete(prefix: &str) -> Self {
        Self::of(Operation::DeleteObject, prefix)
    }

    pub(crate) fn list(prefix: &str) -> Self {
        Self::of(Operation::ListObjects, prefix)
    }

    /// Those of these requests that create an object.
    pub(crate) fn if_absent(self) -> Self {
        Self { header: Some("if-none-match"), ..self }
    }

    /// Those of these requests that replace a version of an object.
    pub(crate) fn if_match(self) -> Self {
        Self { header: Some("if-match"), ..self }
    }

    /// The n-th of these requests from now on, and not the first.
    pub(crate) fn nth(self, nth: usize) -> Self {
        Self { nth, ..self }
    }

    /// All these requests, not only the first; after [`Match::nth`], all from that one on.
    pub(crate) fn always(self) -> Self {
        Self { always: true, ..self }
    }

    fn covers(&self, operation: Operation, key: &str) -> bool {
        self.operation == operation && key.starts_with(&self.prefix)
    }

    fn is_about(&self, request: &S3Request) -> bool {
        self.covers(request.operation, &request.key)
            && self.header.is_none_or(|name| request.header(name).is_some())
    }
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Hold { gate: Gate, authorized: bool },
    HoldResponse(Gate),
    Repeat(Gate),
    Delay(Duration),
    DropRequest,
    DropResponse,
    Refuse(u16, &'static str),
}

/// The side of the server of a [`Hold`].
#[derive(Clone, Debug)]
pub(super) struct Gate {
    reached: watch::Sender<bool>,
    released: watch::Receiver<bool>,
    status: watch::Sender<Option<u16>>,
}

/// A request that waits for the test. Dropping it releases the request.
#[must_use = "dropping it releases the request"]
#[derive(Debug)]
pub(crate) struct Hold {
    request: String,
    reached: watch::Receiver<bool>,
    released: watch::Sender<bool>,
    status: watch::Receiver<Option<u16>>,
}

pub(super) fn gate(which: &Match) -> (Gate, Hold) {
    let (reached, is_reached) = watch::channel(false);
    let (release, released) = watch::channel(false);
    let (status, answered) = watch::channel(None);
    let request = format!("{which:?}");
    let gate = Gate { reached, released, status };
    (gate, Hold { request, reached: is_reached, released: release, status: answered })
}

impl Gate {
    /// Waits until the test releases the request.
    pub(super) async fn pass(&self) {
        self.reached.send_replace(true);
        // An error means that the test has dropped its side.
        let _ = self.released.clone().wait_for(|released| *released).await;
    }

    pub(super) fn answered(&self, answer: &Answer) {
        self.status.send_replace(Some(answer.status.as_u16()));
    }
}

impl Hold {
    /// Waits until the server has the request.
    pub(crate) async fn reached(&self) {
        let mut reached = self.reached.clone();
        let reached = timeout(PATIENCE, reached.wait_for(|reached| *reached)).await;
        assert!(matches!(reached, Ok(Ok(_))), "no request came: {}", self.request);
    }

    /// Whether the server has the request now.
    pub(crate) fn is_reached(&self) -> bool {
        *self.reached.borrow()
    }

    /// Lets the request go on, and returns the status of its answer once it has taken effect.
    pub(crate) async fn release(mut self) -> u16 {
        self.reached().await;
        self.released.send_replace(true);
        let status = timeout(PATIENCE, self.status.wait_for(Option::is_some)).await;
        status.ok().and_then(|status| *status.ok()?).expect("the server answers")
    }
}

/// The rules of a test, and all requests that arrived.
#[derive(Debug, Default)]
pub(super) struct Script {
    rules: Vec<Rule>,
    arrived: Vec<(Operation, String)>,
}

#[derive(Debug)]
struct Rule {
    which: Match,
    action: Action,
    seen: usize,
}

impl Script {
    pub(super) fn add(&mut self, which: Match, action: Action) {
        self.rules.push(Rule { which, action, seen: 0 });
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(super) fn arrived(&self, which: &Match) -> usize {
        self.arrived.iter().filter(|(operation, key)| which.covers(*operation, key)).count()
    }

    pub(super) fn arrived_in_all(&self) -> usize {
        self.arrived.len()
    }

    /// Notes a request, and returns what happens to it: what the first rule says whose turn it is.
    pub(super) fn arrive(&mut self, request: &S3Request) -> Option<Action> {
        self.arrived.push((request.operation, request.key.clone()));
        let mut chosen = None;
        for rule in &mut self.rules {
            if rule.which.is_about(request) {
                rule.seen += 1;
                let due = rule.seen == rule.which.nth
                    || (rule.which.always && rule.seen > rule.which.nth);
                if due && chosen.is_none() {
                    chosen = Some(rule.action.clone());
                }
            }
        }
        chosen
    }
}
