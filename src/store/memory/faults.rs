//! Faults that a test injects: the failures of a network and of a remote store.

use std::time::Duration;

use super::calls::Operation;

/// A fault, the calls that it matches, and how often it applies. Build it with [`Fault::on`] or
/// [`Fault::everywhere`]; by default it applies once.
#[derive(Clone, Debug)]
pub struct Fault {
    kind: FaultKind,
    operation: Option<Operation>,
    below: Option<String>,
    frequency: Frequency,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An outage: the request has no effect and fails as unavailable.
    FailBefore,
    /// The request takes effect and its response is lost. The error depends on whether the SDK
    /// retried.
    FailAfter(Reported),
    /// The store refuses permanently, as it does with wrong credentials.
    Refuse,
    /// The request reaches the store after this time, by tokio's clock, and its caller waits.
    Delay(Duration),
    /// The request takes effect at once, and its answer comes after this time, by tokio's clock.
    SlowAnswer(Duration),
    /// The call fails as unavailable at once, and the request reaches the store after this time,
    /// by tokio's clock, or at the next [`Memory::deliver`](super::Memory::deliver) before that.
    Late(Duration),
    /// The call succeeds or fails as it would without a fault, and the same request reaches the
    /// store once more, after this time or at the next [`Memory::deliver`](super::Memory::deliver).
    Again(Duration),
    /// The store answers that another request on the key is in progress (409 on S3), and does
    /// nothing. Matches only `create` and `replace`.
    TryAgain,
    /// A body breaks off after so many bytes. Matches only `read` and `get`.
    TruncateBody(u64),
    /// The body of a `get` ends after so many bytes, as if it were whole.
    EndBody(u64),
}

/// How the body of an answer ends too early.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truncation {
    pub(super) after: u64,
    pub(super) fails: bool,
}

/// The error that a lost response causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// The SDK retried and met the result of its own first attempt. Only conditional writes can
    /// fail so; other operations report [`Reported::Unavailable`] instead.
    Conflict,
    /// The SDK gave up.
    Unavailable,
}

#[derive(Clone, Copy, Debug)]
enum Frequency {
    Times(u32),
    Chance { state: u64, per_mille: u32 },
}

impl Fault {
    /// A fault of one operation.
    pub fn on(operation: Operation, kind: FaultKind) -> Self {
        Self { kind, operation: Some(operation), below: None, frequency: Frequency::Times(1) }
    }

    /// A fault of every operation.
    pub fn everywhere(kind: FaultKind) -> Self {
        Self { kind, operation: None, below: None, frequency: Frequency::Times(1) }
    }

    /// Applies to the next `times` matching calls.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { frequency: Frequency::Times(times), ..self }
    }

    /// Applies to every matching call, until [`Memory::heal`](super::Memory::heal).
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u32::MAX)
    }

    /// Applies to `per_mille` of 1,000 matching calls, drawn from `seed`.
    #[must_use]
    pub fn chance(self, seed: u64, per_mille: u32) -> Self {
        Self { frequency: Frequency::Chance { state: seed, per_mille }, ..self }
    }

    /// Matches only calls whose key, prefix or location starts with this, `v1/t/` for instance.
    #[must_use]
    pub fn below(self, prefix: impl Into<String>) -> Self {
        Self { below: Some(prefix.into()), ..self }
    }

    fn matches(&self, operation: Operation, subject: &str) -> bool {
        self.operation.is_none_or(|own| own == operation)
            && self.below.as_ref().is_none_or(|below| subject.starts_with(below))
    }

    fn applies(&mut self) -> bool {
        match &mut self.frequency {
            Frequency::Times(0) => false,
            Frequency::Times(u32::MAX) => true,
            Frequency::Times(left) => {
                *left -= 1;
                true
            }
            Frequency::Chance { state, per_mille } => draw(state) % 1_000 < u64::from(*per_mille),
        }
    }
}

/// The next number of `SplitMix64`: a test repeats exactly from its seed.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The injected faults, in their order.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn inject(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that applies to a call as a whole.
    pub(super) fn of_call(&mut self, operation: Operation, subject: &str) -> Option<CallFault> {
        self.find(operation, subject, |kind| match kind {
            FaultKind::FailBefore => Some(CallFault::FailBefore),
            FaultKind::FailAfter(reported) => Some(CallFault::FailAfter(reported)),
            FaultKind::Refuse => Some(CallFault::Refuse),
            FaultKind::Delay(delay) => Some(CallFault::Delay(delay)),
            FaultKind::SlowAnswer(delay) => Some(CallFault::SlowAnswer(delay)),
            FaultKind::Late(after) => Some(CallFault::Late(after)),
            FaultKind::Again(after) => Some(CallFault::Again(after)),
            FaultKind::TryAgain => is_conditional(operation).then_some(CallFault::TryAgain),
            FaultKind::TruncateBody(_) | FaultKind::EndBody(_) => None,
        })
    }

    /// How the body of an answer ends too early.
    pub(super) fn truncate(&mut self, operation: Operation, subject: &str) -> Option<Truncation> {
        self.find(operation, subject, |kind| match kind {
            FaultKind::TruncateBody(after) => Some(Truncation { after, fails: true }),
            FaultKind::EndBody(after) => Some(Truncation { after, fails: false }),
            FaultKind::FailBefore
            | FaultKind::FailAfter(_)
            | FaultKind::Refuse
            | FaultKind::Delay(_)
            | FaultKind::SlowAnswer(_)
            | FaultKind::Late(_)
            | FaultKind::Again(_)
            | FaultKind::TryAgain => None,
        })
    }

    /// The first fault that is of the kind, matches and applies.
    fn find<T>(
        &mut self,
        operation: Operation,
        subject: &str,
        of_kind: impl Fn(FaultKind) -> Option<T>,
    ) -> Option<T> {
        self.0.iter_mut().find_map(|fault| {
            let found = of_kind(fault.kind)?;
            (fault.matches(operation, subject) && fault.applies()).then_some(found)
        })
    }
}

/// A fault of a call as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) enum CallFault {
    FailBefore,
    FailAfter(Reported),
    Refuse,
    Delay(Duration),
    SlowAnswer(Duration),
    Late(Duration),
    Again(Duration),
    TryAgain,
}

/// Whether the operation has a condition.
pub(super) fn is_conditional(operation: Operation) -> bool {
    matches!(operation, Operation::Create | Operation::Replace)
}
