//! Clients of HTTP/2 that do not open their windows.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use tokio_util::task::TaskTracker;

use super::{MIB, app, connect, metric};
use crate::support::{App, bytes};

const IDLE: Duration = Duration::from_millis(400);
const BROKEN: &str = "longshore_http_broken_responses_total{by=\"idle_timeout\"}";

/// A connection whose streams begin with this window.
pub(super) async fn client(app: &App, window: u32) -> SendRequest<Bytes> {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window).initial_connection_window_size(4 * MIB as u32);
    let (client, connection) = builder.handshake(connect(app).await).await.expect("a connection");
    TaskTracker::new().spawn(connection);
    client
}

/// Sends a request without a body and returns the response, whose body nobody has read.
pub(super) async fn send(
    client: &SendRequest<Bytes>,
    method: &str,
    path: &str,
    forwarded_for: &str,
) -> http::Response<RecvStream> {
    let request = http::Request::builder().method(method).uri(format!("http://a{path}"));
    let request = request.header("x-forwarded-for", forwarded_for).body(()).expect("a request");
    let mut client = client.clone().ready().await.expect("room for a stream");
    let (response, _) = client.send_request(request, true).expect("sent");
    let response = tokio::time::timeout(IDLE * 5, response).await.expect("in time");
    response.expect("a response")
}

/// Whatever the window, the length of the body, and where it comes from.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_whose_window_stays_closed_is_reset() {
    let app = app(|settings| settings.server.response_idle_timeout = IDLE).await;
    let large = app.push_blob("a", &bytes(1, MIB)).await;
    let small = app.push_blob("a", &bytes(2, 10)).await;
    app.push_image("a", "v1", 3).await;
    let paths = [
        format!("/v2/a/blobs/{large}"),
        format!("/v2/a/blobs/{small}"),
        "/v2/a/manifests/v1".to_owned(),
        "/v2/a/tags/list".to_owned(),
        "/nothing".to_owned(),
    ];
    for window in [0, 1] {
        let client = client(&app, window).await;
        let mut bodies = Vec::new();
        for path in &paths {
            bodies.push(send(&client, "GET", path, "192.0.2.1").await.into_body());
        }
        let began = Instant::now();
        for (path, body) in paths.iter().zip(&mut bodies) {
            let mut received = 0;
            let ended = loop {
                match tokio::time::timeout(IDLE * 5, body.data()).await.expect("it is reset") {
                    Some(Ok(data)) => received += data.len(),
                    ended => break ended,
                }
            };
            assert!(ended.is_some_and(|ended| ended.is_err_and(|e| e.is_reset())), "{path}");
            assert_eq!(received, window as usize, "{path}");
        }
        assert!(began.elapsed() < IDLE * 3, "{:?}", began.elapsed());
        // The connection goes on.
        let path = format!("/v2/a/blobs/{large}");
        assert_eq!(send(&client, "HEAD", &path, "192.0.2.1").await.status(), 200);
    }
    metric(&app, BROKEN, 2 * paths.len() as u64).await;
    metric(&app, "longshore_http_requests_in_flight", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_whose_window_opens_slowly_continues() {
    let app = app(|settings| {
        settings.server.response_idle_timeout = IDLE;
        settings.server.header_timeout = IDLE;
    })
    .await;
    let content = bytes(1, MIB);
    let path = format!("/v2/a/blobs/{}", app.push_blob("a", &content).await);
    let client = client(&app, 60_000).await;
    let mut body = send(&client, "GET", &path, "192.0.2.1").await.into_body();
    let (began, mut received) = (Instant::now(), Vec::new());
    while let Some(data) = body.data().await {
        let data = data.expect("it continues");
        received.extend_from_slice(&data);
        if began.elapsed() < IDLE * 5 {
            tokio::time::sleep(IDLE / 8).await;
        }
        body.flow_control().release_capacity(data.len()).expect("it was received");
    }
    assert!(began.elapsed() > IDLE * 3, "{:?}", began.elapsed());
    assert!(received == content, "{} bytes", received.len());
}

/// A window as large as the body is enough, whatever its length.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_the_length_of_the_body_is_enough() {
    let app = app(|_| {}).await;
    for length in [1, 2, 70_000, 131_072, 131_073, 300_000] {
        let content = bytes(length, length as usize);
        let path = format!("/v2/a/blobs/{}", app.push_blob("a", &content).await);
        let client = client(&app, length as u32).await;
        let mut body = send(&client, "GET", &path, "192.0.2.1").await.into_body();
        let mut received = Vec::new();
        while let Some(data) = tokio::time::timeout(IDLE * 5, body.data()).await.expect("in time") {
            received.extend_from_slice(&data.expect("a whole body"));
        }
        assert!(received == content, "{} of {length} bytes", received.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_a_hundred_streams_at_most() {
    let app = app(|_| {}).await;
    let client = client(&app, 65_535).await;
    send(&client, "GET", "/v2/", "192.0.2.1").await;
    assert_eq!(client.current_max_send_streams(), 100);
}
