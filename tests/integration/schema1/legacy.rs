//! Mode `docker-legacy`: old clients get the same manifests as from Docker's registry 2.x.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use longshore::config::Settings;
use longshore::docker_schema1::Signed;
use longshore::store::memory::{Fault, FaultKind, Memory, Operation};

use super::*;

#[tokio::test]
async fn schema_2_is_converted_to_schema_1_as_docker_does() {
    let Some(app) = legacy().await else { return };
    // Name and tag are part of the signed payload.
    let repository = "fixtures/converted";
    let stored = app.push_schema2(repository, "v1").await;
    let path = format!("/v2/{repository}/blobs/{}", sha256(&EMPTY_LAYER));
    app.get(&path).send().await.expect_error(404, "BLOB_UNKNOWN");
    let got = app.get_manifest(repository, "v1", &[]).await.expect(200);
    assert_eq!(got.header("content-type"), Some(SIGNED));
    let digest = sha256(payload(SCHEMA1).as_bytes());
    assert_eq!(got.header("docker-content-digest"), Some(digest.as_str()));
    let text = str::from_utf8(&got.body).expect("text");
    assert_eq!(payload(text), payload(SCHEMA1));
    let signed = Signed::parse(got.body.clone()).expect("it can be verified");
    // All its layers exist, the empty layer as well.
    for layer in signed.manifest().blobs() {
        let path = format!("/v2/{repository}/blobs/{}", layer.digest);
        app.get(&path).send().await.expect(200);
    }
    assert_eq!(app.get(&path).send().await.expect(200).body, EMPTY_LAYER.as_slice());
    // The stored manifest is unchanged, and `If-None-Match` works.
    let direct = app.get_manifest(repository, &stored, &[]).await.expect(200);
    assert_eq!(direct.body, SCHEMA2);
    let path = format!("/v2/{repository}/manifests/v1");
    app.get(&path).header("if-none-match", format!("\"{digest}\"")).send().await.expect(304);
    app.get(&path).header("if-none-match", format!("\"{stored}\"")).send().await.expect(200);
    // The result can be pushed.
    app.put_document(repository, "back", SIGNED, got.body.clone()).await.expect(201);
    let back = app.get_manifest(repository, &digest, &[]).await.expect(200);
    assert_eq!(back.body, got.body);
}

#[tokio::test]
async fn an_image_that_cannot_be_converted_to_schema_1_is_400() {
    let Some(app) = legacy().await else { return };
    let repository = app.repository("unfit");
    let config = b"{\"architecture\":\"amd64\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}";
    app.push_blob(&repository, config).await;
    let body = json!({
        "schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "layers": [],
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": sha256(config), "size": config.len(),
        },
    });
    app.put_document(&repository, "v1", DOCKER_MANIFEST, body.to_string()).await.expect(201);
    let got = app.get_manifest(&repository, "v1", &[]).await;
    let reply = got.expect_error(400, "MANIFEST_INVALID");
    let message = reply.json()["errors"][0]["message"].to_string();
    assert!(message.contains("history"), "{message}");
    app.get_manifest(&repository, "v1", &[DOCKER_MANIFEST]).await.expect(200);
    let path = format!("/v2/{repository}/blobs/{}", sha256(config));
    app.request("DELETE", &path).send().await.expect(202);
    app.get_manifest(&repository, "v1", &[]).await.expect_error(400, "MANIFEST_INVALID");
}

/// `BuildKit` writes such an image for `FROM scratch` with nothing but a label.
#[tokio::test]
async fn an_image_with_null_for_its_layers_is_converted() {
    let Some(app) = legacy().await else { return };
    let repository = app.repository("label");
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": null},
        "history": [{"created_by": "LABEL a=b", "empty_layer": true}],
    });
    let config = config.to_string();
    app.push_blob(&repository, config.as_bytes()).await;
    let mut body = json!({
        "schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "layers": null,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": sha256(config.as_bytes()), "size": config.len(),
        },
    });
    for tag in ["null", "missing"] {
        app.put_document(&repository, tag, DOCKER_MANIFEST, body.to_string()).await.expect(201);
        let got = app.get_manifest(&repository, tag, &[]).await.expect(200);
        let signed = Signed::parse(got.body).expect("it can be verified");
        assert_eq!(signed.manifest().blobs().len(), 1, "the empty layer");
        body.as_object_mut().expect("an object").remove("layers");
    }
}

