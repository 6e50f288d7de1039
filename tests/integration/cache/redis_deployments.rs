//! Managed Redis deployments: sentinels, clusters and TLS. In each, the registry logs in as a user
//! with only the permissions that docs/production.md lists.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use longshore::config::Settings;
use longshore::setting::Secret;
use longshore::shared_cache::Topology;
use longshore::store::memory::Memory;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::redis_server::{self, RedisServer, free_port};
use super::tag;
use crate::support::App;
use crate::support::process::Process;

/// A generous timeout for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(100);

/// The user of the registry, with the further permissions for deployments of several servers.
fn with_user(further: &[&str]) -> Vec<String> {
    let user = ["--user", "longshore", "on", ">secret", "~longshore:*"];
    let cache = ["+get", "+set", "+del", "+evalsha", "+script|load"];
    user.iter().chain(&cache).chain(further).map(ToString::to_string).collect()
}

async fn frontend(memory: &Arc<Memory>, change: impl FnOnce(&mut Settings)) -> App {
    let mut settings = Settings::default();
    settings.cache.redis_timeout = Duration::from_millis(500);
    settings.cache.redis_username = Some("longshore".to_owned());
    settings.cache.redis_password = Some(Secret::new("secret"));
    change(&mut settings);
    App::over_memory(memory.clone(), settings).await
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < TIMEOUT, "{what}");
        sleep(PAUSE).await;
    }
}

/// Reads at one replica, then at the other, until the other one needs no request to the store.
async fn is_used(memory: &Memory, apps: [&App; 2], name: &str) {
    let (digest, _) = apps[0].push_image(name, "v1", 1).await;
    let began = Instant::now();
    loop {
        assert_eq!(tag(apps[0], name, "v1").await.as_ref(), Some(&digest));
        let before = memory.calls();
        assert_eq!(tag(apps[1], name, "v1").await.as_ref(), Some(&digest));
        if memory.calls().since(&before).total() == 0 {
            return;
        }
        assert!(began.elapsed() < TIMEOUT, "{name} is always read from the store");
        sleep(PAUSE).await;
    }
}

/// Asserts that every response is correct, whatever happens to Redis.
async fn works_meanwhile(apps: [&App; 2], name: &str) {
    for round in 0..4u64 {
        let (digest, _) = apps[round as usize % 2].push_image(name, "latest", round * 10).await;
        for app in apps {
            assert_eq!(tag(app, name, "latest").await.as_ref(), Some(&digest), "round {round}");
        }
    }
}

#[track_caller]
fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {said}{wrong}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_cluster_that_loses_a_node_keeps_working() {
    let mut nodes: Vec<RedisServer> = Vec::new();
    for _ in 0..3 {
        let bus = free_port().to_string();
        let user = with_user(&["+cluster|slots", "+ping"]);
        let mut words = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
        words.extend(["--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"]);
        words.extend(user.iter().map(String::as_str));
        let Some(node) = redis_server::start(&words).await else { return };
        nodes.push(node);
    }
    let urls: Vec<String> = nodes.iter().map(RedisServer::url).collect();
    let mut create = vec!["--cluster", "create", "--cluster-yes"];
    create.extend(urls.iter().map(|url| url.trim_start_matches("redis://")));
    run("redis-cli", &create);
    let agreed = |node: &RedisServer| node.command(&["CLUSTER", "INFO"]).contains("state:ok");
    until("the nodes do not become a cluster", || nodes.iter().all(agreed)).await;

    let memory = Arc::new(Memory::new());
    let cluster = |settings: &mut Settings| {
        settings.cache.redis = Some(urls.join(",").parse().expect("URLs"));
        settings.cache.redis_topology = Topology::Cluster;
    };
    let (one, other) = (frontend(&memory, cluster).await, frontend(&memory, cluster).await);
    for name in ["a", "b", "c", "d"] {
        is_used(&memory, [&one, &other], name).await;
    }
    for node in &nodes {
        assert_ne!(node.command(&["DBSIZE"]), "0", "each holds its part");
    }
    nodes[2].kill();
    works_meanwhile([&one, &other], "meanwhile").await;
    nodes[2].run().await;
    for name in ["e", "f", "g", "h"] {
        is_used(&memory, [&one, &other], name).await;
    }
}

