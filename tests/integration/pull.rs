//! Pulling blobs: distribution-spec "Pulling blobs" and "Checking if content exists in the
//! registry" (end-2); RFC 9110 section 13 for conditional requests. Ranges are in `ranges.rs`.

use std::sync::Arc;

use longshore::config::Settings;
use longshore::http::Delivery;
use longshore::layout::encoding::{Lineage, Nonce, encode};
use longshore::oci::Digest;
use longshore::store::memory::Memory;
use longshore::store::{RecordKey, RecordStore as _};
use serde_json::json;

use crate::support::exchange::with_query;
use crate::support::{App, Reply, bytes, sha256, sha512};

/// Sizes below and above the limit for inline blobs, and more than one part.
const SIZES: [usize; 6] = [0, 1, 64 * 1024, 64 * 1024 + 1, 300_000, 17 * 1024 * 1024];

/// The headers of a blob, for GET and HEAD.
fn described(reply: Reply, digest: &str, length: usize) -> Reply {
    reply
        .expect(200)
        .has("content-length", length.to_string())
        .has("content-type", "application/octet-stream")
        .has("docker-content-digest", digest)
        .has("etag", format!("\"{digest}\""))
        .has("accept-ranges", "bytes")
        .has("cache-control", "max-age=31536000, immutable, no-transform")
        .has("docker-distribution-api-version", "registry/2.0")
        .has("x-content-type-options", "nosniff")
        .lacks("content-range")
        .lacks("content-encoding")
        .lacks("transfer-encoding")
        .lacks("vary")
}

#[tokio::test]
async fn a_blob_is_served_byte_for_byte_with_its_length() {
    let app = App::start().await;
    let repository = app.repository("pull");
    for size in SIZES {
        let content = bytes(size as u64, size);
        let digest = app.push_blob(&repository, &content).await;
        let path = format!("/v2/{repository}/blobs/{digest}");
        described(app.get(&path).send().await, &digest, size).says(&content);
        described(app.request("HEAD", &path).send().await, &digest, size).says(b"");
    }
}

#[tokio::test]
async fn blobs_are_not_compressed() {
    let app = App::start().await;
    let repository = app.repository("plain");
    for size in [1_000, 200_000] {
        let content = vec![b'a'; size];
        let digest = app.push_blob(&repository, &content).await;
        for method in ["GET", "HEAD"] {
            let request = app.request(method, &format!("/v2/{repository}/blobs/{digest}"));
            let reply = request.header("accept-encoding", "gzip, zstd, br, *").send().await;
            let body: &[u8] = if method == "GET" { &content } else { b"" };
            described(reply, &digest, size).says(body);
        }
    }
}

#[tokio::test]
async fn a_missing_blob_is_404() {
    let app = App::start().await;
    let repository = app.repository("missing");
    let digest = sha256(b"never pushed");
    // An unknown repository, and a repository with other content.
    app.assert_no_blob(&repository, &digest).await;
    app.push_blob(&repository, b"something else").await;
    app.assert_no_blob(&repository, &digest).await;
    let reply = app.blob(&repository, &digest).await.expect(404);
    reply
        .has("content-type", "application/json")
        .has("docker-distribution-api-version", "registry/2.0")
        .lacks("etag");
}

#[tokio::test]
async fn an_invalid_digest_is_400() {
    let app = App::start().await;
    let repository = app.repository("bad-digest");
    let upper = format!("sha256:{}", "A".repeat(64));
    let short = format!("sha256:{}", "a".repeat(63));
    let unserved = format!("md5:{}", "a".repeat(32));
    for digest in ["sha256:baddigeststring", "latest", ":", "sha256:", &upper, &short, &unserved] {
        app.blob(&repository, digest).await.expect_error(400, "DIGEST_INVALID");
        let head = app.request("HEAD", &format!("/v2/{repository}/blobs/{digest}")).send().await;
        head.expect(400).says(b"");
    }
}

/// Otherwise a digest would be sufficient to read content of others.
#[tokio::test]
async fn a_blob_is_visible_only_in_its_repository() {
    let app = App::start().await;
    let (ours, theirs) = (app.repository("ours"), app.repository("theirs"));
    for size in [10, 100_000, 17 * 1024 * 1024] {
        let content = bytes(size as u64 + 7, size);
        let digest = app.push_blob(&ours, &content).await;
        app.assert_no_blob(&theirs, &digest).await;
        let below = format!("{ours}/below");
        app.assert_no_blob(&below, &digest).await;
        app.push_blob(&theirs, &content).await;
        app.assert_blob(&theirs, &digest, &content).await;
        app.assert_no_blob(&below, &digest).await;
    }
}

#[tokio::test]
async fn a_blob_has_only_the_digest_it_was_pushed_with() {
    let app = App::start().await;
    let repository = app.repository("names");
    let content = bytes(3, 500);
    let long = sha512(&content);
    let location = app.start_upload(&repository, "").await;
    app.close(&location, &long, &content).await.expect(201);
    app.assert_blob(&repository, &long, &content).await;
    app.assert_no_blob(&repository, &sha256(&content)).await;
}

#[tokio::test]
async fn a_digest_may_be_percent_encoded_and_a_query_is_ignored() {
    let app = App::start().await;
    let repository = app.repository("encoded");
    let digest = app.push_blob(&repository, b"encoded").await;
    let encoded = digest.replace(':', "%3A");
    app.blob(&repository, &encoded).await.expect(200).says(b"encoded");
    let proxied = with_query(&digest, "ns=docker.io");
    app.blob(&repository, &proxied).await.expect(200).says(b"encoded");
}

