//! Records: guarantees 1 to 5 and 9.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longshore::store::{Deadline, Error, ObjectStore, RecordKey, Removal, Version};
use tokio::task::JoinSet;

use super::{assert_fails, bytes_of, unused_key};

/// Concurrent writers of one record.
const RACERS: u64 = 32;

pub(super) async fn check(store: &Arc<dyn ObjectStore>) {
    absent_is_not_found(store.as_ref()).await;
    what_was_written_is_read(store.as_ref()).await;
    a_stale_version_is_refused(store.as_ref()).await;
    the_dead_can_be_revived(store.as_ref()).await;
    only_the_expected_version_is_removed(store.as_ref()).await;
    one_of_many_creates(store).await;
    one_of_many_replaces(store).await;
    no_update_is_lost(store).await;
    deadlines_are_enforced(store.as_ref()).await;
}

async fn absent_is_not_found(store: &dyn ObjectStore) {
    let key = unused_key();
    assert_fails!(store.read(&key).await, Error::NotFound);
    let version = store.create(&unused_key(), Bytes::from("other"), None).await.expect("created");
    assert_fails!(store.replace(&key, &version, "x".into(), None).await, Error::Conflict);
    assert_fails!(store.read(&key).await, Error::NotFound);
}

async fn what_was_written_is_read(store: &dyn ObjectStore) {
    for length in [1, 100, 4_095, 70_000, 1_500_000] {
        let key = unused_key();
        let body = bytes_of(1, length);
        let created = store.create(&key, body.clone(), None).await.expect("created");
        let entry = store.read(&key).await.expect("read");
        assert_eq!((entry.body, entry.version), (body, created.clone()));

        let body = bytes_of(2, length + 1);
        let replaced = store.replace(&key, &created, body.clone(), None).await.expect("replaced");
        assert_ne!(replaced, created, "a version names one write");
        let entry = store.read(&key).await.expect("read");
        assert_eq!((entry.body, entry.version), (body, replaced));
    }
}

async fn a_stale_version_is_refused(store: &dyn ObjectStore) {
    let key = unused_key();
    let first = store.create(&key, "one".into(), None).await.expect("created");
    assert_fails!(store.create(&key, "again".into(), None).await, Error::Conflict);
    let second = store.replace(&key, &first, "two".into(), None).await.expect("replaced");
    assert_fails!(store.replace(&key, &first, "late".into(), None).await, Error::Conflict);
    let entry = store.read(&key).await.expect("read");
    assert_eq!((entry.body.as_ref(), entry.version), (b"two".as_slice(), second));
}

async fn the_dead_can_be_revived(store: &dyn ObjectStore) {
    let key = unused_key();
    let alive = store.create(&key, "alive".into(), None).await.expect("created");
    let dead = store.replace(&key, &alive, Bytes::new(), None).await.expect("killed");
    let entry = store.read(&key).await.expect("the dead can be read");
    assert_eq!((entry.body.len(), &entry.version), (0, &dead));
    assert_fails!(store.create(&key, "new".into(), None).await, Error::Conflict);
    assert_fails!(store.replace(&key, &alive, "new".into(), None).await, Error::Conflict);
    store.replace(&key, &dead, "again".into(), None).await.expect("revived");
    assert_eq!(store.read(&key).await.expect("read").body, "again");
}

/// A store that was not probed may refuse to remove, and then leaves the record.
async fn only_the_expected_version_is_removed(store: &dyn ObjectStore) {
    let key = unused_key();
    let first = store.create(&key, "one".into(), None).await.expect("created");
    let second = store.replace(&key, &first, "two".into(), None).await.expect("replaced");
    let removed = store.remove(&key, &first).await.expect("a response");
    assert!(matches!(removed, Removal::Conflict | Removal::Unsupported), "{removed:?}");
    assert_eq!(store.read(&key).await.expect("it is still there").version, second);
    if removed == Removal::Unsupported {
        assert!(store.describe().starts_with("s3://"), "{}", store.describe());
        return;
    }
    assert_eq!(store.remove(&key, &second).await.expect("a response"), Removal::Removed);
    assert_fails!(store.read(&key).await, Error::NotFound);
    store.remove(&key, &second).await.expect("removing it again is no failure");
    let again = store.create(&key, "three".into(), None).await.expect("created again");
    assert_ne!(again, second);
    let removed = store.remove(&key, &first).await.expect("a response");
    assert_eq!(removed, Removal::Conflict, "a version of an earlier life");
}

