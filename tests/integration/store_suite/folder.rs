//! Tests of the local store only: it can be opened twice, closed, and opened again.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use longshore::store::local::{Local, OpenError};
use longshore::store::{BlobStore, Error, Location, MultipartId, ObjectStore, Part, RecordStore};
use tempfile::tempdir;
use tokio::task::JoinSet;

use super::{assert_fails, bytes_of, get, unused_key, unused_location};

fn open(path: &Path) -> Local {
    Local::open(path).expect("the folder opens")
}

/// Every file below a path.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn a_folder_in_use_is_refused() {
    let folder = tempdir().expect("a temporary folder");
    let path = folder.path().join("new").join("store");
    let store = open(&path);
    let location = unused_location(&store);
    store.put(&location, "kept".into(), None).await.expect("written");
    // The second one must not delete the temporary files of the first.
    let writing = path.join("incoming").join("being-written");
    fs::write(&writing, "half").expect("written");

    let refusal = Local::open(&path).expect_err("it is in use").to_string();
    assert!(refusal.contains("in use by another process"), "{refusal}");
    assert!(refusal.contains(path.to_str().expect("text")), "{refusal}");
    assert!(writing.exists());
    assert_eq!(get(&store, &location).await.expect("read"), "kept");
    drop(store);
    let store = open(&path);
    assert!(!writing.exists(), "leftovers go when the folder is opened");
    assert!(store.describe().starts_with("local folder /"), "{}", store.describe());
}

/// Whatever a umask allows.
#[tokio::test]
async fn other_users_cannot_read_what_is_written() {
    let folder = tempdir().expect("a temporary folder");
    let mode = |path: &Path| fs::metadata(path).expect("it exists").mode() & 0o777;
    let root = folder.path().join("new").join("store");
    let store = open(&root);
    store.create(&unused_key(), "record".into(), None).await.expect("created");
    let (whole, completed, begun) =
        (unused_location(&store), unused_location(&store), unused_location(&store));
    store.put(&whole, "data".into(), None).await.expect("written");
    for location in [&completed, &begun] {
        let id = store.start(location).await.expect("started");
        let mut parts = Vec::new();
        for number in [1, 2] {
            parts.push(store.put_part(location, &id, number, "part".into()).await.expect("taken"));
        }
        if location == &completed {
            store.complete(location, &id, &parts).await.expect("completed");
        }
    }
    let files = files(&root);
    assert_eq!(files.len(), 7, "layout, database, one whole, four parts: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        for folder in file.ancestors().skip(1).take_while(|path| path.starts_with(&root)) {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
    }

    let shared = folder.path().join("shared");
    fs::create_dir(&shared).expect("created");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o755)).expect("allowed");
    open(&shared);
    assert_eq!(mode(&shared), 0o755, "a folder that exists is left alone");
}

#[tokio::test]
async fn a_folder_with_other_files_is_refused() {
    let folder = tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    assert_fails!(Local::open(&file), OpenError::Io { .. });

    let path = folder.path().join("newer");
    drop(open(&path));
    fs::write(path.join("layout"), "longshore local store, layout 2\n").expect("written");
    let refusal = Local::open(&path).expect_err("another layout").to_string();
    assert!(refusal.contains("another layout") && refusal.contains("layout 2"), "{refusal}");

    let path = folder.path().join("damaged");
    drop(open(&path));
    fs::write(path.join("entries.redb"), bytes_of(1, 100_000)).expect("written");
    assert_fails!(Local::open(&path), OpenError::Database { .. });
    assert_fails!(
        Local::open("/proc/longshore"),
        OpenError::NotWritable { .. } | OpenError::Io { .. }
    );
}

