//! What a deterministic simulation needs of the registry: a run repeats from its seed, and a crash
//! can come between any two requests to the store.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use longshore::config::Settings;
use longshore::entropy;
use longshore::store::memory::{Fault, FaultKind, Memory};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::support::app::{OCI_MANIFEST, image_manifest};
use crate::support::{App, bytes};

/// The content of a bucket: its records, and the locations and sizes of its data.
type Bucket = (Vec<(String, Bytes)>, Vec<(String, u64)>);

/// Pushes an image and a blob of a size that is not kept inline, on one thread.
fn bucket_after_a_push(seed: u64) -> Bucket {
    let _seeded = entropy::seed_this_thread(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let clock = || UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let memory = Arc::new(Memory::with_clock(Arc::new(clock)));
        let app = App::over_memory(memory.clone(), Settings::default()).await;
        app.push_image("seeded", "latest", 1).await;
        app.push_blob("seeded", &bytes(9, 200_000)).await;
        app.settled().await;
        (memory.records(), memory.data_objects())
    })
}

#[test]
fn two_runs_with_one_seed_write_the_same_bytes() {
    let first = bucket_after_a_push(1);
    assert!(!first.0.is_empty() && !first.1.is_empty());
    assert_eq!(first, bucket_after_a_push(1));
    assert_ne!(first, bucket_after_a_push(2));
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_push_ends_every_task() {
    let memory = Arc::new(Memory::new());
    let app = App::over_memory(memory.clone(), Settings::default()).await;
    let (config, layer) = (b"{}".to_vec(), bytes(1, 500));
    for blob in [&config, &layer] {
        app.push_blob("a", blob).await;
    }
    let (before, delay) = (memory.calls(), Duration::from_millis(500));
    memory.inject(Fault::everywhere(FaultKind::Delay(delay)).always());
    let client = app.client.clone();
    let manifest = image_manifest(&config, &[layer]);
    let push = TaskTracker::new().spawn(async move {
        let put = client.request("PUT", "/v2/a/manifests/latest");
        put.header("content-type", OCI_MANIFEST).body(manifest).send().await
    });
    while memory.calls().since(&before).total() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (records, crashed) = (memory.records(), Instant::now());
    app.crash().await;
    assert!(crashed.elapsed() < delay, "a task went on for {:?}", crashed.elapsed());
    let reply = push.await.expect("no panic");
    assert!(reply.status.is_server_error(), "{reply:?}");

    let calls = memory.calls();
    tokio::time::sleep(delay * 3).await;
    assert_eq!((memory.calls(), memory.records()), (calls, records));
}
