//! Several requests to the store at once.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::Error;

/// Requests to the store that one operation has under way at once.
const REQUESTS_MAX: usize = 16;

/// Runs operations concurrently, a bounded number at a time, and stops at the first failure. The
/// results are in the order of the operations.
pub(super) async fn concurrently<T>(
    operations: Vec<impl Future<Output = Result<T, Error>>>,
) -> Result<Vec<T>, Error> {
    stream::iter(operations).buffered(REQUESTS_MAX).try_collect().await
}
