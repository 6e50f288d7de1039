//! Faults that a test asks for: what a network and a store far away do on a bad day.

use std::time::Duration;

use super::calls::Operation;

/// A fault, where it strikes and how often. Build it with [`Fault::on`] or [`Fault::everywhere`];
/// unless told otherwise it strikes once.
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
    /// The request has no effect and fails as unavailable: an outage.
    FailBefore,
    /// The request takes effect and its response is lost. What the caller then sees depends on
    /// whether the SDK below it tried again.
    FailAfter(Reported),
    /// The store refuses for good, as it does with wrong credentials.
    Refuse,
    /// The request reaches the store only after this long, by tokio's clock.
    Delay(Duration),
    /// A body breaks off after so many bytes. Strikes only reads and the opening of bytes.
    TruncateBody(u64),
}

/// How a lost response shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// The SDK tried again and ran into its own first attempt. Only a condition can fail so, hence
    /// anything but creating and replacing reports [`Reported::Unavailable`] instead.
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
    /// A fault of one kind of call.
    pub fn on(operation: Operation, kind: FaultKind) -> Self {
        Self { kind, operation: Some(operation), below: None, frequency: Frequency::Times(1) }
    }

    /// A fault of every kind of call.
    pub fn everywhere(kind: FaultKind) -> Self {
        Self { kind, operation: None, below: None, frequency: Frequency::Times(1) }
    }

    /// Strikes the next `times` calls it fits.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { frequency: Frequency::Times(times), ..self }
    }

    /// Strikes every call it fits, until [`Memory::heal`](super::Memory::heal).
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u32::MAX)
    }

    /// Strikes `per_mille` of 1,000 calls it fits, drawn from `seed`.
    #[must_use]
    pub fn chance(self, seed: u64, per_mille: u32) -> Self {
        Self { frequency: Frequency::Chance { state: seed, per_mille }, ..self }
    }

    /// Strikes only calls whose key, prefix or location starts with this, `v1/t/` for instance.
    #[must_use]
    pub fn below(self, prefix: impl Into<String>) -> Self {
        Self { below: Some(prefix.into()), ..self }
    }

    fn fits(&self, operation: Operation, subject: &str) -> bool {
        self.operation.is_none_or(|own| own == operation)
            && self.below.as_ref().is_none_or(|below| subject.starts_with(below))
    }

    fn strikes(&mut self) -> bool {
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

/// The faults in force, asked in the order in which they were injected.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn inject(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What strikes a call before or after it takes effect.
    pub(super) fn strike(&mut self, operation: Operation, subject: &str) -> Option<Strike> {
        self.find(operation, subject, |kind| match kind {
            FaultKind::FailBefore => Some(Strike::FailBefore),
            FaultKind::FailAfter(reported) => Some(Strike::FailAfter(reported)),
            FaultKind::Refuse => Some(Strike::Refuse),
            FaultKind::Delay(delay) => Some(Strike::Delay(delay)),
            FaultKind::TruncateBody(_) => None,
        })
    }

    /// After how many bytes the body of an answer breaks off.
    pub(super) fn truncate(&mut self, operation: Operation, subject: &str) -> Option<u64> {
        self.find(operation, subject, |kind| match kind {
            FaultKind::TruncateBody(bytes) => Some(bytes),
            FaultKind::FailBefore
            | FaultKind::FailAfter(_)
            | FaultKind::Refuse
            | FaultKind::Delay(_) => None,
        })
    }

    /// The first fault that is of the kind, fits, and whose turn it is.
    fn find<T>(
        &mut self,
        operation: Operation,
        subject: &str,
        of_kind: impl Fn(FaultKind) -> Option<T>,
    ) -> Option<T> {
        self.0.iter_mut().find_map(|fault| {
            let found = of_kind(fault.kind)?;
            (fault.fits(operation, subject) && fault.strikes()).then_some(found)
        })
    }
}

/// A fault that has struck a call as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) enum Strike {
    FailBefore,
    FailAfter(Reported),
    Refuse,
    Delay(Duration),
}
