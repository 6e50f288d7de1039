//! Tests of the memory store only: it takes another time, counts calls, and fails on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use longshore::store::memory::{Calls, Fault, FaultKind, Memory, Operation, Reported};
use longshore::store::{
    BlobStore, Deadline, Error, Part, Prefix, PresignGet, RecordStore, Version,
};

use super::{assert_fails, bytes_of, collect, get, unused_key, unused_location, unused_repository};

#[tokio::test]
async fn the_store_uses_the_given_clock() {
    let seconds = Arc::new(AtomicU64::new(1_000));
    let shared = Arc::clone(&seconds);
    let clock = move || UNIX_EPOCH + Duration::from_secs(shared.load(Ordering::SeqCst));
    let store = Memory::with_clock(Arc::new(clock));
    let deadline = Deadline { leased_at: store.now(), valid_for: Duration::from_mins(5) };

    let key = unused_key();
    seconds.store(1_300, Ordering::SeqCst);
    let version = store.create(&key, "in time".into(), Some(deadline)).await.expect("in time");
    seconds.store(1_301, Ordering::SeqCst);
    let late = store.replace(&key, &version, "late".into(), Some(deadline)).await;
    assert_fails!(late, Error::Expired);
    seconds.store(3_300, Ordering::SeqCst);
    assert_eq!(store.read(&key).await.expect("read").age, Duration::from_secs(2_000));
    seconds.store(0, Ordering::SeqCst);
    assert_eq!(store.read(&key).await.expect("read").age, Duration::ZERO);
}

#[tokio::test]
async fn calls_are_counted_by_kind() {
    let store = Memory::new();
    let key = unused_key();
    let version = store.create(&key, "one".into(), None).await.expect("created");
    assert_fails!(store.create(&key, "one".into(), None).await, Error::Conflict);
    let before = store.calls();
    store.replace(&key, &version, "two".into(), None).await.expect("replaced");
    store.read(&key).await.expect("read");
    store.list(&Prefix::Tags(unused_repository()), None, 10).await.expect("listed");
    let location = unused_location(&store);
    let options = PresignGet { dated: store.now(), valid_for: Duration::from_mins(10) };
    assert_eq!(store.presign_get(&location, options).await.expect("no failure"), None);
    let since = store.calls().since(&before);
    assert_eq!(since, Calls { replace: 1, read: 1, list: 1, presign: 1, ..Calls::default() });
    assert_eq!((since.total(), store.calls().total()), (3, 5));
}

#[tokio::test]
async fn stored_data_can_be_inspected() {
    let store = Memory::new().with_presign("memory://bucket");
    let key = unused_key();
    assert!(store.record(&key).is_none());
    store.create(&key, "seen".into(), None).await.expect("created");
    assert_eq!(store.record(&key).expect("it is there").body, "seen");

    let location = unused_location(&store);
    let id = store.start(&location).await.expect("started");
    assert_eq!((store.open_multiparts(), store.data_objects().len()), (1, 0));
    let part = store.put_part(&location, &id, 1, "bytes".into()).await.expect("taken");
    store.complete(&location, &id, &[part]).await.expect("completed");
    assert_eq!(store.open_multiparts(), 0);
    assert_eq!(store.data_objects(), [(location.to_string(), 5)]);

    let options = PresignGet { dated: UNIX_EPOCH, valid_for: Duration::from_mins(10) };
    let url = store.presign_get(&location, options).await.expect("no failure").expect("a URL");
    assert_eq!(url, format!("memory://bucket/{location}?dated=0&valid_for=600"));
}

#[tokio::test]
async fn wrong_calls_are_refused() {
    let store = Memory::new();
    let location = unused_location(&store);
    let id = store.start(&location).await.expect("started");
    let mut parts: Vec<Part> = Vec::new();
    for number in [1, 2] {
        parts.push(store.put_part(&location, &id, number, "small".into()).await.expect("taken"));
    }
    assert_fails!(store.put_part(&location, &id, 1, "other".into()).await, Error::Refused(_));
    assert_fails!(store.put_part(&location, &id, 0, "zero".into()).await, Error::Refused(_));
    assert_fails!(store.complete(&location, &id, &parts).await, Error::Refused(_));
    assert_fails!(store.complete(&location, &id, &[]).await, Error::Refused(_));
    let elsewhere = unused_location(&store);
    assert_fails!(store.complete(&elsewhere, &id, &parts[1..]).await, Error::NotFound);

    store.put(&elsewhere, "one".into(), None).await.expect("written");
    store.put(&elsewhere, "one".into(), None).await.expect("a request was sent again");
    assert_fails!(store.put(&elsewhere, "two".into(), None).await, Error::Refused(_));

    let lenient = Memory::new().with_part_bytes_min(5);
    let id = lenient.start(&location).await.expect("started");
    for part in &parts {
        lenient.put_part(&location, &id, part.number, "small".into()).await.expect("taken");
    }
    lenient.complete(&location, &id, &parts).await.expect("five bytes are enough");
}

