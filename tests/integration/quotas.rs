//! Storage quotas of namespaces: which requests they refuse, and how processes count together.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use longshore::app;
use longshore::config::{self, Settings, Sources};
use longshore::layout::encoding::decode;
use longshore::layout::records::Usage;
use longshore::quota::QuotaScans;
use longshore::store::RecordKey;
use longshore::store::memory::Operation;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::STORE;
use crate::support::process::Process;
use crate::support::test_store::{TestStore, small_parts};
use crate::support::{App, Reply, bytes, sha256};
use crate::telemetry::value;

const INTERVAL: Duration = Duration::from_mins(15);
/// After so much more time a process scans in the place of another one.
const LATE: Duration = Duration::from_mins(2);
const SECOND: Duration = Duration::from_secs(1);

/// Registries over one store, whose clock the test sets.
struct Scene {
    store: TestStore,
    settings: Settings,
}

/// A registry, and what it does once a minute.
struct Running {
    app: App,
    scans: QuotaScans,
}

impl Scene {
    /// The tables are namespaces and bytes.
    async fn start(quotas: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (namespaces, bytes) in quotas {
            let table = format!("[[quotas]]\nnamespaces = ['{namespaces}']\nbytes = '{bytes}'\n");
            text.write_str(&table).expect("a string takes all");
        }
        let sources = Sources { file: Some(("longshore.toml".into(), text)), ..Sources::default() };
        let loaded = config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
        let settings = Settings { quotas: loaded.quotas, ..small_parts() };
        assert_eq!(settings.usage.interval, INTERVAL);
        Self { store: TestStore::start(STORE).await, settings }
    }

    async fn process(&self, name: &str) -> Running {
        let app = App::frontend(self.store.objects.clone(), self.settings.clone()).await;
        let (objects, quotas) = (self.store.objects.clone(), app.quotas.clone().expect("ours"));
        let scans =
            app::quota_scans(&self.settings, objects, quotas, name.to_owned(), &app.metrics);
        Running { app, scans: scans.expect("good settings") }
    }

    fn pass(&self, time: Duration) {
        self.store.hands.advance(time);
    }

    fn lists(&self) -> u64 {
        self.store.calls().list
    }

    /// The record `g/usage`.
    fn usage(&self) -> Usage {
        let record = self.store.record(&RecordKey::Usage).expect("a record");
        decode(&record.body).expect("it can be read").0
    }

    /// What the last scan has counted.
    fn counted(&self) -> Vec<(String, u64)> {
        self.usage().namespaces.into_iter().map(|(name, bytes)| (name.into(), bytes)).collect()
    }
}