#[tokio::test]
async fn if_none_match_returns_304_for_the_same_blob() {
    let app = App::start().await;
    let repository = app.repository("if-none-match");
    let content = bytes(11, 70_000);
    let digest = app.push_blob(&repository, &content).await;
    let other = sha256(b"other");
    let quoted = format!("\"{digest}\"");
    let cases = [
        (quoted.clone(), 304),
        (format!("W/{quoted}"), 304),
        (format!("\"{other}\", {quoted}"), 304),
        (digest.clone(), 304),
        ("*".to_owned(), 304),
        (format!("\"{other}\""), 200),
        (format!("\"{}\"", &digest[..70]), 200),
        ("\"\"".to_owned(), 200),
    ];
    let path = format!("/v2/{repository}/blobs/{digest}");
    for (condition, status) in cases {
        for method in ["GET", "HEAD"] {
            let request = app.request(method, &path).header("if-none-match", &condition);
            let reply = request.send().await.expect(status).has("etag", &quoted);
            let reply = reply.has("docker-content-digest", &digest);
            if status == 304 {
                let reply = reply.says(b"").lacks("content-type").lacks("content-length");
                reply.has("cache-control", "max-age=31536000, immutable, no-transform");
            } else {
                reply.says(if method == "GET" { &content } else { b"" });
            }
        }
    }
}

#[tokio::test]
async fn if_match_with_another_digest_is_412() {
    let app = App::start().await;
    let repository = app.repository("if-match");
    let digest = app.push_blob(&repository, b"matched").await;
    let path = format!("/v2/{repository}/blobs/{digest}");
    let (quoted, other) = (format!("\"{digest}\""), format!("\"{}\"", sha256(b"other")));
    for condition in [&quoted, "*", &format!("{other}, {quoted}")] {
        app.get(&path).header("if-match", condition).send().await.expect(200).says(b"matched");
    }
    app.get(&path).header("if-match", &other).send().await.expect_error(412, "DENIED");
    // If-Match is evaluated first (RFC 9110, 13.2.2).
    let both = app.get(&path).header("if-match", &other).header("if-none-match", &quoted);
    both.send().await.expect(412);
    let both = app.get(&path).header("if-match", &quoted).header("if-none-match", &quoted);
    both.send().await.expect(304).says(b"");
}

#[tokio::test]
async fn a_precondition_on_a_missing_blob_is_404() {
    let app = App::start().await;
    let repository = app.repository("no-condition");
    let digest = sha256(b"never pushed");
    let path = format!("/v2/{repository}/blobs/{digest}");
    for name in ["if-none-match", "if-match"] {
        let request = app.get(&path).header(name, format!("\"{digest}\""));
        request.send().await.expect_error(404, "BLOB_UNKNOWN");
    }
}

#[tokio::test]
async fn other_methods_are_405_with_an_allow_header() {
    let app = App::start().await;
    let repository = app.repository("methods");
    let digest = app.push_blob(&repository, b"methods").await;
    let path = format!("/v2/{repository}/blobs/{digest}");
    for method in ["POST", "PUT", "PATCH", "OPTIONS"] {
        let reply = app.request(method, &path).send().await.expect_error(405, "UNSUPPORTED");
        reply.has("allow", "GET, HEAD, DELETE");
    }
    app.assert_blob(&repository, &digest, b"methods").await;
}

#[tokio::test]
async fn many_clients_read_one_blob_concurrently() {
    let app = App::start().await;
    let repository = app.repository("many");
    let content = bytes(12, 17 * 1024 * 1024 + 1);
    let digest = app.push_blob(&repository, &content).await;
    let reads = (0..4).map(|_| app.blob(&repository, &digest));
    for reply in futures_util::future::join_all(reads).await {
        reply.expect(200).says(&content);
    }
}

/// Reserved for imports: the data is in a bucket that belongs to another registry.
#[tokio::test]
async fn data_in_a_bucket_of_another_registry_is_503() {
    for (seed, delivery) in [(830, Delivery::Proxy), (831, Delivery::Redirect)] {
        let memory = Arc::new(Memory::new().with_presign("memory://bucket"));
        let mut settings = Settings::default();
        settings.blobs.delivery = delivery;
        let app = App::over_memory(memory.clone(), settings).await;
        let (repository, target) = (app.repository("imported"), app.repository("target"));
        let content = bytes(seed, 100_000);
        let digest: Digest = sha256(&content).parse().expect("a digest");
        let fields = json!({
            "size": content.len(),
            "location": "x:other/docker/blobs/data",
            "repository": repository,
        });
        let link = RecordKey::Link(repository.parse().expect("a name"), digest);
        for key in [link, RecordKey::Pointer(digest)] {
            let body = encode(&fields, &[], Nonce::random(), &Lineage::default());
            memory.create(&key, body, None).await.expect("created");
        }
        app.blob(&repository, &digest.to_string()).await.expect(503).lacks("location");
        let mount = format!("/v2/{target}/blobs/uploads/?mount={digest}&from={repository}");
        app.request("POST", &mount).send().await.expect(503);
        let push = format!("/v2/{target}/blobs/uploads/?digest={digest}");
        app.request("POST", &push).body(content).send().await.expect(503);
        app.assert_no_blob(&target, &digest.to_string()).await;
        let path = format!("/v2/{repository}/blobs/{digest}");
        app.request("DELETE", &path).send().await.expect(202);
        app.assert_no_blob(&repository, &digest.to_string()).await;
    }
}
