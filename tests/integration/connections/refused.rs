//! Requests that are refused by their head while the client still sends the body.

use longshore::auth::GeneralAccess;
use longshore::config::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{app, connect};

const BODY_BYTES: usize = 256 * 1024;

/// Reads one response with a `Content-Length`, and returns its status.
async fn status(socket: &mut TcpStream) -> u16 {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("the connection is open"));
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.expect("a length").parse().expect("a number")];
    socket.read_exact(&mut body).await.expect("the whole body");
    head.split(' ').nth(1).expect("a status").parse().expect("a number")
}

/// A proxy that sends a body it has buffered would otherwise answer 502.
#[tokio::test]
async fn the_rest_of_the_body_is_read_and_the_connection_stays() {
    let login = |settings: &mut Settings| settings.access.anonymous = Some(GeneralAccess::Pull);
    let requests = [
        ("PATCH", "/v2/refused/blobs/uploads/malformed", 404),
        ("PUT", "/v2/refused/unknown", 404),
        ("PUT", "/elsewhere", 404),
        ("PUT", "/v2/refused/blobs/sha256:short", 400),
        ("POST", "/ui/unknown", 404),
    ];
    let closed = [("POST", "/v2/refused/blobs/uploads/", 403), ("PUT", "/v2/a/manifests/1", 403)];
    for (app, requests) in [(app(|_| ()).await, &requests[..]), (app(login).await, &closed[..])] {
        for (method, path, expected) in requests {
            let mut socket = connect(&app).await;
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {BODY_BYTES}\r\n\r\n"
            );
            socket.write_all(head.as_bytes()).await.expect("sent");
            assert_eq!(status(&mut socket).await, *expected, "{method} {path}");
            socket.write_all(&vec![0; BODY_BYTES]).await.expect("the body is read");
            socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
            assert_eq!(status(&mut socket).await, 200, "after {method} {path}");
        }
    }
}
