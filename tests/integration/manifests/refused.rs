//! distribution-spec, "Pushing Manifests" (end-7): refused manifests, and the type of a manifest
//! without `Content-Type`.

use serde_json::{Value, json};

use crate::support::app::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::support::content::{NOWHERE, TYPES, descriptor, image, index, spelled};
use crate::support::{App, sha256, sha512};

const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+json";
const SCHEMA_1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// A document with a member added, or its value replaced.
fn with(mut document: Value, key: &str, value: Value) -> Vec<u8> {
    document[key] = value;
    document.to_string().into_bytes()
}

fn without(mut document: Value, key: &str) -> Vec<u8> {
    document.as_object_mut().expect("an object").remove(key);
    document.to_string().into_bytes()
}

/// Pushes each document of a table, whose blobs all exist, and expects the same error for all.
async fn refuse(rows: Vec<(&str, &str, Vec<u8>)>, status: u16, code: &str) {
    let app = App::start().await;
    let repository = app.repository("refused");
    app.push_parts(&repository, 1).await;
    for (why, media_type, body) in rows {
        let digest = sha256(&body);
        for reference in ["v1", &digest] {
            let reply = app.put_manifest(&repository, reference, media_type, &body).await;
            assert_eq!(reply.status.as_u16(), status, "{why}: {reply:?}");
            reply.expect_envelope(status, &[code]);
            let path = format!("/v2/{repository}/manifests/{reference}");
            app.get(&path).send().await.expect_envelope(404, &["MANIFEST_UNKNOWN"]);
        }
    }
}

/// GHSA-qq97-vm5h-rrhg: one reader sees an image, another one an index.
#[tokio::test]
async fn a_manifest_with_keys_of_two_types_is_refused() {
    let (oci, docker) = (image(OCI_MANIFEST, 1), image(DOCKER_MANIFEST, 1));
    let (oci_index, list) = (index(OCI_INDEX, &[]), index(DOCKER_LIST, &[]));
    let rows = vec![
        ("image with manifests", OCI_MANIFEST, with(oci.clone(), "manifests", json!([]))),
        ("schema 2 with manifests", DOCKER_MANIFEST, with(docker, "manifests", json!([]))),
        ("image with null manifests", OCI_MANIFEST, with(oci.clone(), "manifests", Value::Null)),
        ("image with fsLayers", OCI_MANIFEST, with(oci.clone(), "fsLayers", json!([]))),
        ("index with config", OCI_INDEX, with(oci_index.clone(), "config", json!({}))),
        ("index with layers", OCI_INDEX, with(oci_index.clone(), "layers", json!([]))),
        ("index with fsLayers", OCI_INDEX, with(oci_index.clone(), "fsLayers", json!([]))),
        ("list with layers", DOCKER_LIST, with(list.clone(), "layers", json!([]))),
        ("index as image", OCI_MANIFEST, without(oci_index, "mediaType")),
        ("image as index", OCI_INDEX, without(oci, "mediaType")),
        ("list as schema 2", DOCKER_MANIFEST, without(list, "mediaType")),
    ];
    refuse(rows, 400, "MANIFEST_INVALID").await;
}

/// CVE-2021-41190: the header and the document name different types.
#[tokio::test]
async fn a_media_type_that_differs_from_the_content_type_is_refused() {
    let mut rows = Vec::new();
    for declared in TYPES {
        for own in TYPES.into_iter().filter(|own| *own != declared) {
            let document = match own {
                OCI_INDEX | DOCKER_LIST => index(own, &[]),
                _ => image(own, 1),
            };
            rows.push(("another type", declared, spelled(&document)));
        }
    }
    let upper = OCI_MANIFEST.to_uppercase();
    let oci = image(OCI_MANIFEST, 1);
    rows.push(("case", OCI_MANIFEST, with(oci.clone(), "mediaType", json!(upper))));
    rows.push(("no text", OCI_MANIFEST, with(oci.clone(), "mediaType", json!(2))));
    rows.push(("empty", OCI_MANIFEST, with(oci, "mediaType", json!(""))));
    for own in [DOCKER_MANIFEST, DOCKER_LIST] {
        let document = if own == DOCKER_LIST { index(own, &[]) } else { image(own, 1) };
        rows.push(("Docker without mediaType", own, without(document, "mediaType")));
    }
    refuse(rows, 400, "MANIFEST_INVALID").await;
}

