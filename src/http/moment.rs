//! A moment that several tasks share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

/// Milliseconds of a clock that never goes back, and one more: zero is no moment.
///
/// The clock is the coarse one, which the kernel sets at each tick, a few milliseconds apart: each
/// request asks several times, and a limit of seconds needs no more.
#[cfg(target_os = "linux")]
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    let since = Duration::try_from(now).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Milliseconds since the first call, and one more: zero is no moment.
#[cfg(not(target_os = "linux"))]
fn now() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let elapsed = START.get_or_init(std::time::Instant::now).elapsed().as_millis();
    u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(1)
}
