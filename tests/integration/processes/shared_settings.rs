//! The settings that all processes on one store must share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longshore::layout::encoding::{Draft, Lineage, decode};
use longshore::registry::{Found, LeaseSettings, Leases, SharedSettings, SharedSettingsError};
use longshore::store::local::Local;
use longshore::store::memory::{Fault, FaultKind, Memory, Operation, Reported};
use longshore::store::{RecordKey, RecordStore as _};
use serde_json::{Map, Value, json};

use super::bucket;
use crate::support::process::{Ended, Process, run};

const GRACE: &str = "LONGSHORE_COLLECTION_GRACE";

/// A command that has to fail before it listens, and what it says.
fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let Ended { status, stdout, stderr } = run(arguments, variables);
    assert_eq!(status.code(), Some(1), "{arguments:?}: {stdout}{stderr}");
    stderr
}

fn succeeded(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let Ended { status, stdout, stderr } = run(arguments, variables);
    assert!(status.success(), "{arguments:?}: {stdout}{stderr}");
    stdout
}

/// `stopped` ends a process if it has to, before another command may use the store.
fn a_process_that_differs_is_refused(store: &str, stopped: impl Fn(Process) -> Option<Process>) {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--store", store];
    let first = Process::serve(store, &[]);
    assert!(first.log().contains("wrote the settings that all processes share"), "{}", first.log());
    let first = stopped(first);
    let other = [(GRACE, "2h"), ("LONGSHORE_COLLECTION_CLOCK_SKEW", "4m")];
    for arguments in [&serve[..], &["check", "--store", store]] {
        let said = refused(arguments, &other);
        for part in [
            "collection.grace: 2d in the store, 2h in this configuration",
            "collection.clock_skew: 5m in the store, 4m in this configuration",
            "longshore settings set collection.grace=2h collection.clock_skew=4m",
        ] {
            assert!(said.contains(part), "nothing about {part}:\n{said}");
        }
        assert!(!said.contains("collection.quarantine"), "{said}");
    }
    let set =
        ["settings", "set", "--store", store, "collection.grace=2h", "collection.clock_skew=4m"];
    let shown = succeeded(&set, &other);
    assert!(shown.contains("restart every process") && !shown.contains("differs"), "{shown}");
    drop(first);
    let second = stopped(Process::serve(store, &other));
    assert!(refused(&serve, &[]).contains("collection.grace: 2h in the store, 2d in this"));
    let shown = succeeded(&["settings", "show", "--store", store], &[]);
    let grace = shown.lines().find(|line| line.starts_with("collection.grace ")).expect("a row");
    let words: Vec<&str> = grace.split_whitespace().collect();
    assert_eq!(words, ["collection.grace", "2h", "2d", "differs"]);
    drop(second);
}

#[test]
fn a_process_that_differs_is_refused_by_a_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    a_process_that_differs_is_refused(folder.path().to_str().expect("text"), |process| {
        process.kill();
        None
    });
}

#[test]
fn a_process_that_differs_is_refused_by_a_bucket() {
    let Some(store) = bucket("a process with another grace") else { return };
    a_process_that_differs_is_refused(&store, Some);
}

/// `48h` is `2d`.
#[test]
fn only_the_value_counts_and_not_its_spelling() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().to_str().expect("text");
    Process::serve(store, &[(GRACE, "48h")]).kill();
    Process::serve(store, &[(GRACE, "2d")]).kill();
}

#[test]
fn check_compares_and_writes_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().to_str().expect("text");
    let check = ["check", "--store", store];
    for _ in 0..2 {
        let said = succeeded(&check, &[]);
        assert!(said.contains("shared settings: none yet, the first `longshore serve`"), "{said}");
        let shown = succeeded(&["settings", "show", "--store", store], &[]);
        assert!(shown.contains("the store has none yet"), "{shown}");
    }
    let set = ["settings", "set", "--store", store, "collection.grace=4h"];
    assert!(refused(&set, &[]).contains("the store has no shared settings yet"));
    Process::serve(store, &[]).kill();
    let said = succeeded(&check, &[]);
    assert!(said.contains("shared settings: those of this configuration"), "{said}");
}

