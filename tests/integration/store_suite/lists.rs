//! Listings: guarantee 6.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longshore::oci::{Algorithm, Digest, RepositoryName};
use longshore::store::{Listed, ObjectStore, Prefix, RecordKey};
use tokio::task::JoinSet;

use super::unused_repository;

pub(super) async fn check(store: &Arc<dyn ObjectStore>) {
    tags_are_in_byte_order(store.as_ref()).await;
    prefixes_of_each_other_stay_apart(store.as_ref()).await;
    repositories_are_in_the_order_of_their_names(store.as_ref()).await;
    deleted_records_are_listed_with_their_size(store.as_ref()).await;
    a_row_shows_what_a_read_returns(store.as_ref()).await;
    many_keys_are_paged(store).await;
}

/// A whole listing, in pages of `limit`.
async fn all(store: &dyn ObjectStore, prefix: &Prefix, limit: usize) -> Vec<Listed> {
    let mut rows: Vec<Listed> = Vec::new();
    loop {
        let root = prefix.to_string();
        let after = rows.last().map(|row| row.key.strip_prefix(&root).expect("below").to_owned());
        let page = store.list(prefix, after.as_deref(), limit).await.expect("listed");
        assert!(page.rows.len() <= limit, "{} rows in a page of {limit}", page.rows.len());
        assert!(!page.more || page.rows.len() == limit, "a page that is not the last is full");
        rows.extend(page.rows);
        if !page.more {
            return rows;
        }
    }
}

fn names(prefix: &Prefix, rows: &[Listed]) -> Vec<String> {
    let root = prefix.to_string();
    rows.iter().map(|row| row.key.strip_prefix(&root).expect("below").to_owned()).collect()
}

fn tag(repository: &RepositoryName, tag: &str) -> RecordKey {
    RecordKey::Tag(repository.clone(), tag.parse().expect("a tag"))
}

async fn create(store: &dyn ObjectStore, key: &RecordKey) {
    store.create(key, Bytes::from("listed"), None).await.expect("created");
}

async fn tags_are_in_byte_order(store: &dyn ObjectStore) {
    let repository = unused_repository();
    let mut tags =
        ["a", "0.1.20", "Z", "a-b", "0.1.2", "a.b", "0.1.2-rc", "_x", "aa", "0.1.10", "a_b"];
    let prefix = Prefix::Tags(repository.clone());
    assert_eq!(all(store, &prefix, 10).await, []);
    for name in tags {
        create(store, &tag(&repository, name)).await;
    }
    tags.sort_unstable();
    for limit in [1, 2, 3, tags.len() - 1, tags.len(), 1_000] {
        let rows = all(store, &prefix, limit).await;
        assert_eq!(names(&prefix, &rows), tags, "in pages of {limit}");
        assert!(rows.iter().all(|row| row.size == 6), "{rows:?}");
    }
    // A cursor need not be an existing key.
    for after in ["0.1.2", "0.1.1", "0.1.3", "a-", "zz"] {
        let page = store.list(&prefix, Some(after), 1_000).await.expect("listed");
        let rest: Vec<&str> = tags.into_iter().filter(|name| *name > after).collect();
        assert_eq!(names(&prefix, &page.rows), rest, "after {after}");
    }
}

async fn prefixes_of_each_other_stay_apart(store: &dyn ObjectStore) {
    let base = unused_repository();
    let inner: RepositoryName = format!("{base}/b").parse().expect("a name");
    let longer: RepositoryName = format!("{base}-b").parse().expect("a name");
    for (repository, name) in [(&base, "one"), (&inner, "two"), (&longer, "three")] {
        create(store, &tag(repository, name)).await;
        let digest = Digest::of(Algorithm::Sha256, name.as_bytes());
        create(store, &RecordKey::Manifest(repository.clone(), digest)).await;
        let tag_of = RecordKey::TagIndex(repository.clone(), digest, name.parse().expect("a tag"));
        create(store, &tag_of).await;
        let other = Digest::of(Algorithm::Sha512, b"referrer");
        create(store, &RecordKey::Referrer(repository.clone(), digest, other)).await;
        let rows = all(store, &Prefix::TagIndexes(repository.clone(), digest), 10).await;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].key, tag_of.to_string());
        let prefix = Prefix::Referrers(repository.clone(), digest);
        let rows = all(store, &prefix, 10).await;
        assert_eq!(names(&prefix, &rows), [format!("sha512-{}", other.hex())]);
        assert_eq!(all(store, &Prefix::TagIndexes(repository.clone(), other), 10).await, []);
    }
    for (repository, name) in [(base, "one"), (inner, "two"), (longer, "three")] {
        let prefix = Prefix::Tags(repository);
        assert_eq!(names(&prefix, &all(store, &prefix, 10).await), [name]);
    }
}