#[tokio::test]
async fn a_config_that_is_too_large_is_not_converted() {
    let Some(app) = legacy().await else { return };
    let repository = app.repository("bound");
    let config = vec![b' '; 4 * 1024 * 1024 + 1];
    app.push_blob(&repository, &config).await;
    let body = json!({
        "schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "layers": [],
        "config": {"mediaType": "a/b", "digest": sha256(&config), "size": config.len()},
    });
    app.put_document(&repository, "v1", DOCKER_MANIFEST, body.to_string()).await.expect(201);
    let got = app.get_manifest(&repository, "v1", &[]).await;
    let reply = got.expect_error(400, "MANIFEST_INVALID");
    assert!(reply.json()["errors"][0]["message"].to_string().contains("larger"), "{reply:?}");
}

#[tokio::test]
async fn a_list_is_served_as_its_linux_amd64_image() {
    for app in [legacy().await, taking().await] {
        let Some(app) = app else { return };
        let repository = app.repository("list");
        let child = app.push_schema2(&repository, "child").await;
        let (other, image) = app.push_image(&repository, "other", 5).await;
        let image = String::from_utf8(image).expect("text");
        let arm = descriptor(OCI_MANIFEST, &image, Some("arm64"));
        let amd = descriptor(DOCKER_MANIFEST, SCHEMA2, Some("amd64"));
        let both = list(DOCKER_LIST, &[arm.clone(), amd.clone()]);
        app.put_document(&repository, "both", DOCKER_LIST, both).await.expect(201);
        let got = app.get_manifest(&repository, "both", &[DOCKER_MANIFEST]).await.expect(200);
        assert_eq!(got.header("docker-content-digest"), Some(child.as_str()));
        assert_eq!(got.body, SCHEMA2);
        let none = list(DOCKER_LIST, &[arm]);
        app.put_document(&repository, "none", DOCKER_LIST, none).await.expect(201);
        let got = app.get_manifest(&repository, "none", &[DOCKER_MANIFEST]).await;
        got.expect_error(404, "MANIFEST_UNKNOWN");
        // A child of another type is served unchanged: it cannot be converted.
        let oci = list(DOCKER_LIST, &[descriptor(OCI_MANIFEST, &image, Some("amd64"))]);
        app.put_document(&repository, "oci", DOCKER_LIST, oci).await.expect(201);
        let got = app.get_manifest(&repository, "oci", &[DOCKER_MANIFEST]).await.expect(200);
        assert_eq!(got.header("docker-content-digest"), Some(other.as_str()));
        assert_eq!(got.header("content-type"), Some(OCI_MANIFEST));
    }
}

#[tokio::test]
async fn the_image_of_a_list_is_converted_too() {
    let Some(app) = legacy().await else { return };
    let repository = app.repository("list");
    app.push_schema2(&repository, "child").await;
    let amd = descriptor(DOCKER_MANIFEST, SCHEMA2, Some("amd64"));
    app.put_document(&repository, "v1", DOCKER_LIST, list(DOCKER_LIST, &[amd])).await.expect(201);
    let got = app.get_manifest(&repository, "v1", &["*/*"]).await.expect(200);
    assert_eq!(got.header("content-type"), Some(SIGNED));
    let signed = Signed::parse(got.body.clone()).expect("it can be verified");
    let body: Value = serde_json::from_slice(signed.payload()).expect("JSON");
    assert_eq!((&body["name"], &body["tag"]), (&repository.clone().into(), &"v1".into()));
}

