//! `longshore audit`, `scrub`, `usage` and `inspect` as processes: what they print, how they exit.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::app::{OCI_MANIFEST, image_manifest};
use crate::support::process::{Ended, Process, run, s3_variables};
use crate::support::scripted_s3::{BUCKET_URL, Match, ScriptedS3};
use crate::support::{bytes, sha256};

/// A folder with one image of a large blob, which no process uses.
async fn folder_with_image() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("data");
    let mut process = Process::folder(&store, &[]);
    let client = process.client();
    for content in [b"{}".to_vec(), bytes(1, 100_000)] {
        let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&content));
        client.request("POST", &path).body(content).send().await.expect(201);
    }
    let manifest = image_manifest(b"{}", &[bytes(1, 100_000)]);
    let put = client.request("PUT", "/v2/a/manifests/v1");
    let put = put.header("content-type", OCI_MANIFEST);
    put.body(manifest).send().await.expect(201);
    process.terminate();
    assert!(process.ended().await.success());
    (folder, store)
}

fn at(command: &str, store: &Path, more: &[&str]) -> Ended {
    let store = store.to_str().expect("text");
    run(&[&[command, "--store", store], more].concat(), &[])
}

/// The one data object of a folder.
fn data_of(store: &Path) -> PathBuf {
    let only = |path: PathBuf| {
        let mut entries = std::fs::read_dir(path).expect("a folder");
        entries.next().expect("an entry").expect("readable").path()
    };
    only(only(store.join("bytes/v1/d")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_status_says_whether_there_is_damage() {
    let (_folder, store) = folder_with_image().await;
    for command in ["audit", "scrub", "usage"] {
        let ended = at(command, &store, &[]);
        assert_eq!(ended.status.code(), Some(0), "{command}: {ended:?}");
    }
    let clean = at("audit", &store, &[]).stdout;
    assert!(clean.ends_with("no damage\n"), "{clean}");

    let data = data_of(&store);
    let mut changed = bytes(1, 100_000);
    changed[5] ^= 1;
    std::fs::write(&data, &changed).expect("written");
    assert_eq!(at("audit", &store, &[]).status.code(), Some(0), "it reads no data");
    let scrubbed = at("scrub", &store, &["--json", "--rate", "1GiB"]);
    assert_eq!(scrubbed.status.code(), Some(3), "{scrubbed:?}");
    let lines: Vec<Value> =
        scrubbed.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2, "{scrubbed:?}");
    assert_eq!(
        (&lines[0]["class"], &lines[0]["level"]),
        (&"wrong-content".into(), &"damage".into())
    );
    assert_eq!(lines[1]["summary"]["found"]["wrong-content"], 1);

    std::fs::remove_file(&data).expect("removed");
    let audited = at("audit", &store, &[]);
    assert_eq!(audited.status.code(), Some(3), "{audited:?}");
    for line in ["missing-data v1/l/a/_/sha256/", "damage: 1 dangling-pointer: run with --repair"] {
        assert!(audited.stdout.contains(line), "{}", audited.stdout);
    }
    let repaired = at("audit", &store, &["--repair"]);
    assert_eq!(repaired.status.code(), Some(3), "{repaired:?}");
    assert!(repaired.stdout.contains("\n1 repaired\n"), "{}", repaired.stdout);
    let again = at("audit", &store, &[]);
    assert!(!again.stdout.contains("dangling-pointer"), "{}", again.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_explains_the_folder() {
    let (_folder, store) = folder_with_image().await;
    let table = at("usage", &store, &["--by", "repository"]).stdout;
    assert!(table.contains("             1                100000  live\n"), "{table}");
    assert!(table.contains("             1                100000  a live\n"), "{table}");
    let json = at("usage", &store, &["--json"]).stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["classes"]["live"]["bytes"], 100_000);
    let classes = json["classes"].as_object().expect("classes");
    let sum: u64 = classes.values().filter_map(|class| class["bytes"].as_u64()).sum();
    assert_eq!(json["total"]["bytes"], sum);
}

#[tokio::test(flavor = "multi_thread")]
async fn inspect_says_whether_its_target_is_there() {
    let (_folder, store) = folder_with_image().await;
    let shown = at("inspect", &store, &["a:v1"]);
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    for line in ["tag v1/t/a/_/v1: live\n", "  at: 1", "manifest v1/m/a/_/sha256/", "tags: v1\n"] {
        assert!(shown.stdout.contains(line), "{line}: {}", shown.stdout);
    }
    let layer = format!(
        "  {}, 100000 bytes: link live, pointer live, data object live\n",
        sha256(&bytes(1, 100_000))
    );
    assert!(shown.stdout.contains(&layer), "{}", shown.stdout);
    let json = at("inspect", &store, &["a:v1", "--json"]).stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["found"], &json["objects"][0]["fields"]["seq"]), (&true.into(), &1.into()));
    assert_eq!(json["references"][1]["objects"][2]["bytes"], 100_000);

    let absent = at("inspect", &store, &["a:v2"]);
    assert_eq!(absent.status.code(), Some(3), "{absent:?}");
    assert!(absent.stdout.ends_with("a:v2 is not there\n"), "{}", absent.stdout);
    let wrong = at("inspect", &store, &["localhost:5000/a:v1"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

/// On S3: reads only, and an outage is no absence.
#[tokio::test(flavor = "multi_thread")]
async fn inspect_reads_a_bucket_and_writes_nothing() {
    let s3 = ScriptedS3::start().await;
    let url = s3.url();
    let mut process = Process::over_s3(&s3, &[]);
    let client = process.client();
    let content = bytes(1, 100_000);
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&content));
    client.request("POST", &path).body(content.clone()).send().await.expect(201);
    process.terminate();
    assert!(process.ended().await.success());
    let writes = || s3.arrived(&Match::put("")) + s3.arrived(&Match::delete(""));
    let (before, keys) = (writes(), s3.keys(""));
    let target = format!("a@{}", sha256(&content));
    let inspect = || {
        let arguments = ["inspect", "--store", BUCKET_URL, &target];
        tokio::task::block_in_place(|| run(&arguments, &s3_variables(&url)))
    };
    let shown = inspect();
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    assert!(shown.stdout.contains("data object v1/d/"), "{}", shown.stdout);
    assert_eq!((writes(), s3.keys("")), (before, keys));
    s3.refuse(Match::get("v1/l/").always(), 403, "AccessDenied");
    let refused = inspect();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stdout.is_empty() && refused.stderr.contains("could not finish"));
}

#[test]
fn what_cannot_be_read_is_no_clean_bucket() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("missing");
    for command in ["audit", "scrub", "usage"] {
        let ended = at(command, &missing, &[]);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains("there is no registry in the folder"), "{}", ended.stderr);
        let ended = at(command, &missing, &["--rte", "1"]);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    }
    assert!(!missing.exists(), "looking creates nothing");
    let wrong = at("scrub", &missing, &["--after", "v1/nothing"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

#[test]
fn a_folder_in_use_is_explained() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let serving = Process::folder(folder.path(), &[]);
    for words in [&["audit"][..], &["scrub"], &["usage"], &["inspect", "a:v1"]] {
        let ended = at(words[0], folder.path(), &words[1..]);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains("Stop `longshore serve` first"), "{}", ended.stderr);
    }
    serving.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrub_ends_at_a_signal_with_its_cursor() {
    let (_folder, store) = folder_with_image().await;
    let mut scrub = Command::new(env!("CARGO_BIN_EXE_longshore"));
    // The manifest takes ten seconds.
    scrub.args(["scrub", "--rate", "50", "--store", store.to_str().expect("text")]);
    let scrub = scrub.stdout(Stdio::piped()).spawn().expect("it runs");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let id = scrub.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
    let ended = tokio::task::spawn_blocking(|| scrub.wait_with_output()).await;
    let ended = ended.expect("no panic").expect("it ends");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = String::from_utf8(ended.stdout).expect("text");
    let (_, after) = said.split_once("continue with --after ").expect("a cursor");
    let rest = at("scrub", &store, &["--after", after.trim()]);
    assert_eq!(rest.status.code(), Some(0), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_written_as_metrics() {
    let (_folder, store) = folder_with_image().await;
    let file = store.with_file_name("results.prom");
    let metrics = |command: &str| {
        let ended = at(command, &store, &["--metrics-file", file.to_str().expect("text")]);
        (ended.status.code(), std::fs::read_to_string(&file).expect("the metrics"))
    };
    let (code, text) = metrics("audit");
    let line = "longshore_audit_findings{class=\"missing-data\",level=\"damage\"} ";
    assert!(code == Some(0) && text.contains(&format!("{line}0\n")), "{text}");
    let (code, text) = metrics("usage");
    assert!(code == Some(0) && text.contains("longshore_usage_bytes{class=\"live\"} 1"), "{text}");
    std::fs::remove_file(data_of(&store)).expect("removed");
    let (code, text) = metrics("audit");
    assert!(code == Some(3) && text.contains(&format!("{line}1\n")), "{text}");
    assert!(text.contains("\nlongshore_audit_last_run_timestamp_seconds 1"), "{text}");
    let (code, text) = metrics("scrub");
    assert!(code == Some(3) && text.contains("longshore_scrub_findings"), "{text}");
    // A command that cannot write them does not succeed in silence.
    let ended = at("audit", &store, &["--metrics-file", "/nowhere/results.prom"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
}

/// What a command of this program writes to a terminal, or to a file, within some seconds.
fn written(arguments: &[&str], terminal: bool, seconds: &str) -> String {
    let program = env!("CARGO_BIN_EXE_longshore");
    let words = [&["timeout", "-s", "INT", seconds, program], arguments].concat().join(" ");
    let mut command = Command::new(if terminal { "script" } else { "sh" });
    // `script` (util-linux) runs a command on a terminal of its own.
    let rest = if terminal { &["/dev/null"][..] } else { &[] };
    let command = command.args([if terminal { "-qec" } else { "-c" }, &words]).args(rest);
    // The suite also runs in single-writer mode, in which `gc` does not collect.
    command.env("LONGSHORE_STORE_WRITERS", "many");
    command.env("LONGSHORE_COLLECTION_REQUESTS_PER_SECOND", "2").stdin(Stdio::null());
    let output = command.output().expect("it runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_one_line_of_a_terminal_and_nothing_elsewhere() {
    let (_folder, store) = folder_with_image().await;
    let store = store.to_str().expect("text");
    for command in [
        &["gc", "--dry-run", "--store", store][..],
        &["audit", "--requests-per-second", "1", "--store", store],
    ] {
        let shown = tokio::task::block_in_place(|| written(command, true, "4"));
        let progress = format!("\r\x1b[K{}: ", command[0]);
        assert!(shown.contains(&progress) && shown.contains("requests so far"), "{shown:?}");
        let shown = tokio::task::block_in_place(|| written(command, false, "4"));
        assert!(!shown.contains('\x1b') && !shown.contains("so far"), "{shown:?}");
    }
}
