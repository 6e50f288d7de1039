//! distribution-spec, "Pushing Manifests" (end-7): "registries SHOULD accept a manifest of 4 MB". A
//! larger one is 413 (CVE-2017-11468).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use longshore::config::Settings;
use longshore::store::memory::{Fault, FaultKind, Memory, Operation};

use crate::support::app::{OCI_MANIFEST, image_manifest};
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

/// An image with so many layers that no repository has.
fn with_missing_layers(layers: u32) -> Vec<u8> {
    let layers: Vec<[u8; 4]> = (0..layers).map(u32::to_be_bytes).collect();
    image_manifest(b"{}", &layers)
}

#[tokio::test]
async fn checking_a_manifest_ends_after_100_missing_layers() {
    let memory = Arc::new(Memory::new());
    let app = App::over_memory(memory.clone(), Settings::default()).await;
    app.push_blob("a", b"{}").await;
    let before = memory.calls();
    let reply = push(&app, "a", &with_missing_layers(99), false).await;
    reply.expect_envelope(400, &["MANIFEST_BLOB_UNKNOWN"; 99]);
    // Two for each that is missing: the cache may not know what was pushed just now.
    assert_eq!(memory.calls().since(&before).total(), 199);

    let before = memory.calls();
    let reply = push(&app, "a", &with_missing_layers(3_000), false).await;
    let reply = reply.expect_envelope(400, &["MANIFEST_BLOB_UNKNOWN"; 101]);
    let last = &reply.json()["errors"][100];
    assert!(last["message"].to_string().contains("more may be missing"), "{last}");
    let total = memory.calls().since(&before).total();
    assert!(total < 240, "{total} requests to the store");
}

#[tokio::test(flavor = "multi_thread")]
async fn few_large_manifests_are_checked_at_once() {
    let memory = Arc::new(Memory::new());
    let mut settings = Settings::default();
    settings.uploads.wait_max = Duration::ZERO;
    let app = &App::over_memory(memory.clone(), settings).await;
    let slow = FaultKind::Delay(Duration::from_millis(100));
    memory.inject(Fault::on(Operation::Read, slow).below("v1/l/").always());
    let large = (0..6).map(|_| async { push(app, "a", &with_missing_layers(1_001), false).await });
    let small = push_later(app, with_missing_layers(900));
    let (replies, small) = tokio::join!(join_all(large), small);
    small.expect(400);
    let (checked, refused): (Vec<_>, Vec<_>) =
        replies.into_iter().partition(|reply| reply.status.as_u16() == 400);
    assert_eq!((checked.len(), refused.len()), (4, 2));
    for reply in refused {
        assert!(reply.expect_error(503, "UNAVAILABLE").header("retry-after").is_some());
    }
}

async fn push_later(app: &App, body: Vec<u8>) -> Reply {
    tokio::time::sleep(Duration::from_millis(200)).await;
    push(app, "a", &body, false).await
}
