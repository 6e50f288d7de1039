//! SIGTERM: requests in flight complete, new ones are refused, and the process exits in time.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::process::Process;
use crate::support::sha256;

/// Starts a PATCH and sends only a part of its body.
async fn begun(process: &Process) -> (TcpStream, String) {
    let client = process.client();
    let start = client.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202);
    let location = start.location();
    let mut socket = TcpStream::connect(process.address).await.expect("connected");
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello");
    socket.write_all(head.as_bytes()).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(300)).await;
    (socket, location)
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_for_a_request_in_flight() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut process = Process::folder(folder.path(), &[]);
    let (mut socket, location) = begun(&process).await;
    process.terminate();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let refused = TcpStream::connect(process.address).await;
    assert!(refused.is_err(), "new connections are refused");
    socket.write_all(b"world").await.expect("the connection is still there");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer, and then the end");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());

    let next = Process::folder(folder.path(), &[]);
    let client = next.client();
    let status = client.request("GET", &location).send().await.expect(204);
    assert_eq!(status.header("range"), Some("0-9"));
    let close = format!("{}?digest={}", status.location(), sha256(b"helloworld"));
    client.request("PUT", &close).send().await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_in_time_with_a_stalled_request() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let variables = [("LONGSHORE_SERVER_DRAIN_TIMEOUT", "1s")];
    let mut process = Process::folder(folder.path(), &variables);
    let (_socket, _) = begun(&process).await;
    let began = Instant::now();
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(
        process.log().contains("drain timeout: requests in flight were cut off"),
        "{}",
        process.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_closes_idle_connections() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut process = Process::folder(folder.path(), &[]);
    // One used keep-alive connection, and one that was never used.
    let client = process.client();
    client.request("GET", "/v2/").send().await.expect(200);
    let _unused = TcpStream::connect(process.address).await.expect("connected");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
