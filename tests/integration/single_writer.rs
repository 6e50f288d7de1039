//! Single-writer mode, over a scripted S3 that ignores conditions or does not know them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore::config::Settings;
use longshore::oci::UploadId;
use longshore::store::s3::{S3, SingleWriter, WriterLease};
use longshore::store::{
    Error, ObjectStore, ProbeLimits, RecordKey, RecordStore as _, Version, probe,
};
use longshore::telemetry::metrics::Metrics;
use serde_json::json;

use crate::support::process::{Ended, Process, run, s3_variables};
use crate::support::scripted_s3::{BUCKET_URL, Conditions, Match, Operation, ScriptedS3};
use crate::support::{App, bytes, sha256};

/// Where the leases of writers are.
const WRITERS: &str = "v1/g/writer/";
/// What turns the mode on.
const SINGLE: (&str, &str) = ("LONGSHORE_STORE_WRITERS", "single");
/// What turns it off, where the whole suite runs in it.
const MANY: (&str, &str) = ("LONGSHORE_STORE_WRITERS", "many");
const HOUR: Duration = Duration::from_hours(1);
const LIMITS: ProbeLimits =
    ProbeLimits { clock_skew: Duration::from_mins(5), write_deadline: Duration::from_mins(5) };

async fn without(conditions: Conditions) -> ScriptedS3 {
    let s3 = ScriptedS3::start().await;
    s3.set_conditions(conditions);
    s3
}

/// The bucket in single-writer mode, with leases of this length.
async fn writer(s3: &ScriptedS3, valid_for: Duration) -> Arc<SingleWriter> {
    let mut settings = s3.settings();
    settings.response_timeout = Duration::from_secs(2);
    settings.attempts_max = 2;
    let inner = S3::connect("bucket", "", &settings, &Metrics::default()).await;
    let timing = WriterLease { valid_for, clock_skew: Duration::ZERO };
    Arc::new(SingleWriter::new(inner.expect("settings that fit"), timing))
}

async fn holder(s3: &ScriptedS3, valid_for: Duration) -> Arc<SingleWriter> {
    let store = writer(s3, valid_for).await;
    store.begin_writing().await.expect("nobody else has the lease");
    store
}

/// Runs a command over the bucket until it exits.
fn command(s3: &ScriptedS3, name: &str, variables: &[(&str, &str)]) -> Ended {
    let url = s3.url();
    let all = [&s3_variables(&url)[..], variables].concat();
    run(&[name, "--listen", "127.0.0.1:0", "--store", BUCKET_URL], &all)
}

