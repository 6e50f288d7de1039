//! `longshore gc` and `audit --repair` beside a frontend with Redis: what they change leaves the
//! caches at once.

use std::time::Duration;

use crate::support::app::{OCI_MANIFEST, image_manifest};
use crate::support::content::{artifact, descriptor, spelled};
use crate::support::http::Client;
use crate::support::process::{Process, run, s3_variables};
use crate::support::scripted_s3::{BUCKET_URL, ScriptedS3};
use crate::support::{bytes, sha256};

use super::redis_server;

/// Longer than everything waits for that a collector or an audit waits for.
const AGE: Duration = Duration::from_hours(240);

/// Runs a command over the bucket, with the Redis of the frontend, until it exits so.
fn command(s3: &ScriptedS3, redis: &str, arguments: &[&str], status: i32) {
    for key in s3.keys("v1/") {
        s3.backdate(&key, AGE);
    }
    let endpoint = s3.url();
    let variables = [&s3_variables(&endpoint)[..], &[("LONGSHORE_CACHE_REDIS", redis)]].concat();
    let arguments = [arguments, &["--store", BUCKET_URL]].concat();
    let ended = tokio::task::block_in_place(|| run(&arguments, &variables));
    assert_eq!(ended.status.code(), Some(status), "{ended:?}");
}

async fn push_blob(client: &Client, content: &[u8]) {
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(content));
    client.request("POST", &path).body(content.to_vec()).send().await.expect(201);
}

async fn push_manifest(client: &Client, reference: &str, manifest: Vec<u8>) {
    let path = format!("/v2/a/manifests/{reference}");
    let put = client.request("PUT", &path).header("content-type", OCI_MANIFEST);
    put.body(manifest).send().await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gc_removes_is_in_no_cache() {
    let Some(redis) = redis_server::start(&[]).await else { return };
    let s3 = ScriptedS3::start().await;
    let url = redis.url();
    let frontend = Process::over_s3(&s3, &[("LONGSHORE_CACHE_REDIS", &url)]);
    let client = frontend.client();
    let blob = bytes(1, 5_000);
    push_blob(&client, &blob).await;
    let path = format!("/v2/a/blobs/{}", sha256(&blob));
    command(&s3, &url, &["gc"], 0);
    client.request("GET", &path).send().await.expect(200);
    command(&s3, &url, &["gc"], 0);
    client.request("GET", &path).send().await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_audit_repairs_is_read_at_once() {
    let Some(redis) = redis_server::start(&[]).await else { return };
    let s3 = ScriptedS3::start().await;
    let url = redis.url();
    let frontend = Process::over_s3(&s3, &[("LONGSHORE_CACHE_REDIS", &url)]);
    let client = frontend.client();
    push_blob(&client, b"{}").await;
    let image = image_manifest(b"{}", &[b"{}"]);
    push_manifest(&client, "v1", image.clone()).await;
    let signature = spelled(&artifact("x/y", &descriptor(OCI_MANIFEST, &image), 1));
    push_manifest(&client, &sha256(&signature), signature).await;
    assert!(s3.remove(&s3.keys("v1/r/")[0]));
    let path = format!("/v2/a/referrers/{}", sha256(&image));
    let listed = async || {
        let list = client.request("GET", &path).send().await.expect(200).json();
        list["manifests"].as_array().map(Vec::len)
    };
    // The push has invalidated the list, so this caches one without the row.
    assert_eq!(listed().await, Some(0));
    command(&s3, &url, &["audit", "--repair"], 3);
    assert_eq!(listed().await, Some(1));
}
