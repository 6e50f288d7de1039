//! Lists of data objects and of uploads in progress, which a garbage collector compares with
//! records.

use std::time::{Duration, SystemTime};

use longshore::oci::UploadId;
use longshore::store::{Day, Listed, Location, ObjectStore, OpenMultipart, RecordKey};

use super::{bytes_of, unused_location};

/// Times in answers may have whole seconds.
const SECOND: Duration = Duration::from_secs(1);

pub(super) async fn check(store: &dyn ObjectStore) {
    data_is_listed_by_day(store).await;
    uploads_in_progress_are_listed(store).await;
    all_objects_are_listed(store).await;
}

/// A location of a day that no other run uses.
fn location_of(day: &Day) -> Location {
    let id = uuid::Uuid::now_v7().simple();
    format!("v1/d/{day}/{id}").parse().expect("a location")
}

fn any_day() -> Day {
    let days = u64::from(uuid::Uuid::now_v7().as_bytes()[15]) + 256 * u64::from(std::process::id());
    Day::of(
        SystemTime::UNIX_EPOCH
            + Duration::from_hours(24) * u32::try_from(days % 20_000).expect("few"),
    )
}

/// The data of a day, in pages of `limit`.
async fn all(store: &dyn ObjectStore, day: &Day, limit: usize) -> Vec<Listed> {
    let mut rows: Vec<Listed> = Vec::new();
    loop {
        let after = rows.last().and_then(|row| row.key.rsplit('/').next()).map(str::to_owned);
        let page = store.list_data(day, after.as_deref(), limit).await.expect("listed");
        assert!(page.rows.len() <= limit && (!page.more || page.rows.len() == limit));
        for row in &page.rows {
            assert!(row.written <= page.now + SECOND, "{row:?} is after {:?}", page.now);
        }
        rows.extend(page.rows);
        if !page.more {
            return rows;
        }
    }
}

async fn data_is_listed_by_day(store: &dyn ObjectStore) {
    let day = any_day();
    let before = all(store, &day, 1_000).await;
    let mut expected = Vec::new();
    for seed in 0..3_u8 {
        let at = location_of(&day);
        let size = usize::from(seed) * 100;
        let version = store.put(&at, bytes_of(seed.into(), size), None).await.expect("written");
        expected.push((at.to_string(), size as u64, version));
    }
    let at = location_of(&day);
    let id = store.start(&at).await.expect("started");
    let mut parts = Vec::new();
    for (number, size) in [(1, 5 * 1024 * 1024), (4, 9)] {
        let bytes = bytes_of(number.into(), size);
        parts.push(store.put_part(&at, &id, number, bytes).await.expect("taken"));
    }
    assert_eq!(all(store, &day, 1_000).await.len(), before.len() + 3, "not yet complete");
    let version = store.complete(&at, &id, &parts).await.expect("completed");
    expected.push((at.to_string(), 5 * 1024 * 1024 + 9, version));

    for limit in [1, 2, 1_000] {
        let mut rows = all(store, &day, limit).await;
        assert!(rows.is_sorted_by(|one, next| one.key < next.key), "{rows:?}");
        rows.retain(|row| !before.contains(row));
        let rows: Vec<_> = rows.into_iter().map(|row| (row.key, row.size, row.version)).collect();
        assert_eq!(rows, expected, "in pages of {limit}");
    }
    let days = store.list_days().await.expect("listed");
    assert!(days.contains(&day) && days.is_sorted(), "{day} is not in {days:?}");
    for (at, _, _) in expected {
        store.delete(&at.parse().expect("a location")).await.expect("removed");
    }
    assert_eq!(all(store, &day, 1_000).await, before);
}

/// A store that lists uploads by whole keys only returns no row, but never a wrong one.
async fn uploads_in_progress_are_listed(store: &dyn ObjectStore) {
    let begun = store.list_multiparts(1).await.expect("listed").now;
    // In the order of a listing: two that are made in one millisecond have none of their own.
    let (one, two) = (unused_location(store), unused_location(store));
    let (at, other) = if one < two { (one, two) } else { (two, one) };
    let id = store.start(&at).await.expect("started");
    let ended = store.start(&other).await.expect("started");
    let listed = async || {
        let all = store.list_multiparts(10_000).await.expect("listed");
        let ordered = |one: &OpenMultipart, next: &OpenMultipart| one.location <= next.location;
        assert!(all.rows.is_sorted_by(ordered), "{:?}", all.rows);
        let ours = |row: &OpenMultipart| row.location == at || row.location == other;
        all.rows.into_iter().filter(ours).collect::<Vec<_>>()
    };
    let ids = |rows: &[OpenMultipart]| rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
    let rows = listed().await;
    let lists = !rows.is_empty();
    if lists {
        assert_eq!(ids(&rows), [id.clone(), ended.clone()]);
        for row in rows {
            assert!(row.started + SECOND >= begun, "{row:?} is before {begun:?}");
        }
    }
    assert!(lists || !store.describe().starts_with("local folder"), "the folder lists all");
    store.abort(&other, &ended).await.expect("aborted");
    assert_eq!(ids(&listed().await), if lists { vec![id.clone()] } else { vec![] });
    store.abort(&at, &id).await.expect("aborted");
    assert_eq!(listed().await, []);
}

/// Records and data in one list, whatever the size of its pages.
async fn all_objects_are_listed(store: &dyn ObjectStore) {
    let days = [any_day(), any_day()];
    let mut ours = Vec::new();
    for (seed, day) in days.iter().chain(&days).enumerate() {
        let at = location_of(day);
        store.put(&at, bytes_of(seed as u64, 10), None).await.expect("written");
        ours.push(at.to_string());
    }
    for _ in 0..3 {
        // Scratch records sort after the data.
        let key = RecordKey::Probe(UploadId::random());
        store.create(&key, bytes_of(1, 50), None).await.expect("created");
        ours.push(key.to_string());
    }
    ours.sort_unstable();
    for limit in [1, 3, 1_000] {
        let (mut keys, mut after, mut more) = (Vec::new(), None, true);
        while more {
            let page = store.list_objects(after.as_deref(), limit).await.expect("listed");
            assert!(page.rows.len() <= limit, "{} rows of {limit}", page.rows.len());
            keys.extend(page.rows.into_iter().map(|row| row.key));
            (after, more) = (keys.last().cloned(), page.more);
        }
        assert!(keys.is_sorted_by(|one, next| one < next), "{keys:?}");
        keys.retain(|key| ours.contains(key));
        assert_eq!(keys, ours, "in pages of {limit}");
    }
    for key in ours {
        if let Ok(at) = key.parse::<Location>() {
            store.delete(&at).await.expect("removed");
        } else {
            let key = key.parse().expect("a key");
            let version = store.read(&key).await.expect("read").version;
            store.remove(&key, &version).await.expect("removed");
        }
    }
}