#[test]
fn urls_that_outlast_the_quarantine_are_refused() {
    let variables = [(GRACE, "2h"), ("LONGSHORE_BLOBS_REDIRECT_TTL", "7d")];
    for arguments in [&["serve", "--store", "memory"][..], &["check", "--store", "memory"]] {
        let said = refused(arguments, &variables);
        let sum = "7d + 5m + 10m + 1h + 5m is not less than 2d";
        assert!(said.contains("blobs.redirect_ttl") && said.contains(sum), "{said}");
    }
}

async fn fields(folder: &Path) -> Map<String, Value> {
    let store = Local::open(folder).expect("no process has it");
    let record = store.read(&RecordKey::Settings).await.expect("the record");
    decode(&record.body).expect("one line of JSON").0
}

/// Replaces fields, as another release could.
async fn change_fields(folder: &Path, changes: &Value) {
    let store = Local::open(folder).expect("no process has it");
    let record = store.read(&RecordKey::Settings).await.expect("the record");
    let mut fields: Map<String, Value> = decode(&record.body).expect("one line of JSON").0;
    fields.extend(changes.as_object().expect("an object").clone());
    let body = Draft::whole(&fields, Bytes::new()).encode(&Lineage::default());
    store.replace(&RecordKey::Settings, &record.version, body, None).await.expect("replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_can_read_the_record_and_unknown_fields_stay() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().to_str().expect("text");
    Process::serve(store, &[]).kill();
    let mut expected = json!({
        "grace": "2d",
        "write_deadline": "5m",
        "clock_skew": "5m",
        "quarantine": "2d",
        "layout": 1,
        "oldest_writer": "0.1.0",
    });
    assert_eq!(Value::Object(fields(folder.path()).await), expected);
    change_fields(folder.path(), &json!({ "shape": { "of": ["things", "to", "come"] } })).await;
    Process::serve(store, &[]).kill();
    succeeded(&["settings", "set", "--store", store, "collection.grace=96h"], &[]);
    expected["grace"] = "4d".into();
    expected["shape"] = json!({ "of": ["things", "to", "come"] });
    assert_eq!(Value::Object(fields(folder.path()).await), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn unsafe_and_unknown_changes_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().to_str().expect("text");
    Process::serve(store, &[]).kill();
    let before = fields(folder.path()).await;
    for (change, why) in [
        ("collection.write_deadline=1d", "1d + 1d + 5m is not less than 2d"),
        ("collection.grace=1h", "collection.grace is 1h, and less than 2h"),
        ("collection.grace=soon", "collection.grace: \"soon\" is not a duration"),
        ("collection.quarantine=1h", "20m + 5m + 10m + 1h + 5m is not less than 1h"),
        ("grace=4h", "grace: is none of the shared settings, which are collection.grace, "),
        ("layout=2", "layout: is none of the shared settings"),
        ("oldest_writer=99.0.0", "oldest_writer: 99.0.0 is later than this release"),
        ("oldest_writer=new", "oldest_writer: \"new\" is no release"),
    ] {
        let said = refused(&["settings", "set", "--store", store, change], &[]);
        assert!(said.contains(why), "{change}: {said}");
    }
    assert_eq!(fields(folder.path()).await, before);
    let said = run(&["settings", "set", "--store", store, "grace"], &[]).stderr;
    assert!(said.contains("is not KEY=VALUE"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_later_release_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().to_str().expect("text");
    Process::serve(store, &[]).kill();
    for (changes, why) in [
        (json!({ "oldest_writer": "99.0.0" }), "release: 99.0.0 or later for the store, "),
        (json!({ "oldest_writer": "0.1.0", "layout": 2 }), "layout: 2 in the store, 1 here"),
    ] {
        change_fields(folder.path(), &changes).await;
        for arguments in [
            &["serve", "--store", store][..],
            &["check", "--store", store],
            &["settings", "set", "--store", store, "oldest_writer=0.1.0"],
        ] {
            let said = refused(arguments, &[]);
            assert!(said.contains(why) && said.contains("Use the release"), "{said}");
        }
    }
}

/// A later release wrote fields that a rewrite by this one would make wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_needs_an_unknown_feature_is_not_rewritten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().to_str().expect("text");
    Process::serve(store, &[]).kill();
    change_fields(folder.path(), &json!({ "need": ["shapes"] })).await;
    let before = fields(folder.path()).await;
    succeeded(&["check", "--store", store], &[]);
    let said = refused(&["settings", "set", "--store", store, "collection.grace=4d"], &[]);
    assert!(said.contains("it needs shapes, which this release does not know"), "{said}");
    assert_eq!(fields(folder.path()).await, before);
}

fn shared(memory: &Arc<Memory>, settings: &LeaseSettings) -> SharedSettings {
    SharedSettings::new(memory.clone(), Leases::new(settings).expect("safe times"))
}

/// Both find nothing, and one of them creates the record.
#[tokio::test(start_paused = true)]
async fn two_first_processes_agree() {
    let ours = LeaseSettings::default();
    let other = LeaseSettings { grace: Duration::from_hours(2), ..ours.clone() };
    for second in [&ours, &other] {
        let memory = Arc::new(Memory::new());
        let late = FaultKind::Delay(Duration::from_secs(1));
        memory.inject(Fault::on(Operation::Create, late).times(2));
        let (one, two) = (shared(&memory, &ours), shared(&memory, second));
        let starts = (one.create_or_compare(&ours), two.create_or_compare(second));
        let (one, two) = tokio::join!(starts.0, starts.1);
        assert_eq!(memory.calls().create, 2, "the starts met");
        let mut found = Vec::new();
        let mut differ = 0;
        for start in [one, two] {
            match start {
                Ok(start) => found.push(start),
                Err(SharedSettingsError::Differ(rows)) => {
                    assert_eq!(rows.len(), 1, "{rows:?}");
                    assert_eq!(rows[0].name, "collection.grace");
                    differ += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(found.contains(&Found::Nothing), "one created the record");
        assert_eq!(differ, usize::from(*second == other), "{found:?}");
    }
}

/// The cost of a start, and that a lost response is no difference.
#[tokio::test]
async fn a_start_costs_one_request_and_the_first_one_two() {
    let ours = LeaseSettings::default();
    let memory = Arc::new(Memory::new());
    let shared = shared(&memory, &ours);
    assert_eq!(shared.compare(&ours).await.expect("nothing"), Found::Nothing);
    assert_eq!(memory.calls().total(), 1);
    let lost = FaultKind::FailAfter(Reported::Conflict);
    memory.inject(Fault::on(Operation::Create, lost));
    assert_eq!(shared.create_or_compare(&ours).await.expect("created"), Found::Nothing);
    assert_eq!(memory.calls().total(), 4, "read, create, and read after the conflict");
    assert_eq!(shared.create_or_compare(&ours).await.expect("the same"), Found::Same);
    assert_eq!(memory.calls().total(), 5);
    // Of two changes at once one is refused.
    let changes = [("collection.grace".to_owned(), "4d".to_owned())];
    memory.inject(
        Fault::on(Operation::Replace, FaultKind::Delay(Duration::from_millis(50))).times(2),
    );
    let (one, two) =
        tokio::join!(shared.set(&changes, |_| Ok(())), shared.set(&changes, |_| Ok(())));
    let ((Ok(()), Err(lost)) | (Err(lost), Ok(()))) = (one, two) else { panic!("one wins") };
    assert!(lost.to_string().contains("another process changed"), "{lost}");
}
