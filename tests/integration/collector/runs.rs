//! Runs that are cut off, and several at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore::collector::{Class, Error, Fate, Mode};
use longshore::layout::encoding::decode;
use longshore::layout::records::CollectorRun;
use longshore::store::RecordKey;
use longshore::store::memory::{Fault, FaultKind, Memory, Operation, Reported};
use longshore::telemetry::metrics::Metrics;
use serde_json::{Map, Value};

use crate::cache::stalling::Stalling;
use crate::support::app::{OCI_MANIFEST, image_manifest};
use crate::support::collection::{HOUR, LONG, Scene, collector, collector_sharing, link};
use crate::support::test_store::StoreKind;
use crate::support::{App, bytes, sha256};

/// Content of each kind that the collector takes, and an image that stays.
struct Busy {
    scene: Scene,
    memory: Arc<Memory>,
    kept: Vec<u8>,
}

async fn busy() -> Busy {
    let scene = Scene::start(StoreKind::Memory).await;
    let memory = scene.store.memory().expect("the store in memory");
    let kept = scene.push_large("keep", 1).await;
    scene.app.push_blob("keep", b"{}").await;
    let manifest = image_manifest(b"{}", &[&kept]);
    scene.app.put_manifest("keep", "v1", OCI_MANIFEST, &manifest).await.expect(201);
    // In quarantine, and due.
    let old = scene.push_large("a", 3).await;
    scene.delete(&format!("a/blobs/{}", sha256(&old))).await;
    scene.advance(LONG);
    scene.collect().await;
    // Sighted once.
    scene.push_large("b", 4).await;
    scene.advance(LONG);
    scene.collect().await;
    // Without a link, a tag that moved, and abandoned uploads.
    let unlinked = scene.push_large("c", 5).await;
    scene.delete(&format!("c/blobs/{}", sha256(&unlinked))).await;
    let moved = image_manifest(b"{}", &[] as &[&[u8]]);
    scene.app.put_manifest("keep", "v1", OCI_MANIFEST, &moved).await.expect(201);
    scene.app.put_manifest("keep", "v1", OCI_MANIFEST, &manifest).await.expect(201);
    for size in [300_000, 20_000] {
        let location = scene.app.request("POST", "/v2/a/blobs/uploads/").send().await.location();
        scene.app.request("PATCH", &location).body(bytes(9, size)).send().await.expect(202);
    }
    scene.app.settled().await;
    scene.advance(LONG);
    Busy { scene, memory, kept }
}

impl Busy {
    /// The keys of all live records but those of the collector itself, and the data.
    fn rest(&self) -> (Vec<String>, usize) {
        let live = self.scene.live("").into_iter().filter(|key| !key.starts_with("v1/g/"));
        (live.collect(), self.scene.store.data_objects().len())
    }
}

/// A crash between any two requests, and a response that is lost, leave nothing wrong, and the next
/// runs free the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cut_off_anywhere_is_finished_by_the_next() {
    let whole = busy().await;
    let before = whole.memory.calls();
    whole.scene.collect().await;
    let calls = u32::try_from(whole.memory.calls().since(&before).total()).expect("few");
    whole.scene.collect_all().await;
    let expected = whole.rest();
    assert_eq!((expected.1, whole.memory.open_multiparts()), (1, 0), "{expected:?}");
    for kind in [FaultKind::FailBefore, FaultKind::FailAfter(Reported::Unavailable)] {
        for cut in 0..calls {
            let busy = busy().await;
            let pass = FaultKind::Delay(Duration::ZERO);
            busy.memory.inject(Fault::everywhere(pass).times(cut));
            busy.memory.inject(Fault::everywhere(kind).always());
            let _cut = busy.scene.try_collect(Mode::Collect).await;
            busy.memory.heal();
            assert_eq!(busy.scene.pull("keep", &busy.kept).await, 200, "{cut} {kind:?}");
            busy.scene.advance(HOUR);
            busy.scene.collect().await;
            busy.scene.collect_all().await;
            assert_eq!(busy.scene.pull("keep", &busy.kept).await, 200, "{cut} {kind:?}");
            let (rest, open) = (busy.rest(), busy.memory.open_multiparts());
            // The one thing that a crash may leave for the listing of all data, a week later, is
            // data between the end of its session and its quarantine.
            assert_eq!(rest.0, expected.0, "{cut} {kind:?}");
            assert!(rest.1 <= expected.1 + 1 && open == 0, "{cut} {kind:?}: {rest:?}, {open}");
        }
    }
}

