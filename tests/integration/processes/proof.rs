//! Proof by real processes: frontends and collectors over an S3 server, behind a proxy that makes
//! requests fail, are killed, stopped and cut off while clients push, mount and delete.
//!
//! After each scenario exactly what is acknowledged is left, every byte of it is right, and
//! `longshore usage` and a listing of the bucket agree. docs/proof.md has the figures of a run with
//! `LONGSHORE_TEST_PROCESSES=long`.

mod cluster;
mod collecting;
mod concurrent;
mod images;
mod listing;
mod stopped;
mod verified;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::cluster::{Cluster, Times};
use self::collecting::{Collecting, Plan};
use self::images::{Image, content, push_and_delete};
use self::verified::verify;
use crate::support::app::variable;
use crate::support::fault_proxy::FAULTS;
use crate::support::persistent::Flow;
use crate::support::process::Process;
use crate::support::random::Random;

/// A lease is good for 4 s, a write for 2 s more, and the clocks differ by less than 1 s.
const SHORT_TIMES: Times = Times { grace: 8, write_deadline: 2, response_timeout: 30 };
/// The same where requests are slow because they fail.
const TIMES_WITH_FAULTS: Times = Times { grace: 16, write_deadline: 4, response_timeout: 2 };
/// Clients that push at the same time.
const CLIENTS: u64 = 6;
/// Of a hundred requests, so many have the one fault that is being tried, and each of the faults
/// when all of them are tried together.
const PERCENT_OF_ONE: u64 = 10;
const PERCENT_OF_EACH: u64 = 3;
/// How often the store goes away for how long where connections are refused.
const REFUSED_EVERY: Duration = Duration::from_millis(900);
const REFUSED_FOR: Duration = Duration::from_millis(100);

/// How much a scenario does.
#[derive(Clone, Copy, Debug)]
struct Form {
    kills: u64,
    pushes_per_kill: u64,
    faults_for: Duration,
    away_for: Duration,
    operations: u64,
    /// For how long clients operate at least.
    operates_for: Duration,
    clients: u64,
    /// How often frontends are stopped.
    stops: u64,
    /// Whether the end is also waited for in real time.
    idle: bool,
}

const SHORT: Form = Form {
    kills: 5,
    pushes_per_kill: 5,
    faults_for: Duration::from_secs(9),
    away_for: Duration::from_secs(5),
    operations: 200,
    operates_for: Duration::from_secs(16),
    clients: 8,
    stops: 1,
    idle: false,
};

const LONG: Form = Form {
    kills: 200,
    pushes_per_kill: 5,
    faults_for: Duration::from_mins(4),
    away_for: Duration::from_mins(1),
    operations: 10_000,
    operates_for: Duration::from_secs(60),
    clients: 64,
    stops: 10,
    idle: true,
};

