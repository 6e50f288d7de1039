//! Three frontends over one bucket, behind a proxy that makes requests fail.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::task::block_in_place;

use super::listing::RawBucket;
use crate::processes::bucket;
use crate::support::app::variable;
use crate::support::fault_proxy::FaultProxy;
use crate::support::persistent::Persistent;
use crate::support::process::{Ended, Process, command, run};
use crate::support::random::Random;

const FRONTENDS: usize = 3;
/// The pause of a client after a request that failed.
const PAUSE: Duration = Duration::from_millis(50);

/// The times of a bucket, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) grace: u64,
    pub(super) write_deadline: u64,
    /// After which the store does not answer any more.
    pub(super) response_timeout: u64,
}

impl Times {
    /// For how long what a client was told exists is there. A request does not touch what is
    /// younger than half of the grace.
    pub(super) fn leased_for(self) -> Duration {
        Duration::from_secs(self.grace) / 2
    }
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) times: Times,
    pub(super) proxy: FaultProxy,
    pub(super) client: Arc<Persistent>,
    pub(super) seed: u64,
    pub(super) raw: RawBucket,
    store: String,
    variables: BTreeMap<&'static str, String>,
    frontends: Mutex<Vec<Process>>,
}

impl Cluster {
    /// `None` without a bucket for it, after printing why.
    pub(super) async fn start(test: &str, times: Times) -> Option<Arc<Self>> {
        let store = bucket(test)?;
        let server = variable("AWS_ENDPOINT_URL_S3").unwrap_or_default();
        let Some(server) = server.strip_prefix("http://") else {
            println!(
                "{test}: not run, because AWS_ENDPOINT_URL_S3 is not the address of a server \
                without TLS, and the fault proxy has to read the requests"
            );
            return None;
        };
        if variable("LONGSHORE_STORE_WRITERS").is_some_and(|writers| writers == "single") {
            println!("{test}: not run in single-writer mode, which has one process at a time");
            return None;
        }
        let seed = Random::seed();
        println!("{test}: seed {seed} (LONGSHORE_TEST_SEED={seed} makes the same choices)");
        let proxy = FaultProxy::start(server.trim_end_matches('/'), seed).await;
        let seconds = |seconds: u64| format!("{seconds}s");
        let variables = BTreeMap::from([
            ("LONGSHORE_COLLECTION_UNSAFE_SHORT_GRACE", "true".to_owned()),
            ("LONGSHORE_COLLECTION_GRACE", seconds(times.grace)),
            ("LONGSHORE_COLLECTION_WRITE_DEADLINE", seconds(times.write_deadline)),
            ("LONGSHORE_COLLECTION_CLOCK_SKEW", seconds(1)),
            ("LONGSHORE_COLLECTION_QUARANTINE", seconds(1)),
            ("LONGSHORE_COLLECTION_ENABLED", "false".to_owned()),
            ("LONGSHORE_COLLECTION_REQUESTS_PER_SECOND", "100000".to_owned()),
            ("LONGSHORE_UPLOADS_PART_BYTES", "5MiB".to_owned()),
            ("LONGSHORE_STORE_S3_ENDPOINT", proxy.url()),
            ("LONGSHORE_STORE_S3_CONNECT_TIMEOUT", seconds(1)),
            ("LONGSHORE_STORE_S3_RESPONSE_TIMEOUT", seconds(times.response_timeout)),
            ("LONGSHORE_STORE_S3_STALL_TIMEOUT", seconds(times.response_timeout)),
        ]);
        let cluster = Self {
            times,
            proxy,
            client: Arc::new(Persistent::new([]).pausing(PAUSE)),
            seed,
            raw: RawBucket::of(&store).await,
            store,
            variables,
            frontends: Mutex::default(),
        };
        for _ in 0..FRONTENDS {
            let process = cluster.serve();
            cluster.frontends.lock().expect("no panic").push(process);
        }
        cluster.show_frontends();
        Some(Arc::new(cluster))
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    fn serve(&self) -> Process {
        block_in_place(|| Process::serve(&self.store, &self.variables()))
    }

    fn show_frontends(&self) {
        self.client.talk_to(self.frontends.lock().expect("no panic").iter().map(Process::client));
    }

    /// Does something with all frontends.
    pub(super) fn with_frontends<T>(&self, act: impl FnOnce(&[Process]) -> T) -> T {
        act(&self.frontends.lock().expect("no panic"))
    }

    /// Kills a frontend, and starts another one in its place.
    pub(super) fn kill(&self, number: usize) {
        self.frontends.lock().expect("no panic").remove(number).kill();
        let process = self.serve();
        self.frontends.lock().expect("no panic").insert(number, process);
        self.show_frontends();
    }

    /// Starts a command of the program on the bucket, with its output in pipes.
    pub(super) fn spawn(&self, arguments: &[&str]) -> std::process::Child {
        let arguments = [arguments, &["--store", &self.store]].concat();
        let mut command = command(&arguments, &self.variables());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    }

    /// Runs a command of the program on the bucket.
    pub(super) fn run(&self, arguments: &[&str]) -> Ended {
        let arguments = [arguments, &["--store", &self.store]].concat();
        block_in_place(|| run(&arguments, &self.variables()))
    }

    /// What `longshore usage` says.
    pub(super) fn usage(&self) -> Value {
        let usage = self.run(&["usage", "--json"]);
        assert_eq!(usage.status.code(), Some(0), "{}", usage.stderr);
        serde_json::from_str(&usage.stdout).expect("JSON")
    }
}
