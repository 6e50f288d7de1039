//! Collectors that run again and again beside the clients.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::cluster::Cluster;
use crate::support::random::Random;

/// How long a run takes, before one has ended.
const RUN: Duration = Duration::from_millis(400);
/// Where several collectors run at once, the lease is deleted so often after the end of each run,
/// with this time in between. More often, no run would end.
const LEASE_GONE_TIMES: u32 = 4;
const LEASE_GONE_EVERY: Duration = Duration::from_millis(300);

/// How collectors run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) at_once: u64,
    /// Whether every second run is killed at a random moment.
    pub(super) kills: bool,
    /// Whether a run may fail, because the store does.
    pub(super) may_fail: bool,
}

/// What they did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Collections {
    pub(super) ended: u64,
    pub(super) killed: u64,
    /// Another collector has continued the run.
    pub(super) taken_over: u64,
    pub(super) failed: u64,
    /// Records and data objects.
    pub(super) removed: u64,
    pub(super) freed_bytes: u64,
}

/// Collectors that run until [`end`](Self::end).
pub(super) struct Collecting {
    ends: Arc<AtomicBool>,
    collectors: JoinSet<Collections>,
    without_lease: Option<AbortOnDropHandle<()>>,
}

impl Collecting {
    pub(super) fn start(cluster: &Arc<Cluster>, plan: Plan) -> Self {
        let (ends, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut collectors = JoinSet::new();
        for number in 0..plan.at_once {
            let (cluster, ends, ended) = (cluster.clone(), ends.clone(), ended.clone());
            collectors
                .spawn_blocking(move || collect_until(&cluster, plan, number, (&ends, &ended)));
        }
        let without_lease = (plan.at_once > 1).then(|| {
            let (cluster, ended) = (cluster.clone(), ended.clone());
            let deleting = async move {
                let (mut seen, mut times) = (0, 0);
                loop {
                    tokio::time::sleep(LEASE_GONE_EVERY).await;
                    let now = ended.load(Ordering::SeqCst);
                    times = if now == seen { times + 1 } else { 1 };
                    seen = now;
                    if times <= LEASE_GONE_TIMES {
                        cluster.raw.delete_lease().await;
                    }
                }
            };
            AbortOnDropHandle::new(tokio_util::task::TaskTracker::new().spawn(deleting))
        });
        Self { ends, collectors, without_lease }
    }

    /// Waits until the last runs have ended.
    pub(super) async fn end(mut self) -> Collections {
        self.ends.store(true, Ordering::SeqCst);
        let all = std::mem::take(&mut self.collectors).join_all().await;
        drop(self.without_lease.take());
        all.into_iter().fold(Collections::default(), Collections::plus)
    }
}

impl Drop for Collecting {
    /// A test that fails must end, too.
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
    }
}

impl Collections {
    fn plus(self, other: Self) -> Self {
        Self {
            ended: self.ended + other.ended,
            killed: self.killed + other.killed,
            taken_over: self.taken_over + other.taken_over,
            failed: self.failed + other.failed,
            removed: self.removed + other.removed,
            freed_bytes: self.freed_bytes + other.freed_bytes,
        }
    }

    /// Notes how a run has ended. False if another collector has the lease.
    fn note(&mut self, output: &Output, plan: Plan) -> bool {
        let stderr = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => {
                self.ended += 1;
                let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
                let classes = report["classes"].as_object().expect("classes").values();
                self.removed += classes.filter_map(|fates| fates["removed"].as_u64()).sum::<u64>();
                self.freed_bytes += report["freed_bytes"].as_u64().expect("bytes");
            }
            Some(3) => return false,
            Some(1) if plan.at_once > 1 && stderr.contains("has taken over this run") => {
                self.taken_over += 1;
            }
            Some(1) if plan.may_fail => self.failed += 1,
            None => self.killed += 1,
            Some(code) => panic!("a collection ended with {code}:\n{stderr}"),
        }
        true
    }
}

fn collect_until(
    cluster: &Cluster,
    plan: Plan,
    number: u64,
    (ends, ended): (&AtomicBool, &AtomicU64),
) -> Collections {
    let mut random = Random::new(cluster.seed.wrapping_mul(31) + number);
    let mut collections = Collections::default();
    let (mut lasts, mut runs) = (RUN, 0_u64);
    while !ends.load(Ordering::SeqCst) {
        let began = Instant::now();
        let mut gc = cluster.spawn(&["gc", "--json"]);
        runs += 1;
        if plan.kills && runs % 2 == 0 {
            let percent = u32::try_from(random.below(100)).expect("a small number");
            std::thread::sleep(lasts * percent / 100);
            gc.kill().expect("it can be killed");
        }
        let output = gc.wait_with_output().expect("it ends");
        if !collections.note(&output, plan) {
            std::thread::sleep(Duration::from_millis(200));
        } else if output.status.success() {
            lasts = began.elapsed();
            ended.fetch_add(1, Ordering::SeqCst);
        }
    }
    collections
}
