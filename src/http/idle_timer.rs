//! A timer for what must make progress: hyper and axum wait for ever for a peer that stops.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Runs while attempts are pending, and starts again with each that was not.
#[derive(Debug)]
pub(super) struct IdleTimer {
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    running: bool,
}

/// Nothing moved for the whole time.
#[derive(Debug)]
pub(super) struct TimedOut;

impl IdleTimer {
    pub(super) fn new(idle: Duration) -> Self {
        Self { idle, deadline: Box::pin(tokio::time::sleep(idle)), running: false }
    }

    /// Passes an attempt on, or fails it if attempts were pending for too long.
    pub(super) fn check<T>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: Poll<T>,
    ) -> Poll<Result<T, TimedOut>> {
        if let Poll::Ready(result) = attempt {
            self.running = false;
            return Poll::Ready(Ok(result));
        }
        if !self.running {
            self.running = true;
            self.deadline.as_mut().reset(Instant::now() + self.idle);
        }
        self.deadline.as_mut().poll(cx).map(|()| Err(TimedOut))
    }
}
