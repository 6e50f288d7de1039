//! Every metric in the table changes under a small load.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use longshore::app;
use longshore::auth::{IssuerSettings, KeysFrom};
use longshore::collector::{Background, Mode};
use longshore::config::Settings;
use longshore::layout::encoding::decode;
use longshore::layout::records::Pointer;
use longshore::oci::UploadId;
use longshore::quota::Quota;
use longshore::store::memory::Memory;
use longshore::store::{BlobStore, Location, PresignGet, RecordKey, RecordStore};
use longshore::tasks::Tasks;
use longshore::telemetry::metrics::{Metrics, TABLE};
use longshore::usage::UsageScan;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::{Sample, samples, value};
use crate::s3_transport::{Fake, answer_dated, request};
use crate::support::collection::{LONG, Scene, collector_sharing};
use crate::support::test_store::StoreKind;
use crate::support::{App, bytes, sha256};

const MIB: usize = 1024 * 1024;

/// A registry over memory whose Redis is down.
async fn registry(metrics: &Metrics) -> App {
    let mut settings = Settings::default();
    settings.cache.redis = Some("redis://127.0.0.1:1".parse().expect("a URL"));
    settings.uploads.part_bytes = 5 * MIB;
    settings.uploads.buffer_bytes = 6 * MIB;
    settings.store.url = "s3://shared".parse().expect("the URL of a bucket");
    App::counting(Arc::new(Memory::new()), settings, metrics.clone()).await
}

/// Pushes and pulls, in parts and whole, valid and invalid.
async fn load(app: &App) {
    app.push_image("a", "v1", 1).await;
    let large = bytes(2, 6 * MIB);
    let digest = app.push_blob("a", &large).await;
    let start = app.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202).location();
    let begun = app.request("PATCH", &start).body(large.clone()).send().await.expect(202);
    let close = format!("{}?digest={}", begun.location(), sha256(b"something else"));
    app.request("PUT", &close).send().await.expect(400);
    app.get("/v2/a/manifests/v1").send().await.expect(200);
    app.get(&format!("/v2/a/blobs/{digest}")).send().await.expect(200);
}

/// Stalls an upload, returns the metrics during the stall, and runs another upload that has to wait
/// for memory.
async fn while_one_is_uploading(app: &App, metrics: &Metrics) -> Vec<Sample> {
    let start = app.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202).location();
    let (go_on, waiting) = tokio::sync::oneshot::channel::<()>();
    let first = stream::once(async { bytes(3, MIB).into() });
    let rest = stream::once(async move {
        let _ = waiting.await;
        bytes(4, 10).into()
    });
    let uploading = app.request("PATCH", &start).stream(first.chain(rest)).send();
    let watching = async {
        let buffered = |sample: &Sample| {
            sample.metric.name == "longshore_upload_inflight_bytes" && sample.value > 0.0
        };
        for _ in 0..500 {
            let seen = samples(metrics);
            if seen.iter().any(buffered) {
                let other = chunked_upload(app);
                let release = async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let _ = go_on.send(());
                };
                tokio::join!(other, release);
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the upload never held a buffer")
    };
    let (reply, seen) = tokio::join!(uploading, watching);
    reply.expect(202);
    seen
}

async fn chunked_upload(app: &App) {
    let start = app.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202).location();
    app.request("PATCH", &start).chunked(&bytes(5, MIB), 100_000).send().await.expect(202);
}

/// A download that its client leaves.
async fn broken_download(app: &App) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let path = format!("/v2/a/blobs/{}", app.push_blob("a", &bytes(8, 6 * MIB)).await);
    let address = app.address.expect("it runs here");
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("connected");
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("sent");
    socket.read_exact(&mut [0; 1000]).await.expect("the beginning");
    drop(socket);
    let name = "longshore_http_broken_responses_total";
    for _ in 0..100 {
        if value(&app.metrics, name, &[("by", "client")]) > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A request that is refused because its client has used up a limit.
async fn refused_by_a_limit(metrics: &Metrics) {
    let mut settings = Settings::default();
    settings.limits.address.requests_per_second = Some(1);
    settings.limits.address.requests_burst = 1;
    let app = App::counting(Arc::new(Memory::new()), settings, metrics.clone()).await;
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(app.get("/v2/").send().await.status);
    }
    assert!(statuses.iter().any(|status| *status == 429), "{statuses:?}");
}

