//! `uploads.equal_parts`: all parts of an upload but the last have one length, for stores that take
//! no others (Cloudflare R2). And `If-Match` in the form that a store takes.

use std::sync::Arc;

use longshore::config::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::started;
use crate::support::persistent::{Flow, Persistent};
use crate::support::scripted_s3::{Conditions, ScriptedS3};
use crate::support::{App, bytes, sha256};

const MIB: usize = 1024 * 1024;
/// So long that what is left of a chunk could be a part of its own.
const PART: usize = 8 * MIB;
/// A part that is short enough for thousands.
const SMALL_PART: usize = 64 * 1024;

fn equal(part_bytes: usize) -> Settings {
    let mut settings = Settings::default();
    settings.uploads.part_bytes = part_bytes;
    settings.uploads.equal_parts = true;
    settings.uploads.inline_bytes = 1024;
    settings
}

/// Asserts that each of so many uploads has parts of one length, except the last part.
fn assert_equal_parts(s3: &ScriptedS3, uploads: usize, part: usize) {
    let completed = s3.completed_parts();
    assert_eq!(completed.len(), uploads);
    for sizes in completed {
        let (last, others) = sizes.split_last().expect("parts");
        let other = others.iter().find(|size| **size != part);
        assert_eq!(other, None, "one of {} parts", sizes.len());
        assert!(*last <= part, "{last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_any_size_become_equal_parts() {
    let s3 = ScriptedS3::start().await;
    let app = App::over_s3(&s3, equal(PART)).await;
    let client = Persistent::new([app.client.clone()]);
    // More than a part and no multiple of it, less than a part, and whole blobs.
    let flows = [
        (Flow::Chunks(14 * MIB), 45 * MIB),
        (Flow::Pieces(14 * MIB), 45 * MIB),
        (Flow::Chunks(23 * MIB), 50 * MIB),
        (Flow::Chunks(6 * MIB), 20 * MIB),
        (Flow::Patch, 30 * MIB),
        (Flow::Put, 30 * MIB),
        (Flow::Post, 24 * MIB),
    ];
    for (seed, (flow, size)) in flows.into_iter().enumerate() {
        let content = bytes(seed as u64, size);
        let digest = client.push_blob("a", &content, flow).await;
        app.assert_blob("a", &digest, &content).await;
    }
    assert_equal_parts(&s3, flows.len(), PART);
    assert_eq!(client.troubles.lock().expect("no panic").as_slice(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_parts_do_not_grow() {
    let s3 = ScriptedS3::start().await;
    s3.set_part_bytes_min(SMALL_PART);
    let app = App::over_s3(&s3, equal(SMALL_PART)).await;
    let content = bytes(1, 1_005 * SMALL_PART + 77);
    let digest = app.push_blob("a", &content).await;
    app.request("HEAD", &format!("/v2/a/blobs/{digest}")).send().await.expect(200);
    assert_equal_parts(&s3, 1, SMALL_PART);
}

/// An upload waits for the memory of a whole part instead of sending a shorter one.
#[tokio::test(flavor = "multi_thread")]
async fn short_memory_does_not_shorten_equal_parts() {
    let s3 = ScriptedS3::start().await;
    let mut settings = equal(PART);
    settings.uploads.buffer_bytes = 2 * PART + 6 * MIB;
    let app = App::over_s3(&s3, settings).await;
    let mut uploads = JoinSet::new();
    for seed in 0..6 {
        let client = Persistent::new([app.client.clone()]);
        let flow = [Flow::Patch, Flow::Put, Flow::Chunks(14 * MIB)][seed as usize % 3];
        uploads.spawn(async move { client.push_blob("a", &bytes(seed, 30 * MIB), flow).await });
    }
    uploads.join_all().await;
    assert_equal_parts(&s3, 6, PART);
}

/// Before its body is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_without_enough_equal_parts_is_413() {
    let s3 = ScriptedS3::start().await;
    let app = App::over_s3(&s3, equal(PART)).await;
    let largest = 10_000 * PART as u64;
    for (length, status) in [(largest + 1, "413"), (largest, "")] {
        let location = app.start_upload("a", "").await;
        let address = app.address.expect("it is in this process");
        let mut socket = TcpStream::connect(address).await.expect("connected");
        let head = format!(
            "PATCH {location} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.expect("sent");
        socket.shutdown().await.expect("the body ends here");
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer).await;
        assert_eq!(answer.starts_with("HTTP/1.1 413"), status == "413", "{answer}");
    }
}

/// Every conditional request uses the form of `ETag` that the probe found: one server never matches
/// a quoted one, another never a bare one.
#[tokio::test(flavor = "multi_thread")]
async fn every_condition_has_the_form_that_the_store_takes() {
    for conditions in [Conditions::Quoted, Conditions::Bare] {
        let (s3, store) = started().await;
        s3.set_conditions(conditions);
        let limit = std::time::Duration::from_mins(5);
        let limits = longshore::store::ProbeLimits { clock_skew: limit, write_deadline: limit };
        let report = longshore::store::probe(store.as_ref(), limits).await.expect("an answer");
        assert!(!report.degraded() && report.capabilities.conditional_delete, "{report}");
        crate::store_suite::check_everything(store.clone()).await;

        let app = App::frontend(store as Arc<_>, Settings::default()).await;
        let (first, _) = app.push_image("a", "latest", 1).await;
        let (second, _) = app.push_image("a", "latest", 2).await;
        assert_ne!(first, second);
        let content = bytes(3, 300_000);
        let location = app.start_upload("a", "").await;
        let location = app.patch_at(&location, 0, &content[..9]).await.expect(202).location();
        let location = app.patch_at(&location, 9, &content[9..]).await.expect(202).location();
        app.close(&location, &sha256(&content), b"").await.expect(201);
        app.request("DELETE", "/v2/a/manifests/latest").send().await.expect(202);
        app.request("DELETE", &format!("/v2/a/manifests/{first}")).send().await.expect(202);
        app.settled().await;
    }
}
