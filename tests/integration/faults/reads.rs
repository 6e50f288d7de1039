//! Reads that break in the middle of a blob: the registry resumes them a bounded number of times,
//! and never ends a body early as if the blob were complete.

use std::sync::Arc;

use longshore::config::Settings;
use longshore::store::memory::{Fault, FaultKind, Memory, Operation, Reported};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{App, bytes, sha512};

/// How often the registry resumes a read (`registry::blobs`).
const RESUMES_MAX: u32 = 4;
const SIZE: usize = 1_000_000;

async fn with_a_blob() -> (Arc<Memory>, App, Vec<u8>, String) {
    let memory = Arc::new(Memory::new());
    let app = App::over_memory(memory.clone(), Settings::default()).await;
    let content = bytes(1, SIZE);
    let digest = app.push_blob("a", &content).await;
    (memory, app, content, format!("/v2/a/blobs/{digest}"))
}

fn broken_after(bytes: u64, times: u32) -> Fault {
    Fault::on(Operation::Get, FaultKind::TruncateBody(bytes)).times(times)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_read_of_a_blob_is_resumed() {
    let (memory, app, content, path) = with_a_blob().await;
    for times in 1..=RESUMES_MAX {
        memory.inject(broken_after(100_000, times));
        let before = memory.calls();
        let reply = app.get(&path).send().await.expect(200);
        assert!(reply.body == content, "{times} breaks");
        let calls = memory.calls().since(&before);
        assert_eq!((calls.get, calls.read), (u64::from(times) + 1, 1));
    }
    memory.inject(broken_after(7, 2));
    let range = app.get(&path).header("range", "bytes=500-1499");
    assert_eq!(range.send().await.expect(206).body, content[500..1500]);
    // A failed attempt to resume counts like a broken read.
    memory.inject(broken_after(100_000, 1));
    memory.inject(Fault::on(Operation::Get, FaultKind::Delay(std::time::Duration::ZERO)));
    memory.inject(Fault::on(Operation::Get, FaultKind::FailBefore).times(2));
    assert!(app.get(&path).send().await.expect(200).body == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_keeps_breaking_closes_the_connection() {
    let (memory, app, content, path) = with_a_blob().await;
    memory.inject(broken_after(100_000, RESUMES_MAX + 1));
    // The connection is closed or reset: the body never ends as if it were complete.
    app.get(&path).try_send().await.expect_err("the body is not whole");
    let broken = "longshore_http_broken_responses_total{by=\"store\"} 1\n";
    assert!(app.metrics.exposition().contains(broken), "{}", app.metrics.exposition());

    memory.heal();
    memory.inject(broken_after(100_000, u32::MAX));
    let mut socket = TcpStream::connect(app.address.expect("ours")).await.expect("connected");
    socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
    let mut received = Vec::new();
    // It ends before the announced length, with or without a reset.
    let _ = socket.read_to_end(&mut received).await;
    let end = received.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    // No response at all is allowed as well.
    let Some(end) = end else { return };
    let (head, body) = received.split_at(end + 4);
    let text = String::from_utf8_lossy(head).to_lowercase();
    assert!(text.contains(&format!("content-length: {SIZE}\r\n")), "{text}");
    assert!(body.len() <= 100_000 * (RESUMES_MAX as usize + 1), "{}", body.len());
    assert!(*body == content[..body.len()], "what was sent is right as far as it goes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_cannot_be_opened_is_503() {
    let (memory, app, content, path) = with_a_blob().await;
    memory.inject(Fault::on(Operation::Get, FaultKind::FailBefore));
    app.get(&path).send().await.expect_error(503, "UNAVAILABLE");
    assert!(app.get(&path).send().await.expect(200).body == content);
    // Missing data behind an existing link is damage, not an unknown blob.
    let location = memory.data_objects()[0].0.parse().expect("a location");
    longshore::store::BlobStore::delete(memory.as_ref(), &location).await.expect("gone");
    app.get(&path).send().await.expect_error(503, "UNAVAILABLE");
}

/// An object that is hashed again before it is published is not taken for other content because
/// the answer of the store ended early: an earlier attempt may have published it.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_read_back_incompletely_is_not_deleted() {
    let memory = Arc::new(Memory::new());
    let app = App::over_memory(memory.clone(), Settings::default()).await;
    let content = bytes(2, 20 << 20);
    let digest = sha512(&content);
    let start = app.request("POST", "/v2/a/blobs/uploads/").send().await.location();
    let at = app.request("PATCH", &start).body(content.clone()).send().await.location();
    let put = format!("{at}?digest={digest}");
    // The first attempt writes the pointer, and hears nothing.
    let lost = FaultKind::FailAfter(Reported::Unavailable);
    memory.inject(Fault::on(Operation::Create, lost).below("v1/p/").always());
    app.request("PUT", &put).send().await.expect(503);
    memory.heal();
    memory.inject(Fault::on(Operation::Get, FaultKind::EndBody(1_000)));
    app.request("PUT", &put).send().await.expect(503);
    app.request("PUT", &put).send().await.expect(201);
    let path = format!("/v2/a/blobs/{digest}");
    assert!(app.get(&path).send().await.expect(200).body == content);
}
