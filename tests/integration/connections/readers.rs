//! Readers that are slow, and readers that stand still, over a socket.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::{MIB, app, app_with_tls, download};
use crate::auth::tls;
use crate::support::bytes;

const IDLE: Duration = Duration::from_secs(1);
const LENGTH: usize = 24 * MIB;

/// Reads 64 KiB ten times a second for three and a half times the idle limit, and then the rest.
/// The kernel holds megabytes for such a reader, and would take more only after seconds.
async fn read_slowly(mut socket: impl AsyncRead + Unpin) -> usize {
    let (began, mut received) = (Instant::now(), 0);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match socket.read(&mut buffer).await {
            Ok(0) | Err(_) => return received,
            Ok(read) => received += read,
        }
        if began.elapsed() < IDLE * 7 / 2 {
            tokio::time::sleep(IDLE / 10).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_that_never_stops_is_not_cut() {
    let app = app(|settings| settings.server.response_idle_timeout = IDLE).await;
    let path = format!("/v2/a/blobs/{}", app.push_blob("a", &bytes(1, LENGTH)).await);
    let received = read_slowly(download(&app, &path).await).await;
    assert!(received > LENGTH, "{received} of {LENGTH} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_with_tls_is_not_cut() {
    let (app, pair, _folder) =
        app_with_tls(|settings| settings.server.response_idle_timeout = IDLE).await;
    let store = app.memory.clone().expect("it runs here");
    // Pushed through another registry over the same store, which has no TLS.
    let plain = crate::support::App::over_memory(store, longshore::config::Settings::default());
    let path = format!("/v2/a/blobs/{}", plain.await.push_blob("a", &bytes(1, LENGTH)).await);
    let address = app.address.expect("ours");
    let mut socket = tls::connect(address, &pair, b"http/1.1").await.expect("a handshake");
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("sent");
    let received = read_slowly(socket).await;
    assert!(received > LENGTH, "{received} of {LENGTH} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stands_still_is_cut() {
    let app = app(|settings| settings.server.response_idle_timeout = IDLE / 2).await;
    let path = format!("/v2/a/blobs/{}", app.push_blob("a", &bytes(1, LENGTH)).await);
    let mut socket = download(&app, &path).await;
    tokio::time::sleep(IDLE * 3 / 2).await;
    let mut received = Vec::new();
    let _ = socket.read_to_end(&mut received).await;
    assert!(received.len() < LENGTH, "a reader that stalls holds its connection for ever");
}