/// A failed run is continued in the same phase, under the same identity.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_continues_in_its_phase() {
    let busy = busy().await;
    let state = || {
        let record = busy.memory.record(&RecordKey::CollectorRun).expect("a state");
        decode::<CollectorRun>(&record.body).expect("a record of ours").0
    };
    let fault = Fault::on(Operation::List, FaultKind::FailBefore).below("v1/p/");
    busy.memory.inject(fault);
    let failed = busy.scene.try_collect(Mode::Collect).await;
    assert!(matches!(failed, Err(Error::Store(_))), "{failed:?}");
    let cut = state();
    assert_eq!(cut.phase.as_deref(), Some("pointers"));
    let before = busy.memory.calls();
    busy.memory.inject(Fault::on(Operation::List, FaultKind::FailBefore).below("v1/m/"));
    busy.scene.collect().await;
    let done = state();
    assert_eq!((done.phase, &done.id), (None, &cut.id));
    assert!(busy.memory.calls().since(&before).list < 10, "it began again");
    busy.memory.heal();
}

/// What a run has found once does not count twice when the run is continued.
#[tokio::test(flavor = "multi_thread")]
async fn a_continued_run_does_not_sight_a_link_twice() {
    let scene = Scene::start(StoreKind::Memory).await;
    let layer = scene.push_large("a", 1).await;
    scene.app.push_image("b", "v1", 1).await;
    scene.advance(LONG);
    let memory = scene.store.memory().expect("the store in memory");
    memory.inject(Fault::on(Operation::Read, FaultKind::FailBefore).below("v1/m/b"));
    scene.try_collect(Mode::Collect).await.expect_err("it is cut off");
    assert_eq!(scene.live("g/seen/").len(), 1);
    scene.collect().await;
    assert_eq!(scene.pull("a", &layer).await, 200);
    scene.collect().await;
    assert_eq!(scene.pull("a", &layer).await, 404);
}

/// A second collector leaves the work to the first one, and takes over when that has stalled.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_collectors_one_works() {
    let busy = busy().await;
    let other = collector(&busy.scene.settings, busy.scene.store.objects.clone());
    let meanwhile = async { other.run(Mode::Collect).await };
    let run = busy.scene.try_collect(Mode::Collect);
    let (first, second) = busy.scene.store.stalled(Operation::List, "v1/l/", run, meanwhile).await;
    assert!(matches!(second, Err(Error::Busy(_))), "{second:?}");
    first.expect("nothing disturbs it");

    let stalled = async {
        busy.scene.advance(Duration::from_mins(2));
        other.run(Mode::Collect).await
    };
    busy.scene.advance(LONG);
    let run = busy.scene.try_collect(Mode::Collect);
    let (first, second) = busy.scene.store.stalled(Operation::List, "v1/p/", run, stalled).await;
    second.expect("it takes over");
    assert!(matches!(first, Err(Error::TakenOver)), "{first:?}");
    busy.scene.collect_all().await;
    assert_eq!(busy.scene.pull("keep", &busy.kept).await, 200);
    assert_eq!(busy.rest().1, 1);
}

/// Without any lease, side by side: wasted work, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn collectors_side_by_side_do_no_harm() {
    for (operation, below) in [
        (Operation::Create, "v1/g/quarantine/"),
        (Operation::Replace, "v1/p/"),
        (Operation::Replace, "v1/l/"),
        (Operation::Delete, "v1/d/"),
        (Operation::Remove, "v1/g/quarantine/"),
        (Operation::Abort, "v1/d/"),
        (Operation::Replace, "v1/u/"),
    ] {
        let busy = busy().await;
        let other = collector(&busy.scene.settings, busy.scene.store.objects.clone());
        let meanwhile = async {
            busy.scene.advance(Duration::from_mins(2));
            other.run(Mode::Collect).await
        };
        let run = busy.scene.try_collect(Mode::Collect);
        let _both = busy.scene.store.stalled(operation, below, run, meanwhile).await;
        assert_eq!(busy.scene.pull("keep", &busy.kept).await, 200, "{operation:?} {below}");
        busy.scene.collect_all().await;
        assert_eq!(busy.scene.pull("keep", &busy.kept).await, 200, "{operation:?} {below}");
        assert_eq!(busy.rest().1, 1, "{operation:?} {below}");
    }
}