fn key() -> RecordKey {
    RecordKey::Upload(UploadId::random())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_conditional_writes_is_refused_and_the_mode_is_named() {
    for conditions in [Conditions::Ignored, Conditions::Refused] {
        let s3 = without(conditions).await;
        for name in ["check", "serve"] {
            let ended = command(&s3, name, &[MANY]);
            assert_eq!(ended.status.code(), Some(1), "{ended:?}");
            let named = "in single-writer mode, set store.writers = \"single\"";
            assert!(ended.stderr.contains(named), "{conditions:?}: {}", ended.stderr);
        }
        assert_eq!(s3.keys("v1/g/settings"), [""; 0], "nothing was written");
        let ended = command(&s3, "check", &[SINGLE]);
        assert!(ended.status.success(), "{ended:?}");
        let line = "in single-writer mode: create-if-absent ok, compare-and-swap ok, write \
                    deadlines ok, checksums ok, conditional delete missing";
        assert!(ended.stdout.contains(line), "{}", ended.stdout);
        assert_eq!(s3.keys(WRITERS), [""; 0], "a check needs no lease");
        assert_eq!(s3.keys("v1/g/settings"), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_guarantees_of_a_store() {
    for conditions in [Conditions::Ignored, Conditions::Refused] {
        let s3 = without(conditions).await;
        let store = writer(&s3, Duration::from_mins(1)).await;
        let report = probe(store.as_ref(), LIMITS).await.expect("it can be used");
        assert!(!report.degraded() && report.refused().is_none(), "{report}");
        store.begin_writing().await.expect("nobody else has the lease");
        super::store_suite::check_everything(store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_pushed_pulled_moved_and_deleted() {
    let s3 = without(Conditions::Refused).await;
    s3.set_part_bytes_min(64 * 1024);
    let store = holder(&s3, Duration::from_mins(1)).await;
    let mut settings = Settings::default();
    settings.uploads.part_bytes = 64 * 1024;
    let app = App::frontend(store, settings).await;
    let (first, _) = app.push_image("a", "latest", 1).await;
    let large = bytes(9, 300_000);
    let location = app.start_upload("a", "").await;
    let location = app.patch_at(&location, 0, &large[..150_000]).await.expect(202).location();
    let location = app.patch_at(&location, 150_000, &large[150_000..]).await.expect(202).location();
    app.close(&location, &sha256(&large), b"").await.expect(201);
    app.assert_blob("a", &sha256(&large), &large).await;
    assert_eq!(s3.completed_parts().len(), 1);

    let (second, manifest) = app.push_image("a", "latest", 5).await;
    let path = "/v2/a/manifests/latest";
    app.get(path).send().await.expect(200).with("docker-content-digest", &second);
    let put = app.request("PUT", path).header("content-type", crate::support::app::OCI_MANIFEST);
    let put = put.header("if-match", format!("\"{first}\"")).body(manifest);
    put.send().await.expect(412);
    let racers = (0..8).map(|_| async {
        let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&bytes(20, 100_000)));
        let request = app.request("POST", &path);
        request.body(bytes(20, 100_000)).send().await.expect(201);
    });
    futures_util::future::join_all(racers).await;
    let tags = app.get("/v2/a/tags/list").send().await.expect(200).json();
    assert_eq!(tags["tags"], json!(["latest"]));
    app.request("DELETE", path).send().await.expect(202);
    app.get(path).send().await.expect(404);
    app.request("DELETE", &format!("/v2/a/manifests/{first}")).send().await.expect(202);
    app.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused_until_the_first_one_has_ended() {
    let s3 = without(Conditions::Ignored).await;
    let mut first = Process::over_s3(&s3, &[SINGLE]);
    let refused = command(&s3, "serve", &[SINGLE]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    for part in ["is in use by another process: process ", " on host ", "its lease ends in "] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert!(command(&s3, "check", &[SINGLE]).status.success(), "a check writes nothing");
    assert_eq!(s3.keys(WRITERS).len(), 1);
    let push = async |process: &Process, seed| {
        let content = bytes(seed, 100_000);
        let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&content));
        process.client().request("POST", &path).body(content).send().await
    };
    push(&first, 1).await.expect(201);
    first.terminate();
    assert_eq!(first.ended().await.code(), Some(0), "{}", first.log());
    assert_eq!(s3.keys(WRITERS), [""; 0]);

    // What is killed keeps its lease until that has run out.
    let second = Process::over_s3(&s3, &[SINGLE]);
    push(&second, 2).await.expect(201);
    second.kill();
    let refused = command(&s3, "serve", &[SINGLE]);
    assert!(refused.stderr.contains("in use by another process"), "{}", refused.stderr);
    let [lease] = <[String; 1]>::try_from(s3.keys(WRITERS)).expect("one lease");
    s3.backdate(&lease, HOUR);
    let third = Process::over_s3(&s3, &[SINGLE]);
    push(&third, 3).await.expect(201);
    let taken_over = "the lease of another writer has run out: this one takes over";
    assert!(third.log().contains(taken_over), "{}", third.log());
    let leases = s3.keys(WRITERS);
    assert!(leases.len() == 1 && leases[0] != lease, "{leases:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_taken_over_stops_writing_and_exits() {
    let s3 = without(Conditions::Ignored).await;
    let mut process = Process::over_s3(&s3, &[SINGLE]);
    let [lease] = <[String; 1]>::try_from(s3.keys(WRITERS)).expect("one lease");
    assert!(s3.remove(&lease));
    assert_eq!(process.ended().await.code(), Some(1), "{}", process.log());
    let log = process.log();
    let said = "the writer's lease of this process is lost: another process has taken over";
    assert!(log.contains(&format!("longshore: stopped: {said}")), "{log}");
    assert_eq!(s3.keys(WRITERS), [""; 0], "it does not take the lease back");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_end_with_a_lease_that_cannot_be_renewed() {
    let s3 = without(Conditions::Ignored).await;
    let store = holder(&s3, Duration::from_secs(4)).await;
    let app = App::frontend(store.clone(), Settings::default()).await;
    let digest = app.push_blob("a", b"before").await;
    s3.refuse(Match::put(WRITERS).always(), 503, "SlowDown");
    let why = tokio::time::timeout(Duration::from_secs(30), store.writing_ended()).await;
    let why = why.expect("the lease ends");
    assert!(why.contains("could not be renewed") && why.contains("503 SlowDown"), "{why}");
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(b"after"));
    let refused = app.request("POST", &path).body("after").send().await.expect(503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    app.assert_blob("a", &digest, b"before").await;
    let puts = s3.arrived(&Match::put("v1/l/"));
    let written = store.create(&key(), "x".into(), None).await;
    assert!(matches!(written, Err(Error::Unavailable(_))), "{written:?}");
    assert_eq!(s3.arrived(&Match::put("v1/l/")), puts);
    // Another one takes over when the record is as old as it says.
    s3.heal();
    let began = Instant::now();
    while writer(&s3, Duration::from_secs(4)).await.begin_writing().await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// The store refuses what the former holder has sent before another process took over.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_arrives_after_the_lease_is_refused_by_the_store() {
    let s3 = without(Conditions::Ignored).await;
    let store = holder(&s3, Duration::from_mins(1)).await;
    let key = key();
    let held = s3.hold(Match::put(&key.to_string()).always());
    let written = store.create(&key, "late".into(), None).await;
    assert!(matches!(written, Err(Error::Unavailable(_))), "{written:?}");
    s3.set_clock(70);
    assert_eq!(held.release().await, 403);
    assert!(s3.object(&key.to_string()).is_none());
}

/// An attempt that got no answer may still arrive: nothing is written over it before the store
/// would refuse it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_that_a_late_attempt_could_undo() {
    let s3 = without(Conditions::Ignored).await;
    let store = holder(&s3, Duration::from_secs(8)).await;
    let key = key();
    let held = s3.hold(Match::put(&key.to_string()));
    let first = store.create(&key, "first".into(), None).await.expect("the second attempt");
    held.reached().await;
    let began = Instant::now();
    let second = loop {
        match store.replace(&key, &first, "second".into(), None).await {
            Ok(version) => break version,
            Err(Error::Unavailable(why)) => assert!(why.contains("may still take effect"), "{why}"),
            Err(error) => panic!("{error:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(held.release().await, 403);
    assert_eq!(store.read(&key).await.expect("read").version, second);
    // Other records do not wait.
    store.create(&self::key(), "x".into(), None).await.expect("created");
}

/// A caller that goes away leaves no write behind that could undo a later one.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_write_waits_for_the_write_of_a_dropped_caller() {
    let s3 = without(Conditions::Ignored).await;
    let store = holder(&s3, Duration::from_mins(1)).await;
    let key = key();
    let held = s3.hold(Match::put(&key.to_string()));
    let dropped = store.create(&key, "first".into(), None);
    tokio::select! {
        _ = dropped => panic!("it is held"),
        () = held.reached() => {}
    }
    let mut second = std::pin::pin!(store.create(&key, "second".into(), None));
    let waited = tokio::time::timeout(Duration::from_millis(500), &mut second).await;
    assert!(waited.is_err(), "decided before the first write: {waited:?}");
    assert_eq!(held.release().await, 200);
    let conflict = second.await;
    assert!(matches!(conflict, Err(Error::Conflict)), "{conflict:?}");
    let record = store.read(&key).await.expect("read");
    assert_eq!(record.body, "first");
    store.replace(&key, &record.version, "third".into(), None).await.expect("nothing is late");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_without_the_lease() {
    let s3 = without(Conditions::Ignored).await;
    let store = writer(&s3, Duration::from_mins(1)).await;
    let written = store.create(&key(), "x".into(), None).await;
    assert!(matches!(written, Err(Error::Refused(_))), "{written:?}");
    store.begin_writing().await.expect("taken");
    let first = store.create(&key(), "x".into(), None).await;
    first.expect("the process has the lease");
    let (one, other) = (writer(&s3, HOUR).await, writer(&s3, HOUR).await);
    let (one, other) = tokio::join!(one.begin_writing(), other.begin_writing());
    assert!(one.is_err() && other.is_err(), "{one:?} {other:?}");
    store.end_writing().await;
    let written = store.replace(&key(), &Version("\"x\"".to_owned()), "x".into(), None).await;
    assert!(matches!(written, Err(Error::Unavailable(_))), "{written:?}");
}

/// Both find no other lease. The one whose record comes second has to see the first.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_starts_at_one_moment_one_takes_the_lease() {
    let s3 = without(Conditions::Ignored).await;
    let (slow, quick) = (writer(&s3, HOUR).await, writer(&s3, HOUR).await);
    let held = s3.hold(Match::put(WRITERS));
    let slow_start = slow.begin_writing();
    let quick_start = async {
        held.reached().await;
        quick.begin_writing().await.expect("no other record is there yet");
        assert_eq!(held.release().await, 200);
    };
    let (refused, ()) = tokio::join!(slow_start, quick_start);
    let refused = refused.expect_err("the other one has the lease").to_string();
    assert!(refused.contains("is in use by another process"), "{refused}");
    assert_eq!(s3.keys(WRITERS).len(), 1, "the refused one takes its record back");
    quick.create(&key(), "x".into(), None).await.expect("it has the lease");
    let listings = s3.arrived(&Match::of(Operation::ListObjects, WRITERS));
    assert!(listings >= 4, "each start lists before and after its write: {listings}");
}
