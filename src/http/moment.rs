//! A moment that several tasks share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A moment, or none.
#[derive(Debug, Default)]
pub(super) struct Moment(AtomicU64);

impl Moment {
    /// It is now.
    pub(super) fn set(&self) {
        self.0.store(now(), Ordering::Relaxed);
    }

    /// It is now, unless there is one already.
    pub(super) fn set_if_none(&self) {
        let _ = self.0.compare_exchange(0, now(), Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// How long ago it was.
    pub(super) fn elapsed(&self) -> Option<Duration> {
        let then = self.0.load(Ordering::Relaxed);
        (then != 0).then(|| Duration::from_millis(now().saturating_sub(then)))
    }
}

/// Milliseconds since the first call, and one more: zero is no moment.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed().as_millis();
    u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(1)
}
