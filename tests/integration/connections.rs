//! Connections and responses in flight: deadlines, slow and stalled readers, and the memory that
//! responses may hold. Over real sockets, plain and with TLS.
//!
//! Covers no section of the distribution-spec. These registries run in this process over memory,
//! because the tests choose their settings.

mod budget;
mod deadlines;
mod http2;
mod readers;
mod refused;

use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore::config::Settings;
use longshore::store::memory::Memory;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::auth::tls::{Pair, pair};
use crate::support::App;

const MIB: usize = 1024 * 1024;

async fn app(change: impl FnOnce(&mut Settings)) -> App {
    let mut settings = Settings::default();
    change(&mut settings);
    App::over_memory(Arc::new(Memory::new()), settings).await
}

/// A registry with TLS, its certificate, and the folder of its files.
async fn app_with_tls(change: impl FnOnce(&mut Settings)) -> (App, Pair, TempDir) {
    let (pair, folder) = (pair(), TempDir::new().expect("a temporary folder"));
    let (certificate, key) = (folder.path().join("crt"), folder.path().join("key"));
    std::fs::write(&certificate, &pair.certificate).expect("written");
    std::fs::write(&key, &pair.key).expect("written");
    let with_tls = |settings: &mut Settings| {
        change(settings);
        settings.server.tls.certificate_file = Some(certificate);
        settings.server.tls.key_file = Some(key);
    };
    (app(with_tls).await, pair, folder)
}

async fn connect(app: &App) -> TcpStream {
    TcpStream::connect(app.address.expect("ours")).await.expect("connected")
}

/// A connection on which a blob was asked for.
async fn download(app: &App, path: &str) -> TcpStream {
    let mut socket = connect(app).await;
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("sent");
    socket
}

/// How long it takes until the other side ends the connection.
async fn until_closed(socket: &mut (impl AsyncRead + Unpin)) -> Duration {
    let (began, mut received) = (Instant::now(), Vec::new());
    let read = socket.read_to_end(&mut received);
    // A reset counts as an end.
    let _ = tokio::time::timeout(Duration::from_secs(5), read).await.expect("it ends");
    began.elapsed()
}

/// Waits until a series of the metrics has this value.
async fn metric(app: &App, series: &str, value: u64) {
    let line = format!("\n{series} {value}\n");
    for _ in 0..100 {
        if app.metrics.exposition().contains(&line) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{series} is not {value}:\n{}", app.metrics.exposition());
}
