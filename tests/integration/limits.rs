//! Slow, stalled and too many clients, too large headers, and a store that is slower than the
//! clients.

mod rates;
mod shares;

use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore::config::Settings;
use longshore::store::RecordStore as _;
use longshore::store::memory::Memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::exchange::session_key;
use crate::support::metered::Metered;
use crate::support::persistent::{Flow, Persistent};
use crate::support::{App, bytes, sha256};

const MIB: usize = 1024 * 1024;
const IDLE: Duration = Duration::from_millis(600);

async fn app(change: impl FnOnce(&mut Settings)) -> App {
    let mut settings = Settings::default();
    change(&mut settings);
    App::over_memory(Arc::new(Memory::new()), settings).await
}

async fn impatient() -> App {
    app(|settings| {
        settings.server.body_idle_timeout = IDLE;
        settings.server.response_idle_timeout = IDLE;
    })
    .await
}

async fn connect(app: &App) -> TcpStream {
    TcpStream::connect(app.address.expect("ours")).await.expect("connected")
}

/// Starts a PATCH of an upload. The test sends the body.
async fn begin_patch(app: &App, location: &str, framing: &str) -> TcpStream {
    let mut socket = connect(app).await;
    let head =
        format!("PATCH {location} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{framing}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("sent");
    socket
}

async fn begin_upload(app: &App) -> String {
    app.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202).location()
}