#[tokio::test]
async fn all_data_is_there_after_a_restart() {
    let folder = tempdir().expect("a temporary folder");
    let store = open(folder.path());
    let (key, location, unfinished) =
        (unused_key(), unused_location(&store), unused_location(&store));
    let version = store.create(&key, "one".into(), None).await.expect("created");
    store.put(&location, "bytes".into(), None).await.expect("written");
    let id = store.start(&unfinished).await.expect("started");
    let first = bytes_of(2, 400_000);
    let mut parts = vec![store.put_part(&unfinished, &id, 1, first.clone()).await.expect("taken")];
    drop(store);

    let store = open(folder.path());
    let entry = store.read(&key).await.expect("read");
    assert_eq!((entry.body.as_ref(), &entry.version), (b"one".as_slice(), &version));
    let next = store.replace(&key, &version, "two".into(), None).await.expect("replaced");
    assert_ne!(next, version);
    assert_eq!(get(&store, &location).await.expect("read"), "bytes");
    let last = bytes_of(3, 100);
    parts.push(store.put_part(&unfinished, &id, 2, last.clone()).await.expect("taken"));
    drop(store);

    let store = open(folder.path());
    store.complete(&unfinished, &id, &parts).await.expect("completed");
    drop(store);
    let store = open(folder.path());
    store.complete(&unfinished, &id, &parts).await.expect("repeated");
    assert_eq!(get(&store, &unfinished).await.expect("read"), [first, last].concat());
}

