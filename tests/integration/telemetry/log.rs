//! The log: one line for each request, one identifier for it, and no secret.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::app::OCI_MANIFEST;
use crate::support::content::{image, spelled};
use crate::support::process::Process;
use crate::support::{App, bytes, sha256};

const CANARY: &str = "canary-5Kq8";

/// The access log, once it has as many lines as expected.
async fn requests(process: &Process, count: usize) -> Vec<Value> {
    for _ in 0..100 {
        let lines = json(process);
        let about = |line: &Value| line.get("request_id").is_some();
        let found: Vec<Value> = lines.into_iter().filter(about).collect();
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("fewer than {count} requests were logged:\n{}", process.log())
}

/// Every line of the log is a JSON object.
fn json(process: &Process) -> Vec<Value> {
    let log = process.log();
    let parse = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(value["timestamp"].is_string() && value["level"].is_string(), "{line}");
        value
    };
    log.lines().map(parse).collect()
}

#[tokio::test]
async fn a_request_keeps_its_request_id_or_gets_one() {
    let app = App::start().await;
    let sane = "0af7651916cd43dd-8448:eb211c/80319c";
    for path in ["/v2/", "/v2/a/manifests/none", "/nothing"] {
        let reply = app.get(path).header("x-request-id", sane).send().await;
        assert_eq!(reply.header("x-request-id"), Some(sane), "{path}");
        assert_eq!(reply.headers.get_all("x-request-id").iter().count(), 1);
    }
    let mut made = Vec::new();
    for odd in ["", "with space", "<script>", &"x".repeat(129)] {
        let reply = app.get("/v2/").header("x-request-id", odd).send().await;
        let name = reply.header("x-request-id").expect("a name").to_owned();
        assert!(name.len() >= 18 && name != odd, "{odd:?} became {name:?}");
        made.push(name);
    }
    let reply = app.get("/v2/").send().await;
    made.push(reply.header("x-request-id").expect("a name").to_owned());
    let count = made.len();
    made.sort();
    made.dedup();
    assert_eq!(made.len(), count, "no two requests have one name");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_one_complete_log_line() {
    let process = Process::serve("memory", &[("LONGSHORE_LOG_FORMAT", "json")]);
    let client = process.client();
    let content = bytes(1, 1000);
    let start = client.request("POST", "/v2/team/app/blobs/uploads/").send().await.expect(202);
    let close = format!("{}&digest={}&_state={CANARY}", start.location(), sha256(&content));
    let put = client.request("PUT", &close).header("x-request-id", "the-push");
    put.body(content.clone()).send().await.expect(201);
    let path = format!("/v2/team/app/blobs/{}", sha256(&content));
    client.request("GET", &path).send().await.expect(200);
    client.request("GET", "/nothing").send().await.expect(404);
    let lines = requests(&process, 4).await;
    assert_eq!(lines.len(), 4, "one line each: {lines:?}");

    let push = lines.iter().find(|line| line["request_id"] == "the-push").expect("the push");
    assert_eq!(push["operation"], "finish_upload");
    assert_eq!(push["digest"], sha256(&content));
    assert_eq!(push["method"], "PUT");
    assert_eq!(push["repository"], "team/app");
    assert_eq!(push["status"], 201);
    assert_eq!(push["received"], 1000);
    assert_eq!(push["sent"], 0);
    assert_eq!(push["client"], "127.0.0.1");
    assert_eq!(push["subject"], "anonymous");
    assert_eq!(push["level"], "INFO");
    assert!(push.get("trace_id").is_none(), "there are no traces: {push}");
    assert!(push["duration_ms"].as_f64().is_some_and(|time| time > 0.0), "{push}");
    for absent in ["code", "reason", "auth", "cause"] {
        assert!(push.get(absent).is_none(), "nothing was refused: {push}");
    }
    let pull = lines.iter().find(|line| line["operation"] == "get_blob").expect("the pull");
    assert_eq!((&pull["sent"], &pull["received"]), (&1000.into(), &0.into()));
    assert_eq!(pull["digest"], sha256(&content));
    let none = lines.iter().find(|line| line["operation"] == "unmatched").expect("the last one");
    assert_eq!((&none["status"], &none["code"]), (&404.into(), &"UNSUPPORTED".into()));
    assert!(!process.log().contains(CANARY), "{}", process.log());
}

/// Data that is missing from the folder: the response is 503, and the log has the cause, whatever
/// `log.requests` is.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_logged_once_with_its_cause() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for level in ["off", "debug", "info"] {
        let folder = folder.path().join(level);
        let variables = [("LONGSHORE_LOG_FORMAT", "json"), ("LONGSHORE_LOG_REQUESTS", level)];
        let process = Process::folder(&folder, &variables);
        let client = process.client();
        let content = bytes(1, 200_000);
        let digest = sha256(&content);
        let start = client.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202);
        let close = format!("{}&digest={digest}", start.location());
        client.request("PUT", &close).body(content).send().await.expect(201);
        assert!(forget_bytes(&folder) > 0);
        let path = format!("/v2/a/blobs/{digest}");
        client.request("GET", &path).send().await.expect(503);

        let failed = |line: &&Value| line["message"] == "request failed";
        requests(&process, if level == "info" { 3 } else { 1 }).await;
        let lines = json(&process);
        let failures: Vec<&Value> = lines.iter().filter(failed).collect();
        assert_eq!(failures.len(), 1, "{lines:?}");
        assert_eq!((&failures[0]["level"], &failures[0]["status"]), (&"ERROR".into(), &503.into()));
        let cause = failures[0]["cause"].as_str().expect("a cause");
        assert!(cause.contains("no data at"), "{cause}");
        assert_eq!(
            (&failures[0]["code"], &failures[0]["digest"]),
            (&"UNAVAILABLE".into(), &digest.as_str().into())
        );
        let answered = lines.iter().filter(|line| line["message"] == "request completed").count();
        assert_eq!(answered, if level == "info" { 2 } else { 0 }, "{lines:?}");
    }
}