/// Every reader must understand a document in the same way.
#[tokio::test]
async fn ambiguous_json_is_refused() {
    let text = image(OCI_MANIFEST, 1).to_string();
    let twice = |key: &str, value: &str| {
        format!("{{{key}:{value},{}", text.strip_prefix('{').expect("an object")).into_bytes()
    };
    let mut rows = vec![
        ("layers twice", twice("\"layers\"", "[]")),
        ("mediaType twice", twice("\"mediaType\"", &format!("\"{OCI_MANIFEST}\""))),
        ("escaped twice", twice("\"\\u006cayers\"", "[]")),
        ("custom twice", twice("\"x\":1,\"x\"", "2")),
        ("nested twice", twice("\"x\"", "{\"y\":{\"z\":1,\"z\":2}}")),
        ("trailing bytes", format!("{text}{{}}").into_bytes()),
        ("trailing zero", format!("{text}\0").into_bytes()),
        ("byte order mark", format!("\u{feff}{text}").into_bytes()),
        ("UTF-16", text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("not UTF-8", [text.as_bytes(), b"\xff"].concat()),
        ("cut off", text.as_bytes()[..text.len() - 1].to_vec()),
        ("an array", format!("[{text}]").into_bytes()),
        ("nothing", Vec::new()),
        ("null", b"null".to_vec()),
    ];
    rows.push(("deep", twice("\"x\"", &format!("{}{}", "[".repeat(5000), "]".repeat(5000)))));
    let rows = rows.into_iter().map(|(why, body)| (why, OCI_MANIFEST, body)).collect();
    refuse(rows, 400, "MANIFEST_INVALID").await;
}

#[tokio::test]
async fn a_manifest_without_a_required_field_is_refused() {
    let oci = || image(OCI_MANIFEST, 1);
    let list = |child: Value| spelled(&index(OCI_INDEX, &[child]));
    let mut rows = Vec::new();
    for key in ["schemaVersion", "config"] {
        rows.push((key, OCI_MANIFEST, without(oci(), key)));
    }
    for key in ["schemaVersion", "config", "layers"] {
        rows.push((key, OCI_MANIFEST, with(oci(), key, json!("2"))));
    }
    rows.push(("version", OCI_MANIFEST, with(oci(), "schemaVersion", json!(3))));
    rows.push(("manifests", OCI_INDEX, without(index(OCI_INDEX, &[]), "manifests")));
    for digest in [
        "sha256:short",
        "sha256:../../../../etc/passwd",
        &NOWHERE.to_uppercase(),
        "",
        &format!("sha512:{}", "a".repeat(64)),
    ] {
        let child = json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": 1 });
        rows.push(("digest", OCI_INDEX, list(child)));
    }
    for size in [json!(-1), json!("1"), json!(1.5), json!(u64::MAX), Value::Null] {
        let child = json!({ "mediaType": OCI_MANIFEST, "digest": NOWHERE, "size": size });
        rows.push(("size", OCI_INDEX, list(child)));
    }
    let mut subject = descriptor(OCI_MANIFEST, b"x");
    subject["digest"] = json!("sha256:x");
    rows.push(("subject", OCI_MANIFEST, with(oci(), "subject", subject)));
    refuse(rows, 400, "MANIFEST_INVALID").await;
}

/// Clients follow the URLs of a descriptor.
#[tokio::test]
async fn urls_of_other_schemes_than_http_are_refused() {
    let mut rows = Vec::new();
    for url in ["javascript:alert(1)", "file:///etc/passwd", "ftp://example.com/x", "//x/y", ""] {
        let mut foreign =
            descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"x");
        foreign["urls"] = json!(["https://example.com/x", url]);
        for media_type in [OCI_MANIFEST, DOCKER_MANIFEST] {
            let document = image(media_type, 1);
            rows.push((url, media_type, with(document, "layers", json!([foreign]))));
        }
        for media_type in [OCI_INDEX, DOCKER_LIST] {
            rows.push((url, media_type, spelled(&index(media_type, &[foreign.clone()]))));
        }
    }
    refuse(rows, 400, "MANIFEST_INVALID").await;
}

