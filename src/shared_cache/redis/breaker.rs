//! The circuit breaker: after several failures in a row it admits no request for a while, then one
//! request that probes.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open the breaker.
const FAILURES_MAX: u32 = 5;
/// How long it stays open before one request probes.
pub(super) const OPEN_FOR: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum State {
    /// Requests are sent; so many failed in a row.
    Closed { failures: u32 },
    /// No request is sent until then.
    Open { until: Instant },
    /// One request was admitted to probe.
    Probing { until: Instant },
}

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
            // The request that probed may have been dropped: after a while another one is admitted.
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

    /// Records a success. True if it closed the breaker.
    pub(super) fn succeeded(&self) -> bool {
        let before = std::mem::replace(&mut *self.state(), State::Closed { failures: 0 });
        !matches!(before, State::Closed { .. })
    }

    /// Records a failure. True if it opened the breaker.
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
    async fn opens_after_failures_in_a_row_and_lets_one_request_probe() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES_MAX - 1 {
            assert!(breaker.admits());
            assert!(!breaker.failed());
        }
        assert!(!breaker.succeeded(), "it was closed");
        for _ in 0..FAILURES_MAX - 1 {
            assert!(!breaker.failed());
        }
        assert!(breaker.failed());
        assert!(breaker.is_open() && !breaker.admits());
        tokio::time::advance(OPEN_FOR).await;
        assert!(breaker.admits(), "one may probe");
        assert!(!breaker.admits(), "but only one");
        assert!(!breaker.failed());
        assert!(!breaker.admits());
        tokio::time::advance(OPEN_FOR).await;
        assert!(breaker.admits());
        assert!(breaker.succeeded(), "it was open");
        assert!(!breaker.is_open() && breaker.admits());
    }
}
