//! The scripted S3 itself, and the registry over it: requests that are lost, late or repeated
//! between the SDK and the store.

mod completions;
mod deletions;
mod equal_parts;
mod late_writes;
mod pointers;
mod pushes;
mod registry;
mod repairs;
mod same_tests;

use std::sync::Arc;
use std::time::Duration;

use longshore::oci::UploadId;
use longshore::store::s3::S3;
use longshore::store::{
    BlobStore as _, Deadline, Error, Location, Prefix, RecordKey, RecordStore as _,
};
use longshore::telemetry::metrics::Metrics;
use md5::{Digest as _, Md5};
use tokio_util::task::TaskTracker;

use crate::support::http::Client;
use crate::support::scripted_s3::{Match, Operation, ScriptedS3};

/// The prefix of the keys of [`key`].
const PROBES: &str = "v1/g/probe/";

async fn started() -> (ScriptedS3, Arc<S3>) {
    let s3 = ScriptedS3::start().await;
    let store = Arc::new(s3.store(&Metrics::default()).await);
    (s3, store)
}

fn key() -> RecordKey {
    RecordKey::Probe(UploadId::random())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_guarantees_of_a_store() {
    let (_s3, store) = started().await;
    super::store_suite::check_everything(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_request_takes_effect_when_it_is_released() {
    let (s3, store) = started().await;
    let held = s3.hold(Match::put(PROBES));
    let (late, the_key) = (store.clone(), key());
    let its_key = the_key.clone();
    let late =
        TaskTracker::new().spawn(async move { late.create(&its_key, "late".into(), None).await });
    held.reached().await;
    assert!(held.is_reached() && s3.object(&the_key.to_string()).is_none());
    store.create(&the_key, "first".into(), None).await.expect("the other one is held");
    assert_eq!(held.release().await, 412);
    assert!(matches!(late.await.expect("no panic"), Err(Error::Conflict)));
    assert_eq!(store.read(&the_key).await.expect("read").body, "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_response_belongs_to_a_request_that_took_effect() {
    let (s3, store) = started().await;
    let held = s3.hold_response(Match::put(PROBES));
    let (writer, the_key) = (store.clone(), key());
    let its_key = the_key.clone();
    let writing =
        TaskTracker::new().spawn(async move { writer.create(&its_key, "x".into(), None).await });
    held.reached().await;
    assert_eq!(store.read(&the_key).await.expect("read").body, "x");
    assert_eq!(held.release().await, 200);
    writing.await.expect("no panic").expect("created");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_request_has_no_effect_and_a_dropped_response_has_one() {
    let (s3, store) = started().await;
    s3.drop_request(Match::put(PROBES));
    store.create(&key(), "x".into(), None).await.expect("the SDK sends it again");
    assert_eq!(s3.arrived(&Match::put(PROBES)), 2);

    s3.drop_response(Match::put(PROBES));
    let the_key = key();
    let again = store.create(&the_key, "x".into(), None).await;
    // The SDK meets its own first attempt.
    assert!(matches!(again, Err(Error::Conflict | Error::ConflictAfterRetry)), "{again:?}");
    assert_eq!(s3.object(&the_key.to_string()).expect("it is there"), "x");

    s3.drop_response(Match::get(PROBES).always());
    assert!(matches!(store.read(&the_key).await, Err(Error::Unavailable(_))));
    s3.heal();
    store.read(&the_key).await.expect("read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_evaluated_again() {
    let (s3, store) = started().await;
    let (kept, removed) = (key(), key());
    for (key, status) in [(&kept, 412), (&removed, 200)] {
        let again = s3.repeat(Match::put(&key.to_string()));
        store.create(key, "x".into(), None).await.expect("created");
        again.reached().await;
        if *key == removed {
            assert!(s3.remove(&key.to_string()));
        }
        assert_eq!(again.release().await, status, "{key}");
        assert_eq!(s3.object(&key.to_string()).expect("it is there"), "x");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nth_request_is_refused_as_the_script_says() {
    let (s3, store) = started().await;
    s3.refuse(Match::put(PROBES).nth(2), 403, "AccessDenied");
    store.create(&key(), "x".into(), None).await.expect("the first one");
    let second = key();
    let refused = store.create(&second, "x".into(), None).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    assert!(s3.object(&second.to_string()).is_none());
    store.create(&second, "x".into(), None).await.expect("the third one");

    s3.refuse(Match::list("v1/c/").always(), 503, "SlowDown");
    let listed = store.list(&Prefix::Repositories, None, 10).await;
    assert!(matches!(listed, Err(Error::Unavailable(_))), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_the_server_decides_which_dated_writes_are_late() {
    let (s3, store) = started().await;
    let minute = Duration::from_mins(1);
    let dated = || Some(Deadline { leased_at: store.now(), valid_for: minute });
    store.create(&key(), "x".into(), dated()).await.expect("in time");
    s3.set_clock(120);
    let late = store.create(&key(), "x".into(), dated()).await;
    assert!(matches!(late, Err(Error::Expired)), "{late:?}");
    s3.set_clock(-3_600);
    let early = store.create(&key(), "x".into(), dated()).await;
    assert!(matches!(early, Err(Error::Refused(_))), "{early:?}");

    // A request expires while it is held, unless the server has checked it before.
    for (authorized, status) in [(false, 403), (true, 200)] {
        s3.set_clock(0);
        let which = Match::put(PROBES);
        let held = if authorized { s3.hold_authorized(which) } else { s3.hold(which) };
        let (writer, deadline) = (store.clone(), dated());
        let writing = TaskTracker::new()
            .spawn(async move { writer.create(&key(), "x".into(), deadline).await });
        held.reached().await;
        s3.set_clock(120);
        assert_eq!(held.release().await, status);
        assert_eq!(writing.await.expect("no panic").is_ok(), authorized);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ages_come_from_its_clock_and_can_be_set() {
    let (s3, store) = started().await;
    let the_key = key();
    store.create(&the_key, "x".into(), None).await.expect("created");
    s3.backdate(&the_key.to_string(), Duration::from_hours(50));
    let age = store.read(&the_key).await.expect("read").age;
    assert!(age >= Duration::from_hours(50) && age < Duration::from_hours(51), "{age:?}");
    s3.set_clock(3_600);
    let older = store.read(&the_key).await.expect("read").age;
    assert!(older >= Duration::from_hours(51), "{older:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_become_an_object_that_is_as_old_as_their_upload() {
    let (s3, store) = started().await;
    s3.set_part_bytes_min(100);
    let location = Location::new_unique(store.now());
    let id = store.start(&location).await.expect("started");
    assert!(store.is_open(&location, &id).await.expect("an answer"));
    s3.set_clock(600);
    let mut parts = Vec::new();
    for (number, size) in [(1, 100), (2, 99), (3, 7)] {
        let part = store.put_part(&location, &id, number, vec![7; size].into()).await;
        parts.push(part.expect("taken"));
    }
    let small = store.complete(&location, &id, &parts).await;
    assert!(matches!(small, Err(Error::Refused(_))), "{small:?}");
    store.complete(&location, &id, &parts[..2]).await.expect("completed");
    assert_eq!(s3.object(&location.to_string()).expect("it is there").len(), 199);
    assert!(!store.is_open(&location, &id).await.expect("an answer"));
    assert_eq!(s3.open_multiparts(), 0);
    store.complete(&location, &id, &parts[..2]).await.expect("the object is there");

    let client = Client::new(&s3.url());
    let head = client.request("HEAD", &format!("/bucket/{location}")).send().await.expect(200);
    assert!(head.header("etag").is_some_and(|etag| etag.ends_with("-2\"")), "{head:?}");
    let date = |name| httpdate::parse_http_date(head.header(name).expect("a date")).expect("valid");
    let age = date("date").duration_since(date("last-modified")).expect("in the past");
    assert!(age >= Duration::from_secs(599), "{age:?}");

    let other = Location::new_unique(store.now());
    let id = store.start(&other).await.expect("started");
    store.abort(&other, &id).await.expect("aborted");
    let late = store.put_part(&other, &id, 1, "x".into()).await;
    assert!(matches!(late, Err(Error::NotFound)), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_ranges_and_conditions_are_those_of_s3() {
    let (s3, _) = started().await;
    for key in ["a/1", "a/2", "b", "c/1", "d&<"] {
        s3.put(key, key);
    }
    let client = Client::new(&s3.url());
    let get = async |path: &str| {
        let reply = client.request("GET", &format!("/bucket{path}")).send().await.expect(200);
        String::from_utf8(reply.body.to_vec()).expect("text")
    };
    let first = get("?list-type=2&delimiter=%2F&max-keys=1").await;
    assert!(first.contains("<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>"), "{first}");
    assert!(first.contains("<NextContinuationToken>a/</NextContinuationToken>"), "{first}");
    let rest = get("?list-type=2&delimiter=%2F&continuation-token=a%2F").await;
    assert!(!rest.contains("a/") && rest.contains("<Prefix>c/</Prefix>"), "{rest}");
    assert!(rest.contains("<Key>b</Key>") && rest.contains("<Key>d&amp;&lt;</Key>"), "{rest}");
    assert!(rest.contains("<IsTruncated>false</IsTruncated>"), "{rest}");
    let after = get("?list-type=2&prefix=a%2F&start-after=a%2F1").await;
    assert!(
        after.contains("<KeyCount>1</KeyCount>") && after.contains("<Key>a/2</Key>"),
        "{after}"
    );

    let request = |method: &str| client.request(method, "/bucket/a/1");
    let range = request("GET").header("range", "bytes=1-1").send().await.expect(206);
    range.with("content-range", "bytes 1-1/3").with_body(b"/");
    request("GET").header("range", "bytes=3-").send().await.expect(416);
    let etag = request("HEAD").send().await.expect(200).with("content-length", "3");
    let etag = etag.header("etag").expect("an ETag").to_owned();
    assert_eq!(etag, format!("\"{}\"", hex::encode(Md5::digest(b"a/1"))));
    let put = |name, value: &str| request("PUT").header(name, value).body("new").send();
    put("if-none-match", "*").await.expect(412);
    put("if-match", "\"0\"").await.expect(412);
    put("content-md5", "AAAA").await.expect(400);
    put("if-match", &etag).await.expect(200);
    request("DELETE").header("if-match", &etag).send().await.expect(412);
    request("DELETE").send().await.expect(204);
    request("DELETE").header("if-match", &etag).send().await.expect(204);
    put("if-match", &etag).await.expect(404);
    assert_eq!(s3.arrived(&Match::of(Operation::HeadObject, "a/")), 1);
    assert_eq!(s3.arrived(&Match::delete("a/")), 3);
    assert_eq!(s3.keys("a/"), ["a/2"]);
}
