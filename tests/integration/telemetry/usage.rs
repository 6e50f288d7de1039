//! Usage scans: their numbers are those of the bucket, and they need a setting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use longshore::config::Settings;
use longshore::store::memory::{Fault, FaultKind, Memory, Operation};
use longshore::usage::{NAMESPACES_SHOWN, REST, UsageScan};

use super::{samples, value};
use crate::support::app::OCI_MANIFEST;
use crate::support::process::Process;
use crate::support::{App, bytes, sha256};

const MIB: usize = 1024 * 1024;

/// A scan of the store of a registry in this process. An upload counts as abandoned at once.
fn scan(app: &App) -> Option<UsageScan> {
    let store = app.store.clone();
    if store.is_none() {
        println!("skipped: a usage scan cannot be started by HTTP");
    }
    Some(UsageScan::new(store?, app.metrics.clone(), Duration::ZERO))
}

/// The series of a metric: namespaces and values, ordered by name.
fn shown(app: &App, metric: &str) -> Vec<(String, f64)> {
    let all = samples(&app.metrics).into_iter().filter(|sample| sample.name == metric);
    let mut shown: Vec<_> = all.map(|mut one| (one.labels.remove(0).1, one.value)).collect();
    shown.sort_by(|one, other| one.0.cmp(&other.0));
    shown
}

#[expect(clippy::cast_precision_loss, reason = "the contents of these tests are small")]
fn expect(app: &App, expected: &[(&str, usize, usize)]) {
    let of = |pick: fn(&(&str, usize, usize)) -> usize| -> Vec<(String, f64)> {
        expected.iter().map(|row| (row.0.to_owned(), pick(row) as f64)).collect()
    };
    assert_eq!(shown(app, "longshore_namespace_tags"), of(|row| row.1), "tags");
    assert_eq!(shown(app, "longshore_namespace_bytes"), of(|row| row.2), "bytes");
}

fn orphans(app: &App) -> u64 {
    value(&app.metrics, "longshore_orphan_mpu", &[])
}

