//! Starts with something that is wrong or away: what is said, and what the process waits for.

use std::time::{Duration, Instant};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::support::process::{Process, run, s3_variables};
use crate::support::scripted_s3::{BUCKET_URL, ScriptedS3};

/// A bucket that no server offers.
const NO_BUCKET: [(&str, &str); 4] = [
    ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_ACCESS_KEY_ID", "key"),
    ("AWS_SECRET_ACCESS_KEY", "a-very-secret-secret"),
];

/// `serve` and `check` build the same, before either asks the store.
#[test]
fn a_redis_url_that_cannot_be_used_is_reported_before_the_store_is_asked() {
    for command in ["serve", "check"] {
        let arguments = [command, "--store", "s3://bucket", "--admin-listen", "127.0.0.1:0"];
        let mut variables = NO_BUCKET.to_vec();
        variables.push(("LONGSHORE_CACHE_REDIS", "redis://:hun/ter2@127.0.0.1:1"));
        let ended = run(&arguments, &variables);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let said = &ended.stderr;
        assert!(said.contains("the Redis settings cannot be used: "), "{said}");
        assert!(said.contains("percent-encoded") && said.contains("redis_password"), "{said}");
        assert!(!said.contains("ter2") && !said.contains("admin port"), "{said}");
    }
}

#[test]
fn a_schema1_key_that_cannot_be_used_is_reported_before_the_store_is_asked() {
    for command in ["serve", "check"] {
        let mut variables = NO_BUCKET.to_vec();
        variables.push(("LONGSHORE_MANIFESTS_SCHEMA1_KEY", "no key"));
        let ended = run(&[command, "--store", "s3://bucket"], &variables);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains("manifests.schema1_key: "), "{}", ended.stderr);
    }
}

#[test]
fn white_space_at_the_ends_of_a_secret_of_aws_is_warned_of() {
    let mut variables = NO_BUCKET.to_vec();
    let warning = "the variable AWS_SECRET_ACCESS_KEY begins or ends with white space";
    let ended = run(&["check", "--store", "s3://bucket"], &variables);
    assert!(!ended.stderr.contains(warning), "{}", ended.stderr);
    variables[3].1 = "a-very-secret-secret\n";
    let ended = run(&["check", "--store", "s3://bucket"], &variables);
    assert!(ended.stderr.contains(warning), "{}", ended.stderr);
    assert!(!ended.stderr.contains("very-secret"), "{}", ended.stderr);
}

async fn until_logged(process: &Process, words: &str) {
    let began = Instant::now();
    while !process.log().contains(words) {
        assert!(began.elapsed() < Duration::from_secs(30), "no {words}:\n{}", process.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_a_store_that_is_away_and_is_not_ready_meanwhile() {
    let s3 = ScriptedS3::start().await;
    // The address of the store, where nobody listens yet.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let endpoint = format!("http://{address}");
    let process = Process::starting(
        BUCKET_URL,
        &[&s3_variables(&endpoint)[..], &[("LONGSHORE_ADMIN_LISTEN", "127.0.0.1:0")]].concat(),
    );
    until_logged(&process, "the store is away: the start waits for it").await;
    let admin = process.admin();
    assert!(process.log().contains("refused"), "the reason is missing:\n{}", process.log());
    admin.request("GET", "/readyz").send().await.expect(503);
    admin.request("GET", "/livez").send().await.expect(200);

    let listener = TcpListener::bind(address).await.expect("the same port");
    let server = s3.url().trim_start_matches("http://").to_owned();
    let tasks = TaskTracker::new();
    let forwarding = tasks.clone();
    tasks.spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut upstream = TcpStream::connect(&server).await.expect("the server listens");
            forwarding.spawn(async move {
                let _ = copy_bidirectional(&mut client, &mut upstream).await;
            });
        }
    });
    until_logged(&process, "listening on ").await;
    admin.request("GET", "/readyz").send().await.expect(200);
}
