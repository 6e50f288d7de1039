//! The key that authenticates the shared cache: one for each store, and nobody prints it.

use std::sync::Arc;
use std::time::Duration;

use longshore::layout::encoding::decode;
use longshore::layout::records::CacheKey;
use longshore::registry::{LeaseSettings, Leases, read_cache_key, read_or_create_cache_key};
use longshore::store::local::Local;
use longshore::store::memory::{Fault, FaultKind, Memory, Operation, Reported};
use longshore::store::{Error, RecordKey, RecordStore as _};

use super::redis_server;
use crate::support::process::{Process, run, s3_variables};
use crate::support::scripted_s3::{BUCKET_URL, ScriptedS3};

fn leases() -> Leases {
    Leases::new(&LeaseSettings::default()).expect("safe times")
}

#[tokio::test(start_paused = true)]
async fn two_first_processes_share_one_key() {
    let memory = Arc::new(Memory::new());
    let nothing = read_cache_key(memory.clone(), leases()).await.expect("an answer");
    assert_eq!(nothing, None);
    let late = FaultKind::Delay(Duration::from_secs(1));
    memory.inject(Fault::on(Operation::Create, late).times(2));
    let start = || read_or_create_cache_key(memory.clone(), leases());
    let (one, other) = tokio::join!(start(), start());
    assert_eq!(memory.calls().create, 2, "the starts met");
    let one = one.expect("a key");
    assert_eq!(one, other.expect("a key"));
    let before = memory.calls();
    assert_eq!(start().await.expect("a key"), one);
    assert_eq!(memory.calls().since(&before).total(), 1);
    assert_eq!(read_cache_key(memory.clone(), leases()).await.expect("a key"), Some(one));
}

#[tokio::test]
async fn the_key_is_found_after_a_lost_answer() {
    let memory = Arc::new(Memory::new());
    memory.inject(Fault::on(Operation::Create, FaultKind::FailAfter(Reported::Conflict)));
    let key = read_or_create_cache_key(memory.clone(), leases()).await.expect("created");
    assert_eq!(read_cache_key(memory, leases()).await.expect("a key"), Some(key));
}

#[tokio::test]
async fn a_damaged_key_is_not_repeated_by_the_error() {
    let memory = Arc::new(Memory::new());
    read_or_create_cache_key(memory.clone(), leases()).await.expect("created");
    let record = memory.read(&RecordKey::CacheKey).await.expect("the record");
    let text = String::from_utf8(record.body.to_vec()).expect("JSON");
    let key = String::from(decode::<CacheKey>(&record.body).expect("a key").0.key);
    let shorter = text.replace(&key, &key[2..]);
    memory
        .replace(&RecordKey::CacheKey, &record.version, shorter.into(), None)
        .await
        .expect("replaced");
    let error = read_cache_key(memory, leases()).await.expect_err("it is too short").to_string();
    assert!(error.contains("64 hexadecimal digits") && !error.contains(&key[2..10]), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_the_key_and_print_it_nowhere() {
    let Some(redis) = redis_server::start(&[]).await else { return };
    let s3 = ScriptedS3::start().await;
    let url = redis.url();
    let variables = [("LONGSHORE_CACHE_REDIS", url.as_str()), ("LONGSHORE_LOG_LEVEL", "trace")];
    let first = Process::over_s3(&s3, &variables);
    let record = RecordKey::CacheKey.to_string();
    let (key, version) = (s3.object(&record).expect("a key"), s3.etag(&record));
    let second = Process::over_s3(&s3, &variables);
    assert_eq!(s3.etag(&record), version, "the second process only reads it");

    let key = String::from(decode::<CacheKey>(&key).expect("a key").0.key);
    let endpoint = s3.url();
    let show = [&s3_variables(&endpoint)[..], &variables].concat();
    let shown = run(&["settings", "show", "--store", BUCKET_URL], &show);
    let checked = run(&["check", "--store", BUCKET_URL], &show);
    assert!(shown.status.success() && checked.status.success(), "{shown:?}{checked:?}");
    for text in [first.log(), second.log(), format!("{shown:?}{checked:?}")] {
        assert!(!text.contains(&key), "{text}");
    }
}

/// Only `serve` with Redis needs one.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_and_a_start_without_redis_create_no_key() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_str().expect("text");
    let ended = run(&["check", "--store", path, "--redis", "redis://127.0.0.1:1"], &[]);
    assert!(ended.status.success(), "{ended:?}");
    Process::serve(path, &[]).kill();
    let store = Local::open(folder.path()).expect("no process has it");
    assert!(matches!(store.read(&RecordKey::CacheKey).await, Err(Error::NotFound)));
    drop(store);
    Process::serve(path, &[("LONGSHORE_CACHE_REDIS", "redis://127.0.0.1:1")]).kill();
    let store = Local::open(folder.path()).expect("no process has it");
    store.read(&RecordKey::CacheKey).await.expect("the key");
}