#[tokio::test]
async fn unknown_types_are_refused() {
    let rows = ["text/plain", "application/vnd.oci.image.config.v1+json", "*/*", "garbage"]
        .map(|media_type| ("unknown", media_type, spelled(&image(OCI_MANIFEST, 1))));
    refuse(rows.into(), 400, "MANIFEST_INVALID").await;
}

/// Types that this registry knows and does not support.
#[tokio::test]
async fn unsupported_types_are_refused() {
    let schema1 =
        json!({ "schemaVersion": 1, "name": "x", "tag": "y", "fsLayers": [], "history": [] });
    let withdrawn = "application/vnd.oci.artifact.manifest.v1+json";
    let artifact = json!({ "mediaType": withdrawn, "artifactType": "x", "blobs": [] });
    let rows = vec![
        ("schema 1", SCHEMA_1, spelled(&schema1)),
        ("signed", SCHEMA_1_SIGNED, spelled(&schema1)),
        ("undeclared", "application/json", spelled(&schema1)),
        ("artifact", withdrawn, spelled(&artifact)),
    ];
    refuse(rows, 400, "UNSUPPORTED").await;
    // The `mediaType` of a document cannot make it acceptable.
    let rows = vec![("as schema 2", DOCKER_MANIFEST, spelled(&schema1))];
    refuse(rows, 400, "MANIFEST_INVALID").await;
}

/// `curl -T` sends such a type.
#[tokio::test]
async fn a_missing_or_generic_content_type_is_taken_from_the_document() {
    let app = App::start().await;
    let repository = app.repository("sniffed");
    app.push_parts(&repository, 1).await;
    let mut unlabelled = image(OCI_MANIFEST, 1);
    unlabelled.as_object_mut().expect("an object").remove("mediaType");
    let documents = [
        (OCI_MANIFEST, image(OCI_MANIFEST, 1)),
        (OCI_MANIFEST, unlabelled),
        (OCI_INDEX, index(OCI_INDEX, &[])),
        (DOCKER_MANIFEST, image(DOCKER_MANIFEST, 1)),
        (DOCKER_LIST, index(DOCKER_LIST, &[])),
    ];
    let path = format!("/v2/{repository}/manifests/v1");
    for (media_type, document) in documents {
        let body = spelled(&document);
        for declared in [None, Some("application/json"), Some("application/octet-stream")] {
            let mut put = app.request("PUT", &path).body(body.clone());
            if let Some(declared) = declared {
                put = put.header("content-type", declared);
            }
            put.send().await.expect(201);
            let get = app.get(&path).send().await.expect(200);
            get.with("content-type", media_type).with_body(&body);
        }
        let put = app.request("PUT", &path).body(body.clone());
        let declared = format!("{}; charset=utf-8", media_type.to_uppercase());
        put.header("content-type", declared).send().await.expect(201);
        app.get(&path).send().await.expect(200).with("content-type", media_type);
    }
    let body = json!({ "schemaVersion": 2 }).to_string();
    let put = app.request("PUT", &path).body(body).send().await;
    put.expect_envelope(400, &["MANIFEST_INVALID"]);
}

#[tokio::test]
async fn a_wrong_digest_is_refused_with_digest_invalid() {
    let app = App::start().await;
    let repository = app.repository("digest");
    app.push_parts(&repository, 1).await;
    let body = spelled(&image(OCI_MANIFEST, 1));
    let appended = [body.as_slice(), b" "].concat();
    for digest in [sha256(&appended), sha512(&appended), NOWHERE.to_owned()] {
        let reply = app.put_manifest(&repository, &digest, OCI_MANIFEST, &body).await;
        reply.expect_envelope(400, &["DIGEST_INVALID"]);
        let tagged = format!("{digest}?tag=v1");
        let reply = app.put_manifest(&repository, &tagged, OCI_MANIFEST, &body).await;
        reply.expect_envelope(400, &["DIGEST_INVALID"]);
        for reference in [digest.as_str(), "v1", &sha256(&body)] {
            let path = format!("/v2/{repository}/manifests/{reference}");
            app.get(&path).send().await.expect_envelope(404, &["MANIFEST_UNKNOWN"]);
        }
    }
}
