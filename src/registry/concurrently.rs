//! Several requests to the store at once.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt, stream};

use super::Error;

/// Requests to the store that one operation has under way at once.
const REQUESTS_MAX: usize = 16;

/// Runs operations concurrently, a bounded number at a time. After a failure no further one begins,
/// and this waits for those that have begun: a write that was sent may still take effect. The
/// results are in the order of the operations.
pub(super) async fn concurrently<T>(
    operations: Vec<impl Future<Output = Result<T, Error>>>,
) -> Result<Vec<T>, Error> {
    let failed = &AtomicBool::new(false);
    let operations = operations.into_iter().map(|operation| async move {
        if failed.load(Ordering::Relaxed) {
            return None;
        }
        let outcome = operation.await;
        failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
        Some(outcome)
    });
    let outcomes: Vec<_> = stream::iter(operations).buffered(REQUESTS_MAX).collect().await;
    outcomes.into_iter().flatten().collect()
}
