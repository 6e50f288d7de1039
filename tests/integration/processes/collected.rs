//! Garbage collection by real processes with times of seconds, while clients push and delete the
//! same content, frontends are killed, and collectors are killed.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use super::bucket;
use crate::support::app::{OCI_MANIFEST, image_manifest};
use crate::support::bytes;
use crate::support::http::Client;
use crate::support::persistent::{Flow, Persistent};
use crate::support::process::{Process, run};

/// A lease is good for 4 s, a write for 2 s more, and the clocks differ by less than 1 s.
const SHORT: [(&str, &str); 7] = [
    ("LONGSHORE_COLLECTION_UNSAFE_SHORT_GRACE", "true"),
    ("LONGSHORE_COLLECTION_GRACE", "8s"),
    ("LONGSHORE_COLLECTION_WRITE_DEADLINE", "2s"),
    ("LONGSHORE_COLLECTION_CLOCK_SKEW", "1s"),
    ("LONGSHORE_COLLECTION_QUARANTINE", "1s"),
    ("LONGSHORE_COLLECTION_ENABLED", "false"),
    ("LONGSHORE_COLLECTION_REQUESTS_PER_SECOND", "100000"),
];
const FRONTENDS: usize = 3;
const CLIENTS: u64 = 4;
/// How long clients push and processes are killed.
const BUSY_FOR: Duration = Duration::from_secs(25);
/// The least time for which a blob stays that a client has just pushed: the grace, to the second.
const LEASED_FOR: Duration = Duration::from_secs(7);
/// Between the blobs of an image and its manifest.
const PAUSE: Duration = Duration::from_secs(3);
/// After so long without clients nothing is left to collect: some graces, and some runs.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// An image whose layers other clients push and delete at the same time.
fn layers(round: u64) -> [Vec<u8>; 2] {
    [bytes(round % 5, 2_000), bytes(100 + round % 7, 150_000)]
}

/// Pushes images and deletes some of them. Returns the tags that point at an image.
async fn push_and_delete(
    client: Arc<Persistent>,
    name: String,
    number: u64,
    ends: Arc<AtomicBool>,
) -> BTreeSet<String> {
    let (mut alive, mut round) = (BTreeSet::new(), 0);
    while !ends.load(Ordering::SeqCst) {
        round += 1;
        let (config, layers) = (bytes(1_000_000 * (number + 1) + round, 300), layers(round));
        let began = Instant::now();
        client.push_blob(&name, &config, Flow::Post).await;
        client.push_blob(&name, &layers[0], Flow::Put).await;
        client.push_blob(&name, &layers[1], Flow::Patch).await;
        if round % 4 == 0 {
            // Several collections run meanwhile, and the blobs are younger than the grace.
            tokio::time::sleep(PAUSE).await;
        }
        let manifest = image_manifest(&config, &layers);
        let path = format!("/v2/{name}/manifests/c{number}-{}", round % 10);
        let kind = [("content-type", OCI_MANIFEST.to_owned())];
        let pushed = client.ask("PUT", &path, &kind, &manifest).await;
        if pushed.status == 400 && began.elapsed() >= LEASED_FOR {
            // The machine was so slow that the blobs were collected rightly.
            continue;
        }
        pushed.expect(201);
        alive.insert(path.clone());
        if round % 3 != 0 {
            // The manifest with its tag, then what it named.
            let head = client.ask("HEAD", &path, &[], b"").await;
            let digest = head.header("docker-content-digest").expect("a digest").to_owned();
            client.ask("DELETE", &format!("/v2/{name}/manifests/{digest}"), &[], b"").await;
            alive.remove(&path);
        }
    }
    alive
}

/// Runs `longshore gc` again and again, and kills every third run.
fn collect_until(store: &str, ends: &AtomicBool) -> (u32, u32) {
    let (mut ended, mut killed) = (0, 0);
    while !ends.load(Ordering::SeqCst) {
        let mut gc = Command::new(env!("CARGO_BIN_EXE_longshore"));
        let gc = gc.args(["gc", "--json", "--store", store]).envs(SHORT);
        let mut gc = gc.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
        if ended % 3 == 2 {
            std::thread::sleep(Duration::from_millis(u64::from(40 + 37 * killed % 300)));
            gc.kill().expect("killed");
        }
        match gc.wait().expect("it ends").code() {
            Some(0) => ended += 1,
            // The one that was killed still has the lease.
            Some(3) => std::thread::sleep(Duration::from_millis(200)),
            Some(code) => panic!("exit status {code}"),
            None => (ended, killed) = (ended + 1, killed + 1),
        }
    }
    (ended, killed)
}