async fn repositories_are_in_the_order_of_their_names(store: &dyn ObjectStore) {
    let base = unused_repository();
    let tails = ["", "-b", ".b", "/b", "/b/c", "0", "_b"];
    for tail in tails.iter().rev() {
        let name = format!("{base}{tail}").parse().expect("a name");
        create(store, &RecordKey::Repository(name)).await;
    }
    let expected: Vec<String> = tails.iter().map(|tail| format!("{base}{tail}!")).collect();
    let page = store.list(&Prefix::Repositories, Some(base.as_str()), 7).await.expect("listed");
    assert_eq!(names(&Prefix::Repositories, &page.rows), expected);
    let after = Prefix::after_repository(base.as_str());
    let page = store.list(&Prefix::Repositories, Some(&after), 6).await.expect("listed");
    assert_eq!(names(&Prefix::Repositories, &page.rows), expected[1..]);
}

async fn deleted_records_are_listed_with_their_size(store: &dyn ObjectStore) {
    let repository = unused_repository();
    for name in ["alive", "dead", "revived"] {
        create(store, &tag(&repository, name)).await;
    }
    for name in ["dead", "revived"] {
        let key = tag(&repository, name);
        let version = store.read(&key).await.expect("read").version;
        let tombstone = Bytes::from(vec![7; 36]);
        let dead = store.replace(&key, &version, tombstone, None).await.expect("deleted");
        if name == "revived" {
            store.replace(&key, &dead, "longer than before".into(), None).await.expect("revived");
        }
    }
    let rows = all(store, &Prefix::Tags(repository), 2).await;
    let sizes: Vec<u64> = rows.iter().map(|row| row.size).collect();
    assert_eq!(sizes, [6, 36, 18]);
}

/// A collector compares versions of listings with versions of reads, and ages of rows with the time
/// of the listing.
async fn a_row_shows_what_a_read_returns(store: &dyn ObjectStore) {
    let repository = unused_repository();
    let begun = store.list(&Prefix::Tags(repository.clone()), None, 10).await.expect("listed").now;
    for name in ["dead", "once", "twice"] {
        let key = tag(&repository, name);
        let created = store.create(&key, Bytes::from(name), None).await.expect("created");
        let body = if name == "dead" { Bytes::new() } else { Bytes::from("replaced") };
        if name != "once" {
            store.replace(&key, &created, body, None).await.expect("replaced");
        }
    }
    let listing = store.list(&Prefix::Tags(repository), None, 10).await.expect("listed");
    assert_eq!(listing.rows.len(), 3);
    // Times in headers have whole seconds.
    let second = Duration::from_secs(1);
    for row in listing.rows {
        let key: RecordKey = row.key.parse().expect("a key");
        let record = store.read(&key).await.expect("read");
        assert_eq!((row.version, row.size), (record.version, record.body.len() as u64), "{key}");
        assert!(row.written + second >= begun, "{:?} is before {begun:?}", row.written);
        let now = listing.now + second;
        assert!(row.written <= now, "{:?} is after {now:?}", row.written);
    }
}

/// One more than the page size of any store.
async fn many_keys_are_paged(store: &Arc<dyn ObjectStore>) {
    const KEYS: usize = 1_001;
    let repository = unused_repository();
    let expected: Vec<String> = (0..KEYS).map(|index| format!("v{index:04}")).collect();
    for names in expected.chunks(128) {
        let mut tasks = JoinSet::new();
        for name in names {
            let (store, key) = (Arc::clone(store), tag(&repository, name));
            tasks.spawn(async move { create(store.as_ref(), &key).await });
        }
        tasks.join_all().await;
    }
    let prefix = Prefix::Tags(repository);
    let page = store.list(&prefix, None, 1_000).await.expect("listed");
    assert_eq!((page.rows.len(), page.more), (1_000, true));
    let page = store.list(&prefix, Some("v0000"), 1_000).await.expect("listed");
    assert_eq!((page.rows.len(), page.more), (1_000, false));
    for limit in [1_000, 100] {
        let rows = all(store.as_ref(), &prefix, limit).await;
        assert_eq!(names(&prefix, &rows), expected);
    }
}
