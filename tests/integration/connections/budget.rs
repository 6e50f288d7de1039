//! The memory that responses may hold, and the share of a client.

use std::time::Duration;

use longshore::config::Settings;
use tokio::io::AsyncReadExt as _;

use super::http2::{client, send};
use super::{MIB, app, connect, download, metric};
use crate::support::{App, bytes};

const IDLE: Duration = Duration::from_millis(300);

/// A registry behind a proxy, with memory for a few responses.
async fn small(change: impl FnOnce(&mut Settings)) -> App {
    app(|settings| {
        settings.server.trusted_proxies = "127.0.0.1".parse().expect("an address");
        settings.server.response_bytes = 2 * MIB;
        change(settings);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_leaves_memory_for_others() {
    let app = small(|_| {}).await;
    let content = bytes(1, MIB);
    let path = format!("/v2/a/blobs/{}", app.push_blob("a", &content).await);
    for (senders, other) in [
        (["192.0.2.1", "192.0.2.1"], "192.0.2.2"),
        (["2001:db8::1", "2001:db8::2"], "2001:db8:0:1::1"),
    ] {
        let stalling = client(&app, 0).await;
        let memory = app.memory.clone().expect("it runs here");
        let before = memory.calls().get;
        let (mut held, mut refused) = (Vec::new(), Vec::new());
        for number in 0..8 {
            let response = send(&stalling, "GET", &path, senders[number % 2]).await;
            match response.status().as_u16() {
                200 => held.push(response),
                status => refused.push((status, response)),
            }
        }
        // Half of all, in blobs of 384 KiB.
        assert!((2..=3).contains(&held.len()), "{} responses are held", held.len());
        for (status, response) in &refused {
            assert_eq!(*status, 503);
            assert!(response.headers().contains_key("retry-after"), "{response:?}");
        }
        assert_eq!(memory.calls().get - before, held.len() as u64, "streams from the store");
        let one = app.get("/v2/").header("x-forwarded-for", senders[0]).send().await;
        one.expect_envelope(503, &["UNAVAILABLE"]);
        let read = app.get(&path).header("x-forwarded-for", other).send().await.expect(200);
        assert!(read.body == content);
        drop((held, refused, stalling));
        metric(&app, "longshore_http_requests_in_flight", 0).await;
        app.get(&path).header("x-forwarded-for", senders[0]).send().await.expect(200);
    }
}

/// The body that a client receives after it has paused for so long.
async fn paused(app: &App, path: &str, pause: Duration) -> usize {
    let mut socket = download(app, path).await;
    tokio::time::sleep(pause).await;
    let mut received = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut received))
        .await
        .expect("it ends");
    received.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_reader_is_cut_only_when_memory_is_short() {
    let app = small(|settings| settings.server.body_idle_timeout = IDLE).await;
    let content = bytes(1, 20 * MIB);
    let path = format!("/v2/a/blobs/{}", app.push_blob("a", &content).await);
    assert!(paused(&app, &path, IDLE * 5).await > content.len(), "memory is not short");
    let short = async {
        let stalling = client(&app, 0).await;
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(send(&stalling, "GET", &path, "192.0.2.1").await);
        }
        tokio::time::sleep(IDLE * 5).await;
    };
    let (received, ()) = tokio::join!(paused(&app, &path, IDLE * 5), short);
    assert!(received < content.len(), "it held its memory: {received}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_reader_is_cut_only_when_connections_are_short() {
    let app = app(|settings| {
        settings.server.body_idle_timeout = IDLE;
        settings.server.connections_max = 5;
    })
    .await;
    let content = bytes(1, 20 * MIB);
    let path = format!("/v2/a/blobs/{}", app.push_blob("a", &content).await);
    assert!(paused(&app, &path, IDLE * 5).await > content.len(), "connections are not short");
    let short = async {
        let (_one, _two, _three) = tokio::join!(connect(&app), connect(&app), connect(&app));
        tokio::time::sleep(IDLE * 5).await;
    };
    let (received, ()) = tokio::join!(paused(&app, &path, IDLE * 5), short);
    assert!(received < content.len(), "it held its connection: {received}");
}