/// A process that is killed when this value is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sentinels that watch a primary with a password and have none themselves.
fn sentinels(folder: &Path, primary: &RedisServer) -> (Vec<Ended>, Vec<String>) {
    let mut sentinels = Vec::new();
    let mut ports = Vec::new();
    for number in 0..3 {
        let (file, port) = (folder.join(format!("{number}.conf")), free_port());
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\n\
             sentinel monitor main 127.0.0.1 {} 2\n\
             sentinel auth-pass main internal\n\
             sentinel down-after-milliseconds main 500\n\
             sentinel failover-timeout main 3000\n",
            folder.display(),
            primary.port(),
        );
        std::fs::write(&file, text).expect("a file");
        let mut sentinel = Command::new("redis-server");
        sentinel.arg(&file).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
        sentinels.push(Ended(sentinel.spawn().expect("it starts")));
        ports.push(port.to_string());
    }
    (sentinels, ports)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_failover_is_followed() {
    let user = with_user(&["+role"]);
    let mut words = vec!["--requirepass", "internal", "--masterauth", "internal"];
    words.extend(user.iter().map(String::as_str));
    let Some(mut primary) = redis_server::start(&words).await else { return };
    let port = primary.port();
    let copies = [&words[..], &["--replicaof", "127.0.0.1", &port]].concat();
    let replica = redis_server::start(&copies).await.expect("a second one");
    let role = || replica.command(&["-a", "internal", "--no-auth-warning", "ROLE"]);
    until("the replica is not connected", || role().contains("connected")).await;
    let folder = TempDir::new().expect("a folder");
    let (_sentinels, ports) = sentinels(folder.path(), &primary);
    // Each sentinel must know the replica and the other two before it can elect another primary.
    let ready = |port: &String| {
        let asked = ["-p", port, "SENTINEL", "MASTER", "main"];
        let said = Command::new("redis-cli").args(asked).output().expect("redis-cli runs").stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        said.contains("num-slaves\n1\n") && said.contains("num-other-sentinels\n2\n")
    };
    until("the sentinels do not know each other", || ports.iter().all(ready)).await;

    let urls: Vec<_> = ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect();
    let memory = Arc::new(Memory::new());
    let behind = |settings: &mut Settings| {
        settings.cache.redis = Some(urls.join(",").parse().expect("URLs"));
        settings.cache.redis_topology = Topology::Sentinel;
        settings.cache.redis_primary = "main".to_owned();
    };
    let (one, other) = (frontend(&memory, behind).await, frontend(&memory, behind).await);
    is_used(&memory, [&one, &other], "before").await;
    primary.kill();
    works_meanwhile([&one, &other], "meanwhile").await;
    is_used(&memory, [&one, &other], "after").await;
    assert!(role().starts_with("master"), "it is another one");
}

/// `ca.pem`, and `leaf.pem` with `leaf.key` for the name 127.0.0.1.
fn certificates(folder: &Path) {
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    std::fs::write(at("names"), "subjectAltName=IP:127.0.0.1\n").expect("a file");
    let (ca, ca_key, asked) = (at("ca.pem"), at("ca.key"), at("leaf.csr"));
    let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let openssl = |parts: &[&[&str]]| run("openssl", &parts.concat());
    let own = ["-days", "2", "-subj", "/CN=tests", "-keyout", &ca_key, "-out", &ca];
    openssl(&[&["req", "-x509"], &new, &own]);
    openssl(&[&["req"], &new, &["-subj", "/CN=leaf", "-keyout", &at("leaf.key"), "-out", &asked]]);
    let by = ["-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial", "-days", "2"];
    let (names, leaf) = (at("names"), at("leaf.pem"));
    openssl(&[&["x509", "-req", "-in", &asked], &by, &["-extfile", &names, "-out", &leaf]]);
}