impl Running {
    async fn push(&self, repository: &str, seed: u64, length: usize) -> Reply {
        let content = bytes(seed, length);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(&content));
        self.app.request("POST", &path).body(content).send().await
    }

    async fn refuses(&self, repository: &str) {
        let start = self.app.request("POST", &format!("/v2/{repository}/blobs/uploads/"));
        start.send().await.expect_error(403, "DENIED");
    }

    async fn takes(&self, repository: &str) {
        let start = self.app.request("POST", &format!("/v2/{repository}/blobs/uploads/"));
        start.send().await.expect(202);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_namespace_takes_no_push_and_everything_else_works() {
    let scene = Scene::start(&[("team-*", "3000")]).await;
    let mut one = scene.process("one").await;
    let digest = one.app.push_blob("team-a/x", &bytes(1, 2000)).await;
    one.app.push_image("team-a/deep/y", "v1", 2).await;
    let elsewhere = one.app.push_blob("other/x", &bytes(9, 100)).await;
    one.app.push_blob("team-b/x", &bytes(3, 2999)).await;
    let session = one.app.start_upload("team-a/x", "").await;
    one.scans.look().await;

    let (blobs, content) = ("/v2/team-a/x/blobs", bytes(4, 10));
    let whole = sha256(&content);
    let refused = [
        ("POST", format!("{blobs}/uploads/")),
        ("POST", format!("{blobs}/uploads/?digest={whole}")),
        ("POST", format!("{blobs}/uploads/?mount={elsewhere}&from=other/x")),
        ("PATCH", session.clone()),
        ("PUT", format!("{session}?digest={whole}")),
        ("PUT", "/v2/team-a/x/manifests/v1".to_owned()),
        ("PUT", "/v2/team-a/manifests/v1".to_owned()),
    ];
    for (method, path) in &refused {
        let reply = one.app.request(method, path).body(content.clone()).send().await;
        let text = reply.expect_error(403, "DENIED").body_text();
        assert!(text.contains("the namespace team-a stores"), "{text}");
        assert!(text.contains("its quota is 2.9 KiB"), "{text}");
        assert!(text.contains("after the next scan"), "{text}");
    }
    assert_eq!(value(&one.app.metrics, "longshore_quota_refusals_total", &[]), 7);
    one.app.request("HEAD", &format!("{blobs}/{elsewhere}")).send().await.expect(404);

    // Other namespaces, with and without a quota.
    one.takes("team-b/x").await;
    one.takes("other/x").await;
    one.takes("team").await;
    // Reads, cancelling and deleting.
    one.app.get(&format!("{blobs}/{digest}")).send().await.expect(200);
    one.app.get("/v2/team-a/deep/y/manifests/v1").send().await.expect(200);
    one.app.get("/v2/team-a/deep/y/tags/list").send().await.expect(200);
    one.app.get(&session).send().await.expect(204);
    one.app.request("DELETE", &session).send().await.expect(204);
    one.app.request("DELETE", "/v2/team-a/deep/y/manifests/v1").send().await.expect(202);
    one.app.request("DELETE", &format!("{blobs}/{digest}")).send().await.expect(202);
    let manifest = one.app.get("/v2/team-a/deep/y/manifests/v1").send().await;
    manifest.expect_error(404, "MANIFEST_UNKNOWN");
}

/// The response comes while the body is still on its way, byte by byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_refused_before_its_body() {
    let scene = Scene::start(&[("*", "100")]).await;
    let mut one = scene.process("one").await;
    one.app.push_blob("a", &bytes(1, 100)).await;
    let session = one.app.start_upload("a", "").await;
    one.scans.look().await;
    let digest = sha256(b"never");
    for (method, path) in [
        ("POST", format!("/v2/a/blobs/uploads/?digest={digest}")),
        ("PATCH", session.clone()),
        ("PUT", format!("{session}?digest={digest}")),
        ("PUT", "/v2/a/manifests/v1".to_owned()),
    ] {
        let address = one.app.address.expect("ours");
        let mut socket = TcpStream::connect(address).await.expect("connected");
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n");
        socket.write_all(head.as_bytes()).await.expect("sent");
        let (mut answer, mut body) = socket.into_split();
        let mut status = [0; 12];
        tokio::select! {
            // The rest of a refused body is read for five seconds.
            read = tokio::time::timeout(4 * SECOND, answer.read_exact(&mut status)) => {
                read.expect("an answer before the body").expect("a status line");
            }
            () = async {
                while body.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(SECOND).await;
                }
            } => panic!("the connection has ended"),
        }
        assert_eq!(&status, b"HTTP/1.1 403", "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_counts_after_the_next_scan() {
    let scene = Scene::start(&[("a", "1000")]).await;
    let mut one = scene.process("one").await;
    one.scans.look().await;
    let digest = one.app.push_blob("a", &bytes(1, 1500)).await;
    // What is pushed counts after the next scan, too.
    one.scans.look().await;
    one.takes("a").await;
    scene.pass(INTERVAL);
    one.scans.look().await;
    one.refuses("a").await;
    one.app.request("DELETE", &format!("/v2/a/blobs/{digest}")).send().await.expect(202);
    scene.pass(INTERVAL - SECOND);
    one.scans.look().await;
    one.refuses("a").await;
    scene.pass(SECOND);
    one.scans.look().await;
    one.takes("a").await;
    assert_eq!(scene.counted(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_counts_once_in_a_namespace_and_once_in_each_other_one() {
    let scene = Scene::start(&[("team-a", "1000"), ("team-*", "600")]).await;
    let mut one = scene.process("one").await;
    for repository in ["team-a/x", "team-a/y", "team-b/x", "other"] {
        one.push(repository, 1, 600).await.expect(201);
    }
    one.scans.look().await;
    // Only namespaces with a quota are in the record.
    assert_eq!(scene.counted(), [("team-a".to_owned(), 600), ("team-b".to_owned(), 600)]);
    // Of two tables that match, the first one counts.
    one.takes("team-a/y").await;
    one.refuses("team-b/x").await;
    let shown = |name: &str| {
        let of = |metric| value(&one.app.metrics, metric, &[("namespace", name)]);
        (of("longshore_quota_used_bytes"), of("longshore_quota_limit_bytes"))
    };
    assert_eq!((shown("team-a"), shown("team-b")), ((600, 1000), (600, 600)));
    let scanned = value(&one.app.metrics, "longshore_quota_last_scan_timestamp_seconds", &[]);
    assert_eq!(Some(scanned), scene.usage().scanned_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_of_a_store_scans_in_an_interval() {
    let scene = Scene::start(&[("a", "1000")]).await;
    let mut one = scene.process("one").await;
    let mut two = scene.process("two").await;
    one.push("a", 1, 1000).await.expect(201);
    let mut lists = scene.lists();
    let mut scanned = || {
        let before = std::mem::replace(&mut lists, scene.lists());
        lists - before
    };
    // Both claim the scan at once, and `two` is faster. It lists the links and the manifests.
    let claim = (Operation::Create, "v1/g/usage");
    scene.store.stalled(claim.0, claim.1, one.scans.look(), two.scans.look()).await;
    assert_eq!((scanned(), scene.usage().scanner.as_str()), (2, "two"));
    two.refuses("a").await;
    one.scans.look().await;
    one.refuses("a").await;
    scene.pass(INTERVAL - SECOND);
    one.scans.look().await;
    two.scans.look().await;
    assert_eq!(scanned(), 0, "it is not due");
    // The process that has scanned last goes first.
    scene.pass(SECOND);
    one.scans.look().await;
    assert_eq!(scanned(), 0);
    two.scans.look().await;
    one.scans.look().await;
    assert_eq!((scanned(), scene.usage().scanner.as_str()), (2, "two"));
    // It does not come again: another one takes over.
    scene.pass(INTERVAL + LATE);
    one.scans.look().await;
    assert_eq!((scanned(), scene.usage().scanner.as_str()), (2, "one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_whose_process_dies_is_taken_over() {
    let scene = Scene::start(&[("a", "1000")]).await;
    let mut one = scene.process("one").await;
    let mut two = scene.process("two").await;
    one.push("a", 1, 1000).await.expect(201);
    one.scans.look().await;
    scene.pass(INTERVAL);
    scene.store.delay(Operation::List, "v1/l/", 1, Duration::from_hours(1));
    tokio::time::timeout(SECOND / 2, one.scans.look()).await.expect_err("it dies in the middle");
    scene.store.heal();
    let claimed = scene.usage();
    assert!(claimed.scanning && claimed.scanner == "one", "{claimed:?}");
    // The last totals are still there.
    two.scans.look().await;
    two.refuses("a").await;
    scene.pass(INTERVAL + LATE - SECOND);
    two.scans.look().await;
    assert_eq!(scene.usage(), claimed);
    scene.pass(SECOND);
    two.scans.look().await;
    let usage = scene.usage();
    assert!(!usage.scanning && usage.scanner == "two", "{usage:?}");
    assert!(usage.scanned_at > claimed.scanned_at, "{usage:?}");
}

/// A scan that takes longer than the interval stays that of its process.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_scan_renews_its_claim() {
    let mut scene = Scene::start(&[("a", "1000")]).await;
    scene.settings.usage.interval = SECOND;
    let mut one = scene.process("one").await;
    let mut two = scene.process("two").await;
    one.push("a", 1, 1000).await.expect(201);
    let lists = scene.lists();
    scene.store.delay(Operation::List, "v1/l/", 1, 3 * SECOND);
    let meanwhile = async {
        for _ in 0..3 {
            scene.pass(LATE + SECOND);
            // Four renewals in an interval.
            tokio::time::sleep(SECOND * 3 / 4).await;
            two.scans.look().await;
            assert_eq!(scene.usage().scanner, "one");
        }
    };
    tokio::join!(one.scans.look(), meanwhile);
    assert_eq!(scene.lists() - lists, 2);
    assert!(!scene.usage().scanning);
    one.refuses("a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_or_counted_leaves_the_last_totals() {
    let scene = Scene::start(&[("*", "1000")]).await;
    let mut one = scene.process("one").await;
    one.push("a", 1, 1000).await.expect(201);
    one.scans.look().await;
    one.refuses("a").await;

    // The store is away. A process that has never read the totals refuses nothing.
    let mut two = scene.process("two").await;
    scene.store.fail_always(Operation::Read);
    scene.pass(INTERVAL);
    one.scans.look().await;
    two.scans.look().await;
    scene.store.heal();
    one.refuses("a").await;
    two.takes("a").await;

    // The scan fails.
    one.push("b", 2, 1000).await.expect(201);
    let before = scene.usage();
    scene.store.fail_always(Operation::List);
    one.scans.look().await;
    scene.store.heal();
    one.refuses("a").await;
    one.takes("b").await;
    let after = scene.usage();
    assert!(after.scanning, "{after:?}");
    assert_eq!((after.namespaces, after.scanned_at), (before.namespaces, before.scanned_at));
    scene.pass(INTERVAL);
    one.scans.look().await;
    one.refuses("b").await;

    // Something has written to the record that cannot be read.
    let record = scene.store.record(&RecordKey::Usage).expect("a record");
    let damaged = "x".repeat(100).into();
    let written = scene.store.objects.replace(&RecordKey::Usage, &record.version, damaged, None);
    written.await.expect("written");
    scene.pass(INTERVAL);
    one.scans.look().await;
    one.refuses("a").await;
    // Without it the totals are counted anew.
    scene.store.remove(&RecordKey::Usage).await;
    one.scans.look().await;
    assert_eq!(scene.counted(), [("a".to_owned(), 1000), ("b".to_owned(), 1000)]);
}

/// The whole program scans at its start if it has a quota, and else reads nothing for it.
#[tokio::test(flavor = "multi_thread")]
async fn scans_need_a_quota() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let config = folder.path().join("longshore.toml");
    let admin = ("LONGSHORE_ADMIN_LISTEN", "127.0.0.1:0");
    let push = async |process: &Process, content: &[u8]| {
        let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(content));
        process.client().request("POST", &path).body(content.to_vec()).send().await
    };
    let metrics = async |process: &Process| {
        process.admin().request("GET", "/metrics").send().await.expect(200).body_text()
    };
    let mut process = Process::folder(&data, &[admin]);
    push(&process, b"some content").await.expect(201);
    assert!(!metrics(&process).await.contains("longshore_quota_last_scan"));
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());

    std::fs::write(&config, "[[quotas]]\nnamespaces = '*'\nbytes = 5\n").expect("written");
    let config = ("LONGSHORE_CONFIG", config.to_str().expect("a path that is text"));
    let mut process = Process::folder(&data, &[admin, config]);
    let begun = Instant::now();
    while !metrics(&process).await.contains("longshore_quota_last_scan") {
        assert!(begun.elapsed() < 20 * SECOND, "no scan has ended: {}", process.log());
        tokio::time::sleep(SECOND / 10).await;
    }
    push(&process, b"more content").await.expect_error(403, "DENIED");
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
}