/// A push that is refused because its namespace has used up its quota.
async fn refused_by_a_quota(metrics: &Metrics) {
    let (namespaces, bytes) = (vec!["*".parse().expect("a pattern")], "1".parse().expect("bytes"));
    let quotas = vec![Quota { namespaces, bytes }];
    let settings = Settings { quotas, ..Settings::default() };
    let full = App::counting(Arc::new(Memory::new()), settings.clone(), metrics.clone()).await;
    full.push_blob("a", b"content").await;
    let (store, quotas) = (full.store.clone().expect("ours"), full.quotas.clone().expect("ours"));
    let scans = app::quota_scans(&settings, store, quotas, "one".to_owned(), metrics);
    scans.expect("good settings").look().await;
    full.request("POST", "/v2/a/blobs/uploads/").send().await.expect_error(403, "DENIED");
}

/// A pull of a tag whose manifest does not exist.
async fn dangling_tag(app: &App) {
    let store = app.store.clone().expect("it runs here");
    let key =
        |name: &str| RecordKey::Tag(name.parse().expect("a name"), "v1".parse().expect("a tag"));
    let body = store.read(&key("a")).await.expect("the tag").body;
    store.create(&key("b"), body, None).await.expect("a new tag");
    app.get("/v2/b/manifests/v1").send().await.expect(404);
}

/// A push of content whose data was deleted behind the registry's back.
async fn repaired_pointer(app: &App) {
    let store = app.store.clone().expect("it runs here");
    let digest = app.push_blob("a", &bytes(7, MIB)).await;
    let pointer = RecordKey::Pointer(digest.parse().expect("a digest"));
    let body = store.read(&pointer).await.expect("the pointer").body;
    let (pointer, _) = decode::<Pointer>(&body).expect("a record of ours");
    let location = pointer.location.expect("it is not inline");
    store.delete(&location).await.expect("deleted");
    app.push_blob("b", &bytes(7, MIB)).await;
}

/// A pull from a Redis whose values are those of somebody else.
async fn foreign_redis(metrics: &Metrics) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("an address"));
    TaskTracker::new().spawn(async move {
        let (socket, _) = listener.accept().await.expect("a client");
        let (read, mut write) = socket.into_split();
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = match line.as_str() {
                "GET" => "$4\r\njunk\r\n",
                "CLIENT" | "SET" | "DEL" | "EVALSHA" => "+OK\r\n",
                _ => continue,
            };
            write.write_all(answer.as_bytes()).await.expect("the client waits");
        }
    });
    let mut settings = Settings::default();
    settings.cache.redis = Some(url.parse().expect("a URL"));
    settings.cache.redis_timeout = Duration::from_millis(500);
    settings.store.url = "s3://shared".parse().expect("the URL of a bucket");
    let app = App::counting(Arc::new(Memory::new()), settings, metrics.clone()).await;
    app.get("/v2/a/manifests/v1").send().await.expect(404);
}

/// A line of the audit log that is written, and one that is not.
async fn audit(metrics: &Metrics) {
    for path in ["/dev/null", "/dev/full"] {
        let mut settings = Settings::default();
        settings.audit_log.destination = path.parse().ok();
        let app = App::counting(Arc::new(Memory::new()), settings, metrics.clone()).await;
        app.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202);
    }
}

