//! Blob data: guarantees 7 and 9.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use longshore::oci::{Algorithm, Digest};
use longshore::store::{DataObject, Error, Location, MultipartId, ObjectStore, Part, PresignGet};
use tokio::task::JoinSet;

use super::{assert_fails, bytes_of, collect, get, unused_location};

/// The minimum size of a part, except for the last one.
const PART_BYTES: usize = 5 * 1024 * 1024;

pub(super) async fn check(store: &Arc<dyn ObjectStore>) {
    bytes_come_back(store.as_ref()).await;
    a_wrong_digest_leaves_nothing(store.as_ref()).await;
    deleting_is_idempotent(store.as_ref()).await;
    a_url_is_made_or_not(store.as_ref()).await;
    parts_become_one_object(store).await;
    one_part_is_enough(store.as_ref()).await;
    only_listed_parts_count(store.as_ref()).await;
    a_wrong_list_is_refused(store.as_ref()).await;
    aborting_is_idempotent(store.as_ref()).await;
    an_upload_is_open_until_it_ends(store.as_ref()).await;
    a_head_shows_what_a_write_returned(store.as_ref()).await;
    data_of_others_is_refused(store.as_ref()).await;
}

/// No call turns a location in a bucket of another registry into a key of this one.
async fn data_of_others_is_refused(store: &dyn ObjectStore) {
    let foreign: Location = "x:other/../../docker/blobs".parse().expect("a location");
    let own = unused_location(store);
    let id = store.start(&own).await.expect("started");
    let part = store.put_part(&own, &id, 1, bytes_of(9, 100)).await.expect("sent");
    let presign = PresignGet { dated: store.now(), valid_for: Duration::from_mins(10) };
    assert_fails!(store.put(&foreign, bytes_of(1, 1), None).await, Error::Refused(_));
    assert_fails!(store.head(&foreign).await, Error::Refused(_));
    assert_fails!(store.get(&foreign, None).await.map(drop), Error::Refused(_));
    assert_fails!(store.get(&foreign, Some(0..0)).await.map(drop), Error::Refused(_));
    assert_fails!(store.delete(&foreign).await, Error::Refused(_));
    assert_fails!(store.presign_get(&foreign, presign).await, Error::Refused(_));
    assert_fails!(store.start(&foreign).await, Error::Refused(_));
    assert_fails!(store.put_part(&foreign, &id, 2, bytes_of(9, 9)).await, Error::Refused(_));
    assert_fails!(store.complete(&foreign, &id, &[part]).await, Error::Refused(_));
    assert_fails!(store.abort(&foreign, &id).await, Error::Refused(_));
    assert_fails!(store.is_open(&foreign, &id).await, Error::Refused(_));
    assert!(store.is_open(&own, &id).await.expect("a response"), "nothing was changed");
    store.abort(&own, &id).await.expect("given up");
}

async fn an_upload_is_open_until_it_ends(store: &dyn ObjectStore) {
    let (kept, given_up) = (unused_location(store), unused_location(store));
    let id = store.start(&kept).await.expect("started");
    let other = store.start(&given_up).await.expect("started");
    let is_open = async |location, id| store.is_open(location, id).await.expect("a response");
    assert!(is_open(&kept, &id).await && is_open(&given_up, &other).await, "without parts");
    let part = store.put_part(&kept, &id, 1, bytes_of(9, 100)).await.expect("sent");
    store.put_part(&given_up, &other, 1, bytes_of(9, 100)).await.expect("sent");
    assert!(is_open(&kept, &id).await && is_open(&given_up, &other).await, "with a part");
    store.complete(&kept, &id, &[part]).await.expect("completed");
    assert!(!is_open(&kept, &id).await, "completed");
    assert!(is_open(&given_up, &other).await, "the other one");
    store.abort(&given_up, &other).await.expect("given up");
    assert!(!is_open(&given_up, &other).await, "given up");
}