/// Removes every large file below a folder.
fn forget_bytes(folder: &std::path::Path) -> usize {
    let mut removed = 0;
    for entry in std::fs::read_dir(folder).expect("a folder").map_while(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            removed += forget_bytes(&path);
        } else if std::fs::metadata(&path).is_ok_and(|of| of.len() == 200_000) {
            std::fs::remove_file(&path).expect("it can be removed");
            removed += 1;
        }
    }
    removed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnected_client_is_logged() {
    use tokio::io::AsyncWriteExt as _;
    let process = Process::serve("memory", &[("LONGSHORE_LOG_FORMAT", "json")]);
    let client = process.client();
    let start = client.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202);
    let mut socket = tokio::net::TcpStream::connect(process.address).await.expect("connected");
    let head = format!(
        "PATCH {} HTTP/1.1\r\nhost: a\r\nx-request-id: gone\r\ncontent-length: 10\r\n\r\nhello",
        start.location()
    );
    socket.write_all(head.as_bytes()).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(socket);
    let lines = requests(&process, 2).await;
    let gone = lines.iter().find(|line| line["request_id"] == "gone").expect("a line");
    assert_eq!(gone["received"], 5, "{gone}");
}

/// However a response breaks off, its line says who ended it, and how much of it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_breaks_off_is_logged_and_counted() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let variables = [
        ("LONGSHORE_LOG_FORMAT", "json"),
        ("LONGSHORE_SERVER_RESPONSE_IDLE_TIMEOUT", "500ms"),
        ("LONGSHORE_ADMIN_LISTEN", "127.0.0.1:0"),
    ];
    let process = Process::serve("memory", &variables);
    let content = bytes(1, 20 * 1024 * 1024);
    let push = format!("/v2/a/blobs/uploads/?digest={}", sha256(&content));
    process.client().request("POST", &push).body(content.clone()).send().await.expect(201);
    let ended = "response ended: the client took nothing of it for too long";
    let gone = "client disconnected during the response";
    let mut stalled = Vec::new();
    for (id, reset) in [("closed", false), ("reset", true), ("stalled", false)] {
        let mut socket = tokio::net::TcpStream::connect(process.address).await.expect("connected");
        let head = format!(
            "GET /v2/a/blobs/{} HTTP/1.1\r\nhost: a\r\nx-request-id: {id}\r\n\r\n",
            sha256(&content)
        );
        socket.write_all(head.as_bytes()).await.expect("sent");
        socket.read_exact(&mut [0; 1000]).await.expect("the beginning");
        if reset {
            let zero = Some(Duration::ZERO);
            socket2::SockRef::from(&socket).set_linger(zero).expect("the next close resets");
        }
        if id == "stalled" {
            stalled.push(socket);
        }
    }
    let lines = requests(&process, 4).await;
    for (id, message) in [("closed", gone), ("reset", gone), ("stalled", ended)] {
        let line = by_id(&lines, id);
        assert_eq!((&line["message"], &line["status"]), (&message.into(), &200.into()), "{line}");
        assert_eq!(line["promised"], content.len(), "{line}");
        assert!(line["sent"].as_u64().is_some_and(|sent| sent < content.len() as u64), "{line}");
    }
    let metrics = process.admin().request("GET", "/metrics").send().await.expect(200);
    let metrics = String::from_utf8(metrics.body.to_vec()).expect("text");
    for (by, count) in [("client", 2), ("idle_timeout", 1)] {
        let series = format!("longshore_http_broken_responses_total{{by=\"{by}\"}} {count}");
        assert!(metrics.contains(&series), "{series}");
    }
}

