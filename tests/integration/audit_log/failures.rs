//! A disk that takes no lines: changes are refused, pulls go on, and it recovers by itself.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore::audit_log::{Destination, OnFailure};
use longshore::config::Settings;
use longshore::store::memory::Memory;
use tempfile::TempDir;

use super::{push, read};
use crate::support::process::{Process, run};
use crate::support::{App, sha256};

async fn registry(path: &Path, on_failure: OnFailure) -> App {
    let mut settings = Settings::default();
    settings.audit_log.destination = Some(Destination::File(path.to_owned()));
    settings.audit_log.on_failure = on_failure;
    App::over_memory(Arc::new(Memory::new()), settings).await
}

fn counted(app: &App) -> (u64, u64) {
    let text = app.metrics.exposition();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the metric");
        line.trim().parse().expect("a count")
    };
    (value("longshore_audit_log_lines_total "), value("longshore_audit_log_missing_lines_total "))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_lines_changes_are_refused_and_pulls_go_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("audit.log");
    symlink("/dev/full", &path).expect("a link");
    let app = registry(&path, OnFailure::RefuseChanges).await;
    // The disk is found to be full by the first line.
    assert_eq!(push(&app.client, "first").await, 201);
    let start = app.request("POST", "/v2/a/blobs/uploads/").send().await;
    let refused = start.expect_error(503, "UNAVAILABLE");
    assert_eq!(refused.header("retry-after"), Some("5"));
    let blob = format!("/v2/a/blobs/{}", sha256(b"first"));
    app.get(&blob).send().await.expect(200);
    app.request("DELETE", &blob).send().await.expect_error(503, "UNAVAILABLE");
    app.get(&blob).send().await.expect(200);
    assert_eq!(counted(&app), (0, 3));

    // There is room again: the next refusal is the first line, and what follows is carried out.
    std::fs::remove_file(&path).expect("the link");
    assert_eq!(push(&app.client, "probe").await, 503);
    assert_eq!(push(&app.client, "second").await, 201);
    let lines = read(&path);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!((&lines[0]["outcome"], &lines[0]["status"]), (&"refused".into(), &503.into()));
    assert_eq!(lines[0]["reason"], "changes cannot be recorded, try again later");
    assert_eq!((&lines[1]["outcome"], &lines[1]["request_id"]), (&"done".into(), &"second".into()));
    assert_eq!(counted(&app), (2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_go_on_without_lines_where_the_settings_say_so() {
    let app = registry(Path::new("/dev/full"), OnFailure::Continue).await;
    for id in ["first", "second", "third"] {
        assert_eq!(push(&app.client, id).await, 201);
    }
    assert_eq!(counted(&app), (0, 3));
}

/// A small file system in a folder, until this value is dropped.
struct Disk(TempDir);

impl Disk {
    /// Nothing without the right to mount.
    fn mount(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path());
        command.output().is_ok_and(|output| output.status.success()).then(|| Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// What a full disk has taken of a line is taken back, and no line is missing that is not counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_no_part_of_a_line() {
    let Some(disk) = Disk::mount("size=16k") else {
        println!("not run without the right to mount: a_full_disk_leaves_no_part_of_a_line");
        return;
    };
    let (path, filler) = (disk.0.path().join("audit.log"), disk.0.path().join("filler"));
    std::fs::write(&filler, [0; 4096]).expect("room");
    let app = registry(&path, OnFailure::RefuseChanges).await;
    let mut pushes = 0;
    let mut last = 201;
    while last == 201 && pushes < 500 {
        last = push(&app.client, &format!("push-{pushes}")).await;
        pushes += 1;
    }
    let full = read(&path);
    std::fs::remove_file(&filler).expect("the filler");
    let mut after = Vec::new();
    for id in ["after-1", "after-2"] {
        after.push(push(&app.client, id).await);
    }
    let lines = read(&path);
    assert_eq!((last, after), (503, vec![503, 201]));
    // The last push that was carried out, and the first that was refused, have no line.
    assert_eq!((full.len(), lines.len()), (pushes - 2, pushes));
    assert_eq!(counted(&app), (pushes as u64, 2));
}

/// The line is with the kernel before the client has its answer.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_has_its_line_after_kill_9() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("audit.log");
    let variables = [("LONGSHORE_AUDIT_LOG_DESTINATION", path.to_str().expect("UTF-8"))];
    for round in 0..5 {
        let process = Process::serve("memory", &variables);
        let client = process.client();
        let id = format!("killed-{round}");
        assert_eq!(push(&client, &id).await, 201);
        process.kill();
        let lines = read(&path);
        assert_eq!(lines.len(), round + 1);
        assert_eq!(lines[round]["request_id"], id);
    }
    let mode = std::fs::metadata(&path).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_output_has_the_lines_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("stdout");
    let file = std::fs::File::create(&path).expect("a file");
    let variables = [("LONGSHORE_AUDIT_LOG_DESTINATION", "stdout")];
    let process = Process::printing("memory", &variables, Stdio::from(file));
    assert_eq!(push(&process.client(), "printed").await, 201);
    let lines = read(&path);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["request_id"], "printed");
    assert!(process.log().contains("listening on"), "the log is on standard error");
    assert!(!process.log().contains("\"outcome\""), "{}", process.log());
}

/// A pipe whose reader stops takes 64 KiB. The change that finds out waits for ten seconds, and is
/// over; later ones are refused, and no pull waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_holds_up_one_change_and_no_pull() {
    let variables = [("LONGSHORE_AUDIT_LOG_DESTINATION", "stdout")];
    let process = Process::printing("memory", &variables, Stdio::piped());
    let client = process.client();
    let mut pushes = 0;
    loop {
        let began = Instant::now();
        assert_eq!(push(&client, &format!("push-{pushes}")).await, 201);
        pushes += 1;
        if began.elapsed() > Duration::from_secs(9) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(5) && pushes < 1000, "{pushes}");
    }
    let began = Instant::now();
    assert_eq!(push(&client, "refused").await, 503);
    let pull = format!("/v2/a/blobs/{}", sha256(b"push-0"));
    client.request("GET", &pull).send().await.expect(200);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(process.log().matches("a line of the audit log was not written").count(), 2);
}

#[test]
fn a_destination_that_cannot_be_written_ends_the_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("none/audit.log");
    let variables = [("LONGSHORE_AUDIT_LOG_DESTINATION", missing.to_str().expect("UTF-8"))];
    for command in ["serve", "check"] {
        let ended = run(&[command, "--store", "memory", "--listen", "127.0.0.1:0"], &variables);
        assert!(!ended.status.success(), "{command}");
        assert!(ended.stderr.contains("audit_log.destination: "), "{}", ended.stderr);
        assert!(ended.stderr.contains("No such file or directory"), "{}", ended.stderr);
    }
    // Another user may run the check: it creates nothing.
    let there = folder.path().join("audit.log");
    let variables = [("LONGSHORE_AUDIT_LOG_DESTINATION", there.to_str().expect("UTF-8"))];
    assert!(run(&["check", "--store", "memory"], &variables).status.success());
    assert!(!there.exists());
}