/// An issuer whose keys are fetched.
async fn issuer(metrics: &Metrics) {
    // RFC 8037, appendix A.2.
    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = axum::Router::new().fallback(async || KEYS);
    drop(Tasks::new().spawn(async move { axum::serve(listener, router).await }));
    let mut settings = Settings::default();
    settings.access.issuers = vec![IssuerSettings {
        name: "ci".parse().expect("a name"),
        url: "ci".parse().expect("an `iss`"),
        audiences: vec!["registry".to_owned()],
        keys: KeysFrom::Address(format!("http://{address}/").parse().expect("an address")),
        ca_file: None,
        bearer_token_file: None,
        required: Vec::new(),
        subject_claim: "sub".to_owned(),
        groups_claim: None,
        place: String::new(),
    }];
    let _app = App::counting(Arc::new(Memory::new()), settings, metrics.clone()).await;
    let fetched = |sample: &Sample| {
        sample.metric.name == "longshore_issuer_keys_fetched_timestamp_seconds"
            && sample.value > 0.0
    };
    for _ in 0..500 {
        if samples(metrics).iter().any(fetched) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the keys were not fetched");
}

/// A usage scan of a bucket with an abandoned upload.
async fn usage_scan(app: &App) {
    let start = app.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202).location();
    app.request("PATCH", &start).body(bytes(6, 6 * MIB)).send().await.expect(202);
    let store = app.store.clone().expect("it runs here");
    UsageScan::new(store, app.metrics.clone(), Duration::ZERO).run().await;
}

/// Two runs of the garbage collection, the second of which deletes data.
async fn collect(metrics: &Metrics) {
    let scene = Scene::start(StoreKind::Memory).await;
    let store = scene.store.objects.clone();
    for seed in 0..2 {
        let content = scene.push_large("a", seed).await;
        scene.delete(&format!("a/blobs/{}", sha256(&content))).await;
        scene.advance(LONG);
        let collector = collector_sharing(&scene.settings, store.clone(), None, metrics);
        collector.run(Mode::Collect).await.expect("a run");
    }
    let collector = collector_sharing(&scene.settings, store, None, metrics);
    let background = Background::new(collector).repeat();
    tokio::time::timeout(Duration::from_millis(10), background).await.expect_err("no end");
}