/// Everything that arrives until the connection ends, which must be soon.
async fn rest(socket: &mut TcpStream) -> String {
    let mut received = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(8), socket.read_to_end(&mut received));
    // A reset counts as an end.
    let _ = read.await.expect("the connection ends");
    String::from_utf8_lossy(&received).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_that_makes_progress_continues() {
    let app = impatient().await;
    let location = begin_upload(&app).await;
    let mut socket = begin_patch(&app, &location, "transfer-encoding: chunked").await;
    let began = Instant::now();
    for _ in 0..20 {
        socket.write_all(b"1\r\nx\r\n").await.expect("sent");
        tokio::time::sleep(IDLE / 4).await;
    }
    assert!(began.elapsed() > IDLE * 4);
    socket.write_all(b"0\r\n\r\n").await.expect("sent");
    let answer = rest(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(answer.contains("range: 0-19\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_upload_is_closed_and_can_be_resumed() {
    let app = impatient().await;
    for framing in ["transfer-encoding: chunked", "content-length: 10"] {
        let location = begin_upload(&app).await;
        let mut socket = begin_patch(&app, &location, framing).await;
        let began = Instant::now();
        let sent: &[u8] = if framing.starts_with('t') { b"5\r\nhello\r\n" } else { b"hello" };
        socket.write_all(sent).await.expect("sent");
        let answer = rest(&mut socket).await;
        assert!(began.elapsed() >= IDLE && began.elapsed() < IDLE * 6, "{:?}", began.elapsed());
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("BLOB_UPLOAD_INVALID"), "{answer}");
        // The data that arrived is kept.
        let status = app.get(&location).send().await.expect(204);
        assert_eq!(status.header("range"), Some("0-4"));
        let patch = app.request("PATCH", &status.location()).header("content-range", "5-9");
        let location = patch.body("world").send().await.expect(202).location();
        let close = format!("{location}?digest={}", sha256(b"helloworld"));
        app.request("PUT", &close).send().await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_manifest_push_is_closed() {
    let app = impatient().await;
    let mut socket = connect(&app).await;
    let head = "PUT /v2/a/manifests/v1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                content-length: 9\r\n\r\n{";
    socket.write_all(head.as_bytes()).await.expect("sent");
    let answer = rest(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_download_is_closed_and_a_slow_one_is_not() {
    let app = impatient().await;
    let content = bytes(1, 40 * MIB);
    let path = format!("/v2/a/blobs/{}", app.push_blob("a", &content).await);
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let mut stalled = connect(&app).await;
    stalled.write_all(request.as_bytes()).await.expect("sent");

    let mut slow = connect(&app).await;
    slow.write_all(request.as_bytes()).await.expect("sent");
    let mut received = 0;
    let mut buffer = vec![0; MIB];
    let began = Instant::now();
    loop {
        let read = slow.read(&mut buffer).await.expect("a slow reader is not cut");
        if read == 0 {
            break;
        }
        received += read;
        if began.elapsed() < IDLE * 4 {
            tokio::time::sleep(IDLE / 8).await;
        }
    }
    assert!(received > content.len() && began.elapsed() > IDLE * 4, "{received}");

    // Meanwhile the other client read nothing, and it receives only a part of the body.
    let mut received = Vec::new();
    let _ = stalled.read_to_end(&mut received).await;
    assert!(received.len() < content.len(), "a reader that stalls holds its connection for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_over_the_limit_are_503() {
    let app = app(|settings| {
        settings.uploads.concurrent_max = 2;
        settings.uploads.wait_max = Duration::from_millis(100);
    })
    .await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let location = begin_upload(&app).await;
        busy.push(begin_patch(&app, &location, "content-length: 2").await);
    }
    for socket in &mut busy {
        socket.write_all(b"a").await.expect("sent");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let location = begin_upload(&app).await;
    let refused = app.request("PATCH", &location).body("third").send().await;
    let refused = refused.expect_error(503, "UNAVAILABLE");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(b"third"));
    app.request("POST", &path).body("third").send().await.expect_error(503, "UNAVAILABLE");
    // The limit does not apply to the upload status.
    app.get(&location).send().await.expect(204);
    for socket in &mut busy {
        socket.write_all(b"b").await.expect("sent");
        let answer = rest(socket).await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }
    app.request("PATCH", &location).body("third").send().await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_memory_stays_within_its_limit() {
    let budget = 20 * MIB as u64;
    let memory = Arc::new(Memory::new());
    let slow = Metered::over(memory.clone()).slow_parts(Duration::from_millis(100));
    let store = Arc::new(slow);
    let mut settings = Settings::default();
    settings.uploads.buffer_bytes = 20 * MIB;
    settings.uploads.part_bytes = 5 * MIB;
    let app = App::frontend(store.clone(), settings).await;
    let mut uploads = JoinSet::new();
    for seed in 0..16 {
        let client = Persistent::new([app.client.clone()]);
        uploads.spawn(async move {
            let flow = [Flow::Patch, Flow::Put][usize::from(seed % 2 == 0)];
            let digest = client.push_blob("a", &bytes(seed, 12 * MIB), flow).await;
            let troubles = client.troubles.lock().expect("no panic").clone();
            assert_eq!(troubles, Vec::<String>::new());
            digest
        });
    }
    for digest in uploads.join_all().await {
        app.request("HEAD", &format!("/v2/a/blobs/{digest}")).send().await.expect(200);
    }
    assert_eq!(memory.data_objects().len(), 16);
    let most = store.in_flight_max();
    println!("at most {most} of {budget} bytes on their way at once");
    assert!(most <= budget, "{most} bytes were on their way at once");
    assert!(most > budget / 2, "the budget is not used: {most}");
}

/// Before the body is read. The session goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_without_enough_parts_is_413() {
    let app = app(|_| {}).await;
    let largest: u64 = 1_008_000 * MIB as u64;
    let digest = sha256(b"a");
    let location = begin_upload(&app).await;
    let location = app.request("PATCH", &location).body("a").send().await.expect(202).location();
    let new = begin_upload(&app).await;
    for (method, path, length) in [
        ("POST", format!("/v2/a/blobs/uploads/?digest={digest}"), largest + 1),
        ("PATCH", new.clone(), largest + 1),
        ("PUT", format!("{new}&digest={digest}"), u64::MAX / 2),
        ("PATCH", location.clone(), largest),
        ("PUT", format!("{location}?digest={digest}"), largest),
    ] {
        let mut socket = connect(&app).await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.expect("sent");
        let answer = rest(&mut socket).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{method} {path}: {answer}");
        assert!(answer.contains("SIZE_INVALID"), "{answer}");
    }
    let close = format!("{location}?digest={digest}");
    app.request("PUT", &close).send().await.expect(201);
}

/// A session whose next parts are large sends the end of a chunk as a part of its own, because its
/// record could not hold it.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_chunk_of_a_large_upload_is_a_part() {
    let memory = Arc::new(Memory::new());
    let mut settings = Settings::default();
    settings.uploads.part_bytes = 5 * MIB;
    let app = App::over_memory(memory.clone(), settings).await;
    let content = bytes(2, 75 * MIB);
    let location = begin_upload(&app).await;
    let patch = app.request("PATCH", &location).body(content[..5 * MIB].to_vec());
    let patch = patch.header("content-range", format!("0-{}", 5 * MIB - 1));
    let location = patch.send().await.expect(202).location();
    // As if 5,000 parts were sent: the next ones have 160 MiB each.
    let key = session_key(&location);
    let record = memory.record(&key).expect("a session");
    let text = std::str::from_utf8(&record.body).expect("JSON without a tail");
    let later = text.replace("\"part_next\":2", "\"part_next\":5001");
    memory.replace(&key, &record.version, later.into(), None).await.expect("replaced");
    let patch = app.request("PATCH", &location).body(content[5 * MIB..].to_vec());
    patch.send().await.expect(202);
    let record = memory.record(&key).expect("a session");
    assert!(record.body.len() < MIB, "the record holds {} bytes", record.body.len());
    let close = format!("{location}?digest={}", sha256(&content));
    let blob = app.request("PUT", &close).send().await.expect(201).location();
    assert!(app.get(&blob).send().await.expect(200).body == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_headers_are_refused() {
    let app = app(|_| {}).await;
    let one = format!("x: {}\r\n", "y".repeat(200_000));
    let many = (0..2_000).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    let several = (0..150).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    for headers in [one, many, several] {
        let mut socket = connect(&app).await;
        let head = format!("GET /v2/ HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
        // The response may arrive while the header is still being sent.
        let _ = socket.write_all(head.as_bytes()).await;
        let answer = rest(&mut socket).await;
        let refused = answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 400");
        assert!(refused || answer.is_empty(), "{answer}");
    }
    let long = format!("/v2/{}/tags/list", "a/".repeat(40_000));
    let mut socket = connect(&app).await;
    let _ = socket.write_all(format!("GET {long} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
    let answer = rest(&mut socket).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    for noise in
        ["\r\n\r\n\r\n\r\n\r\nX", "GET\r\n\r\n", "\0\0\0\0\r\n\r\n", "GET /v2/ HTTP/9.9\r\n\r\n"]
    {
        let mut socket = connect(&app).await;
        socket.write_all(noise.as_bytes()).await.expect("sent");
        drop(socket);
    }
    app.get("/v2/").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_never_end_are_closed() {
    let app = app(|settings| settings.server.header_timeout = Duration::from_millis(500)).await;
    let mut socket = connect(&app).await;
    let began = Instant::now();
    socket.write_all(b"GET /v2/ HTTP/1.1\r\n").await.expect("sent");
    for _ in 0..10 {
        if socket.write_all(b"x: y\r\n").await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rest(&mut socket).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    app.get("/v2/").send().await.expect(200);
}
