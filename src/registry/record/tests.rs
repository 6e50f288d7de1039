//! The verbs over the memory store, whose clock and faults are ours.

use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;
use crate::oci::UploadId;
use crate::store::memory::{Fault, FaultKind, Memory, Operation, Reported};

/// A store, its time, and leases that last a day.
struct Setting {
    store: Memory,
    now: Arc<Mutex<SystemTime>>,
    leases: Leases,
    key: RecordKey,
}

const DAY: Duration = Duration::from_hours(24);

fn setting() -> Setting {
    let now = Arc::new(Mutex::new(UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
    let clock = now.clone();
    let store = Memory::with_clock(Arc::new(move || *clock.lock().expect("a time")));
    let minute = Duration::from_mins(1);
    let leases = Leases::new(2 * DAY, minute, minute).expect("safe constants");
    Setting { store, now, leases, key: RecordKey::Probe(UploadId::random()) }
}

impl Setting {
    fn pass(&self, time: Duration) {
        *self.now.lock().expect("a time") += time;
    }

    fn body(&self) -> Option<Bytes> {
        self.store.record(&self.key).map(|entry| entry.body)
    }

    async fn created(&self, body: &Bytes) -> Version {
        match create(&self.store, &self.key, body, None).await {
            Ok(Written::Ours(version)) => version,
            other => panic!("{other:?}"),
        }
    }

    async fn seen(&self) -> Seen {
        look(&self.store, &self.key).await.expect("the store answers")
    }

    async fn kill(&self) -> bool {
        let seen = self.seen().await;
        kill(&self.store, &self.key, seen, |_| Ok(true)).await.expect("the store answers")
    }

    async fn ensure(&self, body: &Bytes) -> Ensured {
        ensure(&self.store, &self.leases, &self.key, body, None).await.expect("the store answers")
    }

    fn lose(&self, operation: Operation, reported: Reported) {
        self.store.inject(Fault::on(operation, FaultKind::FailAfter(reported)));
    }
}

fn header_of(body: &Bytes) -> Value {
    decode::<Value>(body).expect("an entry of ours").0
}

#[test]
fn what_is_encoded_is_decoded() {
    for payload in [&b""[..], b"\n", b"{}\n{}", &[0, 255]] {
        let body = encode(&json!({ "a": 1, "b": "x\ny" }), payload);
        let (header, kept) = decode::<Value>(&body).expect("an entry of ours");
        assert_eq!((header["a"].clone(), &kept[..]), (json!(1), payload));
        assert_eq!(header["b"], "x\ny");
    }
}

/// Equal content never makes an equal entry: a rewrite always changes the version.
#[test]
fn nonces_differ() {
    let header = json!({ "a": 1 });
    assert_ne!(encode(&header, b"x"), encode(&header, b"x"));
    let body = encode(&header, b"x");
    let again = renewed(&body).expect("an entry of ours");
    assert_ne!(again, body);
    assert_eq!(decode::<Value>(&again).expect("an entry of ours").1, "x");
    assert_eq!(header_of(&again)["a"], 1);
}

#[test]
fn what_is_no_entry_is_an_outage() {
    for body in ["", "\n", "{}\n", "no JSON\n", "{\"v\":1}", "{\"v\":2,\"nonce\":\"x\"}\n"] {
        match decode::<Value>(&Bytes::from_static(body.as_bytes())) {
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
    match create(&setting.store, &setting.key, &second, None).await {
        Ok(Written::Lost(Seen::Alive(entry))) => {
            assert_eq!((entry.body, entry.version), (first.clone(), version));
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
    match replace(&setting.store, &setting.key, &version, &second, None).await {
        Ok(Written::Ours(now)) => assert_ne!(now, version),
        other => panic!("{other:?}"),
    }
    assert_eq!(setting.body(), Some(second));
    setting.lose(Operation::Replace, Reported::Conflict);
    assert!(setting.kill().await);
    assert_eq!(setting.body(), Some(Bytes::new()));
}

/// Where even the second answer is lost, the caller hears so; doing it again succeeds.
#[tokio::test]
async fn a_lost_response_is_an_outage_and_can_be_repeated() {
    let setting = setting();
    let body = encode(&json!({}), b"");
    setting.lose(Operation::Create, Reported::Unavailable);
    match create(&setting.store, &setting.key, &body, None).await {
        Err(Error::Unavailable(store::Error::Unavailable(_))) => {}
        other => panic!("{other:?}"),
    }
    setting.created(&body).await;
    // An outage is never a missing entry.
    setting.store.inject(Fault::on(Operation::Read, FaultKind::FailBefore));
    assert!(matches!(look(&setting.store, &setting.key).await, Err(Error::Unavailable(_))));
    assert!(matches!(setting.seen().await, Seen::Alive(_)));
}

#[tokio::test]
async fn killing_is_idempotent() {
    let setting = setting();
    assert!(!setting.kill().await, "what never was cannot be killed");
    let version = setting.created(&encode(&json!({}), b"")).await;
    assert!(setting.kill().await);
    assert!(!setting.kill().await);
    assert!(matches!(setting.seen().await, Seen::Dead(_)));
    // By somebody who read it before it died, too.
    match replace(&setting.store, &setting.key, &version, &Bytes::new(), None).await {
        Ok(Written::Ours(_)) => {}
        other => panic!("{other:?}"),
    }
    let read = read::<Value>(&setting.store, &setting.key).await.expect("the store answers");
    assert!(read.is_none());
}

/// The condemnation is of what is there, not of what was seen before.
#[tokio::test]
async fn killing_looks_again() {
    let setting = setting();
    let version = setting.created(&encode(&json!({ "n": 1 }), b"")).await;
    let seen = setting.seen().await;
    let other = encode(&json!({ "n": 2 }), b"");
    replace(&setting.store, &setting.key, &version, &other, None).await.expect("a replacement");
    let condemned = |entry: &store::Record| Ok(header_of(&entry.body)["n"] == 1);
    let killed = kill(&setting.store, &setting.key, seen, condemned).await;
    assert!(!killed.expect("the store answers"));
    assert_eq!(setting.body(), Some(other));
}

#[tokio::test]
async fn ensuring_creates_finds_and_revives() {
    let setting = setting();
    let (one, two) = (encode(&json!({ "n": 1 }), b""), encode(&json!({ "n": 2 }), b""));
    assert!(matches!(setting.ensure(&one).await, Ensured::Written));
    match setting.ensure(&two).await {
        Ensured::Found(entry) => assert_eq!(entry.body, one),
        Ensured::Written => panic!("it was there"),
    }
    assert!(setting.kill().await);
    assert!(matches!(setting.ensure(&two).await, Ensured::Written));
    assert_eq!(setting.body(), Some(two));
}

/// Three creators at once: all end with one entry that is alive.
#[tokio::test]
async fn ensuring_through_lost_responses() {
    for reported in [Reported::Conflict, Reported::Unavailable] {
        let setting = setting();
        let body = encode(&json!({}), b"");
        setting.lose(Operation::Create, reported);
        let ensured = ensure(&setting.store, &setting.leases, &setting.key, &body, None).await;
        match reported {
            Reported::Conflict => assert!(matches!(ensured, Ok(Ensured::Written))),
            Reported::Unavailable => assert!(matches!(ensured, Err(Error::Unavailable(_)))),
        }
        assert_eq!(setting.body(), Some(body.clone()));
        assert!(matches!(setting.ensure(&body).await, Ensured::Written | Ensured::Found(_)));
    }
}

/// A lease on a young entry costs nothing; on an old one it is a rewrite.
#[tokio::test]
async fn a_lease_renews_what_is_old() {
    let setting = setting();
    let body = encode(&json!({ "n": 1 }), b"payload");
    let version = setting.created(&body).await;
    let second = Duration::from_secs(1);
    for (time, renews) in
        [(DAY.saturating_sub(second), false), (second, true), (DAY, true), (second, false)]
    {
        setting.pass(time);
        let Seen::Alive(entry) = setting.seen().await else { panic!("it is alive") };
        let (before, calls) = (entry.version.clone(), setting.store.calls());
        let leased = lease(&setting.store, &setting.leases, &setting.key, entry).await;
        let leased = leased.expect("the store answers").expect("it is alive");
        assert_eq!(leased.version != before, renews);
        let calls = setting.store.calls().since(&calls);
        assert_eq!((calls.total(), calls.replace), (u64::from(renews), u64::from(renews)));
        assert!(leased.age < setting.leases.half_life());
    }
    let now = setting.store.record(&setting.key).expect("it is there");
    assert_ne!(now.version, version);
    let (header, payload) = decode::<Value>(&now.body).expect("an entry of ours");
    assert_eq!((header["n"].clone(), &payload[..]), (json!(1), &b"payload"[..]));
}

/// Between reading and renewing it was killed, or renewed by another.
#[tokio::test]
async fn a_lease_on_what_has_changed() {
    let setting = setting();
    setting.created(&encode(&json!({}), b"")).await;
    setting.pass(DAY);
    let Seen::Alive(old) = setting.seen().await else { panic!("it is alive") };
    assert!(matches!(renew(&setting.store, &setting.key, &old).await, Ok(Written::Ours(_))));
    let leased = lease(&setting.store, &setting.leases, &setting.key, old.clone()).await;
    let leased = leased.expect("the store answers").expect("it is alive");
    assert_ne!(leased.version, old.version);
    setting.pass(DAY);
    let Seen::Alive(old) = setting.seen().await else { panic!("it is alive") };
    assert!(setting.kill().await);
    let leased = lease(&setting.store, &setting.leases, &setting.key, old).await;
    assert!(leased.expect("the store answers").is_none());
}

/// A write on the strength of a lease that is too old has no effect.
#[tokio::test]
async fn a_deadline_that_has_passed() {
    let setting = setting();
    let deadline = setting.leases.deadline(moment(&setting.store));
    setting.pass(Duration::from_secs(61));
    let body = encode(&json!({}), b"");
    match create(&setting.store, &setting.key, &body, Some(deadline)).await {
        Err(Error::Unavailable(store::Error::Expired)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(setting.body(), None);
}

/// Somebody is always faster: the client is told to come back.
#[tokio::test]
async fn attempts_have_an_end() {
    let setting = setting();
    setting.created(&encode(&json!({}), b"")).await;
    let seen = setting.seen().await;
    let rivals = |entry: &store::Record| {
        // The condemnation itself is the rival: it rewrites the entry before each attempt.
        let rewritten = renew(&setting.store, &setting.key, entry);
        let written = futures_util::FutureExt::now_or_never(rewritten);
        assert!(matches!(written, Some(Ok(Written::Ours(_)))));
        Ok(true)
    };
    let killed = kill(&setting.store, &setting.key, seen, rivals).await;
    assert!(matches!(killed, Err(Error::Busy(_))));
    assert_eq!(setting.store.calls().replace, u64::from(2 * ATTEMPTS_MAX));
}