#[tokio::test]
async fn a_lost_request_has_no_effect_and_a_lost_response_has_one() {
    let store = Memory::new();
    let key = unused_key();
    store.inject(Fault::on(Operation::Create, FaultKind::FailBefore));
    assert_fails!(store.create(&key, "one".into(), None).await, Error::Unavailable(_));
    assert!(store.record(&key).is_none());

    store.inject(Fault::on(Operation::Create, FaultKind::FailAfter(Reported::Conflict)));
    assert_fails!(store.create(&key, "one".into(), None).await, Error::ConflictAfterRetry);
    let version = store.record(&key).expect("it took effect").version;

    store.inject(Fault::everywhere(FaultKind::FailAfter(Reported::Unavailable)));
    let outcome = store.replace(&key, &version, "two".into(), None).await;
    assert_fails!(outcome, Error::Unavailable(_));
    assert_eq!(store.read(&key).await.expect("the fault is spent").body, "two");

    let location = unused_location(&store);
    store.inject(Fault::on(Operation::Put, FaultKind::FailAfter(Reported::Conflict)));
    assert_fails!(store.put(&location, "x".into(), None).await, Error::Unavailable(_));
    assert_eq!(store.data_objects().len(), 1);
    store.inject(Fault::everywhere(FaultKind::Refuse).times(2));
    assert_fails!(store.delete(&location).await, Error::Refused(_));
    assert_fails!(store.start(&location).await, Error::Refused(_));
    store.delete(&location).await.expect("removed");
}

#[tokio::test]
async fn a_body_breaks_at_the_injected_offset() {
    let store = Memory::new();
    let (key, location) = (unused_key(), unused_location(&store));
    let bytes = bytes_of(1, 200_000);
    store.create(&key, bytes.clone(), None).await.expect("created");
    store.put(&location, bytes.clone(), None).await.expect("written");

    store.inject(Fault::everywhere(FaultKind::TruncateBody(100_000)).always());
    assert_fails!(store.read(&key).await, Error::Unavailable(_));
    assert_fails!(get(&store, &location).await, Error::Unavailable(_));
    let range = store.get(&location, Some(10..100_009)).await.expect("opened");
    assert_eq!(collect(range).await.expect("it ends before"), bytes[10..100_009]);
    store.heal();
    assert_eq!(get(&store, &location).await.expect("healed"), bytes);
}

#[tokio::test]
async fn a_delayed_write_is_refused_after_its_deadline() {
    let store = Memory::new();
    let delay = Duration::from_millis(120);
    store.inject(Fault::on(Operation::Create, FaultKind::Delay(delay)));
    let deadline = Deadline { leased_at: store.now(), valid_for: Duration::from_millis(60) };
    let begin = Instant::now();
    let late = store.create(&unused_key(), "late".into(), Some(deadline)).await;
    assert_fails!(late, Error::Expired);
    assert!(begin.elapsed() >= delay);
}

#[tokio::test]
async fn random_faults_repeat_from_their_seed() {
    let failures = async |seed| {
        let store = Memory::new();
        store.inject(Fault::everywhere(FaultKind::FailBefore).chance(seed, 300).below("v1/g/"));
        let mut failed = Vec::new();
        for _ in 0..1_000 {
            failed.push(store.create(&unused_key(), Bytes::new(), None).await.is_err());
            let outcome = store.list(&Prefix::Repositories, None, 1).await;
            outcome.expect("the fault strikes elsewhere");
        }
        failed
    };
    let failed = failures(7).await;
    let count = failed.iter().filter(|failed| **failed).count();
    assert!((200..400).contains(&count), "{count} of 1,000");
    assert_eq!(failed, failures(7).await);
    assert_ne!(failed, failures(8).await);
}

