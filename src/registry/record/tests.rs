//! The operations over the memory store, with a clock and faults of the test.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;
use crate::layout::records::encode;
use crate::oci::UploadId;
use crate::registry::LeaseSettings;
use crate::store::memory::{Fault, FaultKind, Memory, Operation, Reported};

/// A store, its time, and leases that last a day.
struct Setting {
    store: Arc<Memory>,
    records: Records,
    now: Arc<Mutex<SystemTime>>,
    leases: Leases,
    key: RecordKey,
}

const DAY: Duration = Duration::from_hours(24);

fn setting() -> Setting {
    let now = Arc::new(Mutex::new(UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
    let clock = now.clone();
    let store = Memory::with_clock(Arc::new(move || *clock.lock().expect("a time")));
    let store = Arc::new(store);
    let minute = Duration::from_mins(1);
    let settings = LeaseSettings { grace: 2 * DAY, write_deadline: minute, clock_skew: minute };
    let leases = Leases::new(&settings).expect("safe times");
    let records = Records::new(store.clone(), leases);
    Setting { store, records, now, leases, key: RecordKey::Probe(UploadId::random()) }
}

impl Setting {
    fn pass(&self, time: Duration) {
        *self.now.lock().expect("a time") += time;
    }

    fn body(&self) -> Option<Bytes> {
        self.store.record(&self.key).map(|record| record.body)
    }

    async fn created(&self, body: &Bytes) -> Version {
        match self.records.create(&self.key, body, None).await {
            Ok(Written::Ours(version)) => version,
            other => panic!("{other:?}"),
        }
    }

    async fn current(&self) -> Current {
        self.records.read(&self.key).await.expect("the store answers")
    }

    async fn delete(&self) -> bool {
        let current = self.current().await;
        self.records.delete(&self.key, current, |_| Ok(true)).await.expect("the store answers")
    }

    async fn create_or_lease(&self, body: &Bytes) -> CreatedOrLeased {
        let done = self.records.create_or_lease(&self.key, body, None).await;
        done.expect("the store answers")
    }

    fn lose(&self, operation: Operation, reported: Reported) {
        self.store.inject(Fault::on(operation, FaultKind::FailAfter(reported)));
    }
}

fn header_of(body: &Bytes) -> Value {
    decode::<Value>(body).expect("a record of ours").0
}

#[test]
fn what_is_encoded_is_decoded() {
    for payload in [&b""[..], b"\n", b"{}\n{}", &[0, 255]] {
        let body = encode(&json!({ "a": 1, "b": "x\ny" }), payload);
        let (header, kept) = decode::<Value>(&body).expect("a record of ours");
        assert_eq!((header["a"].clone(), &kept[..]), (json!(1), payload));
        assert_eq!(header["b"], "x\ny");
    }
}

/// Equal content never makes an equal record: a rewrite always changes the version.
#[test]
fn nonces_differ() {
    let header = json!({ "a": 1 });
    assert_ne!(encode(&header, b"x"), encode(&header, b"x"));
    let body = encode(&header, b"x");
    let again = with_new_nonce(&body).expect("a record of ours");
    assert_ne!(again, body);
    assert_eq!(decode::<Value>(&again).expect("a record of ours").1, "x");
    assert_eq!(header_of(&again)["a"], 1);
}

#[test]
fn damaged_records_are_an_outage() {
    for body in ["", "\n", "{}\n", "no JSON\n", "{\"v\":1}", "{\"v\":2,\"nonce\":\"x\"}\n"] {
        match decode::<Value>(&Bytes::from_static(body.as_bytes())).map_err(Error::from) {
            Err(Error::Unavailable(store::Error::Damaged(_))) => {}
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn one_creator_wins() {
    let setting = setting();
    let (first, second) = (encode(&json!({ "n": 1 }), b""), encode(&json!({ "n": 2 }), b""));
    let version = setting.created(&first).await;
    match setting.records.create(&setting.key, &second, None).await {
        Ok(Written::Lost(Current::Live(record))) => {
            assert_eq!((record.body, record.version), (first.clone(), version));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(setting.body(), Some(first));
}

/// The response was lost, the SDK tried again and met its own first attempt.
#[tokio::test]
async fn a_conflict_with_ourselves_is_a_success() {
    let setting = setting();
    let (first, second) = (encode(&json!({}), b"1"), encode(&json!({}), b"2"));
    setting.lose(Operation::Create, Reported::Conflict);
    let version = setting.created(&first).await;
    setting.lose(Operation::Replace, Reported::Conflict);
    match setting.records.replace(&setting.key, &version, &second, None).await {
        Ok(Written::Ours(now)) => assert_ne!(now, version),
        other => panic!("{other:?}"),
    }
    assert_eq!(setting.body(), Some(second));
    setting.lose(Operation::Replace, Reported::Conflict);
    assert!(setting.delete().await);
    assert_eq!(setting.body(), Some(Bytes::new()));
}

/// If the second response is lost, too, the caller gets an error; repeating the call succeeds.
#[tokio::test]
async fn a_lost_response_is_an_outage_and_can_be_repeated() {
    let setting = setting();
    let body = encode(&json!({}), b"");
    setting.lose(Operation::Create, Reported::Unavailable);
    match setting.records.create(&setting.key, &body, None).await {
        Err(Error::Unavailable(store::Error::Unavailable(_))) => {}
        other => panic!("{other:?}"),
    }
    setting.created(&body).await;
    // An outage is never an absent record.
    setting.store.inject(Fault::on(Operation::Read, FaultKind::FailBefore));
    assert!(matches!(setting.records.read(&setting.key).await, Err(Error::Unavailable(_))));
    assert!(matches!(setting.current().await, Current::Live(_)));
}

#[tokio::test]
async fn deleting_is_idempotent() {
    let setting = setting();
    assert!(!setting.delete().await, "a record that never existed cannot be deleted");
    let version = setting.created(&encode(&json!({}), b"")).await;
    assert!(setting.delete().await);
    assert!(!setting.delete().await);
    assert!(matches!(setting.current().await, Current::Tombstone(_)));
    // By a writer that read it before it was deleted, too.
    match setting.records.replace(&setting.key, &version, &Bytes::new(), None).await {
        Ok(Written::Ours(_)) => {}
        other => panic!("{other:?}"),
    }
    let read = setting.records.load::<Value>(&setting.key).await.expect("the store answers");
    assert!(read.is_none());
}

/// The predicate sees what is there now, not what was read before.
#[tokio::test]
async fn deleting_reads_again() {
    let setting = setting();
    let version = setting.created(&encode(&json!({ "n": 1 }), b"")).await;
    let current = setting.current().await;
    let other = encode(&json!({ "n": 2 }), b"");
    setting.records.replace(&setting.key, &version, &other, None).await.expect("a replacement");
    let matches = |record: &Record| Ok(header_of(&record.body)["n"] == 1);
    let deleted = setting.records.delete(&setting.key, current, matches).await;
    assert!(!deleted.expect("the store answers"));
    assert_eq!(setting.body(), Some(other));
}

#[tokio::test]
async fn create_or_lease_creates_leases_and_creates_again() {
    let setting = setting();
    let (one, two) = (encode(&json!({ "n": 1 }), b""), encode(&json!({ "n": 2 }), b""));
    assert!(matches!(setting.create_or_lease(&one).await, CreatedOrLeased::Created));
    match setting.create_or_lease(&two).await {
        CreatedOrLeased::Leased(record) => assert_eq!(record.body, one),
        CreatedOrLeased::Created => panic!("it was there"),
    }
    assert!(setting.delete().await);
    assert!(matches!(setting.create_or_lease(&two).await, CreatedOrLeased::Created));
    assert_eq!(setting.body(), Some(two));
}

/// The response to the creation is lost: repeating it ends with one live record.
#[tokio::test]
async fn create_or_lease_through_lost_responses() {
    for reported in [Reported::Conflict, Reported::Unavailable] {
        let setting = setting();
        let body = encode(&json!({}), b"");
        setting.lose(Operation::Create, reported);
        let done = setting.records.create_or_lease(&setting.key, &body, None).await;
        match reported {
            Reported::Conflict => assert!(matches!(done, Ok(CreatedOrLeased::Created))),
            Reported::Unavailable => assert!(matches!(done, Err(Error::Unavailable(_)))),
        }
        assert_eq!(setting.body(), Some(body.clone()));
        assert!(matches!(
            setting.create_or_lease(&body).await,
            CreatedOrLeased::Created | CreatedOrLeased::Leased(_)
        ));
    }
}

/// A lease on a young record costs nothing; on an old one it is a rewrite.
#[tokio::test]
async fn a_lease_touches_an_old_record() {
    let setting = setting();
    let body = encode(&json!({ "n": 1 }), b"payload");
    let version = setting.created(&body).await;
    let second = Duration::from_secs(1);
    for (time, touches) in
        [(DAY.saturating_sub(second), false), (second, true), (DAY, true), (second, false)]
    {
        setting.pass(time);
        let Current::Live(record) = setting.current().await else { panic!("it is live") };
        let (before, calls) = (record.version.clone(), setting.store.calls());
        let leased = setting.records.lease(&setting.key, record).await;
        let leased = leased.expect("the store answers").expect("it is live");
        assert_eq!(leased.version != before, touches);
        let calls = setting.store.calls().since(&calls);
        assert_eq!((calls.total(), calls.replace), (u64::from(touches), u64::from(touches)));
        assert!(leased.age < setting.leases.half_life());
    }
    let now = setting.store.record(&setting.key).expect("it is there");
    assert_ne!(now.version, version);
    let (header, payload) = decode::<Value>(&now.body).expect("a record of ours");
    assert_eq!((header["n"].clone(), &payload[..]), (json!(1), &b"payload"[..]));
}

/// Between reading and touching it was deleted, or touched by another writer.
#[tokio::test]
async fn a_lease_on_a_changed_record() {
    let setting = setting();
    setting.created(&encode(&json!({}), b"")).await;
    setting.pass(DAY);
    let Current::Live(old) = setting.current().await else { panic!("it is live") };
    assert!(matches!(setting.records.touch(&setting.key, &old).await, Ok(Written::Ours(_))));
    let leased = setting.records.lease(&setting.key, old.clone()).await;
    let leased = leased.expect("the store answers").expect("it is live");
    assert_ne!(leased.version, old.version);
    setting.pass(DAY);
    let Current::Live(old) = setting.current().await else { panic!("it is live") };
    assert!(setting.delete().await);
    let leased = setting.records.lease(&setting.key, old).await;
    assert!(leased.expect("the store answers").is_none());
}

/// A write that relies on a lease that is too old has no effect.
#[tokio::test]
async fn a_deadline_that_has_passed() {
    let setting = setting();
    let deadline = setting.leases.deadline(setting.store.now());
    setting.pass(Duration::from_secs(61));
    let body = encode(&json!({}), b"");
    match setting.records.create(&setting.key, &body, Some(deadline)).await {
        Err(Error::Unavailable(store::Error::Expired)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(setting.body(), None);
}

/// Another writer is always faster: the client gets 503.
#[tokio::test]
async fn attempts_have_an_end() {
    let setting = setting();
    setting.created(&encode(&json!({}), b"")).await;
    let current = setting.current().await;
    let rivals = |record: &Record| {
        // The predicate itself is the rival: it rewrites the record before each attempt.
        let rewritten = setting.records.touch(&setting.key, record);
        let written = futures_util::FutureExt::now_or_never(rewritten);
        assert!(matches!(written, Some(Ok(Written::Ours(_)))));
        Ok(true)
    };
    let deleted = setting.records.delete(&setting.key, current, rivals).await;
    assert!(matches!(deleted, Err(Error::Busy(_))));
    assert_eq!(setting.store.calls().replace, u64::from(2 * ATTEMPTS_MAX));
}