/// Requests to an S3 server that fails first and then refuses the condition.
async fn ask_s3(metrics: &Metrics) {
    let server = Fake::start(|number, mut socket| async move {
        while request(&mut socket).await.is_some() {
            let status = if number == 0 { "500 Broken" } else { "412 Precondition Failed" };
            // By another clock than that of this machine.
            answer_dated(&mut socket, Duration::from_secs(100), status, ("", "")).await;
        }
    });
    let store = server.await.counted(metrics).await;
    let key = RecordKey::Probe(UploadId::random());
    store.create(&key, b"x".as_slice().into(), None).await.expect_err("a conflict");
    let dated = store.now();
    let options = PresignGet { dated, valid_for: Duration::from_mins(1) };
    for _ in 0..3 {
        let url = store.presign_get(&Location::new_unique(dated), options).await;
        url.expect("signing needs no answer").expect("a URL");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_changes_under_load() {
    let metrics = Metrics::default();
    // First, because it closes the circuit breaker.
    foreign_redis(&metrics).await;
    let app = registry(&metrics).await;
    let mut seen = while_one_is_uploading(&app, &metrics).await;
    load(&app).await;
    broken_download(&app).await;
    dangling_tag(&app).await;
    repaired_pointer(&app).await;
    ask_s3(&metrics).await;
    usage_scan(&app).await;
    audit(&metrics).await;
    refused_by_a_limit(&metrics).await;
    refused_by_a_quota(&metrics).await;
    issuer(&metrics).await;
    collect(&metrics).await;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a pair");
    let (certificate, key) = (folder.path().join("crt"), folder.path().join("key"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let mut settings = Settings::default();
    settings.server.tls.certificate_file = Some(certificate);
    settings.server.tls.key_file = Some(key);
    app::tls(&settings, &metrics).expect("a good pair");
    app::show_fingerprint(&settings, &metrics);

    app.settled().await;
    let end = samples(&metrics);
    seen.extend(end.clone());
    let moved: BTreeSet<&str> = seen
        .iter()
        .filter(|sample| sample.value != 0.0 && !sample.name.ends_with("_bucket"))
        .map(|sample| sample.metric.name)
        .collect();
    let still: Vec<&str> =
        TABLE.iter().map(|row| row.name).filter(|name| !moved.contains(name)).collect();
    assert!(still.is_empty(), "no test changes {still:?}");

    // Gauges return to zero when all requests have ended.
    for name in [
        "longshore_http_requests_in_flight",
        "longshore_upload_sessions",
        "longshore_upload_inflight_bytes",
    ] {
        let left: f64 =
            end.iter().filter(|sample| sample.metric.name == name).map(|sample| sample.value).sum();
        assert!(left == 0.0, "{name} is {left} when all is over");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_of_an_s3_request_is_counted() {
    let metrics = Metrics::default();
    ask_s3(&metrics).await;
    let requests = |outcome| {
        let labels = [("op", "put_object"), ("outcome", outcome)];
        value(&metrics, "longshore_s3_requests_total", &labels)
    };
    // The record is read after the conflict to find out who wrote it; that is another operation.
    assert_eq!((requests("5xx"), requests("412")), (1, 1), "{}", metrics.exposition());
    let retries = value(&metrics, "longshore_s3_retries_total", &[("op", "put_object")]);
    let conflicts = value(&metrics, "longshore_s3_cas_conflicts_total", &[("op", "create")]);
    assert_eq!((retries, conflicts), (1, 1));
    let keys = |result| value(&metrics, "longshore_presign_cache_total", &[("result", result)]);
    assert_eq!((keys("derived"), keys("cached")), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_uploads_are_counted_with_their_labels() {
    let metrics = Metrics::default();
    let store = Arc::new(Memory::new());
    let app = App::counting(store, Settings::default(), metrics.clone()).await;
    let (small, large) = (bytes(1, 100), bytes(2, 100_000));
    for content in [&small, &large, &large] {
        app.push_blob("a", content).await;
    }
    let large_path = format!("/v2/a/blobs/{}", sha256(&large));
    app.get(&large_path).send().await.expect(200);
    app.get(&large_path).header("range", "bytes=0-9").send().await.expect(206);
    app.get(&format!("/v2/a/blobs/{}", sha256(&small))).send().await.expect(200);
    let mount = format!("/v2/b/blobs/uploads/?mount={}&from=a", sha256(&small));
    app.request("POST", &mount).send().await.expect(201);
    let start = app.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202).location();
    app.request("DELETE", &start).send().await.expect(204);
    app.get("/v2/a/manifests/none").send().await.expect(404);
    app.get("/nothing").send().await.expect(404);
    app.settled().await;

    let counted = |route, method, code| {
        let labels = [("route", route), ("method", method), ("code", code)];
        value(&metrics, "longshore_http_requests_total", &labels)
    };
    assert_eq!(counted("finish_upload", "PUT", "201"), 3);
    assert_eq!((counted("get_blob", "GET", "200"), counted("get_blob", "GET", "206")), (2, 1));
    assert_eq!((counted("get_manifest", "GET", "404"), counted("unmatched", "GET", "404")), (1, 1));
    for (result, count) in [("created", 2), ("exists", 1), ("mounted", 1), ("aborted", 1)] {
        let name = "longshore_upload_commits_total";
        assert_eq!(value(&metrics, name, &[("result", result)]), count, "{result}");
    }
    for (mode, reason) in [("proxy", "configured"), ("range", "configured"), ("proxy", "inline")] {
        let labels = [("mode", mode), ("reason", reason)];
        assert_eq!(value(&metrics, "longshore_blob_serves_total", &labels), 1, "{mode} {reason}");
    }
    // Exact sizes: received and sent bytes.
    let of = |name: &str, route| value(&metrics, name, &[("route", route)]);
    assert_eq!(of("longshore_http_request_body_bytes_sum", "finish_upload"), 200_100);
    assert_eq!(of("longshore_http_response_body_bytes_sum", "get_blob"), 100_110);
}