async fn pull(client: &Client, name: &str, path: &str) {
    let manifest = client.request("GET", path).send().await.expect(200).json();
    let layers = manifest["layers"].as_array().expect("layers").iter();
    for descriptor in layers.chain([&manifest["config"]]) {
        let digest = descriptor["digest"].as_str().expect("a digest");
        let blob = client.request("GET", &format!("/v2/{name}/blobs/{digest}")).send().await;
        let blob = blob.expect(200).body;
        assert_eq!(crate::support::sha256(&blob), digest, "{path}");
    }
}

/// Objects of a class in `longshore usage`.
fn objects(usage: &Value, class: &str) -> u64 {
    usage["classes"][class]["objects"].as_u64().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_collected_and_nothing_else_stays() {
    let Some(store) = bucket("collection beside pushes, deletions and kills") else { return };
    let mut frontends: Vec<Process> =
        (0..FRONTENDS).map(|_| Process::serve(&store, &SHORT)).collect();
    let client = Persistent::new(frontends.iter().map(Process::client));
    let client = Arc::new(client.pausing(Duration::from_millis(50)));
    let ends = Arc::new(AtomicBool::new(false));
    let mut pushing = JoinSet::new();
    for number in 0..CLIENTS {
        // Two clients push to each repository, and tags of their own.
        let name = format!("r{}", number / 2);
        let (client, ends) = (client.clone(), ends.clone());
        pushing.spawn(async move {
            let alive = push_and_delete(client, name.clone(), number, ends).await;
            (name, alive)
        });
    }
    let collecting = {
        let (store, ends) = (store.clone(), ends.clone());
        tokio::task::spawn_blocking(move || collect_until(&store, &ends))
    };
    let began = Instant::now();
    let mut kills = 0;
    while began.elapsed() < BUSY_FOR {
        tokio::time::sleep(Duration::from_millis(700)).await;
        frontends.remove(0).kill();
        frontends.push(Process::serve(&store, &SHORT));
        client.talk_to(frontends.iter().map(Process::client));
        kills += 1;
    }
    ends.store(true, Ordering::SeqCst);
    let pushed = pushing.join_all().await;
    let (runs, killed_runs) = collecting.await.expect("no panic");
    let images: usize = pushed.iter().map(|(_, alive)| alive.len()).sum();
    println!("{images} images, {kills} kills, {runs} collections and {killed_runs} killed ones");
    assert!(images > 3 && runs > 5 && killed_runs > 0, "nothing was put to the test");

    // Some graces later only what is alive is left.
    let mut args = vec!["gc", "--store", &store];
    let began = Instant::now();
    let usage = loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let ended = run(&args, &SHORT);
        assert!(matches!(ended.status.code(), Some(0 | 3)), "{ended:?}");
        args[0] = "usage";
        let usage = run(&[&args[..], &["--json"]].concat(), &SHORT);
        args[0] = "gc";
        let usage: Value = serde_json::from_str(&usage.stdout).expect("JSON");
        let garbage = ["grace", "unreferenced", "quarantine", "uploads"];
        if garbage.iter().all(|class| objects(&usage, class) == 0) {
            break usage;
        }
        let report = &ended.stdout;
        assert!(began.elapsed() < IDLE_MAX, "garbage is left: {usage:#}\n{report}{}", ended.stderr);
    };
    let classes = usage["classes"].as_object().expect("classes");
    let sum: u64 = classes.values().filter_map(|class| class["bytes"].as_u64()).sum();
    assert_eq!(usage["total"]["bytes"], sum, "every byte is explained");
    // The oldest data without a name is looked for a week later.
    println!("{} data objects that no process lived to name", objects(&usage, "unnamed"));
    let fresh = Process::serve(&store, &SHORT);
    for (name, alive) in &pushed {
        for path in alive {
            pull(&fresh.client(), name, path).await;
        }
    }
    args[0] = "audit";
    let audited = run(&args, &SHORT);
    assert_eq!(audited.status.code(), Some(0), "{}", audited.stdout);
}