#[tokio::test]
async fn a_late_request_takes_effect_when_it_is_delivered_under_its_condition() {
    let store = Memory::new();
    let (key, contested) = (unused_key(), unused_key());
    store.inject(Fault::on(Operation::Create, FaultKind::Late(Duration::MAX)).times(2));
    for key in [&key, &contested] {
        assert_fails!(store.create(key, "late".into(), None).await, Error::Unavailable(_));
        assert!(store.record(key).is_none());
    }
    store.create(&contested, "other".into(), None).await.expect("it is absent");
    let answers = store.deliver();
    assert!(matches!(answers[..], [Ok(()), Err(Error::Conflict)]), "{answers:?}");
    assert_eq!(store.record(&key).expect("it arrived").body, "late");
    assert_eq!(store.record(&contested).expect("it was refused").body, "other");
    assert!(store.deliver().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_is_late_by_the_given_time() {
    let store = Memory::new();
    let key = unused_key();
    store.inject(Fault::on(Operation::Create, FaultKind::Late(Duration::from_secs(10))));
    assert_fails!(store.create(&key, "late".into(), None).await, Error::Unavailable(_));
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!((store.record(&key).is_some(), store.undelivered()), (false, 1));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((store.record(&key).is_some(), store.undelivered()), (true, 0));
}

/// The versions of the store are those of S3: a repeated request cannot tell two equal bodies
/// apart.
#[tokio::test]
async fn a_repeated_request_takes_effect_again_where_its_condition_holds_again() {
    let store = Memory::new();
    let key = unused_key();
    let first = store.create(&key, "a".into(), None).await.expect("created");
    store.inject(Fault::on(Operation::Replace, FaultKind::Again(Duration::MAX)).times(2));
    let second = store.replace(&key, &first, "b".into(), None).await.expect("replaced");
    assert!(matches!(store.deliver()[..], [Err(Error::Conflict)]));

    let third = store.replace(&key, &second, "a".into(), None).await.expect("replaced");
    assert_eq!(third, first, "equal bytes have equal versions");
    store.replace(&key, &third, "b".into(), None).await.expect("replaced");
    assert!(matches!(store.deliver()[..], [Ok(())]));
    assert_eq!(store.record(&key).expect("it is there").body, "a");
}

#[tokio::test]
async fn a_late_request_is_refused_after_its_deadline() {
    let seconds = Arc::new(AtomicU64::new(1_000));
    let shared = Arc::clone(&seconds);
    let clock = move || UNIX_EPOCH + Duration::from_secs(shared.load(Ordering::SeqCst));
    let store = Memory::with_clock(Arc::new(clock));
    let deadline = Deadline { leased_at: store.now(), valid_for: Duration::from_mins(5) };
    let key = unused_key();
    for kind in [FaultKind::Late(Duration::MAX), FaultKind::Again(Duration::MAX)] {
        store.inject(Fault::on(Operation::Create, kind));
        let _ = store.create(&key, "x".into(), Some(deadline)).await;
    }
    seconds.store(1_301, Ordering::SeqCst);
    let answers = store.deliver();
    assert!(matches!(answers[..], [Err(Error::Expired), Err(Error::Expired)]), "{answers:?}");
}

#[tokio::test]
async fn a_write_beside_another_one_is_to_be_tried_again() {
    let store = Memory::new();
    let key = unused_key();
    store.inject(Fault::everywhere(FaultKind::TryAgain).times(2));
    assert_fails!(store.read(&key).await, Error::NotFound);
    assert_fails!(store.create(&key, "x".into(), None).await, Error::TryAgain);
    assert!(store.record(&key).is_none());
    let version = Version("x".to_owned());
    assert_fails!(store.replace(&key, &version, "x".into(), None).await, Error::TryAgain);
    store.create(&key, "x".into(), None).await.expect("the fault is spent");
}

#[tokio::test]
async fn data_in_parts_are_as_old_as_the_start_of_their_upload() {
    let seconds = Arc::new(AtomicU64::new(1_000));
    let shared = Arc::clone(&seconds);
    let clock = move || UNIX_EPOCH + Duration::from_secs(shared.load(Ordering::SeqCst));
    let store = Memory::with_clock(Arc::new(clock));
    let (whole, parts) = (unused_location(&store), unused_location(&store));
    let id = store.start(&parts).await.expect("started");
    seconds.store(1_100, Ordering::SeqCst);
    store.put(&whole, "x".into(), None).await.expect("written");
    let part = store.put_part(&parts, &id, 1, "x".into()).await.expect("taken");
    store.complete(&parts, &id, &[part]).await.expect("completed");
    seconds.store(1_150, Ordering::SeqCst);
    let ages = [&whole, &parts].map(|location| store.data_age(location).map(|age| age.as_secs()));
    assert_eq!(ages, [Some(50), Some(150)]);
}