#[tokio::test]
async fn temporary_files_are_removed() {
    let folder = tempdir().expect("a temporary folder");
    let store = open(folder.path());
    let (location, other) = (unused_location(&store), unused_location(&store));
    let id = store.start(&location).await.expect("started");
    let mut parts = Vec::new();
    for number in 1..=3 {
        let bytes = bytes_of(u64::from(number), 1_000);
        parts.push(store.put_part(&location, &id, number, bytes).await.expect("taken"));
    }
    let given_up = store.start(&other).await.expect("started");
    store.put_part(&other, &given_up, 1, "gone".into()).await.expect("taken");
    store.abort(&other, &given_up).await.expect("aborted");

    store.complete(&location, &id, &parts[..2]).await.expect("completed");
    assert_eq!(files(&folder.path().join("bytes")).len(), 2, "the parts themselves, not a copy");
    for subfolder in ["parts", "incoming"] {
        assert_eq!(files(&folder.path().join(subfolder)), [] as [PathBuf; 0]);
    }
    let late = store.put_part(&location, &id, 4, "late".into()).await;
    assert_fails!(late, Error::NotFound);
    assert_eq!(get(&store, &location).await.expect("read").len(), 2_000);
    store.delete(&location).await.expect("removed");
    assert_eq!(files(&folder.path().join("bytes")), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn parts_of_an_abandoned_upload_are_removed_when_the_folder_is_opened() {
    let folder = tempdir().expect("a temporary folder");
    let store = open(folder.path());
    let mut begun = Vec::new();
    for days in [6, 8] {
        let location = unused_location(&store);
        let id = store.start(&location).await.expect("started");
        let part = store.put_part(&location, &id, 1, "part".into()).await.expect("taken");
        begun.push((days, location, id, part));
    }
    let now = store.now();
    drop(store);
    for (days, _, id, _) in &begun {
        let mut all = fs::read_dir(folder.path().join("parts")).expect("a folder");
        let parts = all.find_map(|entry| {
            let path = entry.expect("an entry").path();
            path.to_str().is_some_and(|path| path.ends_with(&id.0)).then_some(path)
        });
        let changed = now - Duration::from_hours(24) * *days;
        let opened = fs::File::open(parts.expect("the parts")).expect("opened");
        opened.set_modified(changed).expect("set");
    }
    let store = open(folder.path());
    let [(_, young, id, part), (_, old, old_id, old_part)] = &begun[..] else { unreachable!() };
    store.complete(young, id, std::slice::from_ref(part)).await.expect("completed");
    assert_eq!(get(&store, young).await.expect("read"), "part");
    assert!(!store.is_open(old, old_id).await.expect("looked"));
    assert_eq!(files(&folder.path().join("parts")), [] as [PathBuf; 0]);
    let late = store.put_part(old, old_id, 2, "late".into()).await;
    assert_fails!(late, Error::NotFound);
    let completed = store.complete(old, old_id, std::slice::from_ref(old_part)).await;
    assert_fails!(completed, Error::NotFound);
}

/// An object appears and disappears atomically, and its parts are moved, not copied.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_never_visible_in_part() {
    const PARTS: u32 = 300;
    let folder = tempdir().expect("a temporary folder");
    let store = Arc::new(open(folder.path()));
    let location = unused_location(store.as_ref());
    let id = store.start(&location).await.expect("started");
    let mut parts = Vec::new();
    for number in 1..=PARTS {
        parts.push(store.put_part(&location, &id, number, "part".into()).await.expect("taken"));
    }
    let sent = inodes(&folder.path().join("parts"));
    let (mut watching, removed) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
    for _ in 0..3 {
        let (store, location, removed) = (store.clone(), location.clone(), removed.clone());
        watching
            .spawn(async move { watch(&store, &location, u64::from(PARTS) * 4, &removed).await });
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    store.complete(&location, &id, &parts).await.expect("completed");
    assert_eq!(inodes(&folder.path().join("bytes")), sent);
    assert_eq!(get(store.as_ref(), &location).await.expect("read").len(), PARTS as usize * 4);
    store.delete(&location).await.expect("removed");
    removed.store(true, Ordering::SeqCst);
    watching.join_all().await;
}

/// Opens an object again and again until it was removed. An incomplete object would lack the range.
async fn watch(store: &Local, location: &Location, size: u64, removed: &AtomicBool) {
    while !removed.load(Ordering::SeqCst) {
        match store.get(location, Some(0..size)).await {
            Ok(_) | Err(Error::NotFound) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

fn inodes(path: &Path) -> BTreeSet<u64> {
    files(path).iter().map(|path| fs::metadata(path).expect("a file").ino()).collect()
}

#[tokio::test]
async fn a_part_sent_twice_has_the_content_that_the_list_selects() {
    let folder = tempdir().expect("a temporary folder");
    let store = open(folder.path());
    let location = unused_location(&store);
    let id = store.start(&location).await.expect("started");
    let first = store.put_part(&location, &id, 1, "first".into()).await.expect("taken");
    store.put_part(&location, &id, 1, "second".into()).await.expect("taken");
    store.complete(&location, &id, &[first]).await.expect("completed");
    assert_eq!(get(&store, &location).await.expect("read"), "first");
}

#[tokio::test]
async fn names_from_clients_are_not_used_in_paths() {
    let folder = tempdir().expect("a temporary folder");
    let store = open(folder.path());
    let location = unused_location(&store);
    for name in ["", "..", "../bytes", "/etc", "multipart-1"] {
        let id = MultipartId(name.to_owned());
        let part = Part { number: 1, tag: "x".to_owned(), size: 1 };
        assert_fails!(store.put_part(&location, &id, 1, "x".into()).await, Error::Refused(_));
        assert_fails!(store.complete(&location, &id, &[part]).await, Error::Refused(_));
        assert_fails!(store.abort(&location, &id).await, Error::Refused(_));
    }
    let id = store.start(&location).await.expect("started");
    let part = store.put_part(&location, &id, 1, "x".into()).await.expect("taken");
    let tag = format!("../{}", part.tag);
    let outcome = store.complete(&location, &id, &[Part { tag, ..part }]).await;
    assert_fails!(outcome, Error::Refused(_));
}

#[tokio::test]
async fn a_removed_folder_is_an_outage() {
    let folder = tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let store = open(&path);
    let location = unused_location(&store);
    store.put(&location, "bytes".into(), None).await.expect("written");
    fs::rename(&path, folder.path().join("elsewhere")).expect("moved");
    assert_fails!(get(&store, &location).await, Error::Unavailable(_));
    assert_fails!(store.start(&location).await, Error::Unavailable(_));
    let outcome = store.put(&unused_location(&store), Bytes::new(), None).await;
    assert_fails!(outcome, Error::Unavailable(_));
}

#[tokio::test]
async fn damaged_data_is_not_reported_as_missing() {
    let folder = tempdir().expect("a temporary folder");
    let store = open(folder.path());
    let location = unused_location(&store);
    let id = store.start(&location).await.expect("started");
    let mut parts = Vec::new();
    for number in [1, 2] {
        let bytes = bytes_of(4, 10_000);
        parts.push(store.put_part(&location, &id, number, bytes).await.expect("taken"));
    }
    store.complete(&location, &id, &parts).await.expect("completed");
    let part = &files(&folder.path().join("bytes"))[0];
    fs::OpenOptions::new()
        .write(true)
        .open(part)
        .and_then(|file| file.set_len(9_000))
        .expect("shortened");
    assert_fails!(get(&store, &location).await, Error::Damaged(_));
}
