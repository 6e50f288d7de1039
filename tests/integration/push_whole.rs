//! Pushing a blob in one body: distribution-spec "Pushing a blob monolithically" (end-4a, end-4b,
//! end-4c, end-6), by a single POST and by POST then PUT.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::exchange::{created, with_query};
use crate::support::{App, Reply, bytes, sha256, sha512};

/// Sizes around all limits: inline, one object, several parts.
const SIZES: [usize; 6] = [0, 1, 64 * 1024, 64 * 1024 + 1, 16 * 1024 * 1024, 16 * 1024 * 1024 + 1];

/// The flows that push a blob in one body.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// POST with the digest and a `Content-Length`.
    Post,
    /// POST with the digest, with chunked encoding.
    PostStreamed,
    /// POST, then PUT with a `Content-Length`.
    Put,
    /// POST, then PUT with chunked encoding.
    PutStreamed,
}

impl Way {
    const ALL: [Self; 4] = [Self::Post, Self::PostStreamed, Self::Put, Self::PutStreamed];

    /// Pushes a blob. `query` has the digest or digests.
    async fn push(self, app: &App, repository: &str, query: &str, content: &[u8]) -> Reply {
        let start = format!("/v2/{repository}/blobs/uploads/");
        let (method, path) = match self {
            Self::Post | Self::PostStreamed => ("POST", with_query(&start, query)),
            Self::Put | Self::PutStreamed => {
                ("PUT", with_query(&app.start_upload(repository, "").await, query))
            }
        };
        let request = app.request(method, &path);
        let request = request.header("content-type", "application/octet-stream");
        let request = match self {
            Self::Post | Self::Put => request.body(content.to_vec()),
            Self::PostStreamed | Self::PutStreamed => request.chunked(content, 100_000),
        };
        request.send().await
    }
}

#[tokio::test]
async fn every_flow_stores_every_size() {
    let app = App::start().await;
    for (index, way) in Way::ALL.into_iter().enumerate() {
        let repository = app.repository("whole");
        for size in SIZES {
            let content = bytes((size + index) as u64, size);
            let digest = sha256(&content);
            let reply = way.push(&app, &repository, &format!("digest={digest}"), &content).await;
            created(reply, &repository, &digest);
            app.assert_blob(&repository, &digest, &content).await;
        }
    }
}

/// A SHA-512 digest need not be announced.
#[tokio::test]
async fn a_sha512_digest_need_not_be_announced() {
    let app = App::start().await;
    let repository = app.repository("sha512");
    for size in [0, 10, 100_000, 17 * 1024 * 1024] {
        let content = bytes(size as u64 + 50, size);
        let digest = sha512(&content);
        for way in Way::ALL {
            let reply = way.push(&app, &repository, &format!("digest={digest}"), &content).await;
            created(reply, &repository, &digest);
        }
        for query in ["?digest-algorithm=sha512", "?digest-algorithm=sha256"] {
            let location = app.start_upload(&repository, query).await;
            created(app.close(&location, &digest, &content).await, &repository, &digest);
        }
        app.assert_blob(&repository, &digest, &content).await;
    }
}

#[tokio::test]
async fn an_announced_algorithm_is_not_binding() {
    let app = App::start().await;
    let repository = app.repository("announced");
    for size in [10, 100_000, 17 * 1024 * 1024] {
        let content = bytes(size as u64 + 51, size);
        let digest = sha256(&content);
        let location = app.start_upload(&repository, "?digest-algorithm=sha512").await;
        created(app.close(&location, &digest, &content).await, &repository, &digest);
        app.assert_blob(&repository, &digest, &content).await;
    }
}

#[tokio::test]
async fn an_unknown_announced_algorithm_is_400() {
    let app = App::start().await;
    let repository = app.repository("unknown-algorithm");
    for algorithm in ["md5", "blake2b", "SHA512", "", "sha512%20", "sha256+b64"] {
        let path = format!("/v2/{repository}/blobs/uploads/?digest-algorithm={algorithm}");
        app.request("POST", &path)
            .send()
            .await
            .expect_error(400, "DIGEST_INVALID")
            .lacks("location");
    }
}