/// A bucket whose processes keep content for longer than this collector believes.
#[tokio::test(flavor = "multi_thread")]
async fn other_shared_settings_are_refused() {
    let busy = busy().await;
    let mut settings = busy.scene.settings.clone();
    settings.collection.grace = Duration::from_hours(4);
    let before = busy.memory.records();
    for mode in [Mode::Collect, Mode::DryRun] {
        let refused = collector(&settings, busy.scene.store.objects.clone()).run(mode).await;
        assert!(matches!(refused, Err(Error::Settings(_))), "{refused:?}");
    }
    assert_eq!(busy.memory.records(), before);
}

/// What a later release has written, and only that one understands, stays.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_later_release_stay() {
    let scene = Scene::start(StoreKind::Memory).await;
    let layer = scene.push_large("a", 1).await;
    let key = link("a", &layer);
    let record = scene.store.record(&key).expect("the link");
    let (mut header, _) = decode::<Map<String, Value>>(&record.body).expect("ours");
    header.insert("v".to_owned(), 1.into());
    header.insert("nonce".to_owned(), "00".repeat(12).into());
    header.insert("need".to_owned(), serde_json::json!(["something"]));
    let mut body = serde_json::to_vec(&header).expect("JSON");
    body.push(b'\n');
    scene.store.objects.replace(&key, &record.version, body.into(), None).await.expect("written");
    scene.collect_all().await;
    assert_eq!(scene.pull("a", &layer).await, 200);
}

/// A manifest that cannot be read may name anything in its repository.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_keeps_the_links_of_its_repository() {
    let scene = Scene::start(StoreKind::Memory).await;
    let (damaged, other) = (scene.push_large("a", 1).await, scene.push_large("b", 2).await);
    let body = bytes::Bytes::from(vec![b'x'; 100]);
    let manifest = crate::support::collection::manifest("a", b"anything");
    scene.store.create(&manifest, body).await;
    scene.collect_all().await;
    assert_eq!((scene.pull("a", &damaged).await, scene.pull("b", &other).await), (200, 404));
    let report = scene.collect().await;
    assert_eq!(report.of(Class::Manifest, Fate::Unreadable), 1, "{report}");
}

/// What is collected leaves the caches of all processes.
#[tokio::test(flavor = "multi_thread")]
async fn no_cache_serves_what_was_collected() {
    let scene = Scene::start(StoreKind::Memory).await;
    let shared = Arc::new(Stalling::default());
    let mut settings = scene.settings.clone();
    settings.store.url = "s3://shared".parse().expect("the URL of a bucket");
    let store = scene.store.objects.clone();
    let cached =
        App::sharing(store.clone(), Some(shared.clone()), settings, Metrics::default()).await;
    let content = bytes(1, 100);
    cached.push_blob("a", &content).await;
    let path = format!("/v2/a/blobs/{}", sha256(&content));
    cached.get(&path).send().await.expect(200);
    scene.advance(LONG);
    for _ in 0..2 {
        let collector = collector_sharing(
            &scene.settings,
            store.clone(),
            Some(shared.clone()),
            &Metrics::default(),
        );
        cached.get(&path).send().await.expect(200);
        collector.run(Mode::Collect).await.expect("a run");
        scene.advance(HOUR);
    }
    cached.get(&path).send().await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_of_requests_is_limited() {
    let mut scene = Scene::start(StoreKind::Memory).await;
    scene.push_large("a", 1).await;
    scene.settings.collection.requests_per_second = 40;
    let began = Instant::now();
    let report = scene.collect().await;
    // A tenth of a second may be saved up.
    let least = Duration::from_millis((report.requests() - 6) * 1_000 / 40);
    assert!(began.elapsed() >= least, "{} in {:?}", report.requests(), began.elapsed());
}

/// The next run would otherwise find a lease that its holder has left, and end until that is over.
#[tokio::test]
async fn a_run_that_ends_during_a_renewal_releases_its_lease() {
    let scene = Scene::start(StoreKind::Memory).await;
    let memory = scene.store.memory().expect("the store in memory");
    scene.push_large("a", 1).await;
    scene.app.settled().await;
    tokio::time::pause();
    let seconds = Duration::from_secs;
    // The first renewal comes after 15 seconds, and the run ends before its answer.
    memory.inject(Fault::on(Operation::List, FaultKind::Delay(seconds(20))).below("v1/p/"));
    let slow = Fault::on(Operation::Replace, FaultKind::SlowAnswer(seconds(30)));
    memory.inject(slow.below("v1/g/collector"));
    scene.advance(HOUR);
    scene.collect().await;
    memory.heal();
    let lease = memory.record(&RecordKey::Collector).expect("the record of the lease");
    assert_eq!(lease.body.len(), 36, "a tombstone");
    scene.collect().await;
}
