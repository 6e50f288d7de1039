//! Requests as bytes: framing that a proxy may read otherwise, and paths that may mean another.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{As as _, Guarded, basic_header, push, with_passwords};

/// Bob may do everything in `bob/**`, and nothing else.
const RULES: &str = "
    [[access.rules]]
    subject = 'user:bob'
    repositories = 'bob/**'
    actions = ['pull', 'push', 'delete']
    [[access.rules]]
    subject = 'user:owner'
    repositories = '**'
    actions = ['pull', 'push', 'delete']";

async fn guarded() -> Guarded {
    let app = with_passwords(&["bob", "owner"], RULES).await;
    push(&app, "secret/app", "v1", "secret").user("owner").send().await.expect(201);
    push(&app, "bob/app", "v1", "bob").user("bob").send().await.expect(201);
    app
}

/// Everything that is answered to these bytes within half a second or until the connection ends.
async fn exchange(app: &Guarded, sent: &[u8]) -> String {
    let mut socket = TcpStream::connect(app.address.expect("ours")).await.expect("connected");
    socket.write_all(sent).await.expect("sent");
    let mut received = Vec::new();
    let read = socket.read_to_end(&mut received);
    let _ = tokio::time::timeout(Duration::from_millis(500), read).await;
    String::from_utf8_lossy(&received).into_owned()
}

fn answers(received: &str) -> usize {
    received.matches("HTTP/1.1 ").count() + received.matches("HTTP/1.0 ").count()
}

/// Where two readers could disagree on where a request ends, what follows it is never a request.
#[tokio::test(flavor = "multi_thread")]
async fn an_ambiguous_length_hides_no_second_request() {
    let app = guarded().await;
    let authorization = basic_header("bob", "bob-pw");
    let second = format!(
        "GET /v2/bob/app/manifests/v1 HTTP/1.1\r\nhost: a\r\nauthorization: {authorization}\r\n\r\n"
    );
    let length = second.len();
    for (framing, body) in [
        ("content-length: 5\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
        ("transfer-encoding: chunked\r\ncontent-length: 5", "0\r\n\r\n"),
        ("content-length: 0\r\ncontent-length: 9", ""),
        ("content-length: 0, 9", ""),
        ("content-length: +0", ""),
        ("content-length: -1", ""),
        ("content-length: 0x0", ""),
        ("content-length: 0 0", ""),
        ("content-length:", ""),
        ("content-length: 99999999999999999999999", ""),
        ("content-length : 0", ""),
        ("content\u{b}-length: 0", ""),
        (" content-length: 0", ""),
        ("x: y\r\n content-length: 0", ""),
        ("transfer-encoding: xchunked", "0\r\n\r\n"),
        ("transfer-encoding: chunked, identity", "0\r\n\r\n"),
        ("transfer-encoding: identity, chunked, chunked", "0\r\n\r\n"),
        ("transfer-encoding: chunked\r\ntransfer-encoding: identity", "0\r\n\r\n"),
        ("transfer-encoding: \"chunked\"", "0\r\n\r\n"),
        ("transfer-encoding : chunked", "0\r\n\r\n"),
        ("transfer-encoding:\r\n chunked", "0\r\n\r\n"),
        ("transfer-encoding: chunked", "0x0\r\n\r\n"),
        ("transfer-encoding: chunked", "+0\r\n\r\n"),
        ("transfer-encoding: chunked", "-1\r\n\r\n"),
        ("transfer-encoding: chunked", "fffffffffffffffff\r\n"),
        ("transfer-encoding: chunked", "1\r\nxx\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked", "g\r\n\r\n"),
        ("x: a\rcontent-length: 0", ""),
        ("x: a\0b", ""),
    ] {
        let head = format!(
            "POST /v2/bob/app/blobs/uploads/ HTTP/1.1\r\nhost: a\r\n\
             authorization: {authorization}\r\n{framing}\r\n\r\n"
        );
        let received = exchange(&app, format!("{head}{body}{second}").as_bytes()).await;
        assert!(answers(&received) <= 1, "{framing:?} {body:?}: {received}");
        assert!(!received.starts_with("HTTP/1.1 5"), "{framing:?} {body:?}: {received}");
        assert!(!received.contains("docker-content-digest"), "{framing:?} {body:?}: {received}");
    }
    // The other way around: a body is no request either.
    let head = format!(
        "POST /v2/bob/app/blobs/uploads/ HTTP/1.1\r\nhost: a\r\nauthorization: {authorization}\r\n\
         content-length: {length}\r\n\r\n{second}"
    );
    let received = exchange(&app, head.as_bytes()).await;
    assert_eq!(answers(&received), 1, "{received}");
    // And two requests are two, or the test would show nothing.
    let received = exchange(&app, format!("{second}{second}").as_bytes()).await;
    assert_eq!(answers(&received), 2, "{received}");
}

/// Nothing that stands in a path, however it is written, leads to another repository.
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_reaches_another_repository() {
    let app = guarded().await;
    let prefixes = [
        "/v2/secret/app",
        "/v2//secret/app",
        "//v2/secret/app",
        "/v2/./secret/app",
        "/v2/bob/../secret/app",
        "/v2/bob/app/../../secret/app",
        "/v2/bob/%2e%2e/secret/app",
        "/v2/bob/..%2fsecret/app",
        "/v2/bob%2f..%2fsecret/app",
        "/v2/secret%2fapp",
        "/v2/secret%2Fapp",
        "/v2/%73ecret/app",
        "/v2/secret/%61pp",
        "/V2/secret/app",
        "/v2/Secret/app",
        "/v2/secret/app/",
        "/v2/secret/app//",
        "/v2/secret;x/app",
        "/v2/secret/app;x",
        "/v2/secret\\app",
        "/v2/bob\\..\\secret/app",
        "/v2/secret/app%00",
        "/v2/secret/app%0d%0ax:y",
        "/v2/%c0%ae%c0%ae/secret/app",
        "/v2/secret/app%20",
        "/v2/bob/app/manifests/v1/../../../../secret/app",
        "http://a/v2/secret/app",
        "http://bob@a/v2/secret/app",
        "/v2/secret/app?/../../bob/app",
        "/v2/secret/app%3f",
        "/v2/secret/app%23",
        "/%76%32/secret/app",
        "*",
        "secret/app",
        "/v2/secret/app\u{a0}",
        "/v2/bob/app#/../secret/app",
    ];
    let callers = [String::new(), format!("authorization: {}\r\n", basic_header("bob", "bob-pw"))];
    let mut asked = 0;
    for prefix in prefixes {
        for rest in ["/manifests/v1", "/tags/list", "/manifests%2fv1", "/blobs/uploads/"] {
            for caller in &callers {
                for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "TRACE", "XYZ"] {
                    let request = format!(
                        "{method} {prefix}{rest} HTTP/1.1\r\nhost: a\r\n{caller}\
                         connection: close\r\ncontent-length: 0\r\n\r\n"
                    );
                    let received = exchange(&app, request.as_bytes()).await;
                    let status = received.get(9..10).unwrap_or("4");
                    assert_eq!(status, "4", "{method} {prefix}{rest} {caller}: {received}");
                    assert!(!received.contains("\r\nx:y"), "{prefix}{rest}: {received}");
                    asked += 1;
                }
            }
        }
    }
    assert_eq!(asked, prefixes.len() * 4 * 2 * 8);
    let owner = app.get("/v2/secret/app/tags/list").user("owner").send().await.expect(200);
    assert_eq!(owner.json()["tags"], serde_json::json!(["v1"]));
}