#[tokio::test]
async fn a_wrong_digest_is_400_and_nothing_is_stored() {
    for size in [0, 1, 1_000, 100_000, 17 * 1024 * 1024] {
        let app = App::start().await;
        let repository = app.repository("wrong");
        let content = bytes(size as u64 + 60, size);
        let (other, other512) = (sha256(b"something else"), sha512(b"something else"));
        for way in Way::ALL {
            for digest in [&other, &other512] {
                let query = format!("digest={digest}");
                let reply = way.push(&app, &repository, &query, &content).await;
                reply.expect_error(400, "DIGEST_INVALID").lacks("location");
                app.assert_no_blob(&repository, digest).await;
            }
        }
        app.assert_no_blob(&repository, &sha256(&content)).await;
        app.assert_nothing_stored().await;
    }
}

#[tokio::test]
async fn an_invalid_or_unsupported_digest_is_400() {
    let app = App::start().await;
    let repository = app.repository("no-digest");
    let content = bytes(61, 1_000);
    let upper = sha256(&content).to_uppercase().replace("SHA256", "sha256");
    let md5 = format!("md5:{}", "0".repeat(32));
    let short = &sha256(&content)[..70];
    for digest in [&upper, &md5, short, "sha256:baddigeststring", "sha256", "", "a:b:c"] {
        for way in Way::ALL {
            let reply = way.push(&app, &repository, &format!("digest={digest}"), &content).await;
            reply.expect_error(400, "DIGEST_INVALID");
        }
    }
    app.assert_no_blob(&repository, &sha256(&content)).await;
    app.assert_nothing_stored().await;
}

/// The response has to reach a client that is still sending.
#[tokio::test]
async fn a_client_sending_a_large_body_with_a_malformed_digest_receives_the_400() {
    let app = App::start().await;
    let repository = app.repository("large-refused");
    let content = bytes(62, 17 * 1024 * 1024);
    for way in Way::ALL {
        let reply = way.push(&app, &repository, "digest=sha256:baddigeststring", &content).await;
        reply.expect_error(400, "DIGEST_INVALID");
    }
}

#[tokio::test]
async fn several_digests_of_a_put_are_all_verified() {
    let app = App::start().await;
    let repository = app.repository("several");
    for size in [20, 100_000, 17 * 1024 * 1024] {
        let content = bytes(size as u64 + 70, size);
        let (short, long) = (sha256(&content), sha512(&content));
        let (bad, bad512) = (sha256(b"bad"), sha512(b"bad"));
        for (one, two) in
            [(&short, &bad512), (&long, &bad), (&bad, &short), (&bad512, &short), (&short, &bad)]
        {
            let location = app.start_upload(&repository, "").await;
            let location = with_query(&location, &format!("digest={one}"));
            let reply = app.close(&location, two, &content).await;
            reply.expect_error(400, "DIGEST_INVALID");
            app.assert_no_blob(&repository, one).await;
        }
        app.assert_nothing_stored_of(&repository, &content).await;
        let location = app.start_upload(&repository, "").await;
        let location = with_query(&location, &format!("digest={short}"));
        created(app.close(&location, &long, &content).await, &repository, &short);
        app.assert_blob(&repository, &short, &content).await;
    }
}

impl App {
    async fn assert_nothing_stored_of(&self, repository: &str, content: &[u8]) {
        self.assert_no_blob(repository, &sha256(content)).await;
        self.assert_no_blob(repository, &sha512(content)).await;
    }
}

/// A single POST verifies every digest in its query.
#[tokio::test]
async fn several_digests_of_a_single_post_are_all_verified() {
    let app = App::start().await;
    let repository = app.repository("several-post");
    let content = bytes(75, 1_000);
    let (good, bad) = (sha256(&content), sha512(b"bad"));
    for query in [format!("digest={good}&digest={bad}"), format!("digest={good}&digest=bad")] {
        let reply = Way::Post.push(&app, &repository, &query, &content).await;
        reply.expect_error(400, "DIGEST_INVALID");
        app.assert_no_blob(&repository, &good).await;
    }
    let query = format!("digest={good}&digest={}", sha512(&content));
    created(Way::Post.push(&app, &repository, &query, &content).await, &repository, &good);
}

