//! The number of store requests of each operation. Each request to S3 costs time and money, so the
//! counts must not grow unnoticed.
//!
//! Each operation is measured on a replica that has just started, with an empty cache, and includes
//! the requests after the response. The numbers are exact: a changed number is a regression, or an
//! improvement that belongs in this file and in docs/request-costs.md.

mod manifests;
mod pages;
mod pulls;
mod pushes;
mod round_trips;
mod token_keys;

use std::sync::Arc;

use longshore::config::Settings;
use longshore::store::memory::{Calls, Memory};

use crate::support::App;

/// No calls.
const NONE: Calls = Calls {
    read: 0,
    create: 0,
    replace: 0,
    remove: 0,
    list: 0,
    put: 0,
    get: 0,
    head: 0,
    delete: 0,
    presign: 0,
    start: 0,
    put_part: 0,
    complete: 0,
    abort: 0,
    is_open: 0,
    list_days: 0,
    list_data: 0,
    list_multiparts: 0,
};

/// A replica with an empty cache, over a store that may have content.
async fn cold(memory: &Arc<Memory>) -> App {
    App::over_memory(memory.clone(), Settings::default()).await
}

/// The calls of an operation on a replica with an empty cache, including those after the response.
async fn cost<T>(memory: &Arc<Memory>, act: impl AsyncFnOnce(&App) -> T) -> (Calls, T) {
    let app = cold(memory).await;
    let before = memory.calls();
    let value = act(&app).await;
    app.settled().await;
    (memory.calls().since(&before), value)
}

/// Asserts the calls of each kind, and their sum.
#[track_caller]
fn assert_cost(calls: Calls, expected: Calls, contract: u64) {
    assert_eq!(calls, expected);
    assert!(calls.total() <= contract, "{} calls, the contract allows {contract}", calls.total());
}