fn form() -> Form {
    match variable("LONGSHORE_TEST_PROCESSES").as_deref() {
        None | Some("short") => SHORT,
        Some("long") => LONG,
        Some(other) => panic!("LONGSHORE_TEST_PROCESSES={other} is none of short, long"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_survive_kills_of_frontends_and_collectors() {
    let form = form();
    let Some(cluster) = Cluster::start("kills", SHORT_TIMES).await else { return };
    let plan = Plan { at_once: 1, kills: true, may_fail: false };
    let (began, collecting) = (Instant::now(), Collecting::start(&cluster, plan));
    let (taken, begins) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
    let mut pushing = JoinSet::new();
    for _ in 0..CLIENTS {
        let (cluster, taken, begins) = (cluster.clone(), taken.clone(), begins.clone());
        pushing.spawn(async move {
            let mut pushed = Vec::new();
            loop {
                let number = taken.fetch_add(1, Ordering::SeqCst);
                if number >= form.kills * form.pushes_per_kill {
                    return pushed;
                }
                begins.acquire().await.expect("it is never closed").forget();
                let image = Image::new(&format!("r{}", number % 3), number).with_own_layer(number);
                image.push(&cluster.client, cluster.times, Duration::ZERO, None).await;
                // And something that no manifest names.
                let unused = content((300_000_000 + number, 70_000));
                cluster.client.push_blob(&image.repository, &unused, Flow::Put).await;
                pushed.push(image);
            }
        });
    }
    let mut random = Random::new(cluster.seed);
    for _ in 0..form.kills {
        begins.add_permits(usize::try_from(form.pushes_per_kill).expect("few"));
        tokio::time::sleep(Duration::from_millis(random.below(600))).await;
        cluster.kill(usize::try_from(random.below(3)).expect("few"));
    }
    let images: Vec<Image> = pushing.join_all().await.into_iter().flatten().collect();
    let collections = collecting.end().await;
    let troubles = cluster.client.troubles.lock().expect("no panic").len();
    println!(
        "{} pushes acknowledged, {} kills, {troubles} requests failed; {collections:?}; {:?}",
        images.len(),
        form.kills,
        began.elapsed()
    );
    assert_eq!(images.len() as u64, form.kills * form.pushes_per_kill);
    assert!(collections.ended > 0 && collections.killed > 0 && troubles > 0, "no test");
    verify(&cluster, &images, form.idle).await;
}

/// Clients that push and delete until they are told to stop.
struct Pushing {
    ends: Arc<AtomicBool>,
    clients: JoinSet<Vec<Image>>,
}

impl Pushing {
    fn start(cluster: &Arc<Cluster>) -> Self {
        let (ends, mut clients) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for number in 0..CLIENTS {
            let (cluster, ends) = (cluster.clone(), ends.clone());
            clients.spawn(async move {
                push_and_delete(&cluster, number, || !ends.load(Ordering::SeqCst)).await
            });
        }
        Self { ends, clients }
    }

    async fn end(self) -> Vec<Image> {
        self.ends.store(true, Ordering::SeqCst);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_survives_each_fault_of_the_network() {
    let form = form();
    let Some(cluster) = Cluster::start("faults", TIMES_WITH_FAULTS).await else { return };
    let plan = Plan { at_once: 1, kills: false, may_fail: true };
    let (began, collecting) = (Instant::now(), Collecting::start(&cluster, plan));
    let pushing = Pushing::start(&cluster);
    let lasts = form.faults_for / 9;
    for fault in FAULTS.chunks(1) {
        cluster.proxy.inject(fault, PERCENT_OF_ONE);
        tokio::time::sleep(lasts).await;
    }
    cluster.proxy.inject(&FAULTS, PERCENT_OF_EACH);
    tokio::time::sleep(lasts).await;
    cluster.proxy.inject(&[], 0);
    let refusing = Instant::now();
    let mut refused = 0;
    while refusing.elapsed() < lasts {
        cluster.proxy.leave();
        tokio::time::sleep(REFUSED_FOR).await;
        cluster.proxy.come_back().await;
        tokio::time::sleep(REFUSED_EVERY).await;
        refused += 1;
    }
    let images = pushing.end().await;
    let collections = collecting.end().await;
    let (requests, injected) = cluster.proxy.counts();
    let troubles = cluster.client.troubles.lock().expect("no panic").len();
    println!(
        "{} images left, {requests} requests to the store, {injected:?}, {refused} times no \
         connection, {troubles} requests of clients failed; {collections:?}; {:?}",
        images.len(),
        began.elapsed()
    );
    assert!(
        injected.len() == FAULTS.len() && collections.ended > 0 && !images.is_empty(),
        "no test"
    );
    verify(&cluster, &images, form.idle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_clients_are_told_to_retry() {
    let form = form();
    let Some(cluster) = Cluster::start("the store away", SHORT_TIMES).await else { return };
    let plan = Plan { at_once: 1, kills: false, may_fail: true };
    let collecting = Collecting::start(&cluster, plan);
    let pushing = Pushing::start(&cluster);
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.proxy.leave();
    let began = Instant::now();
    let clients: Vec<_> = cluster.with_frontends(|all| all.iter().map(Process::client).collect());
    let mut asked = 0;
    while began.elapsed() < form.away_for {
        for client in &clients {
            client.request("GET", "/v2/").send().await.expect(200);
            let blob = "/v2/r0/blobs/uploads/?digest=".to_owned();
            let blob = blob + &crate::support::sha256(b"away");
            let requests = [
                client.request("GET", "/v2/r0/manifests/never-pushed"),
                client.request("GET", "/v2/r0/tags/list"),
                client.request("POST", &blob).body("away"),
            ];
            for request in requests {
                let reply = request.send().await.expect(503);
                let after = reply.header("retry-after").and_then(|text| text.parse::<u64>().ok());
                assert!(after.is_some_and(|seconds| seconds > 0), "{reply:?}");
                asked += 1;
            }
        }
    }
    cluster.proxy.come_back().await;
    // Everything works at once.
    for client in &clients {
        client.request("GET", "/v2/r0/manifests/never-pushed").send().await.expect(404);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let images = pushing.end().await;
    let collections = collecting.end().await;
    let troubles = cluster.client.troubles.lock().expect("no panic").clone();
    let broken = troubles.iter().find(|trouble| trouble.starts_with("broken"));
    assert_eq!(broken, None, "a frontend has not answered");
    println!(
        "the store away for {:?}: {} requests of clients got 503 with Retry-After; {} images left; \
         {collections:?}",
        form.away_for,
        troubles.iter().filter(|trouble| trouble.starts_with("503")).count() + asked,
        images.len(),
    );
    assert!(asked >= 9 && !troubles.is_empty() && !images.is_empty(), "no test");
    verify(&cluster, &images, form.idle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frontend_that_was_stopped_for_longer_than_the_grace_writes_nothing() {
    let form = form();
    let Some(cluster) = Cluster::start("stopped frontends", SHORT_TIMES).await else { return };
    let mut images = Vec::new();
    for round in 0..form.stops {
        images.extend(stopped::round(&cluster, round).await);
    }
    println!("{} late writes were refused", stopped::late_writes(&cluster).len());
    verify(&cluster, &images, form.idle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_collectors_run_beside_pushes_mounts_and_deletions() {
    let form = form();
    let Some(cluster) = Cluster::start("two collectors", SHORT_TIMES).await else { return };
    let plan = Plan { at_once: 2, kills: false, may_fail: false };
    let (began, collecting) = (Instant::now(), Collecting::start(&cluster, plan));
    let ends = move || began.elapsed() >= form.operates_for;
    let (images, done) = concurrent::operate(&cluster, form.clients, form.operations, ends).await;
    let collections = collecting.end().await;
    println!("{done:?} by {} clients; {collections:?}; {:?}", form.clients, began.elapsed());
    assert!(collections.ended > 0 && collections.taken_over > 0, "no test: {collections:?}");
    verify(&cluster, &images, form.idle).await;
}
