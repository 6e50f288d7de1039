//! What each operation costs in calls to the store: a contract, because on S3 calls are time and
//! money, and the easiest thing to lose without noticing.
//!
//! Each operation is measured on a registry that has just started, so nothing is cached, and with
//! everything that it does after its answer. The numbers are exact: one that changes is either a
//! regression, or an improvement that belongs into this file and into the contract.

mod manifests;
mod pulls;
mod pushes;

use std::sync::Arc;

use longshore::config::Settings;
use longshore::store::memory::{Calls, Memory};

use crate::support::App;

/// No calls at all.
const NONE: Calls = Calls {
    read: 0,
    create: 0,
    replace: 0,
    list: 0,
    put: 0,
    get: 0,
    delete: 0,
    presign: 0,
    start: 0,
    put_part: 0,
    complete: 0,
    abort: 0,
    is_open: 0,
};

/// A registry that knows nothing yet, over a store that may.
async fn cold(memory: &Arc<Memory>) -> App {
    App::over_memory(memory.clone(), Settings::default()).await
}

/// What an operation costs on a registry that knows nothing yet, what it does later included.
async fn cost<T>(memory: &Arc<Memory>, act: impl AsyncFnOnce(&App) -> T) -> (Calls, T) {
    let app = cold(memory).await;
    let before = memory.calls();
    let value = act(&app).await;
    app.settled().await;
    (memory.calls().since(&before), value)
}

/// Asserts the calls of each kind, and that their sum keeps the contract.
#[track_caller]
fn assert_cost(calls: Calls, expected: Calls, contract: u64) {
    assert_eq!(calls, expected);
    assert!(calls.total() <= contract, "{} calls, the contract allows {contract}", calls.total());
}