#[tokio::test]
async fn a_missing_digest_is_400_and_the_put_can_be_repeated() {
    let app = App::start().await;
    let repository = app.repository("retry");
    let content = bytes(80, 1_000);
    let location = app.start_upload(&repository, "").await;
    let put = app.request("PUT", &location).body(content.clone()).send().await;
    put.expect_error(400, "DIGEST_INVALID");
    app.get(&location).send().await.expect(204).stands_at(0);
    let digest = sha256(&content);
    created(app.close(&location, &digest, &content).await, &repository, &digest);
}

#[tokio::test]
async fn a_started_upload_returns_its_location() {
    let app = App::start().await;
    let repository = app.repository("started");
    let mut seen = std::collections::HashSet::new();
    for path in ["/blobs/uploads/", "/blobs/uploads"] {
        let reply = app.request("POST", &format!("/v2/{repository}{path}")).send().await;
        let reply = reply.expect(202).stands_at(0).has("content-length", "0").says(b"");
        let reply = reply.lacks("oci-chunk-min-length");
        let location = reply.location();
        let prefix = format!("/v2/{repository}/blobs/uploads/");
        assert!(location.starts_with(&prefix), "{location}");
        assert!(seen.insert(location), "a location was given out twice");
    }
}

#[tokio::test]
async fn pushing_again_is_201() {
    let app = App::start().await;
    let repository = app.repository("again");
    for size in [0, 100, 100_000] {
        let content = bytes(size as u64 + 90, size);
        let digest = sha256(&content);
        for way in Way::ALL.into_iter().chain(Way::ALL) {
            let reply = way.push(&app, &repository, &format!("digest={digest}"), &content).await;
            created(reply, &repository, &digest);
        }
        app.assert_blob(&repository, &digest, &content).await;
    }
    app.settled().await;
    if let Some(memory) = &app.memory {
        assert_eq!(memory.data_objects().len(), 1, "one copy of the one blob that is an object");
    }
}

/// Sends a header and a part of a body, closes the sending side, and returns the whole response.
async fn raw(app: &App, head: &str, body: &[u8]) -> String {
    let address = app.address.expect("a registry in this process");
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    let head = format!("{head}\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("the head is taken");
    socket.write_all(body).await.expect("the body is taken");
    socket.shutdown().await.expect("the sending side ends");
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A body that is shorter than its `Content-Length` ends with its connection. TCP decides whether
/// the response arrives; the registry must not store anything.
#[tokio::test]
async fn a_body_shorter_than_its_content_length_stores_nothing() {
    let app = App::start().await;
    if app.leaves_out("a body shorter than its Content-Length") {
        return;
    }
    let repository = app.repository("short");
    for size in [10, 100_000] {
        let content = bytes(size as u64 + 95, size);
        let digest = sha256(&content);
        let post = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let location = app.start_upload(&repository, "").await;
        let put = with_query(&location, &format!("digest={digest}"));
        for (method, path) in [("POST", &post), ("PUT", &put)] {
            let head = format!("{method} {path} HTTP/1.1\r\nContent-Length: {}", size + 1);
            let answer = raw(&app, &head, &content).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
            app.settled().await;
            app.assert_no_blob(&repository, &digest).await;
        }
    }
    app.assert_nothing_stored().await;
}

/// Bytes after the `Content-Length` are not part of the body, so the digest covers the bytes
/// before.
#[tokio::test]
async fn a_body_longer_than_its_content_length_is_truncated() {
    let app = App::start().await;
    if app.leaves_out("a body longer than its Content-Length") {
        return;
    }
    let repository = app.repository("long");
    let digest = sha256(b"hello world");
    let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    let head = format!("POST {path} HTTP/1.1\r\nContent-Length: 5");
    let answer = raw(&app, &head, b"hello world").await;
    let refused = answer.starts_with("HTTP/1.1 400 ") && answer.contains("DIGEST_INVALID");
    // The connection is closed with unread bytes, so the response may be lost.
    assert!(answer.is_empty() || refused, "{answer}");
    app.assert_no_blob(&repository, &digest).await;
}