async fn a_head_shows_what_a_write_returned(store: &dyn ObjectStore) {
    let at = unused_location(store);
    assert_eq!(store.head(&at).await.expect("a response"), None);
    let version = store.put(&at, bytes_of(20, 300), None).await.expect("written");
    assert!(!version.0.is_empty());
    let found = store.head(&at).await.expect("a response");
    assert_eq!(found, Some(DataObject { size: 300, version }));
    store.delete(&at).await.expect("removed");
    assert_eq!(store.head(&at).await.expect("a response"), None);

    let at = unused_location(store);
    let id = store.start(&at).await.expect("started");
    let parts = [
        put(store, &at, &id, 1, bytes_of(21, PART_BYTES)).await,
        put(store, &at, &id, 2, bytes_of(22, 7)).await,
    ];
    assert_eq!(store.head(&at).await.expect("a response"), None, "not yet complete");
    let version = store.complete(&at, &id, &parts).await.expect("completed");
    let size = PART_BYTES as u64 + 7;
    let found = store.head(&at).await.expect("a response");
    assert_eq!(found, Some(DataObject { size, version: version.clone() }));
    // The second one finds out only by looking that the first one happened.
    assert_eq!(store.complete(&at, &id, &parts).await.expect("completed before"), version);
}

async fn bytes_come_back(store: &dyn ObjectStore) {
    for length in [0, 1, 300_000, 3_000_001] {
        let location = unused_location(store);
        assert_fails!(get(store, &location).await, Error::NotFound);
        let bytes = bytes_of(3, length);
        let digest = (length != 1).then(|| sha256(&bytes));
        store.put(&location, bytes.clone(), digest).await.expect("written");
        assert!(get(store, &location).await.expect("read") == bytes, "{length} bytes differ");
        ranges_come_back(store, &location, &bytes).await;
    }
}

/// Reads at both ends, around the middle, and around a probable border of parts.
async fn ranges_come_back(store: &dyn ObjectStore, location: &Location, bytes: &Bytes) {
    let end = bytes.len();
    let around = [0, 1, end / 2, end.saturating_sub(1), end, PART_BYTES, PART_BYTES + 1];
    for from in around {
        for to in around.into_iter().filter(|to| from < *to && *to <= end) {
            let stream = store.get(location, Some(from as u64..to as u64)).await;
            let read = collect(stream.expect("opened")).await.expect("read");
            assert!(
                read == bytes[from..to],
                "the range {:?} differs",
                Range { start: from, end: to }
            );
        }
    }
    assert_fails!(
        store.get(&unused_location(store), Some(0..1)).await.map(|_| ()),
        Error::NotFound
    );
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = Digest::of(Algorithm::Sha256, bytes);
    digest.as_bytes().try_into().expect("32 bytes")
}

async fn a_wrong_digest_leaves_nothing(store: &dyn ObjectStore) {
    let location = unused_location(store);
    let bytes = bytes_of(4, 50_000);
    let wrong = Some(sha256(b"something else"));
    assert_fails!(store.put(&location, bytes.clone(), wrong).await, Error::BadDigest);
    assert_fails!(get(store, &location).await, Error::NotFound);
    store.put(&location, bytes.clone(), Some(sha256(&bytes))).await.expect("written");
    assert_eq!(get(store, &location).await.expect("read"), bytes);
}

async fn deleting_is_idempotent(store: &dyn ObjectStore) {
    let location = unused_location(store);
    store.delete(&location).await.expect("nothing to remove");
    store.put(&location, "short".into(), None).await.expect("written");
    for _ in 0..2 {
        store.delete(&location).await.expect("removed");
        assert_fails!(get(store, &location).await, Error::NotFound);
    }
}

async fn a_url_is_made_or_not(store: &dyn ObjectStore) {
    let options = PresignGet { dated: store.now(), valid_for: Duration::from_mins(10) };
    let location = unused_location(store);
    if let Some(url) = store.presign_get(&location, options).await.expect("no failure") {
        assert!(url.contains(&location.to_string()), "{url}");
        let again = store.presign_get(&location, options).await.expect("no failure");
        assert_eq!(again, Some(url), "equal options make equal URLs");
    }
}

