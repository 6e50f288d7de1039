//! Five types: each is pushed, stored byte for byte, and pulled by a client that accepts it.

use super::*;
use crate::support::sha512;

/// A body of each type with the content of the repository, and its payload.
async fn one_of_each(app: &App, repository: &str) -> Vec<(&'static str, String, String)> {
    app.push_blob(repository, &EMPTY_LAYER).await;
    app.push_schema2(repository, "child").await;
    let (_, image) = app.push_image(repository, "image", 7).await;
    let image = String::from_utf8(image).expect("text");
    let (oci, docker) =
        (descriptor(OCI_MANIFEST, &image, None), descriptor(DOCKER_MANIFEST, SCHEMA2, None));
    let mut mixed: Value = serde_json::from_str(SCHEMA2).expect("JSON");
    mixed["mediaType"] = OCI_MANIFEST.into();
    let nested = list(OCI_INDEX, std::slice::from_ref(&docker));
    app.put_document(repository, "nested", OCI_INDEX, nested.clone()).await.expect(201);
    let bodies = vec![
        (SIGNED, DOCUMENT.to_owned()),
        (DOCKER_MANIFEST, SCHEMA2.to_owned()),
        (DOCKER_LIST, list(DOCKER_LIST, &[oci.clone(), docker.clone()])),
        (OCI_MANIFEST, image),
        (OCI_MANIFEST, mixed.to_string()),
        (OCI_INDEX, list(OCI_INDEX, &[docker, oci, descriptor(OCI_INDEX, &nested, None)])),
    ];
    let about = |media_type: &str, body: &str| {
        if media_type == SIGNED { payload(body) } else { body.to_owned() }
    };
    bodies.into_iter().map(|(kind, body)| (kind, about(kind, &body), body)).collect()
}

#[tokio::test]
async fn each_type_is_served_byte_for_byte() {
    let Some(app) = taking().await else { return };
    let repository = app.repository("each");
    for (number, (media_type, about, body)) in
        one_of_each(&app, &repository).await.into_iter().enumerate()
    {
        let digest = sha256(about.as_bytes());
        let tag = format!("v{number}");
        for reference in [&tag, &digest, &sha512(about.as_bytes())] {
            let put = app.put_document(&repository, reference, media_type, body.clone()).await;
            let put = put.expect(201);
            let named = if reference.starts_with("sha512") { reference } else { &digest };
            assert_eq!(put.header("docker-content-digest"), Some(named.as_str()));
            for by in [reference.as_str(), put.location().rsplit_once('/').expect("a path").1] {
                let got = app.get_manifest(&repository, by, &[media_type]).await.expect(200);
                assert_eq!(got.body, body.as_bytes(), "{media_type} {by}");
                assert_eq!(got.header("content-type"), Some(media_type));
                assert_eq!(got.header("docker-content-digest"), Some(named.as_str()));
                assert_eq!(got.header("content-length"), Some(body.len().to_string().as_str()));
                let again = app.get_manifest(&repository, by, &[media_type]).await.expect(200);
                assert_eq!(got.body, again.body, "not signed anew");
            }
        }
    }
}

#[tokio::test]
async fn the_digest_of_a_signed_document_is_that_of_its_payload() {
    let Some(app) = taking().await else { return };
    let repository = app.repository("payload");
    app.push_blob(&repository, &EMPTY_LAYER).await;
    let (whole, payload) = (sha256(DOCUMENT.as_bytes()), sha256(payload(DOCUMENT).as_bytes()));
    app.put_document(&repository, &whole, SIGNED, DOCUMENT)
        .await
        .expect_error(400, "DIGEST_INVALID");
    app.put_document(&repository, &payload, SIGNED, DOCUMENT).await.expect(201);
    app.get_manifest(&repository, &whole, &[]).await.expect_error(404, "MANIFEST_UNKNOWN");
    let path = format!("/v2/{repository}/manifests/{payload}");
    let get = app.get(&path).header("if-none-match", format!("\"{payload}\""));
    get.send().await.expect(304);
    app.request("DELETE", &path).send().await.expect(202);
    app.get_manifest(&repository, &payload, &[]).await.expect(404);
}

/// The same payload with another signature is the same manifest.
#[tokio::test]
async fn the_first_signatures_of_a_payload_stay_until_it_is_deleted() {
    let Some(app) = taking().await else { return };
    let repository = app.repository("signatures");
    app.push_blob(&repository, &EMPTY_LAYER).await;
    let digest = sha256(payload(DOCUMENT).as_bytes());
    let put = async |reference: &str, document: &str| {
        let put = app.put_document(&repository, reference, SIGNED, document.to_owned()).await;
        put.expect(201).with("docker-content-digest", &digest);
    };
    let served = async |reference: &str, document: &str| {
        let got = app.get_manifest(&repository, reference, &[]).await.expect(200);
        assert_eq!(got.body, document, "{reference}");
    };
    put("v1", DOCUMENT).await;
    // Among them pushes that set a tag, and so write the manifest.
    for reference in [digest.as_str(), "v1", "v2", &format!("{digest}?tag=v3")] {
        put(reference, SIGNED_AGAIN).await;
        served(&digest, DOCUMENT).await;
        served("v1", DOCUMENT).await;
    }
    served("v3", DOCUMENT).await;
    let path = format!("/v2/{repository}/manifests/{digest}");
    app.request("DELETE", &path).send().await.expect(202);
    put("v1", SIGNED_AGAIN).await;
    served("v1", SIGNED_AGAIN).await;
    put(&digest, DOCUMENT).await;
    served(&digest, SIGNED_AGAIN).await;
}

