//! The token buckets of one limit, one for each caller.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::{Quota, RateLimiter};

use super::MonotonicClock;
use super::keys::Keys;

/// Tokens that a bucket may be overdrawn by: bytes beyond 1 TiB are not charged.
const DEBT_MAX: u32 = 1 << 30;
/// How often full buckets are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

type Limiter<C> = RateLimiter<u64, Keys, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Two limiters look at the same buckets: one admits a request while there is a token, the other
/// takes the tokens that were used, also when there are none. A limiter of `governor` alone never
/// takes more than there is.
#[derive(Debug)]
pub(super) struct Buckets<C: Clock = MonotonicClock> {
    admitting: Limiter<C>,
    charging: Limiter<C>,
    clock: C,
    began: C::Instant,
    /// When they were last swept, in seconds since they began.
    swept: AtomicU64,
}

impl Buckets {
    /// Buckets that gain so many tokens in a second, and hold `burst` of them.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        Self::with_clock(per_second, burst, MonotonicClock)
    }
}

impl<C: Clock + Clone> Buckets<C> {
    pub(super) fn with_clock(per_second: u32, burst: u32, clock: C) -> Self {
        let keys = Keys::default();
        let limiter = |burst: u32| -> Limiter<C> {
            let quota = Quota::per_second(positive(per_second)).allow_burst(positive(burst));
            RateLimiter::new(quota, keys.clone(), clock.clone())
        };
        let (admitting, charging) = (limiter(burst), limiter(DEBT_MAX));
        let began = clock.now();
        Self { admitting, charging, clock, began, swept: AtomicU64::new(0) }
    }

    /// Takes one token, or says how long it takes until there is one.
    pub(super) fn admit(&self, key: u64) -> Result<(), Duration> {
        self.sweep();
        let admitted = self.admitting.check_key(&key);
        admitted.map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Takes so many tokens, whether or not the bucket holds them.
    pub(super) fn charge(&self, key: u64, tokens: u32) {
        if let Some(tokens) = NonZeroU32::new(tokens) {
            // It fails for a bucket that is overdrawn by all it may be.
            let _ = self.charging.check_key_n(&key, tokens);
        }
    }

    /// Forgets the buckets that are full, now and then.
    fn sweep(&self) {
        let age = Duration::from(self.clock.now().duration_since(self.began)).as_secs();
        let swept = self.swept.load(Ordering::Relaxed);
        let due = age >= swept + SWEEP_EVERY.as_secs();
        let ours =
            |from, to| self.swept.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        if due && ours(swept, age).is_ok() {
            self.admitting.retain_recent();
        }
    }
}

fn positive(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::super::keys::KEYS_MAX;
    use super::*;

    fn buckets(per_second: u32, burst: u32) -> (Buckets<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Buckets::with_clock(per_second, burst, clock.clone()), clock)
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (buckets, clock) = buckets(2, 3);
        for _ in 0..3 {
            assert_eq!(buckets.admit(1), Ok(()));
        }
        let wait = buckets.admit(1).expect_err("the bucket is empty");
        assert_eq!(wait, Duration::from_millis(500));
        assert_eq!(buckets.admit(2), Ok(()), "another key");
        clock.advance(Duration::from_millis(499));
        assert!(buckets.admit(1).is_err());
        clock.advance(Duration::from_millis(1));
        assert_eq!(buckets.admit(1), Ok(()));
        assert!(buckets.admit(1).is_err());
    }

    #[test]
    fn what_was_charged_beyond_the_burst_is_waited_for() {
        let (buckets, clock) = buckets(10, 5);
        assert_eq!(buckets.admit(1), Ok(()));
        buckets.charge(1, 1000);
        let wait = buckets.admit(1).expect_err("it is overdrawn");
        // 1 + 1000 + 1 tokens, of which 5 are the burst.
        assert_eq!(wait, Duration::from_millis(99_700));
        clock.advance(wait);
        assert_eq!(buckets.admit(1), Ok(()));
        // At most a bucket, whatever is charged.
        buckets.charge(1, u32::MAX);
        clock.advance(Duration::from_secs(1));
        assert_eq!(buckets.admit(1), Ok(()));
    }

    #[test]
    fn a_flood_of_keys_is_bounded_and_forgets_nothing() {
        let (buckets, clock) = buckets(1, 2);
        assert_eq!((buckets.admit(0), buckets.admit(0)), (Ok(()), Ok(())));
        let keys = u64::try_from(KEYS_MAX).expect("a number");
        for key in 1..3 * keys {
            let _ = buckets.admit(key);
        }
        assert_eq!(buckets.admitting.len(), KEYS_MAX);
        assert!(buckets.admit(0).is_err(), "its bucket is still empty");
        // What came too late shares a bucket, which is empty as well.
        assert!(buckets.admit(3 * keys + 1).is_err());
        clock.advance(SWEEP_EVERY);
        assert_eq!(buckets.admit(4 * keys), Ok(()));
        assert_eq!(buckets.admitting.len(), 1, "the others are as good as new");
    }
}
