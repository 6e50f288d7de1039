//! What all bodies share: memory, and places for uploads. A client that trickles its bodies keeps
//! neither from others.

use longshore::auth::GeneralAccess;

use super::*;
use crate::support::{Reply, Request};

const KIB: usize = 1024;
/// Longer than a body may come too slowly while others wait.
const SLOW: Duration = Duration::from_millis(2300);
const OTHER_CLIENT: &str = "198.51.100.7";
/// Two, because one client alone cannot take everything.
const TRICKLING_CLIENTS: [&str; 2] = ["198.51.100.8", "198.51.100.9"];

/// A registry that takes `X-Forwarded-For` for the address of the client.
async fn shared(change: impl FnOnce(&mut Settings)) -> App {
    app(|settings| {
        settings.server.trusted_proxies = "127.0.0.0/8".parse().expect("a network");
        settings.uploads.part_bytes = 5 * MIB;
        settings.uploads.wait_max = Duration::from_secs(3);
        change(settings);
    })
    .await
}

/// Sends a body byte by byte until the connection ends, and returns the answer.
async fn trickle(mut socket: TcpStream) -> String {
    let mut received = vec![0; 64 * KIB];
    loop {
        let read = socket.read(&mut received);
        match tokio::time::timeout(Duration::from_millis(700), read).await {
            Ok(read) => {
                let length = read.unwrap_or(0);
                return String::from_utf8_lossy(&received[..length]).into_owned();
            }
            Err(_) => {
                let _ = socket.write_all(b"x").await;
            }
        }
    }
}

fn whole<'a>(app: &'a App, content: &[u8]) -> Request<'a> {
    let path = format!("/v2/b/blobs/uploads/?digest={}", sha256(content));
    app.request("POST", &path).body(content.to_vec())
}

