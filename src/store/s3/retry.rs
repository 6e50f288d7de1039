//! Retries: the pause before one, and how many requests an operation has sent.

use std::cell::Cell;
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;

use crate::entropy;

/// The pause before the first retry, of which a random part is taken; it doubles each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// Requests that the current operation has sent. The SDK tells no one how often it tried.
    static ATTEMPTS: Cell<u32>;
}

/// How the SDK retries.
pub(super) fn config(attempts_max: u32) -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(attempts_max)
        .with_initial_backoff(BACKOFF_FIRST)
        .with_max_backoff(BACKOFF_MAX)
}

/// The pause after so many attempts, with jitter so that callers spread out.
pub(super) fn backoff(attempts: u32) -> Duration {
    let ceiling = BACKOFF_FIRST.saturating_mul(1 << (attempts - 1).min(16)).min(BACKOFF_MAX);
    ceiling.mul_f64(entropy::fraction())
}

/// Runs an operation, and returns with its output how many requests it has sent.
pub(super) async fn counted<T>(operation: impl Future<Output = T>) -> (T, u32) {
    let counting = async { (operation.await, attempts()) };
    ATTEMPTS.scope(Cell::new(0), counting).await
}

/// How many requests the current operation has sent.
pub(super) fn attempts() -> u32 {
    ATTEMPTS.try_with(Cell::get).unwrap_or_default()
}

/// Counts a request of the current operation: 1 is the first.
pub(super) fn next_attempt() -> u32 {
    let next = |attempts: &Cell<u32>| attempts.replace(attempts.get() + 1) + 1;
    ATTEMPTS.try_with(next).unwrap_or(1)
}
