//! The circuit breaker: after a few failures in a row nothing is asked for a moment, then one
//! request may try.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open the breaker.
const FAILURES_MAX: u32 = 5;
/// How long it stays open before one request may try.
pub(super) const OPEN_FOR: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum State {
    /// Requests go through; so many have failed in a row.
    Closed { failures: u32 },
    /// Nothing goes through until then.
    Open { until: Instant },
    /// One request is trying.
    Probing { until: Instant },
}

/// Whether a dependency is worth asking.
#[derive(Debug)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: Mutex::new(State::Closed { failures: 0 }) }
    }
}

impl Breaker {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether a request may be sent now.
    pub(super) fn admits(&self) -> bool {
        let mut state = self.state();
        match *state {
            State::Closed { .. } => true,
            // The one that was trying may have been dropped: another one may try after a while.
            State::Open { until } | State::Probing { until } => {
                let now = Instant::now();
                if now < until {
                    return false;
                }
                *state = State::Probing { until: now + OPEN_FOR };
                true
            }
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(*self.state(), State::Closed { .. })
    }

    pub(super) fn succeeded(&self) {
        *self.state() = State::Closed { failures: 0 };
    }

    /// Notes a failure. True if this one opened the breaker.
    pub(super) fn failed(&self) -> bool {
        let mut state = self.state();
        let open = State::Open { until: Instant::now() + OPEN_FOR };
        match *state {
            State::Closed { failures } if failures + 1 < FAILURES_MAX => {
                *state = State::Closed { failures: failures + 1 };
                false
            }
            State::Closed { .. } => {
                *state = open;
                true
            }
            State::Open { .. } => false,
            State::Probing { .. } => {
                *state = open;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_in_a_row_and_lets_one_try_after_a_while() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES_MAX - 1 {
            assert!(breaker.admits());
            assert!(!breaker.failed());
        }
        breaker.succeeded();
        for _ in 0..FAILURES_MAX - 1 {
            assert!(!breaker.failed());
        }
        assert!(breaker.failed());
        assert!(breaker.is_open() && !breaker.admits());
        tokio::time::advance(OPEN_FOR).await;
        assert!(breaker.admits(), "one may try");
        assert!(!breaker.admits(), "but only one");
        assert!(!breaker.failed());
        assert!(!breaker.admits());
        tokio::time::advance(OPEN_FOR).await;
        assert!(breaker.admits());
        breaker.succeeded();
        assert!(!breaker.is_open() && breaker.admits());
    }
}
