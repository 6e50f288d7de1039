//! Connections without a request.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt as _;

use super::{app, app_with_tls, connect, until_closed};
use crate::auth::tls;

const TIMEOUT: Duration = Duration::from_millis(400);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame of HTTP/2.
const NO_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// What a client may have sent without having sent a request.
fn beginnings() -> Vec<Vec<u8>> {
    let whole = [PREFACE, NO_SETTINGS].concat();
    vec![Vec::new(), b"P".to_vec(), PREFACE[..23].to_vec(), whole, b"G".to_vec()]
}

#[track_caller]
fn in_time(elapsed: Duration, sent: &[u8]) {
    let sent = sent.escape_ascii();
    assert!(elapsed < TIMEOUT * 3, "after {sent} it was closed only after {elapsed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_request_is_closed() {
    let app = app(|settings| settings.server.header_timeout = TIMEOUT).await;
    join_all(beginnings().iter().map(async |sent| {
        let mut socket = connect(&app).await;
        socket.write_all(sent).await.expect("sent");
        in_time(until_closed(&mut socket).await, sent);
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_tls_and_without_a_request_is_closed() {
    let (app, pair, _folder) =
        app_with_tls(|settings| settings.server.header_timeout = TIMEOUT).await;
    let address = app.address.expect("ours");
    in_time(until_closed(&mut connect(&app).await).await, b"nothing");
    join_all(beginnings().iter().map(async |sent| {
        let protocol: &[u8] = if sent.starts_with(b"G") { b"http/1.1" } else { b"h2" };
        let mut socket = tls::connect(address, &pair, protocol).await.expect("a handshake");
        socket.write_all(sent).await.expect("sent");
        in_time(until_closed(&mut socket).await, sent);
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_keep_clients_out() {
    let app = app(|settings| {
        settings.server.header_timeout = TIMEOUT;
        settings.server.connections_max = 4;
    })
    .await;
    let _silent = join_all((0..8).map(|_| connect(&app))).await;
    let began = Instant::now();
    app.get("/v2/").send().await.expect(200);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

/// Pings of either side are no requests.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http2_connection_is_closed_although_it_sends_pings() {
    let app = app(|settings| settings.server.header_timeout = TIMEOUT).await;
    let handshake = h2::client::handshake(connect(&app).await).await;
    let (mut client, mut connection) = handshake.expect("a connection");
    let mut pings = connection.ping_pong().expect("the first");
    let pinging = async {
        while pings.ping(h2::Ping::opaque()).await.is_ok() {
            tokio::time::sleep(TIMEOUT / 10).await;
        }
    };
    let tasks = tokio_util::task::TaskTracker::new();
    let driven = tasks.spawn(connection);
    let request = http::Request::get(format!("http://{}/v2/", app.address.expect("ours")));
    let (response, _) = client.send_request(request.body(()).expect("a request"), true).unwrap();
    assert_eq!(response.await.expect("a response").status(), 200);
    let closed = async { tokio::join!(pinging, driven) };
    let closed = tokio::time::timeout(TIMEOUT * 8, closed).await;
    closed.expect("it ends").1.expect("no panic").expect("an orderly end");
}

/// RFC 9112, section 3.2.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_one_host() {
    let app = app(|_| {}).await;
    for (head, status) in [
        ("GET /v2/ HTTP/1.1\r\nhost: a\r\nhost: a\r\n", "HTTP/1.1 400"),
        ("GET /v2/ HTTP/1.1\r\nhost: a\r\nhost: b\r\n", "HTTP/1.1 400"),
        ("GET /v2/ HTTP/1.0\r\nhost: a\r\nhost: b\r\n", "HTTP/1.0 400"),
        ("GET /v2/ HTTP/1.1\r\n", "HTTP/1.1 400"),
        ("GET /v2/ HTTP/1.0\r\n", "HTTP/1.0 200"),
        ("GET /v2/ HTTP/1.1\r\nhost: a\r\n", "HTTP/1.1 200"),
    ] {
        let mut socket = connect(&app).await;
        let request = format!("{head}connection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        let read = tokio::io::AsyncReadExt::read_to_string(&mut socket, &mut answer);
        tokio::time::timeout(TIMEOUT * 5, read).await.expect("in time").expect("text");
        assert!(answer.starts_with(status), "{head}: {answer}");
        let refused = answer.contains("{\"errors\":[{\"code\":\"UNSUPPORTED\"");
        assert_eq!(refused, status.ends_with("400"), "{answer}");
    }
}
