//! Refused documents, and their error codes.

use super::*;
use crate::support::bytes;

/// Pushes a document in which the first text is replaced by the second, and asserts the refusal.
async fn refused(app: &App, document: &str, status: u16, code: &str) {
    let repository = app.repository("refused");
    app.push_blob(&repository, &EMPTY_LAYER).await;
    for reference in ["v1", &sha256(document.as_bytes())] {
        let put = app.put_document(&repository, reference, SIGNED, document.to_owned()).await;
        let reply = put.expect_error(status, code);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert!(reply.body.len() < 1000, "short enough to be read: {reply:?}");
    }
    app.get_manifest(&repository, "v1", &[]).await.expect(404);
}

#[tokio::test]
async fn documents_with_wrong_signatures_are_refused() {
    let Some(app) = taking().await else { return };
    let unverified = [
        DOCUMENT.replacen("amd64", "arm64", 1),
        DOCUMENT.replacen("\"signature\": \"", "\"signature\": \"AAAA", 1),
        DOCUMENT.replace("ES256", "none"),
        DOCUMENT.replace("\"jwk\"", "\"no-key\""),
        include_str!("../fixtures/schema1/libtrust/x5c-circle.json").to_owned(),
        include_str!("../fixtures/schema1/libtrust/x5c-gap.json").to_owned(),
        include_str!("../fixtures/schema1/libtrust/x5c-wrong-key.json").to_owned(),
        include_str!("../fixtures/schema1/libtrust/rs256-1024-bits.json").to_owned(),
    ];
    for document in &unverified {
        refused(&app, document, 400, "MANIFEST_UNVERIFIED").await;
    }
    let invalid = [
        payload(DOCUMENT),
        DOCUMENT[..DOCUMENT.len() / 2].to_owned(),
        DOCUMENT[..DOCUMENT.len() - 1].to_owned(),
        String::new(),
        "{}".to_owned(),
        DOCUMENT.replacen("\"signatures\"", "\"x\": 1, \"signatures\"", 1),
        include_str!("../fixtures/schema1/libtrust/x5c-too-long.json").to_owned(),
        include_str!("../fixtures/schema1/libtrust/nine-signatures.json").to_owned(),
        String::from_utf8_lossy(&bytes(1, 500)).into_owned(),
        "[".repeat(100_000),
        format!("{{\"signatures\":{}", "[".repeat(100_000)),
    ];
    for document in &invalid {
        refused(&app, document, 400, "MANIFEST_INVALID").await;
    }
}

#[tokio::test]
async fn a_document_that_is_too_large_is_refused() {
    let Some(app) = taking().await else { return };
    let limit = 4 * 1024 * 1024;
    let repository = app.repository("large");
    let padded = DOCUMENT.replacen('{', &format!("{{{}", " ".repeat(limit)), 1);
    let put = app.put_document(&repository, "v1", SIGNED, padded).await;
    put.expect_error(413, "MANIFEST_INVALID");
    // A document of the maximum size: only its signature is wrong.
    let padded = DOCUMENT.replacen('{', &format!("{{{}", " ".repeat(limit - DOCUMENT.len())), 1);
    assert_eq!(padded.len(), limit);
    let put = app.put_document(&repository, "v1", SIGNED, padded).await;
    put.expect_error(400, "MANIFEST_INVALID");
}

#[tokio::test]
async fn missing_layers_are_named() {
    let Some(app) = taking().await else { return };
    let repository = app.repository("missing");
    let put = app.put_document(&repository, "v1", SIGNED, SCHEMA1).await;
    let reply = put.expect_error(400, "MANIFEST_BLOB_UNKNOWN");
    let errors = reply.json()["errors"].as_array().expect("errors").clone();
    assert_eq!(errors.len(), 4, "one for each layer that is missing, once: {reply:?}");
    assert!(errors.iter().all(|error| error["code"] == "MANIFEST_BLOB_UNKNOWN"));
    app.push_blob(&repository, &EMPTY_LAYER).await;
    for layer in LAYERS {
        app.push_blob(&repository, layer).await;
    }
    app.put_document(&repository, "v1", SIGNED, SCHEMA1).await.expect(201);
}

#[tokio::test]
async fn the_checks_of_other_types_stay_in_force() {
    let Some(app) = taking().await else { return };
    let repository = app.repository("table");
    app.push_schema2(&repository, "v1").await;
    let (_, image) = app.push_image(&repository, "v2", 11).await;
    let schema2: Value = serde_json::from_str(SCHEMA2).expect("JSON");
    let image: Value = serde_json::from_slice(&image).expect("JSON");
    let with = |body: &Value, key: &str, value: Value| {
        let mut body = body.clone();
        body[key] = value;
        body.to_string()
    };
    let without = |body: &Value, key: &str| {
        let mut body = body.clone();
        body.as_object_mut().expect("an object").remove(key);
        body.to_string()
    };
    let absent = json!([{"mediaType": "a/b", "digest": sha256(b"absent"), "size": 6}]);
    let docker_list: Value = serde_json::from_str(&list(DOCKER_LIST, &[])).expect("JSON");
    let index: Value = serde_json::from_str(&list(OCI_INDEX, &[])).expect("JSON");
    let invalid = "MANIFEST_INVALID";
    let unknown = "MANIFEST_BLOB_UNKNOWN";
    for (media_type, body, code) in [
        (DOCKER_MANIFEST, without(&schema2, "mediaType"), invalid),
        (DOCKER_MANIFEST, with(&schema2, "mediaType", OCI_MANIFEST.into()), invalid),
        (DOCKER_MANIFEST, with(&schema2, "schemaVersion", 3.into()), invalid),
        (DOCKER_MANIFEST, with(&schema2, "manifests", json!([])), invalid),
        (DOCKER_MANIFEST, with(&schema2, "layers", absent.clone()), unknown),
        (DOCKER_LIST, without(&docker_list, "mediaType"), invalid),
        (DOCKER_LIST, with(&docker_list, "layers", json!([])), invalid),
        (DOCKER_LIST, with(&docker_list, "manifests", absent.clone()), unknown),
        (OCI_MANIFEST, with(&image, "manifests", json!([])), invalid),
        (OCI_MANIFEST, with(&image, "mediaType", DOCKER_MANIFEST.into()), invalid),
        (OCI_MANIFEST, with(&image, "layers", absent.clone()), unknown),
        (OCI_INDEX, with(&index, "config", json!({})), invalid),
        (OCI_INDEX, with(&index, "fsLayers", json!([])), invalid),
        (OCI_INDEX, with(&index, "manifests", absent), unknown),
        ("text/plain", image.to_string(), invalid),
        ("application/vnd.oci.artifact.manifest.v1+json", image.to_string(), "UNSUPPORTED"),
    ] {
        let put = app.put_document(&repository, "bad", media_type, body.clone()).await;
        assert_eq!(put.status.as_u16(), 400, "{media_type} {body}: {put:?}");
        put.expect_error(400, code);
    }
    // An OCI document needs no `mediaType`, and an external layer may be missing.
    app.put_document(&repository, "good", OCI_MANIFEST, without(&image, "mediaType"))
        .await
        .expect(201);
    let foreign = json!([{
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": sha256(b"elsewhere"), "size": 9, "urls": ["https://example.com/layer"],
    }]);
    app.put_document(&repository, "good", DOCKER_MANIFEST, with(&schema2, "layers", foreign))
        .await
        .expect(201);
}
