//! The current time, passed as an argument.

use std::fmt;
use std::time::SystemTime;

/// A source of the current time. Tests replace it.
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> SystemTime;
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "other code must take a Clock")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
