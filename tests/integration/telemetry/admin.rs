//! The admin port of the real program: liveness, readiness, draining.

use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

use crate::support::http::Client;
use crate::support::process::{Process, run};

const ADMIN: (&str, &str) = ("LONGSHORE_ADMIN_LISTEN", "127.0.0.1:0");

async fn ready(admin: &Client) -> (u16, String) {
    let reply = admin.request("GET", "/readyz").send().await;
    (reply.status.as_u16(), String::from_utf8_lossy(&reply.body).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_port_serves_only_its_own_paths() {
    // Redis is down from the start, which affects neither liveness nor readiness.
    let variables = [ADMIN, ("LONGSHORE_CACHE_REDIS", "redis://127.0.0.1:1")];
    let process = Process::serve("memory", &variables);
    let (client, admin) = (process.client(), process.admin());
    admin.request("GET", "/livez").send().await.expect(200).with_body(b"alive\n");
    assert_eq!(ready(&admin).await, (200, "ready\n".to_owned()));
    client.request("GET", "/v2/").send().await.expect(200);
    let metrics = admin.request("GET", "/metrics").send().await.expect(200);
    assert!(metrics.header("content-type").is_some_and(|value| value.starts_with("text/plain")));
    let text = String::from_utf8(metrics.body.to_vec()).expect("text");
    let base = r#"longshore_http_requests_total{code="200",method="GET",route="api_version"} 1"#;
    assert!(text.lines().any(|line| line == base), "{text}");
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
    assert!(text.contains("\nlongshore_build_info{version="), "{text}");

    for path in ["/v2/", "/v2/_catalog", "/", "/metrics/", "//metrics"] {
        admin.request("GET", path).send().await.expect(404);
    }
    admin.request("POST", "/readyz").send().await.expect(405).with("allow", "GET, HEAD");
    admin.request("HEAD", "/metrics").send().await.expect(200).with_body(b"");
    for path in ["/metrics", "/livez", "/readyz", "/v2/metrics"] {
        client.request("GET", path).send().await.expect(404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_503_after_sigterm_while_requests_are_served() {
    let variables = [ADMIN, ("LONGSHORE_SERVER_DRAIN_DELAY", "3s")];
    let mut process = Process::serve("memory", &variables);
    let admin = process.admin();
    assert_eq!(ready(&admin).await.0, 200);
    process.terminate();
    let signalled = Instant::now();
    let (status, reason) = loop {
        let answer = ready(&admin).await;
        if answer.0 != 200 || signalled.elapsed() > Duration::from_secs(1) {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(status, 503, "{reason}");
    // The same for balancers that cannot reach the admin port.
    process.client().request("GET", "/").send().await.expect(503).with_body(b"");
    assert!(reason.contains("draining"), "{reason}");
    // Clients that were routed here a moment ago are served, on new connections too.
    let client = Client::new(&format!("http://{}", process.address));
    let start = client.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202);
    client.request("PATCH", &start.location()).body("bytes").send().await.expect(202);
    admin.request("GET", "/livez").send().await.expect(200);
    assert_eq!(ready(&admin).await.0, 503);
    assert!(signalled.elapsed() < Duration::from_secs(3), "too slow to have seen anything");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    assert!(signalled.elapsed() >= Duration::from_secs(3), "the delay was not kept");
}

/// Alive and not ready until the store has responded.
#[tokio::test(flavor = "multi_thread")]
async fn a_starting_process_is_alive_and_not_ready() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
    let variables = [
        ADMIN,
        ("LONGSHORE_STORE_S3_ENDPOINT", endpoint.as_str()),
        ("LONGSHORE_STORE_S3_REGION", "us-east-1"),
        ("LONGSHORE_STORE_S3_ACCESS_KEY_ID", "key"),
        ("LONGSHORE_STORE_S3_SECRET_ACCESS_KEY", "secret"),
    ];
    let mut process = Process::starting("s3://bucket", &variables);
    let admin = process.admin();
    admin.request("GET", "/livez").send().await.expect(200);
    let (status, reason) = ready(&admin).await;
    assert_eq!(status, 503, "{reason}");
    assert!(reason.contains("starting"), "{reason}");
    // Shutdown does not wait for an unavailable store.
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    assert!(process.log().contains("before start-up finished"), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_command_reports_liveness() {
    let process = Process::serve("memory", &[ADMIN]);
    let admin = process.admin();
    admin.request("GET", "/livez").send().await.expect(200);
    let address = process.admin_address().to_string();
    let asked = |address: &str| run(&["healthcheck", "--admin-listen", address], &[]);
    let well = asked(&address);
    assert_eq!(well.status.code(), Some(0), "{}", well.stderr);
    assert_eq!((well.stdout.as_str(), well.stderr.as_str()), ("", ""));
    // As in the image: a wildcard listen address works.
    let everywhere = address.replace("127.0.0.1", "0.0.0.0");
    assert_eq!(asked(&everywhere).status.code(), Some(0));
    // Another server that is not an admin port is not alive.
    let other = asked(&process.address.to_string());
    assert_eq!(other.status.code(), Some(1), "{}", other.stderr);
    process.kill();
    let dead = asked(&address);
    assert_eq!(dead.status.code(), Some(1));
    assert!(dead.stderr.contains("/livez"), "{}", dead.stderr);
    let unset = run(&["healthcheck"], &[]);
    assert_eq!(unset.status.code(), Some(1));
    assert!(unset.stderr.contains("admin.listen is not set"), "{}", unset.stderr);
}

#[test]
fn the_two_addresses_must_differ() {
    for (main, admin) in [
        ("127.0.0.1:6101", "127.0.0.1:6101"),
        ("127.0.0.1:6101", "0.0.0.0:6101"),
        ("127.0.0.1:6101", "[::]:6101"),
    ] {
        let arguments = ["check", "--store", "memory", "--listen", main, "--admin-listen", admin];
        let ended = run(&arguments, &[]);
        assert_eq!(ended.status.code(), Some(1), "{main} {admin}");
        assert!(ended.stderr.contains("choose another port"), "{}", ended.stderr);
    }
    let apart = ["--listen", "127.0.0.1:6101", "--admin-listen", "127.0.0.1:6102"];
    let ended = run(&[&["check", "--store", "memory"], &apart[..]].concat(), &[]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
}

/// Connections to the admin port do not keep clients from the registry, nor the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_answers_while_the_registry_is_full() {
    let process = Process::serve("memory", &[ADMIN, ("LONGSHORE_SERVER_CONNECTIONS_MAX", "1")]);
    let _kept = TcpStream::connect(process.address).await.expect("connected");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let admin = process.admin();
    assert_eq!(ready(&admin).await.0, 200);
}
