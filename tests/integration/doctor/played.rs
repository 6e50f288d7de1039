//! A server that plays answers which no registry gives.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// What it answers to the n-th request, by its first line: the status line and the headers, then
/// a line end and the body.
type Script = dyn Fn(usize, &str) -> String + Send + Sync;

/// Plays answers, one for each connection, until the runtime of the test ends.
pub(super) async fn play(
    script: impl Fn(usize, &str) -> String + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tasks, script): (_, Arc<Script>) = (TaskTracker::new(), Arc::new(script));
    let serving = tasks.clone();
    tasks.spawn(async move {
        let mut count = 0;
        while let Ok((mut socket, _)) = listener.accept().await {
            let (script, number) = (script.clone(), count);
            count += 1;
            serving.spawn(async move {
                let mut head = vec![0; 4096];
                let length = socket.read(&mut head).await.unwrap_or_default();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let answer = script(number, head.lines().next().unwrap_or_default());
                let _ = socket.write_all(answer.as_bytes()).await;
                let _ = socket.shutdown().await;
                // The client may still be about to send a body.
                let _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
            });
        }
    });
    address
}

/// An answer with this status and these headers.
pub(super) fn answer(status: u16, headers: &[&str], body: &str) -> String {
    let mut text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    format!("{text}content-length: {}\r\n\r\n{body}", body.len())
}

/// The header by which clients know a registry.
pub(super) const REGISTRY: &str = "docker-distribution-api-version: registry/2.0";
