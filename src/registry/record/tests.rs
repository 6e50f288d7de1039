//! The operations over the memory store, with a clock and faults of the test.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;
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
    let settings = LeaseSettings {
        grace: 2 * DAY,
        write_deadline: minute,
        clock_skew: minute,
        ..LeaseSettings::default()
    };
    let leases = Leases::new(&settings).expect("safe times");
    let records = Records::new(store.clone(), leases);
    Setting { store, records, now, leases, key: RecordKey::Probe(UploadId::random()) }
}

impl Setting {
    fn pass(&self, time: Duration) {
        *self.now.lock().expect("a time") += time;
    }

    /// The header of the record, `None` if there is none or a tombstone.
    fn header(&self) -> Option<Value> {
        let record = self.store.record(&self.key)?;
        (!is_tombstone(record.body.len() as u64)).then(|| header_of(&record.body))
    }

    async fn created(&self, draft: &Draft) -> Base {
        match self.records.create(&self.key, draft, None).await {
            Ok(Written::Ours(base)) => base,
            other => panic!("{other:?}"),
        }
    }

    async fn replaced(&self, base: &Base, draft: &Draft) -> Base {
        match self.records.replace(&self.key, base, draft, None).await {
            Ok(Written::Ours(base)) => base,
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

    async fn create_or_lease(&self, draft: &Draft) -> CreatedOrLeased {
        let done = self.records.create_or_lease(&self.key, draft, None).await;
        done.expect("the store answers")
    }

    fn lose(&self, operation: Operation, reported: Reported) {
        self.store.inject(Fault::on(operation, FaultKind::FailAfter(reported)));
    }
}

fn header_of(body: &Bytes) -> Value {
    decode::<Value>(body).expect("a record of ours").0
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Header {
    n: u32,
}

fn draft(n: u32) -> Draft {
    Draft::new(&Header { n }, Bytes::from_static(b"payload"))
}

#[test]
fn damaged_records_are_an_outage() {
    for body in ["\n", "{}\n", "no JSON, and longer than any tombstone is\n", "{\"v\":1}"] {
        match decode::<Value>(&Bytes::from_static(body.as_bytes())).map_err(Error::from) {
            Err(Error::Unavailable(store::Error::Damaged(_))) => {}
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn one_creator_wins() {
    let setting = setting();
    let base = setting.created(&draft(1)).await;
    match setting.records.create(&setting.key, &draft(2), None).await {
        Ok(Written::Lost(Current::Live(record))) => {
            assert_eq!((&header_of(&record.body)["n"], record.version), (&json!(1), base.version));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(setting.header().unwrap()["n"], 1);
}

/// The response was lost, the SDK tried again and met its own first attempt.
#[tokio::test]
async fn a_conflict_with_ourselves_is_a_success() {
    let setting = setting();
    setting.lose(Operation::Create, Reported::Conflict);
    let base = setting.created(&draft(1)).await;
    setting.lose(Operation::Replace, Reported::Conflict);
    assert_ne!(setting.replaced(&base, &draft(2)).await.version, base.version);
    assert_eq!(setting.header().unwrap()["n"], 2);
    setting.lose(Operation::Replace, Reported::Conflict);
    assert!(setting.delete().await);
    assert_eq!(setting.header(), None);
}

/// If the second response is lost, too, the caller gets an error; repeating the call succeeds.
#[tokio::test]
async fn a_lost_response_is_an_outage_and_can_be_repeated() {
    let (setting, draft) = (setting(), draft(1));
    setting.lose(Operation::Create, Reported::Unavailable);
    match setting.records.create(&setting.key, &draft, None).await {
        Err(Error::Unavailable(store::Error::Unavailable(_))) => {}
        other => panic!("{other:?}"),
    }
    setting.created(&draft).await;
    // An outage is never an absent record.
    setting.store.inject(Fault::on(Operation::Read, FaultKind::FailBefore));
    assert!(matches!(setting.records.read(&setting.key).await, Err(Error::Unavailable(_))));
    assert!(matches!(setting.current().await, Current::Live(_)));
}

/// A store that loses the response to the next write, lets another writer replace the record, and
/// then reports what the SDK would: a conflict of the repeated attempt.
async fn overtaken(setting: &Setting, base: Option<&Base>, rivals: u32) -> Result<Written, Error> {
    let (nonce, nothing) = (Nonce::random(), Lineage::default());
    let body = encoding::encode(&Header { n: 1 }, b"", nonce, base.map_or(&nothing, Base::lineage));
    // The first attempt happens, and other writers follow.
    let written = setting.records.write(&setting.key, base, (nonce, body.clone()), None).await;
    assert!(matches!(written, Ok(Written::Ours(_))), "{written:?}");
    for n in 0..rivals {
        let current = setting.current().await;
        let rival = setting.records.upsert(&setting.key, &current, &draft(100 + n), None).await;
        assert!(matches!(rival, Ok(Written::Ours(_))), "{rival:?}");
    }
    let after = setting.current().await;
    after_conflict(after, base, nonce, true)
}

/// Our write happened and was replaced since: it is a success, and is not written again. Beyond the
/// versions that a record names, the outcome is unknown.
#[tokio::test]
async fn a_write_that_was_replaced_is_a_success() {
    let is_right = |rivals: u32, outcome: &Result<Written, Error>| match outcome {
        Ok(Written::Replaced(Current::Live(_))) => rivals <= 4,
        Err(Error::OutcomeUnknown) => rivals > 4,
        _ => false,
    };
    for rivals in 1..=6 {
        let created = setting();
        let outcome = overtaken(&created, None, rivals).await;
        assert!(is_right(rivals, &outcome), "{rivals}: {outcome:?}");
        let replaced = setting();
        let base = replaced.created(&draft(0)).await;
        let outcome = overtaken(&replaced, Some(&base), rivals).await;
        assert!(is_right(rivals, &outcome), "{rivals}: {outcome:?}");
    }
}

/// A repeated attempt that met another version did certainly not happen if the record names the
/// version that it would have replaced; a record that is too far ahead leaves it unknown.
#[tokio::test]
async fn a_write_that_did_not_happen_is_lost() {
    for (rivals, known) in [(1, true), (3, true), (4, true), (5, false)] {
        let setting = setting();
        let base = setting.created(&draft(0)).await;
        let mut last = base.clone();
        for n in 0..rivals {
            last = setting.replaced(&last, &draft(n)).await;
        }
        let nonce = Nonce::random();
        let outcome = after_conflict(setting.current().await, Some(&base), nonce, true);
        match &outcome {
            Ok(Written::Lost(Current::Live(_))) => assert!(known, "{rivals}"),
            Err(Error::OutcomeUnknown) => assert!(!known, "{rivals}"),
            _ => panic!("{rivals}: {outcome:?}"),
        }
        let certain = after_conflict(setting.current().await, Some(&base), nonce, false);
        assert!(matches!(certain, Ok(Written::Lost(_))), "{certain:?}");
    }
}

/// The store was busy with another write: it is asked again while the condition holds.
#[tokio::test(start_paused = true)]
async fn a_busy_store_is_asked_again() {
    let setting = setting();
    setting.store.inject(Fault::on(Operation::Create, FaultKind::TryAgain).times(3));
    let base = setting.created(&draft(1)).await;
    setting.store.inject(Fault::on(Operation::Replace, FaultKind::TryAgain).times(3));
    let now = setting.replaced(&base, &draft(2)).await;
    // Another writer was first: 409 is all that some stores say of that.
    setting.store.inject(Fault::on(Operation::Replace, FaultKind::TryAgain));
    let outcome = setting.records.replace(&setting.key, &base, &draft(3), None).await;
    assert!(matches!(outcome, Ok(Written::Lost(Current::Live(_)))), "{outcome:?}");
    assert_eq!(setting.replaced(&now, &draft(4)).await.lineage().clone(), {
        let Current::Live(record) = setting.current().await else { panic!("it is live") };
        Lineage::after(&record.body, Known::All).unwrap()
    });
}

#[tokio::test]
async fn deleting_is_idempotent() {
    let setting = setting();
    assert!(!setting.delete().await, "a record that never existed cannot be deleted");
    let base = setting.created(&draft(1)).await;
    let read = setting.current().await;
    assert!(setting.delete().await);
    assert!(!setting.delete().await);
    assert!(matches!(setting.current().await, Current::Tombstone(_)));
    // By a writer that read it before it was deleted, too.
    let deleted = setting.records.delete(&setting.key, read, |_| Ok(true)).await;
    assert!(deleted.expect("the store answers"));
    let ended = setting.records.delete_version(&setting.key, &base).await;
    assert_eq!(ended.expect("the store answers"), Ended::Elsewhere);
    let read = setting.records.load::<Value>(&setting.key).await.expect("the store answers");
    assert!(read.is_none());
}

/// A deletion whose response was lost does not delete what another writer has created since.
#[tokio::test]
async fn a_deletion_does_not_happen_twice() {
    let setting = setting();
    let base = setting.created(&draft(1)).await;
    let nonce = Nonce::random();
    let body = encoding::tombstone(nonce, base.lineage());
    let deleted = setting.records.write(&setting.key, Some(&base), (nonce, body), None).await;
    assert!(matches!(deleted, Ok(Written::Ours(_))));
    let again = setting.create_or_lease(&draft(2)).await;
    assert!(matches!(again, CreatedOrLeased::Created));
    let outcome = after_conflict(setting.current().await, Some(&base), nonce, true);
    assert!(matches!(outcome, Ok(Written::Replaced(Current::Live(_)))), "{outcome:?}");
}

/// No two tombstones are equal, and each names the versions before it.
#[tokio::test]
async fn tombstones_differ() {
    let setting = setting();
    let mut seen = std::collections::HashSet::new();
    for n in 0..4 {
        assert!(matches!(setting.create_or_lease(&draft(n)).await, CreatedOrLeased::Created));
        assert!(setting.delete().await);
        let Current::Tombstone(record) = setting.current().await else { panic!("it is deleted") };
        assert_eq!(record.body.len(), 36);
        assert!(seen.insert(record.body.clone()));
        let base = Base::of(&record, Known::All).unwrap();
        assert_eq!(setting.replaced(&base, &draft(9)).await.lineage().clone(), {
            let Current::Live(record) = setting.current().await else { panic!("it is live") };
            Lineage::after(&record.body, Known::All).unwrap()
        });
        assert!(setting.delete().await);
    }
}

/// The predicate sees what is there now, not what was read before.
#[tokio::test]
async fn deleting_reads_again() {
    let setting = setting();
    let base = setting.created(&draft(1)).await;
    let current = setting.current().await;
    setting.replaced(&base, &draft(2)).await;
    let matches = |record: &Record| Ok(header_of(&record.body)["n"] == 1);
    let deleted = setting.records.delete(&setting.key, current, matches).await;
    assert!(!deleted.expect("the store answers"));
    assert_eq!(setting.header().unwrap()["n"], 2);
}

#[tokio::test]
async fn create_or_lease_creates_leases_and_creates_again() {
    let setting = setting();
    let (one, two) = (draft(1), draft(2));
    assert!(matches!(setting.create_or_lease(&one).await, CreatedOrLeased::Created));
    match setting.create_or_lease(&two).await {
        CreatedOrLeased::Leased(record) => assert_eq!(header_of(&record.body)["n"], 1),
        CreatedOrLeased::Created => panic!("it was there"),
    }
    assert!(setting.delete().await);
    assert!(matches!(setting.create_or_lease(&two).await, CreatedOrLeased::Created));
    assert_eq!(setting.header().unwrap()["n"], 2);
}

/// The response to the creation is lost: repeating it ends with one live record.
#[tokio::test]
async fn create_or_lease_through_lost_responses() {
    for reported in [Reported::Conflict, Reported::Unavailable] {
        let setting = setting();
        let draft = draft(1);
        setting.lose(Operation::Create, reported);
        let done = setting.records.create_or_lease(&setting.key, &draft, None).await;
        match reported {
            Reported::Conflict => assert!(matches!(done, Ok(CreatedOrLeased::Created))),
            Reported::Unavailable => assert!(matches!(done, Err(Error::Unavailable(_)))),
        }
        assert_eq!(setting.header().unwrap()["n"], 1);
        assert!(matches!(
            setting.create_or_lease(&draft).await,
            CreatedOrLeased::Created | CreatedOrLeased::Leased(_)
        ));
    }
}

/// A lease on a young record costs nothing; on an old one it is a rewrite.
#[tokio::test]
async fn a_lease_touches_an_old_record() {
    let setting = setting();
    let base = setting.created(&draft(1)).await;
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
    assert_ne!(now.version, base.version);
    let (header, payload) = decode::<Value>(&now.body).expect("a record of ours");
    assert_eq!((header["n"].clone(), &payload[..]), (json!(1), &b"payload"[..]));
}

/// Between reading and touching it was deleted, or touched by another writer.
#[tokio::test]
async fn a_lease_on_a_changed_record() {
    let setting = setting();
    setting.created(&draft(1)).await;
    setting.pass(DAY);
    let Current::Live(old) = setting.current().await else { panic!("it is live") };
    let touched = setting.records.touch(&setting.key, &old).await;
    assert!(matches!(touched, Ok((Written::Ours(_), _))));
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
    match setting.records.create(&setting.key, &draft(1), Some(deadline)).await {
        Err(Error::Unavailable(store::Error::Expired)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(setting.header(), None);
}

/// Another writer is always faster: the client gets 503.
#[tokio::test]
async fn attempts_have_an_end() {
    let setting = setting();
    setting.created(&draft(1)).await;
    let current = setting.current().await;
    let rivals = |record: &Record| {
        // The predicate itself is the rival: it rewrites the record before each attempt.
        let rewritten = setting.records.touch(&setting.key, record);
        let written = futures_util::FutureExt::now_or_never(rewritten);
        assert!(matches!(written, Some(Ok((Written::Ours(_), _)))));
        Ok(true)
    };
    let deleted = setting.records.delete(&setting.key, current, rivals).await;
    assert!(matches!(deleted, Err(Error::Busy(_))));
    assert_eq!(setting.store.calls().replace, u64::from(2 * ATTEMPTS_MAX));
}