/// A proxy that delays every new connection.
async fn slow_way_to(port: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let connections = TaskTracker::new();
    let each = connections.clone();
    connections.spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let port = port.clone();
            each.spawn(async move {
                sleep(Duration::from_millis(200)).await;
                let mut far = TcpStream::connect(format!("127.0.0.1:{port}")).await?;
                copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    address.port()
}

/// A certificate of a private authority, and the password of the registry.
struct Secured(TempDir);

impl Secured {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        certificates(folder.path());
        std::fs::write(folder.path().join("password"), "secret\n").expect("a file");
        Self(folder)
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    /// The TLS settings of a server and their values.
    fn tls(&self) -> Vec<[String; 2]> {
        let files =
            [("cert-file", "leaf.pem"), ("key-file", "leaf.key"), ("ca-cert-file", "ca.pem")];
        let files = files.map(|(setting, file)| [format!("tls-{setting}"), self.at(file)]);
        let clients = ["tls-auth-clients".to_owned(), "no".to_owned()];
        files.into_iter().chain([clients]).collect()
    }

    /// A server that accepts only TLS.
    async fn redis(&self, words: &[&str], further: &[&str]) -> Option<RedisServer> {
        let mut all: Vec<String> = Vec::new();
        for [setting, value] in self.tls() {
            all.extend([format!("--{setting}"), value]);
        }
        all.extend(["--requirepass", "internal"].iter().chain(words).map(ToString::to_string));
        all.extend(with_user(further));
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        let redis = redis_server::start(&all).await?;
        assert_eq!(self.asked(&redis, &["PING"]), "PONG", "it speaks TLS");
        Some(redis)
    }

    fn asked(&self, redis: &RedisServer, words: &[&str]) -> String {
        let ca = self.at("ca.pem");
        let admin = ["--tls", "--cacert", &ca, "-a", "internal", "--no-auth-warning"];
        redis.command(&[&admin, words].concat())
    }

    /// A registry process over a local folder, so that only Redis uses TLS. It is a process of its
    /// own because an environment variable sets the trusted authorities.
    fn registry(&self, folder: &str, url: &str, further: &[(&str, &str)]) -> Process {
        let password = self.at("password");
        let variables = [
            ("LONGSHORE_CACHE_REDIS", url),
            ("LONGSHORE_CACHE_REDIS_USERNAME", "longshore"),
            ("LONGSHORE_CACHE_REDIS_PASSWORD_FILE", &password),
            ("LONGSHORE_LOG_REQUESTS", "off"),
        ];
        Process::serve(&self.at(folder), &[&variables, further].concat())
    }

    /// Requests missing content from a registry that trusts the authority, until Redis has cached
    /// the absence: that write uses the script like every other.
    async fn is_used(&self, redis: &RedisServer, url: &str, further: &[(&str, &str)]) {
        let ca = self.at("ca.pem");
        let trusting = [&[("SSL_CERT_FILE", ca.as_str())], further].concat();
        let process = self.registry("data", url, &trusting);
        let began = Instant::now();
        for round in 0.. {
            let path = format!("/v2/a/manifests/none{round}");
            process.client().request("GET", &path).send().await.expect(404);
            let filled = self.asked(redis, &["INFO", "commandstats"]).contains("cmdstat_evalsha");
            if filled && self.asked(redis, &["DBSIZE"]) != "0" {
                break;
            }
            assert!(began.elapsed() < TIMEOUT, "Redis is not used: {}", process.log());
            sleep(PAUSE).await;
        }
    }
}

/// With the default timeout, connecting takes longer than a request may wait.
#[tokio::test(flavor = "multi_thread")]
async fn redis_over_tls_with_a_private_authority() {
    let secured = Secured::new();
    let Some(redis) = secured.redis(&[], &[]).await else { return };
    let url = format!("rediss://127.0.0.1:{}", slow_way_to(redis.port()).await);
    let stranger = secured.registry("other", &url, &[]);
    for round in 0..8 {
        let path = format!("/v2/a/manifests/none{round}");
        stranger.client().request("GET", &path).send().await.expect(404);
        sleep(PAUSE).await;
    }
    assert!(stranger.log().contains("redis does not answer"), "{}", stranger.log());
    assert_eq!(secured.asked(&redis, &["DBSIZE"]), "0", "a certificate of an unknown authority");
    secured.is_used(&redis, &url, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_cluster_over_tls() {
    let secured = Secured::new();
    let bus = free_port().to_string();
    let words = ["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-port", &bus];
    let Some(redis) = secured.redis(&words, &["+cluster|slots", "+ping"]).await else { return };
    assert_eq!(secured.asked(&redis, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "OK");
    let url = format!("rediss://127.0.0.1:{}", redis.port());
    secured.is_used(&redis, &url, &[("LONGSHORE_CACHE_REDIS_TOPOLOGY", "cluster")]).await;
}

/// The sentinel has its own password, in its URL.
#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_their_primary_over_tls() {
    let secured = Secured::new();
    let Some(redis) = secured.redis(&[], &["+role"]).await else { return };
    let (file, port) = (secured.at("sentinel.conf"), free_port());
    let mut text = format!(
        "port 0\ntls-port {port}\nbind 127.0.0.1\ndir {}\ntls-replication yes\n\
         requirepass sesame\nsentinel monitor main 127.0.0.1 {} 1\n\
         sentinel auth-pass main internal\n",
        secured.0.path().display(),
        redis.port(),
    );
    for line in secured.tls() {
        text.push_str(&line.join(" "));
        text.push('\n');
    }
    std::fs::write(&file, text).expect("a file");
    let mut sentinel = Command::new("redis-server");
    sentinel.arg(&file).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
    let _sentinel = Ended(sentinel.spawn().expect("it starts"));
    let url = format!("rediss://:sesame@127.0.0.1:{port}");
    let behind =
        [("LONGSHORE_CACHE_REDIS_TOPOLOGY", "sentinel"), ("LONGSHORE_CACHE_REDIS_PRIMARY", "main")];
    secured.is_used(&redis, &url, &behind).await;
}