#[tokio::test]
async fn every_content_type_of_a_document_is_accepted() {
    let Some(app) = taking().await else { return };
    let repository = app.repository("declared");
    app.push_blob(&repository, &EMPTY_LAYER).await;
    for media_type in [SIGNED, UNSIGNED, "application/json", "application/json; charset=utf-8"] {
        app.put_document(&repository, "v1", media_type, DOCUMENT).await.expect(201);
        let got = app.get_manifest(&repository, "v1", &[]).await.expect(200);
        assert_eq!(got.header("content-type"), Some(SIGNED));
    }
    let path = format!("/v2/{repository}/manifests/v1");
    app.request("PUT", &path).body(DOCUMENT).send().await.expect(201);
    for other in ["text/plain", OCI_MANIFEST, DOCKER_MANIFEST] {
        let put = app.put_document(&repository, "v1", other, DOCUMENT).await;
        assert_eq!(put.status.as_u16(), 400, "{other}: {put:?}");
    }
    let Some(legacy) = legacy().await else { return };
    legacy.push_blob(&repository, &EMPTY_LAYER).await;
    legacy.put_document(&repository, "v1", "text/plain", DOCUMENT).await.expect(201);
    legacy.put_document(&repository, "v1", OCI_INDEX, DOCUMENT).await.expect(400);
}

#[tokio::test]
async fn pushing_needs_a_setting_and_pulling_does_not() {
    let store = std::sync::Arc::new(longshore::store::memory::Memory::new());
    let with = |push| {
        let mut settings = longshore::config::Settings::default();
        settings.manifests.schema1_push = push;
        settings
    };
    let on = App::over_memory(store.clone(), with(Some(true))).await;
    let off = App::over_memory(store, with(None)).await;
    let repository = on.repository("off");
    on.push_blob(&repository, &EMPTY_LAYER).await;
    on.put_document(&repository, "v1", SIGNED, DOCUMENT).await.expect(201);
    for media_type in [SIGNED, UNSIGNED, "application/json"] {
        let refused = off.put_document(&repository, "v2", media_type, DOCUMENT).await;
        let refused = refused.expect_error(400, "UNSUPPORTED");
        let message = refused.json()["errors"][0]["message"].to_string();
        assert!(message.contains("manifests.schema1_push"), "{message}");
    }
    let got = off.get_manifest(&repository, "v1", &[OCI_MANIFEST]).await.expect(200);
    assert_eq!(got.body, DOCUMENT);
    let digest = sha256(payload(DOCUMENT).as_bytes());
    assert_eq!(off.get_manifest(&repository, &digest, &[]).await.expect(200).body, DOCUMENT);
}

#[tokio::test]
async fn only_oci_documents_have_subjects() {
    let Some(app) = legacy().await else { return };
    let repository = app.repository("subject");
    app.push_schema2(&repository, "v1").await;
    let (subject, image) = app.push_image(&repository, "subject", 3).await;
    let subject_of = descriptor(OCI_MANIFEST, str::from_utf8(&image).expect("text"), None);
    let mut refer = Vec::new();
    for (media_type, body) in [
        (DOCKER_MANIFEST, SCHEMA2.to_owned()),
        (DOCKER_LIST, list(DOCKER_LIST, &[])),
        (OCI_MANIFEST, String::from_utf8(image.clone()).expect("text")),
        (OCI_INDEX, list(OCI_INDEX, &[])),
    ] {
        let mut body: Value = serde_json::from_str(&body).expect("JSON");
        body["subject"] = subject_of.clone();
        let body = body.to_string();
        let put = app.put_document(&repository, "x", media_type, body.clone()).await.expect(201);
        let is_oci = media_type.contains(".oci.");
        assert_eq!(put.header("oci-subject").is_some(), is_oci, "{media_type}");
        if is_oci {
            refer.push(sha256(body.as_bytes()));
        }
    }
    // The same key in a schema 1 document is ignored.
    app.push_blob(&repository, &EMPTY_LAYER).await;
    app.put_document(&repository, "s1", SIGNED, DOCUMENT).await.expect(201);
    let path = format!("/v2/{repository}/referrers/{subject}");
    let listed = app.get(&path).send().await.expect(200).json();
    let mut found: Vec<String> = listed["manifests"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|descriptor| descriptor["digest"].as_str().expect("text").to_owned())
        .collect();
    found.sort();
    refer.sort();
    assert_eq!(found, refer);
}
