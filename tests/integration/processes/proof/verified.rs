//! What must be true of a bucket when all clients are done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use super::cluster::Cluster;
use super::images::{Expected, Image};
use crate::support::process::Process;

/// So much later is the time in listings, so that a collection takes what a client left a moment
/// ago, and data without a name, which it looks for a week after the grace.
const LATER: Duration = Duration::from_hours(10 * 24);
/// Collections after which nothing is left: two see a link, one its pointer, one the data.
const RUNS_MAX: usize = 20;
/// After so long without clients nothing is left to collect without that, either.
const IDLE_MAX: Duration = Duration::from_mins(10);
/// Images that are pulled at once.
const PULLS: usize = 8;
/// The classes of data that is not in use.
const GARBAGE: [&str; 6] =
    ["grace", "unreferenced", "quarantine", "uploads", "unnamed", "sessions"];

/// Objects of a class in `longshore usage`.
fn objects(usage: &Value, class: &str) -> usize {
    let objects = usage["classes"][class]["objects"].as_u64().unwrap_or_default();
    usize::try_from(objects).expect("few")
}

/// Collects, pulls and audits: exactly these images are left. With `idle`, what a collection takes
/// is first waited for in real time.
pub(super) async fn verify(cluster: &Arc<Cluster>, images: &[Image], idle: bool) {
    if idle {
        // What no process lived to name waits for a week.
        idle_until_collected(cluster, &GARBAGE[..4]).await;
    }
    let usage = collect_later(cluster).await;
    explains_the_bucket(cluster, &usage).await;
    let found = Expected {
        data: objects(&usage, "live") + objects(&usage, "shared"),
        links: objects(&usage, "links"),
        manifests: objects(&usage, "manifests"),
        tags: objects(&usage, "tags"),
    };
    assert_eq!(found, Expected::of(images), "what is left: {usage:#}");
    let audited = cluster.run(&["audit"]);
    assert_eq!(audited.status.code(), Some(0), "{}\n{}", audited.stdout, audited.stderr);
    let clients = cluster.with_frontends(|all| all.iter().map(Process::client).collect::<Vec<_>>());
    let pulls = images.iter().zip(clients.iter().cycle());
    let pulls = stream::iter(pulls.map(|(image, client)| image.pull(client)));
    pulls.buffer_unordered(PULLS).collect::<()>().await;
    println!("{} images were pulled; the bucket: {found:?}, {}", images.len(), usage["total"]);
}

async fn idle_until_collected(cluster: &Arc<Cluster>, garbage: &[&str]) {
    let began = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let collected = cluster.run(&["gc"]);
        assert!(matches!(collected.status.code(), Some(0 | 3)), "{collected:?}");
        let usage = cluster.usage();
        if garbage.iter().all(|class| objects(&usage, class) == 0) {
            println!("idle for {:?} until {garbage:?} were empty", began.elapsed());
            return;
        }
        assert!(began.elapsed() < IDLE_MAX, "garbage is left: {usage:#}\n{}", collected.stdout);
    }
}

/// Collects with the time of ten days later until no garbage is left, and returns the usage.
async fn collect_later(cluster: &Arc<Cluster>) -> Value {
    let mut report = String::new();
    for _ in 0..RUNS_MAX {
        // That of a collector that was killed.
        cluster.raw.delete_lease().await;
        cluster.proxy.lists_ahead(LATER);
        let collected = cluster.run(&["gc"]);
        cluster.proxy.lists_ahead(Duration::ZERO);
        assert_eq!(collected.status.code(), Some(0), "{}", collected.stderr);
        report = collected.stdout;
        let usage = cluster.usage();
        let none = GARBAGE.iter().all(|class| objects(&usage, class) == 0);
        if none && usage["multiparts"]["objects"] == 0 && usage["unknown_multiparts"] == 0 {
            return usage;
        }
    }
    panic!("garbage is left: {:#}\n{report}", cluster.usage());
}

/// What `longshore usage` says is what a listing of the bucket shows.
async fn explains_the_bucket(cluster: &Cluster, usage: &Value) {
    let listed = cluster.raw.objects().await;
    let bytes: u64 = listed.iter().map(|(_, size)| size).sum();
    assert_eq!(usage["total"]["objects"], listed.len(), "{usage:#}");
    assert_eq!(usage["total"]["bytes"], bytes, "{usage:#}");
    let classes = usage["classes"].as_object().expect("classes").values();
    let sum = |what: &str| classes.clone().filter_map(|class| class[what].as_u64()).sum::<u64>();
    assert_eq!((sum("objects"), sum("bytes")), (listed.len() as u64, bytes), "{usage:#}");
    assert_eq!(objects(usage, "foreign"), 0, "{usage:#}");
    let data = listed.iter().filter(|(key, _)| key.starts_with("v1/d/")).count();
    assert_eq!(data, objects(usage, "live") + objects(usage, "shared"), "{usage:#}");
}
