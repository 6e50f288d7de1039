//! The registry over a scripted S3, in this process and as a program.

use longshore::config::Settings;

use crate::support::app::{OCI_MANIFEST, image_manifest};
use crate::support::process::Process;
use crate::support::scripted_s3::{Match, Operation, ScriptedS3};
use crate::support::{App, bytes, sha256};

/// Small parts: a few hundred kilobytes are a large blob.
const PART_BYTES: usize = 64 * 1024;

fn small_parts() -> Settings {
    let mut settings = Settings::default();
    settings.uploads.part_bytes = PART_BYTES;
    settings.uploads.inline_bytes = 1024;
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_a_layer_in_parts_is_pushed_and_pulled() {
    let s3 = ScriptedS3::start().await;
    s3.set_part_bytes_min(PART_BYTES);
    let app = App::over_s3(&s3, small_parts()).await;
    let name = app.repository("parts");
    let (config, layer) = (b"{}".to_vec(), bytes(1, 300_000));
    app.push_blob(&name, &config).await;
    let digest = app.push_blob(&name, &layer).await;
    assert!(s3.arrived(&Match::of(Operation::UploadPart, "v1/d/")) >= 4);
    let manifest = image_manifest(&config, std::slice::from_ref(&layer));
    let path = format!("/v2/{name}/manifests/latest");
    let put = app.request("PUT", &path).header("content-type", OCI_MANIFEST);
    put.body(manifest.clone()).send().await.expect(201);

    let other = App::over_s3(&s3, small_parts()).await;
    other.get(&path).send().await.expect(200).with_body(&manifest);
    let blob = other.get(&format!("/v2/{name}/blobs/{digest}"));
    blob.header("range", "bytes=70000-200000")
        .send()
        .await
        .expect(206)
        .with_body(&layer[70_000..=200_000]);
    other.get(&format!("/v2/{name}/blobs/{digest}")).send().await.expect(200).with_body(&layer);
    app.settled().await;
    assert_eq!(s3.open_multiparts(), 0);
}

/// The connection breaks after the store has written the tag. The SDK sends the write again and
/// hears 412, because its own first attempt is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_tag_whose_response_was_lost_is_recognised() {
    let s3 = ScriptedS3::start().await;
    let app = App::over_s3(&s3, Settings::default()).await;
    s3.drop_response(Match::put("v1/t/"));
    let (digest, _) = app.push_image("lost", "latest", 1).await;
    assert_eq!(s3.arrived(&Match::put("v1/t/")), 2);
    let head = app.request("HEAD", "/v2/lost/manifests/latest").send().await.expect(200);
    head.with("docker-content-digest", &digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_starts_over_it_and_serves() {
    let s3 = ScriptedS3::start().await;
    let process = Process::over_s3(&s3, &[]);
    let client = process.client();
    let content = bytes(7, 100_000);
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&content));
    let push = client.request("POST", &path).header("content-type", "application/octet-stream");
    push.body(content.clone()).send().await.expect(201);
    process.kill();
    assert!(!s3.keys("v1/l/a/_/").is_empty());

    let next = Process::over_s3(&s3, &[]);
    let blob = format!("/v2/a/blobs/{}", sha256(&content));
    next.client().request("GET", &blob).send().await.expect(200).with_body(&content);
}