async fn by_another_client(request: Request<'_>) -> Reply {
    request.header("x-forwarded-for", OTHER_CLIENT).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn trickling_uploads_give_their_memory_to_another_client() {
    let app = shared(|settings| settings.uploads.buffer_bytes = 64 * MIB).await;
    let (mut locations, mut trickling) = (Vec::new(), JoinSet::new());
    let lengths = [[50 * 1024 * MIB; 12].as_slice(), &[MIB; 3]].concat();
    for (length, client) in lengths.into_iter().zip(TRICKLING_CLIENTS.iter().cycle()) {
        let location = begin_upload(&app).await;
        let framing = format!("x-forwarded-for: {client}\r\ncontent-length: {length}");
        let mut socket = begin_patch(&app, &location, &framing).await;
        socket.write_all(&bytes(1, 100 * KIB)).await.expect("sent");
        locations.push(location);
        trickling.spawn(trickle(socket));
    }
    tokio::time::sleep(SLOW).await;
    let content = bytes(2, 2 * MIB);
    by_another_client(whole(&app, &content)).await.expect(201);
    // No more of them have ended than had to, and what those have sent is kept.
    let mut kept = 0;
    for location in &locations {
        let offset = app.get(location).send().await.expect(204).offset();
        assert!(offset == 0 || offset >= 100 * KIB as u64, "{offset}");
        kept += usize::from(offset > 0);
    }
    assert!((1..=3).contains(&kept), "{kept} uploads have ended");
    let ended = std::iter::from_fn(|| trickling.try_join_next()).count();
    assert!(ended <= kept, "{ended} of {kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trickling_uploads_give_their_place_to_another_client() {
    const PLACES: usize = 200;
    let app = shared(|settings| settings.uploads.concurrent_max = PLACES).await;
    let mut trickling = JoinSet::new();
    for client in TRICKLING_CLIENTS.iter().cycle().take(PLACES) {
        let location = begin_upload(&app).await;
        let framing = format!("x-forwarded-for: {client}\r\ncontent-length: 100");
        trickling.spawn(trickle(begin_patch(&app, &location, &framing).await));
    }
    tokio::time::sleep(SLOW).await;
    by_another_client(whole(&app, b"ten bytes.")).await.expect(201);
}

/// A part of the places and of the memory is kept for clients that hold nothing yet.
#[tokio::test(flavor = "multi_thread")]
async fn one_client_cannot_take_everything() {
    let app = shared(|settings| {
        settings.uploads.concurrent_max = 20;
        settings.uploads.buffer_bytes = 64 * MIB;
        settings.uploads.wait_max = Duration::from_millis(400);
    })
    .await;
    let mut trickling = JoinSet::new();
    for _ in 0..20 {
        let location = begin_upload(&app).await;
        let framing = format!("content-length: {}", 50 * 1024 * MIB);
        let mut socket = begin_patch(&app, &location, &framing).await;
        socket.write_all(&bytes(1, 100 * KIB)).await.expect("sent");
        trickling.spawn(trickle(socket));
    }
    // Before any of them has been slow for so long that its share can be taken back.
    tokio::time::sleep(Duration::from_millis(300)).await;
    by_another_client(whole(&app, &bytes(2, 2 * MIB))).await.expect(201);
    whole(&app, &bytes(2, 2 * MIB)).send().await.expect_error(503, "UNAVAILABLE");
}

/// Neither because nobody waits, nor because the client itself waits for more.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_goes_on_until_another_client_waits() {
    let app = shared(|settings| {
        settings.uploads.buffer_bytes = 5 * MIB;
        settings.uploads.wait_max = Duration::from_millis(400);
    })
    .await;
    let first = bytes(1, 100 * KIB);
    let chunk = format!("{:x}\r\n{}\r\n", first.len(), "y".repeat(first.len()));
    for another_waits in [false, true] {
        let location = begin_upload(&app).await;
        let mut socket = begin_patch(&app, &location, "transfer-encoding: chunked").await;
        socket.write_all(chunk.as_bytes()).await.expect("sent");
        tokio::time::sleep(SLOW).await;
        let content = bytes(2, 2 * MIB);
        whole(&app, &content).send().await.expect_error(503, "UNAVAILABLE");
        if another_waits {
            by_another_client(whole(&app, &content)).await.expect(201);
            let answer = rest(&mut socket).await;
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            assert!(answer.contains("retry-after: "), "{answer}");
            // It continues where it was.
            let status = app.get(&location).send().await.expect(204).stands_at(first.len());
            let patch = app.request("PATCH", &status.location()).chunk_at(first.len(), 1);
            patch.body("z").send().await.expect(202);
        } else {
            socket.write_all(b"1\r\nz\r\n0\r\n\r\n").await.expect("sent");
            let answer = rest(&mut socket).await;
            assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        }
    }
}

/// Behind one proxy, or one address translation.
#[tokio::test(flavor = "multi_thread")]
async fn users_are_told_apart_by_their_names() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let users = folder.path().join("users");
    let line = |user: &str| format!("{user}:{}\n", bcrypt::hash("pw", 4).expect("a hash"));
    std::fs::write(&users, [line("alice"), line("bob")].concat()).expect("written");
    let app = shared(|settings| {
        settings.access.htpasswd_file = Some(users);
        settings.access.authenticated = Some(GeneralAccess::Push);
        settings.uploads.concurrent_max = 1;
        settings.uploads.wait_max = Duration::from_millis(400);
    })
    .await;
    // alice:pw and bob:pw in Base64.
    let (alice, bob) = ("Basic YWxpY2U6cHc=", "Basic Ym9iOnB3");
    let start = app.request("POST", "/v2/a/blobs/uploads/").header("authorization", alice);
    let location = start.send().await.expect(202).location();
    let framing = format!("authorization: {alice}\r\ncontent-length: 100");
    let mut trickling = JoinSet::new();
    trickling.spawn(trickle(begin_patch(&app, &location, &framing).await));
    tokio::time::sleep(SLOW).await;
    let upload = |user| whole(&app, b"small").header("authorization", user).send();
    upload(alice).await.expect_error(503, "UNAVAILABLE");
    upload(bob).await.expect(201);
    let answer = trickling.join_next().await.expect("one").expect("no panic");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_waits_for_its_turn() {
    let app = app(|settings| settings.uploads.concurrent_max = 1).await;
    let location = begin_upload(&app).await;
    let mut first = begin_patch(&app, &location, "content-length: 2").await;
    first.write_all(b"a").await.expect("sent");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    let second = whole(&app, b"second").send();
    let ends = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        first.write_all(b"b").await.expect("sent");
        rest(&mut first).await
    };
    let (second, answer) = tokio::join!(second, ends);
    second.expect(201);
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

/// Starts to push a manifest, and sends the beginning of its body.
async fn begin_manifest(app: &App, framing: &str, beginning: &[u8]) -> TcpStream {
    let mut socket = connect(app).await;
    let head = format!(
        "PUT /v2/a/manifests/v1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{framing}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.expect("sent");
    socket.write_all(beginning).await.expect("sent");
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_take_their_memory_from_that_of_uploads() {
    let app = shared(|settings| {
        settings.uploads.buffer_bytes = 10 * MIB;
        settings.uploads.wait_max = Duration::from_millis(400);
    })
    .await;
    let framing = format!("content-length: {}", 4 * MIB);
    let beginning = vec![b' '; 100 * KIB];
    let mut held = begin_manifest(&app, &framing, &beginning).await;
    // Of a manifest without a length, the largest that is allowed.
    let chunk = format!("{:x}\r\n{}\r\n", 100 * KIB, " ".repeat(100 * KIB));
    let framed = "transfer-encoding: chunked";
    let mut other = begin_manifest(&app, framed, chunk.as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut refused = begin_manifest(&app, &framing, &beginning).await;
    let answer = rest(&mut refused).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: "), "{answer}");
    whole(&app, &bytes(1, 4 * MIB)).send().await.expect_error(503, "UNAVAILABLE");
    // Most manifests are small, and need none of it.
    app.push_image("a", "small", 1).await;

    tokio::time::sleep(SLOW).await;
    by_another_client(whole(&app, &bytes(1, 4 * MIB))).await.expect(201);
    // The memory of one of them was enough. The other one goes on, and is no manifest.
    let ended = tokio::time::timeout(SLOW, rest(&mut held)).await;
    let (ended, finished) = if let Ok(ended) = ended {
        other.write_all(b"0\r\n\r\n").await.expect("sent");
        (ended, rest(&mut other).await)
    } else {
        let ended = rest(&mut other).await;
        held.write_all(&vec![b' '; 4 * MIB - 100 * KIB]).await.expect("sent");
        (ended, rest(&mut held).await)
    };
    assert!(ended.starts_with("HTTP/1.1 503"), "{ended}");
    assert!(finished.starts_with("HTTP/1.1 400"), "{finished}");
}
