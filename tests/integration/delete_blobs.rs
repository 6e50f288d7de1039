//! Deleting blobs: distribution-spec "Deleting Blobs" (end-10).

use crate::support::exchange::created;
use crate::support::{App, bytes, sha256, sha512};

#[tokio::test]
async fn a_deleted_blob_is_404_at_once() {
    let app = App::start().await;
    let repository = app.repository("delete");
    for size in [0, 10, 100_000] {
        let content = bytes(size as u64 + 700, size);
        let digest = app.push_blob(&repository, &content).await;
        let path = format!("/v2/{repository}/blobs/{digest}");
        let deleted = app.request("DELETE", &path).send().await.expect(202);
        let deleted = deleted.has("content-length", "0").says(b"");
        deleted.has("docker-distribution-api-version", "registry/2.0");
        app.assert_no_blob(&repository, &digest).await;
        app.request("DELETE", &path).send().await.expect_error(404, "BLOB_UNKNOWN");
        // It can be pushed and deleted again.
        for _ in 0..2 {
            app.push_blob(&repository, &content).await;
            app.assert_blob(&repository, &digest, &content).await;
            app.request("DELETE", &path).send().await.expect(202);
            app.assert_no_blob(&repository, &digest).await;
        }
        let again = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let again = app.request("POST", &again).body(content.clone()).send().await;
        created(again, &repository, &digest);
        app.assert_blob(&repository, &digest, &content).await;
    }
}

#[tokio::test]
async fn deleting_an_unknown_blob_is_404() {
    let app = App::start().await;
    let (repository, other) = (app.repository("nothing"), app.repository("other"));
    let digest = app.push_blob(&other, b"of another").await;
    for digest in [&digest, &sha256(b"never pushed"), &sha512(b"of another")] {
        let path = format!("/v2/{repository}/blobs/{digest}");
        app.request("DELETE", &path).send().await.expect_error(404, "BLOB_UNKNOWN");
    }
    app.assert_blob(&other, &digest, b"of another").await;
    for digest in ["latest", "sha256:bad", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        let path = format!("/v2/{repository}/blobs/{digest}");
        app.request("DELETE", &path).send().await.expect_error(400, "DIGEST_INVALID");
    }
}

#[tokio::test]
async fn deleting_a_blob_keeps_it_in_other_repositories() {
    let app = App::start().await;
    for size in [10, 100_000] {
        let repositories = [app.repository("one"), app.repository("two"), app.repository("three")];
        let content = bytes(size as u64 + 710, size);
        let mut digest = String::new();
        for repository in &repositories {
            digest = app.push_blob(repository, &content).await;
        }
        let path = format!("/v2/{}/blobs/{digest}", repositories[0]);
        app.request("DELETE", &path).send().await.expect(202);
        app.settled().await;
        app.assert_no_blob(&repositories[0], &digest).await;
        app.assert_blob(&repositories[1], &digest, &content).await;
        app.assert_blob(&repositories[2], &digest, &content).await;
    }
}

/// Each concurrent request gets 202 or 404.
#[tokio::test]
async fn concurrent_deletes_of_a_blob_return_202_or_404() {
    let app = App::start().await;
    let repository = app.repository("at-once");
    for round in 0..5 {
        let digest = app.push_blob(&repository, &bytes(720 + round, 500)).await;
        let path = format!("/v2/{repository}/blobs/{digest}");
        let deletes = (0..8).map(|_| app.request("DELETE", &path).send());
        let mut succeeded = 0;
        for reply in futures_util::future::join_all(deletes).await {
            match reply.status.as_u16() {
                202 => succeeded += 1,
                _ => drop(reply.expect_error(404, "BLOB_UNKNOWN")),
            }
        }
        assert!(succeeded >= 1, "one request deleted it");
        app.assert_no_blob(&repository, &digest).await;
    }
}

#[tokio::test]
async fn disabled_deletion_of_blobs_is_405() {
    let app = App::start_with(|settings| settings.blobs.delete = false).await;
    if app.leaves_out("deleting switched off") {
        return;
    }
    let repository = app.repository("switched-off");
    let digest = app.push_blob(&repository, b"kept").await;
    let path = format!("/v2/{repository}/blobs/{digest}");
    let refused = app.request("DELETE", &path).send().await.expect_error(405, "UNSUPPORTED");
    refused.has("allow", "GET, HEAD");
    app.assert_blob(&repository, &digest, b"kept").await;
}
