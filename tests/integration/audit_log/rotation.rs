//! Rotation while lines are written, and several processes on one file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longshore::tasks::Tasks;
use serde_json::Value;

use super::{ids, push, read};
use crate::support::process::Process;

const WORKERS: usize = 4;

fn process(path: &Path) -> Process {
    let path = path.to_str().expect("UTF-8");
    Process::serve("memory", &[("LONGSHORE_AUDIT_LOG_DESTINATION", path)])
}

/// Pushes all the time, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<longshore::tasks::Task<Vec<String>>>,
}

impl Load {
    fn start(process: &Process, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let worker = |number: usize| {
            let (stop, client) = (stop.clone(), process.client());
            let name = format!("{name}-{number}");
            Tasks::new().spawn(async move {
                let mut answered = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let id = format!("{name}-{}", answered.len());
                    assert_eq!(push(&client, &id).await, 201);
                    answered.push(id);
                }
                answered
            })
        };
        let workers = (0..WORKERS).map(worker).collect();
        Self { stop, workers }
    }

    /// The ids of the requests that were answered, sorted.
    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for worker in self.workers {
            all.extend(worker.await.expect("no panic"));
        }
        all.sort();
        all
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(1500)).await;
}

fn all_of(paths: &[PathBuf]) -> Vec<Value> {
    paths.iter().flat_map(|path| read(path)).collect()
}

/// Runs the real logrotate, whether or not it is time.
fn logrotate(folder: &Path, how: &str) {
    let configuration = folder.join("logrotate.conf");
    let text = format!(
        "{}/audit.log {{\n    rotate 100\n    missingok\n    {how}\n}}\n",
        folder.display()
    );
    std::fs::write(&configuration, text).expect("written");
    let state = folder.join("state");
    let mut command = Command::new("/usr/sbin/logrotate");
    let output = command.arg("--force").arg("--state").arg(state).arg(configuration).output();
    let output = output.expect("logrotate runs: tests/support/tools/install debian");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_by_rename_loses_no_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("audit.log");
    let process = process(&path);
    let load = Load::start(&process, "renamed");
    let rotations = 3;
    for _ in 0..rotations {
        pause().await;
        logrotate(folder.path(), "create 0600");
    }
    pause().await;
    let answered = load.stop().await;
    let numbered = (1..=rotations).map(|number| folder.path().join(format!("audit.log.{number}")));
    let files: Vec<PathBuf> = numbered.chain([path]).collect();
    for file in &files {
        assert!(!read(file).is_empty(), "{} has no line", file.display());
    }
    assert!(answered.len() > 100, "{} pushes", answered.len());
    assert_eq!(ids(&all_of(&files)), answered);
}

/// Nothing creates the new file but the registry, and nothing tells it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_moved_away_is_created_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, moved) = (folder.path().join("audit.log"), folder.path().join("moved"));
    let process = process(&path);
    assert_eq!(push(&process.client(), "before").await, 201);
    std::fs::rename(&path, &moved).expect("renamed");
    pause().await;
    assert_eq!(push(&process.client(), "after").await, 201);
    assert_eq!(
        (ids(&read(&moved)), ids(&read(&path))),
        (vec!["before".into()], vec!["after".into()])
    );
}

/// Lines between the copy and the truncation are gone with copytruncate, as logrotate says itself;
/// so the load pauses then. Whatever is written is whole, once, and at the beginning of the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_file_goes_on_at_its_beginning() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("audit.log");
    let process = process(&path);
    let mut answered = Vec::new();
    for round in 0..3 {
        let load = Load::start(&process, &format!("truncated-{round}"));
        tokio::time::sleep(Duration::from_millis(300)).await;
        answered.extend(load.stop().await);
        logrotate(folder.path(), "copytruncate");
        assert_eq!(std::fs::metadata(&path).expect("the file").len(), 0);
    }
    assert_eq!(push(&process.client(), "last").await, 201);
    answered.push("last".to_owned());
    answered.sort();
    let numbered = (1..=3).map(|number| folder.path().join(format!("audit.log.{number}")));
    let files: Vec<PathBuf> = numbered.chain([path]).collect();
    assert_eq!(ids(&all_of(&files)), answered);
}

/// Under load, with copytruncate: lines may be missing, and none is mixed or doubled.
#[tokio::test(flavor = "multi_thread")]
async fn truncation_under_load_mixes_no_lines() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("audit.log");
    let process = process(&path);
    let load = Load::start(&process, "truncated");
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        logrotate(folder.path(), "copytruncate");
    }
    let answered = load.stop().await;
    let numbered = (1..=10).map(|number| folder.path().join(format!("audit.log.{number}")));
    let files: Vec<PathBuf> = numbered.chain([path]).collect();
    let lines = ids(&all_of(&files));
    let mut once = lines.clone();
    once.dedup();
    assert_eq!(once, lines, "none is doubled");
    let missing = answered.iter().filter(|id| lines.binary_search(id).is_err()).count();
    assert_eq!(lines.len() + missing, answered.len());
    println!("copytruncate under load: {missing} of {} lines are missing", answered.len());
    // A copy of a small file takes no tenth of the time between two.
    assert!(missing * 4 < answered.len(), "{missing} of {}", answered.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_file_mix_no_lines() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("audit.log");
    let processes = [process(&path), process(&path)];
    let loads = [Load::start(&processes[0], "one"), Load::start(&processes[1], "two")];
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut answered = Vec::new();
    for load in loads {
        let ids = load.stop().await;
        assert!(ids.len() > 100, "{} pushes", ids.len());
        answered.extend(ids);
    }
    answered.sort();
    assert_eq!(ids(&read(&path)), answered);
}
