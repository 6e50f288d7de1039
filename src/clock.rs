//! What time it is, as an argument.

use std::fmt;
use std::time::SystemTime;

/// Tells the time. A seam, so that tests own the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> SystemTime;
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else takes")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