async fn one_of_many_creates(store: &Arc<dyn ObjectStore>) {
    for round in 0..4 {
        let key = unused_key();
        race(store, &key, None, round).await;
    }
}

async fn one_of_many_replaces(store: &Arc<dyn ObjectStore>) {
    let key = unused_key();
    let mut version = store.create(&key, "first".into(), None).await.expect("created");
    for round in 0..4 {
        version = race(store, &key, Some(version), round).await;
    }
}

/// Runs many writers with one condition, and checks that only the acknowledged one wrote.
async fn race(
    store: &Arc<dyn ObjectStore>,
    key: &RecordKey,
    expected: Option<Version>,
    round: u64,
) -> Version {
    let mut racers = JoinSet::new();
    for racer in 0..RACERS {
        let (store, key, expected) = (Arc::clone(store), key.clone(), expected.clone());
        let body = bytes_of(round * RACERS + racer, 200);
        racers.spawn(async move {
            let outcome = match expected {
                None => store.create(&key, body.clone(), None).await,
                Some(version) => store.replace(&key, &version, body.clone(), None).await,
            };
            (body, outcome)
        });
    }
    let mut winners = Vec::new();
    for (body, outcome) in racers.join_all().await {
        match outcome {
            Ok(version) => winners.push((body, version)),
            Err(Error::Conflict) => {}
            Err(other) => panic!("a racer failed: {other}"),
        }
    }
    assert_eq!(winners.len(), 1, "exactly one of {RACERS} racers wins");
    let entry = store.read(key).await.expect("read");
    let (body, version) = winners.remove(0);
    assert_eq!((entry.body, entry.version), (body, version.clone()));
    version
}

/// Increments concurrently. A read after an acknowledged write sees that write or a later one.
async fn no_update_is_lost(store: &Arc<dyn ObjectStore>) {
    const TASKS: u64 = 8;
    const EACH: u64 = 8;
    let key = unused_key();
    store.create(&key, "0".into(), None).await.expect("created");
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (store, key) = (Arc::clone(store), key.clone());
        tasks.spawn(async move {
            let (mut written, mut seen) = (0, 0);
            while written < EACH {
                let entry = store.read(&key).await.expect("read");
                let count = number(&entry.body);
                assert!(count >= seen, "{count} was read after {seen}");
                seen = count;
                let next = (count + 1).to_string().into();
                match store.replace(&key, &entry.version, next, None).await {
                    Ok(_) => (written, seen) = (written + 1, count + 1),
                    Err(Error::Conflict) => {}
                    Err(other) => panic!("a write failed: {other}"),
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(number(&store.read(&key).await.expect("read").body), TASKS * EACH);
}

fn number(body: &Bytes) -> u64 {
    std::str::from_utf8(body).expect("digits").parse().expect("a number")
}

async fn deadlines_are_enforced(store: &dyn ObjectStore) {
    let valid_for = Duration::from_mins(5);
    let in_time = Some(Deadline { leased_at: store.now(), valid_for });
    let leased_at = store.now() - Duration::from_hours(48);
    let late = Some(Deadline { leased_at, valid_for });

    let key = unused_key();
    assert_fails!(store.create(&key, "late".into(), late).await, Error::Expired);
    assert_fails!(store.read(&key).await, Error::NotFound);
    let version = store.create(&key, "first".into(), in_time).await.expect("in time");

    assert_fails!(store.replace(&key, &version, "late".into(), late).await, Error::Expired);
    let entry = store.read(&key).await.expect("read");
    assert_eq!((entry.body.as_ref(), &entry.version), (b"first".as_slice(), &version));
    store.replace(&key, &version, "second".into(), in_time).await.expect("in time");
    assert_fails!(store.replace(&key, &version, "third".into(), in_time).await, Error::Conflict);
    assert_fails!(store.create(&key, "third".into(), in_time).await, Error::Conflict);
    assert_eq!(store.read(&key).await.expect("read").body, "second");
}

/// Two clocks with a resolution of a second may differ by a second.
pub(super) async fn ages_grow(store: &dyn ObjectStore) {
    let key = unused_key();
    let age = async || store.read(&key).await.expect("read").age.as_secs();
    let version = store.create(&key, "one".into(), None).await.expect("created");
    let at_first = age().await;
    assert!(at_first <= 2, "{at_first} s old at first");
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    let later = age().await;
    assert!((2..=6).contains(&later), "{later} s old after three seconds");
    store.replace(&key, &version, "two".into(), None).await.expect("replaced");
    let renewed = age().await;
    assert!(renewed <= 2 && renewed < later, "{renewed} s old after it was renewed");
}