#[tokio::test]
async fn a_signing_key_is_generated_if_none_is_configured() {
    let Some(app) = ours(|manifests| manifests.mode = Negotiation::DockerLegacy).await else {
        return;
    };
    let repository = app.repository("made");
    app.push_schema2(&repository, "v1").await;
    let got = app.get_manifest(&repository, "v1", &[]).await.expect(200);
    Signed::parse(got.body).expect("it can be verified");
}

#[tokio::test]
async fn a_failing_store_is_503_and_not_a_missing_layer() {
    let memory = Arc::new(Memory::new());
    let mut settings = Settings::default();
    settings.manifests.mode = Negotiation::DockerLegacy;
    let app = App::over_memory(memory.clone(), settings).await;
    let repository = app.repository("away");
    app.push_schema2(&repository, "v1").await;
    // The store fails to read the config, then the empty layer.
    for spared in [0, 1] {
        memory.inject(
            Fault::on(Operation::Read, FaultKind::Delay(Duration::ZERO))
                .below("v1/l/")
                .times(spared),
        );
        memory.inject(Fault::everywhere(FaultKind::FailBefore).below("v1/l/").always());
        let got = app.get_manifest(&repository, "v1", &[]).await;
        got.expect_error(503, "UNAVAILABLE");
        memory.heal();
    }
    app.get_manifest(&repository, "v1", &[]).await.expect(200);
}

#[tokio::test]
async fn a_converted_manifest_is_kept() {
    let memory = Arc::new(Memory::new());
    let mut settings = Settings::default();
    settings.manifests.mode = Negotiation::DockerLegacy;
    let app = App::over_memory(memory.clone(), settings).await;
    app.push_schema2("kept", "v1").await;
    let first = app.get_manifest("kept", "v1", &[]).await.expect(200);
    let before = memory.calls();
    let second = app.get_manifest("kept", "v1", &[]).await.expect(200);
    // Each signature is another one.
    assert_eq!(second.body, first.body);
    let calls = memory.calls().since(&before);
    assert_eq!((calls.read, calls.total()), (3, 3), "tag, manifest, empty layer: {calls:?}");
    // Its layers are there, whatever happens to them.
    let path = format!("/v2/kept/blobs/{}", sha256(&EMPTY_LAYER));
    app.request("DELETE", &path).send().await.expect(202);
    app.get_manifest("kept", "v1", &[]).await.expect(200);
    app.get(&path).send().await.expect(200);
    // Another tag is part of another document.
    app.put_document("kept", "v2", DOCKER_MANIFEST, SCHEMA2).await.expect(201);
    let other = app.get_manifest("kept", "v2", &[]).await.expect(200);
    assert_ne!(other.header("docker-content-digest"), first.header("docker-content-digest"));
}

#[tokio::test(flavor = "multi_thread")]
async fn few_images_are_converted_at_once() {
    let memory = Arc::new(Memory::new());
    let mut settings = Settings::default();
    settings.manifests.mode = Negotiation::DockerLegacy;
    settings.uploads.wait_max = Duration::ZERO;
    let app = &App::over_memory(memory.clone(), settings).await;
    for repository in ["a", "b", "c", "d"] {
        app.push_schema2(repository, "v1").await;
    }
    let slow = FaultKind::Delay(Duration::from_millis(500));
    memory.inject(Fault::on(Operation::Read, slow).below("v1/l/").always());
    let get = |repository| async move { app.get_manifest(repository, "v1", &[]).await };
    let replies = join_all(["a", "b", "c", "d"].map(get)).await;
    let (converted, refused): (Vec<_>, Vec<_>) =
        replies.into_iter().partition(|reply| reply.status.as_u16() == 200);
    assert_eq!((converted.len(), refused.len()), (2, 2));
    for reply in refused {
        assert!(reply.expect_error(503, "UNAVAILABLE").header("retry-after").is_some());
    }
}
