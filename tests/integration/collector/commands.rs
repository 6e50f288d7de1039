//! `longshore gc`, and the collection in the background of `serve`.

use std::time::Duration;

use longshore::layout::encoding::{Draft, Lineage};
use longshore::layout::records::Collector;
use longshore::store::RecordKey;
use serde_json::Value;

use crate::support::process::{Process, run, s3_variables};
use crate::support::scripted_s3::{BUCKET_URL, ScriptedS3};
use crate::support::{bytes, sha256};

/// Times so short that a test sees them end.
const SHORT: [(&str, &str); 5] = [
    ("LONGSHORE_COLLECTION_UNSAFE_SHORT_GRACE", "true"),
    ("LONGSHORE_COLLECTION_GRACE", "4s"),
    ("LONGSHORE_COLLECTION_WRITE_DEADLINE", "1s"),
    ("LONGSHORE_COLLECTION_CLOCK_SKEW", "0s"),
    ("LONGSHORE_COLLECTION_QUARANTINE", "5s"),
];

#[tokio::test(flavor = "multi_thread")]
async fn gc_reports_and_says_how_it_ended() {
    let s3 = ScriptedS3::start().await;
    let url = s3.url();
    let variables = s3_variables(&url);
    let gc = |flags: &[&str]| {
        let arguments = [&["gc", "--store", BUCKET_URL], flags].concat();
        tokio::task::block_in_place(|| run(&arguments, &variables))
    };
    let ended = gc(&["--json"]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&report["dry_run"], &report["freed_bytes"]), (&false.into(), &0.into()));
    let keys = s3.keys("");
    let ended = gc(&["--dry-run"]);
    assert!(ended.status.success() && ended.stdout.contains("dry run"), "{ended:?}");
    assert_eq!(s3.keys(""), keys);

    let lease = Collector { holder: "another process".to_owned(), valid_for: 600 };
    let body = Draft::new(&lease, bytes::Bytes::new()).encode(&Lineage::default());
    s3.put(&RecordKey::Collector.to_string(), body);
    let ended = gc(&[]);
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    assert!(ended.stderr.contains("another process"), "{ended:?}");
    assert!(gc(&["--dry-run"]).status.success());

    assert_eq!(gc(&["--wet-run"]).status.code(), Some(2));
    let single = [("LONGSHORE_STORE_WRITERS", "single")];
    let all: Vec<(&str, &str)> = variables.iter().copied().chain(single).collect();
    let arguments = ["gc", "--store", BUCKET_URL];
    let ended = tokio::task::block_in_place(|| run(&arguments, &all));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("store.writers"), "{ended:?}");
}

/// No run was ever made on this bucket, so one is due.
#[tokio::test(flavor = "multi_thread")]
async fn serve_collects_in_the_background() {
    let mut variables: Vec<(&str, &str)> = SHORT.to_vec();
    let s3 = ScriptedS3::start().await;
    let endpoint = s3.url();
    variables.extend(s3_variables(&endpoint));
    variables.push(("LONGSHORE_ADMIN_LISTEN", "127.0.0.1:0"));
    variables.push(("LONGSHORE_COLLECTION_INTERVAL", "1m"));
    let process = tokio::task::block_in_place(|| Process::serve(BUCKET_URL, &variables));
    assert!(process.log().contains("collection.unsafe_short_grace"), "{}", process.log());
    let client = crate::support::http::Client::new(&format!("http://{}", process.address));
    let content = bytes(1, 100_000);
    let start = client.request("POST", "/v2/a/blobs/uploads/").send().await.location();
    let close = format!("{start}?digest={}", sha256(&content));
    client.request("PUT", &close).body(content.clone()).send().await.expect(201);
    let path = format!("/v2/a/blobs/{}", sha256(&content));
    client.request("DELETE", &path).send().await.expect(202);
    // The first look comes after a few seconds, and no run was ever made.
    let metric = "longshore_collection_runs_total{result=\"done\"} 1";
    for _ in 0..100 {
        let metrics = process.admin().request("GET", "/metrics").send().await;
        if String::from_utf8_lossy(&metrics.body).contains(metric) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("no run:\n{}", process.log());
}
