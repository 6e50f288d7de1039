//! distribution-spec, "Pushing Manifests" (end-7): "registries SHOULD accept a manifest of 4 MB". A
//! larger one is 413 (CVE-2017-11468).

use crate::support::app::OCI_MANIFEST;
use crate::support::content::{image, skip};
use crate::support::{App, Reply};

const MIB: usize = 1024 * 1024;

/// A manifest of exactly this many bytes.
fn padded(bytes: usize) -> Vec<u8> {
    let document = image(OCI_MANIFEST, 1).to_string();
    let head = "{\"annotations\":{\"padding\":\"";
    let tail = format!("\"}},{}", document.strip_prefix('{').expect("an object"));
    let padding = "x".repeat(bytes - head.len() - tail.len());
    let manifest = format!("{head}{padding}{tail}").into_bytes();
    assert_eq!(manifest.len(), bytes);
    manifest
}

async fn push(app: &App, repository: &str, body: &[u8], chunked: bool) -> Reply {
    let path = format!("/v2/{repository}/manifests/v1");
    let put = app.request("PUT", &path).header("content-type", OCI_MANIFEST);
    if chunked {
        put.chunked(body, 65_536).send().await
    } else {
        put.body(body.to_vec()).send().await
    }
}

#[tokio::test]
async fn a_manifest_of_4_mb_is_accepted() {
    let app = App::start().await;
    let repository = app.repository("large");
    app.push_parts(&repository, 1).await;
    let path = format!("/v2/{repository}/manifests/v1");
    for size in [4_000_000, 4 * MIB] {
        for chunked in [false, true] {
            let body = padded(size);
            push(&app, &repository, &body, chunked).await.expect(201);
            app.get(&path).send().await.expect(200).with_body(&body);
            app.request("DELETE", &path).send().await.expect(202);
        }
    }
}

#[tokio::test]
async fn a_manifest_over_4_mib_is_413() {
    let app = App::start().await;
    let repository = app.repository("too-large");
    app.push_parts(&repository, 1).await;
    let path = format!("/v2/{repository}/manifests/v1");
    for size in [4 * MIB + 1, 20 * MIB] {
        for chunked in [false, true] {
            let reply = push(&app, &repository, &padded(size), chunked).await;
            reply.expect_envelope(413, &["MANIFEST_INVALID"]);
            app.get(&path).send().await.expect_envelope(404, &["MANIFEST_UNKNOWN"]);
        }
    }
}

#[tokio::test]
async fn the_manifest_limit_is_configurable() {
    let app = App::start_with(|settings| settings.manifests.bytes_max = 2_000).await;
    if !app.is_ours() {
        return skip("the largest manifest is a setting");
    }
    let repository = app.repository("limit");
    app.push_parts(&repository, 1).await;
    for chunked in [false, true] {
        push(&app, &repository, &padded(2_001), chunked)
            .await
            .expect_envelope(413, &["MANIFEST_INVALID"]);
        push(&app, &repository, &padded(2_000), chunked).await.expect(201);
    }
}