/// Parts come in any order, their numbers have gaps, and one of them is sent twice.
async fn parts_become_one_object(store: &Arc<dyn ObjectStore>) {
    let location = unused_location(store.as_ref());
    let id = store.start(&location).await.expect("started");
    let sent = [
        (2, bytes_of(5, PART_BYTES)),
        (3, bytes_of(6, PART_BYTES + 17)),
        (7, bytes_of(7, PART_BYTES)),
        (9_999, bytes_of(8, 123)),
    ];
    let mut tasks = JoinSet::new();
    for (number, bytes) in sent.iter().rev().cloned() {
        let (store, location, id) = (Arc::clone(store), location.clone(), id.clone());
        tasks.spawn(async move { put(store.as_ref(), &location, &id, number, bytes).await });
    }
    let mut parts = tasks.join_all().await;
    parts.sort_by_key(|part| part.number);
    parts[1] = put(store.as_ref(), &location, &id, 3, sent[1].1.clone()).await;
    assert_fails!(get(store.as_ref(), &location).await, Error::NotFound);

    let whole: BytesMut = sent.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let whole = whole.freeze();
    for _ in 0..2 {
        store.complete(&location, &id, &parts).await.expect("completed");
        assert!(get(store.as_ref(), &location).await.expect("read") == whole, "bytes differ");
    }
    ranges_come_back(store.as_ref(), &location, &whole).await;

    // Whatever the response, a complete object stays.
    drop(store.abort(&location, &id).await);
    assert_eq!(get(store.as_ref(), &location).await.expect("read").len(), whole.len());
    for _ in 0..2 {
        store.delete(&location).await.expect("removed");
        assert_fails!(get(store.as_ref(), &location).await, Error::NotFound);
    }
}

async fn put(
    store: &dyn ObjectStore,
    location: &Location,
    id: &MultipartId,
    number: u32,
    bytes: Bytes,
) -> Part {
    let size = bytes.len() as u64;
    let part = store.put_part(location, id, number, bytes).await.expect("a part is taken");
    assert_eq!((part.number, part.size), (number, size));
    part
}

async fn one_part_is_enough(store: &dyn ObjectStore) {
    let location = unused_location(store);
    let id = store.start(&location).await.expect("started");
    let bytes = bytes_of(9, 1_000);
    let parts = [put(store, &location, &id, 1, bytes.clone()).await];
    assert_fails!(get(store, &location).await, Error::NotFound);
    for _ in 0..2 {
        store.complete(&location, &id, &parts).await.expect("completed");
        assert_eq!(get(store, &location).await.expect("read"), bytes);
    }
    ranges_come_back(store, &location, &bytes).await;
}

async fn only_listed_parts_count(store: &dyn ObjectStore) {
    let location = unused_location(store);
    let id = store.start(&location).await.expect("started");
    let first = bytes_of(10, PART_BYTES);
    let last = bytes_of(12, 10);
    let parts = [
        put(store, &location, &id, 1, first.clone()).await,
        put(store, &location, &id, 5, last.clone()).await,
    ];
    put(store, &location, &id, 3, bytes_of(11, PART_BYTES)).await;
    store.complete(&location, &id, &parts).await.expect("completed");

    // A repeated commit sends the last part again, with an unknown tag.
    let late = store.put_part(&location, &id, 5, last.clone()).await;
    assert_fails!(late, Error::NotFound);
    let unknown = Part { tag: parts[0].tag.clone(), ..parts[1].clone() };
    store.complete(&location, &id, &[parts[0].clone(), unknown]).await.expect("completed before");
    assert!(get(store, &location).await.expect("read") == [first, last].concat(), "bytes differ");
}

async fn a_wrong_list_is_refused(store: &dyn ObjectStore) {
    let location = unused_location(store);
    let id = store.start(&location).await.expect("started");
    let first = put(store, &location, &id, 1, bytes_of(13, PART_BYTES)).await;
    let second = put(store, &location, &id, 2, bytes_of(14, 10)).await;
    let lists = [
        vec![second.clone(), first.clone()],
        vec![Part { tag: second.tag.clone(), ..first.clone() }, second.clone()],
        vec![first.clone(), Part { number: 4, ..second.clone() }],
    ];
    for list in lists {
        let outcome = store.complete(&location, &id, &list).await;
        assert!(outcome.is_err(), "{list:?} was completed");
        assert_fails!(get(store, &location).await, Error::NotFound);
    }
    store.complete(&location, &id, &[first, second]).await.expect("completed");
    assert_eq!(get(store, &location).await.expect("read").len(), PART_BYTES + 10);
}

async fn aborting_is_idempotent(store: &dyn ObjectStore) {
    let location = unused_location(store);
    let id = store.start(&location).await.expect("started");
    let parts = [put(store, &location, &id, 1, bytes_of(15, 100)).await];
    for _ in 0..2 {
        store.abort(&location, &id).await.expect("aborted");
    }
    assert_fails!(store.complete(&location, &id, &parts).await, Error::NotFound);
    let late = store.put_part(&location, &id, 2, "late".into()).await;
    assert_fails!(late, Error::NotFound);
    assert_fails!(get(store, &location).await, Error::NotFound);
}