/// A request by its id in the log.
fn by_id<'a>(lines: &'a [Value], id: &str) -> &'a Value {
    lines.iter().find(|line| line["request_id"] == id).unwrap_or_else(|| panic!("no line of {id}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_logged_with_its_code_and_reason() {
    let process = Process::serve("memory", &[("LONGSHORE_LOG_FORMAT", "json")]);
    let client = process.client();
    let (content, other) = (bytes(1, 100), sha256(b"other"));
    let start = client.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202);
    let close = format!("{}&digest={other}", start.location());
    let put = client.request("PUT", &close).header("x-request-id", "digest").body(content);
    put.send().await.expect(400);
    let manifest = spelled(&image(OCI_MANIFEST, 1));
    let push = client.request("PUT", "/v2/a/manifests/v1").header("x-request-id", "missing");
    push.header("content-type", OCI_MANIFEST).body(manifest).send().await.expect(400);
    let path = format!("/v2/a/blobs/{other}");
    client.request("GET", &path).header("x-request-id", "absent").send().await.expect(404);
    let lines = requests(&process, 4).await;

    let expected = [
        ("digest", "finish_upload", 400, "DIGEST_INVALID"),
        ("missing", "put_manifest", 400, "MANIFEST_BLOB_UNKNOWN"),
        ("absent", "get_blob", 404, "BLOB_UNKNOWN"),
    ];
    for (id, operation, status, code) in expected {
        let line = by_id(&lines, id);
        assert_eq!((&line["operation"], &line["status"]), (&operation.into(), &status.into()));
        assert_eq!((&line["code"], &line["level"]), (&code.into(), &"INFO".into()), "{line}");
        assert!(line["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{line}");
        assert!(line.get("auth").is_none() && line.get("cause").is_none(), "{line}");
    }
    let missing = by_id(&lines, "missing")["reason"].as_str().expect("a reason");
    assert!(missing.contains(&sha256(&bytes(1, 100))) || missing.contains(&sha256(b"{}")));
    assert_eq!(by_id(&lines, "absent")["digest"], other, "the digest that was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_caller_is_logged_with_the_reason_and_no_secret() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let users = folder.path().join("users");
    let hash = bcrypt::hash("right", 4).expect("a hash");
    std::fs::write(&users, format!("ada:{hash}\n")).expect("written");
    let users = users.to_str().expect("UTF-8");
    let variables = [
        ("LONGSHORE_LOG_FORMAT", "json"),
        ("LONGSHORE_LOG_LEVEL", "trace"),
        ("LONGSHORE_ACCESS_HTPASSWD_FILE", users),
        ("LONGSHORE_ACCESS_AUTHENTICATED", "push"),
    ];
    let process = Process::serve("memory", &variables);
    let client = process.client();
    let secret = STANDARD.encode(format!("ada:{CANARY}"));
    let wrong = client.request("GET", "/v2/").header("authorization", format!("Basic {secret}"));
    wrong.header("x-request-id", "wrong").send().await.expect(401);
    client.request("GET", "/v2/").header("x-request-id", "nothing").send().await.expect(401);
    let lines = requests(&process, 2).await;
    for (id, auth) in [("wrong", "wrong_password"), ("nothing", "no_credentials")] {
        let line = by_id(&lines, id);
        assert_eq!((&line["auth"], &line["code"]), (&auth.into(), &"UNAUTHORIZED".into()));
        assert!(line["reason"].is_string() && line.get("subject").is_none(), "{line}");
    }
    for secret in [CANARY, &secret] {
        assert!(!process.log().contains(secret), "{}", process.log());
    }
}

/// In the format for people: words without quotes, and durations without the tail of a float.
#[tokio::test(flavor = "multi_thread")]
async fn the_text_format_is_made_to_be_read() {
    let process = Process::serve("memory", &[("LONGSHORE_LOG_FORMAT", "text")]);
    let client = process.client();
    let content = bytes(1, 100);
    let path = format!("/v2/a/blobs/{}", sha256(&content));
    let push = format!("/v2/a/blobs/uploads/?digest={}", sha256(&content));
    client.request("POST", &push).body(content).send().await.expect(201);
    client.request("GET", &path).send().await.expect(200);
    client.request("GET", "/v2/a/blobs/sha256:bad").send().await.expect(400);
    let mut lines = Vec::new();
    for _ in 0..100 {
        let log = process.log();
        lines =
            log.lines().filter(|line| line.contains("request_id=")).map(str::to_owned).collect();
        if lines.len() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(lines.len(), 3, "{}", process.log());
    for (line, operation) in lines.iter().zip(["start_upload", "get_blob", "unmatched"]) {
        assert!(line.contains(&format!("operation={operation} method=")), "{line}");
        let (_, duration) = line.split_once("duration_ms=").expect("a duration");
        let duration = duration.split_whitespace().next().expect("a number");
        let (_, decimals) = duration.split_once('.').expect("a decimal point");
        assert!(duration.parse::<f64>().is_ok() && decimals.len() <= 2, "{line}");
    }
    let digest = path.rsplit('/').next().expect("a digest");
    assert!(lines[1].contains(&format!("digest={digest} ")), "{}", lines[1]);
    assert!(lines[2].contains("code=DIGEST_INVALID reason=\""), "{}", lines[2]);
}

/// At the lowest level, with a real S3 server: the log contains no credentials for the store.
#[tokio::test(flavor = "multi_thread")]
async fn presigned_signatures_are_never_logged() {
    let Some(bucket) = crate::support::app::variable("LONGSHORE_TEST_S3") else {
        println!("not run without an S3 server: no_signature_is_logged (LONGSHORE_TEST_S3)");
        return;
    };
    let variables = [
        ("LONGSHORE_LOG_LEVEL", "trace"),
        ("LONGSHORE_LOG_FORMAT", "json"),
        ("LONGSHORE_BLOBS_DELIVERY", "redirect"),
    ];
    let mut process = Process::serve(&bucket, &variables);
    let client = process.client();
    let content = bytes(1, 100_000);
    let digest = sha256(&content);
    let start = client.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202);
    let close = format!("{}&digest={digest}", start.location());
    let header = format!("Bearer {CANARY}");
    let put = client.request("PUT", &close).header("authorization", &header);
    put.body(content).send().await.expect(201);
    let pull = client.request("GET", &format!("/v2/a/blobs/{digest}"));
    let location = pull.header("authorization", &header).send().await.expect(307).location();
    let (_, signature) = location.split_once("X-Amz-Signature=").expect("a presigned URL");
    let signature = &signature[..64];
    // A request may be logged after its response, but not after the process has exited.
    process.terminate();
    assert!(process.ended().await.success());
    let log = process.log();
    json(&process);
    let secret = crate::support::app::variable("AWS_SECRET_ACCESS_KEY").unwrap_or_default();
    let secrets = [signature, "X-Amz-Signature", "Signature=", CANARY];
    for secret in secrets.into_iter().chain((!secret.is_empty()).then_some(secret.as_str())) {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} is in {line:?}");
    }
    assert!(log.contains("\"operation\":\"get_blob\""), "{log}");
}