fn runs(app: &App, result: &str) -> u64 {
    value(&app.metrics, "longshore_inventory_runs_total", &[("result", result)])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usage_scan_counts_the_contents_of_the_bucket() {
    let app = App::start_with(|settings| settings.uploads.part_bytes = 5 * MIB).await;
    let Some(mut scan) = scan(&app) else { return };
    scan.run().await;
    expect(&app, &[]);

    // Names that are listed before, between and after each other.
    let mut image = (String::new(), Vec::new());
    for name in ["team/a", "team/b/c", "team", "team-x/a", "other"] {
        image = app.push_image(name, "v1", 1).await;
    }
    let (digest, manifest) = &image;
    let put = app.request("PUT", "/v2/team/a/manifests/v2").header("content-type", OCI_MANIFEST);
    put.body(manifest.clone()).send().await.expect(201);
    app.push_image("other/deep", "v1", 50).await;
    let large = app.push_blob("team/a", &bytes(9, 100_000)).await;
    app.push_blob("team/b/c", &bytes(9, 100_000)).await;
    let one = "{\"seed\":1}".len() + 300 + 700 + manifest.len();
    let team_x = ("team-x", 1, one);
    scan.run().await;
    // The second image of `other` differs from the first in one digit of its config.
    let both = 2 * one + 1;
    expect(&app, &[("other", 2, both), ("team", 4, one + 100_000), team_x]);

    // One repository of the namespace is deleted, then the other.
    app.request("DELETE", "/v2/team/a/manifests/v2").send().await.expect(202);
    app.request("DELETE", &format!("/v2/team/a/blobs/{large}")).send().await.expect(202);
    scan.run().await;
    expect(&app, &[("other", 2, both), ("team", 3, one + 100_000), team_x]);
    app.request("DELETE", &format!("/v2/team/b/c/blobs/{large}")).send().await.expect(202);
    for name in ["team", "team/a", "team/b/c"] {
        let path = format!("/v2/{name}/manifests/{digest}");
        app.request("DELETE", &path).send().await.expect(202);
    }
    scan.run().await;
    expect(&app, &[("other", 2, both), ("team", 0, one - manifest.len()), team_x]);
    assert_eq!((runs(&app, "done"), runs(&app, "failed"), orphans(&app)), (4, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_multipart_uploads_are_counted() {
    let app = App::start_with(|settings| settings.uploads.part_bytes = 5 * MIB).await;
    let Some(mut scan) = scan(&app) else { return };
    let content = bytes(1, 6 * MIB);
    let upload = async |length: usize| {
        let start = app.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202);
        let patch = app.request("PATCH", &start.location()).body(content[..length].to_vec());
        patch.send().await.expect(202).location()
    };
    let finished = upload(content.len()).await;
    let close = format!("{finished}?digest={}", sha256(&content));
    app.request("PUT", &close).send().await.expect(201);
    let given_up = upload(content.len()).await;
    upload(content.len()).await;
    // This little data is a single object, without a multipart upload.
    upload(MIB).await;
    app.settled().await;
    scan.run().await;
    assert_eq!(orphans(&app), 2);

    app.request("DELETE", &given_up).send().await.expect(204);
    scan.run().await;
    assert_eq!(orphans(&app), 1);

    let store = app.store.clone().expect("it runs here");
    UsageScan::new(store, app.metrics.clone(), Duration::from_hours(1)).run().await;
    assert_eq!(orphans(&app), 0, "an hour has not passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_namespaces_have_a_series_and_the_others_are_added_up() {
    let app = App::start().await;
    let Some(mut scan) = scan(&app) else { return };
    let name = |number: usize| format!("n{number:02}/a");
    let mut digests = Vec::new();
    for number in 0..NAMESPACES_SHOWN + 3 {
        let content = bytes(number as u64, 1000 - number);
        digests.push(app.push_blob(&name(number), &content).await);
    }
    scan.run().await;
    let names = |app: &App| -> Vec<String> {
        let tags = shown(app, "longshore_namespace_tags");
        let bytes = shown(app, "longshore_namespace_bytes");
        let names = |shown: Vec<(String, f64)>| shown.into_iter().map(|(name, _)| name);
        let both: (Vec<String>, Vec<String>) = (names(tags).collect(), names(bytes).collect());
        assert_eq!(both.0, both.1);
        both.0
    };
    let expected = |from: usize| -> Vec<String> {
        let shown = (from..from + NAMESPACES_SHOWN).map(|number| format!("n{number:02}"));
        std::iter::once(REST.to_owned()).chain(shown).collect()
    };
    assert_eq!(names(&app), expected(0));
    let rest = value(&app.metrics, "longshore_namespace_bytes", &[("namespace", REST)]);
    assert_eq!(rest, 980 + 979 + 978);

    // A deleted namespace has no series, not even zero, and the next one takes its place.
    let delete = async |number: usize| {
        let path = format!("/v2/{}/blobs/{}", name(number), digests[number]);
        app.request("DELETE", &path).send().await.expect(202);
    };
    delete(0).await;
    scan.run().await;
    assert_eq!(names(&app), expected(1));
    for number in 1..3 {
        delete(number).await;
    }
    scan.run().await;
    assert_eq!(names(&app), expected(3)[1..], "no others are left");
}

/// More rows than a page, with a namespace on both sides of the border.
#[tokio::test(flavor = "multi_thread")]
async fn a_usage_scan_reads_each_page_and_each_digest_once() {
    let memory = Arc::new(Memory::new());
    let app = App::over_memory(memory.clone(), Settings::default()).await;
    let mut scan = scan(&app).expect("it runs here");
    let names = ["a/x", "a/y", "b"];
    let pushes = (0..1300).map(|number| {
        let app = &app;
        let name = names[number / 500];
        // The second repository has the same content as the first, the third one has other content.
        let seed = if number < 1000 { number % 500 } else { number };
        async move { app.push_blob(name, &bytes(seed as u64, 100)).await }
    });
    stream::iter(pushes).buffer_unordered(16).collect::<Vec<_>>().await;
    app.settled().await;

    let before = memory.calls();
    scan.run().await;
    expect(&app, &[("a", 0, 500 * 100), ("b", 0, 300 * 100)]);
    let first = memory.calls().since(&before);
    // Two pages of links, and one each of manifests, tags and sessions.
    assert_eq!((first.list, first.read, first.total()), (5, 800, 805));
    let before = memory.calls();
    scan.run().await;
    expect(&app, &[("a", 0, 500 * 100), ("b", 0, 300 * 100)]);
    let second = memory.calls().since(&before);
    assert_eq!((second.list, second.total()), (5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_usage_scan_keeps_the_previous_numbers() {
    let memory = Arc::new(Memory::new());
    let mut settings = Settings::default();
    settings.uploads.part_bytes = 5 * MIB;
    let app = App::over_memory(memory.clone(), settings).await;
    let mut scan = scan(&app).expect("it runs here");
    app.push_image("a", "v1", 1).await;
    let start = app.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202).location();
    app.request("PATCH", &start).body(bytes(1, 6 * MIB)).send().await.expect(202);
    scan.run().await;
    let seen = (shown(&app, "longshore_namespace_bytes"), orphans(&app));
    assert_eq!(orphans(&app), 1);
    let success = "longshore_inventory_last_success_timestamp_seconds";
    assert!(value(&app.metrics, success, &[]) > 0);

    app.push_image("b", "v1", 50).await;
    for (failed, (operation, below)) in [
        (Operation::List, "v1/l/"),
        (Operation::List, "v1/m/"),
        (Operation::List, "v1/t/"),
        (Operation::List, "v1/u/"),
        (Operation::Read, "v1/l/"),
        (Operation::Read, "v1/m/"),
        (Operation::Read, "v1/u/"),
        (Operation::IsOpen, "v1/d/"),
    ]
    .into_iter()
    .enumerate()
    {
        // A new scan has no cached sizes; the old scan has, and reads nothing again.
        let mut scan = self::scan(&app).expect("it runs here");
        memory.inject(Fault::on(operation, FaultKind::FailBefore).below(below).always());
        scan.run().await;
        memory.heal();
        let now = (shown(&app, "longshore_namespace_bytes"), orphans(&app));
        assert_eq!(now, seen, "{operation:?} {below}");
        let counts = (runs(&app, "done"), runs(&app, "failed"));
        assert_eq!(counts, (1, failed as u64 + 1), "{operation:?} {below}");
    }
    scan.run().await;
    assert_eq!(shown(&app, "longshore_namespace_tags").len(), 2);
    assert_eq!(runs(&app, "done"), 2);
}

/// The whole program scans if the setting is set and the admin port is on.
#[tokio::test(flavor = "multi_thread")]
async fn usage_scans_need_a_setting() {
    let asked = ("LONGSHORE_METRICS_INVENTORY", "1m");
    let admin = ("LONGSHORE_ADMIN_LISTEN", "127.0.0.1:0");
    let mut scanning = Process::serve("memory", &[admin, asked]);
    let quiet = Process::serve("memory", &[admin]);
    let done = async |process: &Process| {
        let reply = process.admin().request("GET", "/metrics").send().await.expect(200);
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        text.contains("longshore_inventory_runs_total{result=\"done\"} 1")
    };
    let begun = Instant::now();
    while !done(&scanning).await {
        // The first scan starts within a tenth of the minute.
        assert!(begun.elapsed() < Duration::from_secs(20), "no usage scan has ended");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!done(&quiet).await);
    // Shutdown does not wait for the next scan.
    scanning.terminate();
    assert_eq!(scanning.ended().await.code(), Some(0), "{}", scanning.log());
}
