//! distribution-spec, "Pulling manifests" (end-3) and "Pushing Manifests" (end-7): every type is
//! stored and served byte for byte, and ambiguous documents are refused.

mod listed_blobs;
mod refused;
mod sizes;

use std::sync::Arc;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use longshore::config::Settings;
use longshore::registry::Sparse;
use longshore::store::memory::Memory;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use crate::support::app::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::support::content::{NOWHERE, TYPES, artifact, descriptor, image, index, skip, spelled};
use crate::support::{App, bytes, sha256, sha512};

#[tokio::test]
async fn every_type_is_served_byte_for_byte() {
    let app = App::start().await;
    for media_type in TYPES {
        let repository = app.repository("types");
        let body = app.push_type(&repository, media_type, "v1", 1).await;
        let (short, long) = (sha256(&body), sha512(&body));
        // A tag stores the SHA-256 digest. A digest in the path decides about the algorithm.
        for (reference, digest) in [("v1", &short), (&short, &short), (&long, &long)] {
            let put = app.put_manifest(&repository, reference, media_type, &body).await.expect(201);
            let path = format!("/v2/{repository}/manifests/{reference}");
            let put = put.with("location", &path).with("docker-content-digest", digest);
            put.with("content-length", "0")
                .without("oci-subject")
                .without("oci-tag")
                .with_body(b"");
            let get = app.get(&path).header("accept", media_type).send().await.expect(200);
            let get = get
                .with("content-type", media_type)
                .with("content-length", &body.len().to_string())
                .with("docker-content-digest", digest)
                .with("etag", &format!("\"{digest}\""))
                .with("vary", "Accept")
                .with("docker-distribution-api-version", "registry/2.0")
                .with_body(&body);
            let head = app.request("HEAD", &path).header("accept", media_type).send().await;
            assert_eq!(head.expect(200).with_body(b"").described(), get.described(), "{path}");
        }
    }
}

/// Only `?tag=` creates a tag with a SHA-512 digest.
#[tokio::test]
async fn a_tag_keeps_the_digest_algorithm_it_was_pushed_with() {
    let app = App::start().await;
    let repository = app.repository("algorithm");
    let (_, body) = app.push_small(&repository, "v1", 1).await;
    let long = sha512(&body);
    let put = app.put_manifest(&repository, &format!("{long}?tag=v2"), OCI_MANIFEST, &body).await;
    put.expect(201).with("docker-content-digest", &long).with("oci-tag", "v2");
    for method in ["GET", "HEAD"] {
        let path = format!("/v2/{repository}/manifests/v2");
        app.request(method, &path).send().await.expect(200).with("docker-content-digest", &long);
        let path = format!("/v2/{repository}/manifests/v1");
        let reply = app.request(method, &path).send().await.expect(200);
        reply.with("docker-content-digest", &sha256(&body));
    }
}

#[tokio::test]
async fn if_none_match_returns_304_for_the_same_manifest() {
    let app = App::start().await;
    let repository = app.repository("conditional");
    let (digest, body) = app.push_small(&repository, "v1", 1).await;
    let path = format!("/v2/{repository}/manifests/v1");
    let quoted = format!("\"{digest}\"");
    for has in [&quoted, &digest, &format!("W/{quoted}"), &format!("\"x\", {quoted}")] {
        let reply = app.get(&path).header("if-none-match", has).send().await.expect(304);
        reply.with("etag", &quoted).with("docker-content-digest", &digest).with_body(b"");
    }
    let reply = app.get(&path).header("if-none-match", format!("\"{NOWHERE}\"")).send().await;
    reply.expect(200).with_body(&body);
    let reply = app.get(&path).header("if-match", format!("\"{NOWHERE}\"")).send().await;
    reply.expect_envelope(412, &["DENIED"]);
}

/// RFC 9110, section 8.6: `Content-Length: 0` would say that the manifest is empty. Frameworks add
/// it to empty bodies; hyper removes it only over HTTP/1.
#[tokio::test]
async fn a_304_over_http2_claims_no_length() {
    let app = App::over_memory(Arc::new(Memory::new()), Settings::default()).await;
    let (digest, _) = app.push_small("conditional", "v1", 1).await;
    let stream = TcpStream::connect(app.address.expect("an address")).await.expect("a connection");
    let executor = TokioExecutor::new();
    let (mut client, driver) =
        http2::handshake(executor, TokioIo::new(stream)).await.expect("HTTP/2");
    TaskTracker::new().spawn(driver);
    let request = http::Request::get("http://registry.test/v2/conditional/manifests/v1");
    let request =
        request.header("if-none-match", digest).body(http_body_util::Empty::<bytes::Bytes>::new());
    let response = client.send_request(request.expect("a request")).await.expect("a response");
    assert_eq!(response.status(), 304);
    assert!(!response.headers().contains_key("content-length"), "{response:?}");
}

#[tokio::test]
async fn a_missing_manifest_is_404() {
    let app = App::start().await;
    let repository = app.repository("unknown");
    for name in ["never-pushed-to", &repository] {
        for reference in ["v1", NOWHERE] {
            let path = format!("/v2/{name}/manifests/{reference}");
            app.get(&path).send().await.expect_envelope(404, &["MANIFEST_UNKNOWN"]);
            app.request("HEAD", &path).send().await.expect(404).with_body(b"");
        }
        app.push_small(&repository, "other", 1).await;
    }
}

/// One error for each digest, so that a client knows what to push.
#[tokio::test]
async fn a_push_names_all_missing_blobs() {
    let app = App::start().await;
    let repository = app.repository("missing");
    for media_type in TYPES {
        let absent: Vec<Vec<u8>> = (0..3).map(|seed| bytes(seed, 30)).collect();
        let mut document = if media_type == OCI_INDEX || media_type == DOCKER_LIST {
            let children: Vec<_> =
                absent.iter().map(|child| descriptor(OCI_MANIFEST, child)).collect();
            index(media_type, &children)
        } else {
            let layer = "application/vnd.oci.image.layer.v1.tar";
            let mut document = image(media_type, 1);
            document["config"] = descriptor("application/json", &absent[0]);
            document["layers"] =
                json!([descriptor(layer, &absent[1]), descriptor(layer, &absent[2])]);
            document
        };
        // A digest that is listed twice is one error.
        let list = if document.get("layers").is_some() { "layers" } else { "manifests" };
        let again = document[list][0].clone();
        document[list].as_array_mut().expect("a list").push(again);
        let body = spelled(&document);
        let reply = app.put_manifest(&repository, "v1", media_type, &body).await;
        let reply = reply.expect_envelope(400, &["MANIFEST_BLOB_UNKNOWN"; 3]);
        let json = reply.json();
        let errors = json["errors"].as_array().expect("errors").iter();
        let mut named: Vec<&str> =
            errors.filter_map(|error| error["detail"]["digest"].as_str()).collect();
        named.sort_unstable();
        let mut expected: Vec<String> = absent.iter().map(|bytes| sha256(bytes)).collect();
        expected.sort_unstable();
        assert_eq!(named, expected, "{media_type}");
        let path = format!("/v2/{repository}/manifests/v1");
        app.get(&path).send().await.expect(404);
        app.get(&format!("/v2/{repository}/manifests/{}", sha256(&body))).send().await.expect(404);
    }
}

/// A blob does not count as a manifest, and a manifest of another repository does not count.
#[tokio::test]
async fn references_must_exist_in_the_same_repository() {
    let app = App::start().await;
    let (repository, other) = (app.repository("here"), app.repository("there"));
    let (_, child) = app.push_small(&other, "v1", 7).await;
    let body = spelled(&index(OCI_INDEX, &[descriptor(OCI_MANIFEST, &child)]));
    let reply = app.put_manifest(&repository, "v1", OCI_INDEX, &body).await;
    reply.expect_envelope(400, &["MANIFEST_BLOB_UNKNOWN"]);
    // The same bytes as a blob are not sufficient.
    app.push_blob(&repository, &child).await;
    let reply = app.put_manifest(&repository, "v1", OCI_INDEX, &body).await;
    reply.expect_envelope(400, &["MANIFEST_BLOB_UNKNOWN"]);
    let body = spelled(&image(OCI_MANIFEST, 7));
    let reply = app.put_manifest(&repository, "v2", OCI_MANIFEST, &body).await;
    reply.expect_envelope(400, &["MANIFEST_BLOB_UNKNOWN"; 2]);
}

#[tokio::test]
async fn the_sparse_setting_allows_missing_references() {
    for (sparse, index_status, image_status) in
        [(Sparse::None, 400, 400), (Sparse::Indexes, 201, 400), (Sparse::All, 201, 201)]
    {
        let app = App::start_with(|settings| settings.manifests.sparse = sparse).await;
        if !app.is_ours() {
            return skip("what may be sparse is a setting");
        }
        let repository = app.repository("sparse");
        for (media_type, status) in [(OCI_INDEX, index_status), (DOCKER_LIST, index_status)] {
            let body = spelled(&index(media_type, &[descriptor(OCI_MANIFEST, b"absent")]));
            app.put_manifest(&repository, "v1", media_type, &body).await.expect(status);
        }
        for (media_type, status) in [(OCI_MANIFEST, image_status), (DOCKER_MANIFEST, image_status)]
        {
            let body = spelled(&image(media_type, 3));
            app.put_manifest(&repository, "v2", media_type, &body).await.expect(status);
        }
    }
}

/// Layers that may be stored elsewhere are not required.
#[tokio::test]
async fn non_distributable_layers_may_be_missing() {
    let app = App::start().await;
    let repository = app.repository("external");
    app.push_blob(&repository, b"{}").await;
    let types = [
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ];
    for (seed, layer_type) in types.into_iter().enumerate() {
        let mut layer = descriptor(layer_type, b"elsewhere");
        layer["urls"] = json!(["https://store.example/elsewhere"]);
        let mut document = image(OCI_MANIFEST, seed as u64);
        document["layers"] = json!([layer]);
        let body = spelled(&document);
        app.put_manifest(&repository, "v1", OCI_MANIFEST, &body).await.expect(201);
        let path = format!("/v2/{repository}/manifests/v1");
        app.get(&path).send().await.expect(200).with_body(&body);
    }
}

/// Go programs write an array without elements as `null`, or leave it out: `BuildKit` does for an
/// image `FROM scratch` with nothing but a label.
#[tokio::test]
async fn null_stands_for_an_empty_array() {
    let app = App::start().await;
    let repository = app.repository("null");
    app.push_blob(&repository, b"{}").await;
    let mut documents = Vec::new();
    for media_type in [OCI_MANIFEST, DOCKER_MANIFEST] {
        let mut document = image(media_type, 1);
        document["layers"] = Value::Null;
        documents.push((media_type, document.clone()));
        document.as_object_mut().expect("an object").remove("layers");
        documents.push((media_type, document));
    }
    for media_type in [OCI_INDEX, DOCKER_LIST] {
        let mut document = index(media_type, &[]);
        document["manifests"] = Value::Null;
        documents.push((media_type, document));
    }
    for (number, (media_type, document)) in documents.into_iter().enumerate() {
        let body = spelled(&document);
        let tag = format!("v{number}");
        app.put_manifest(&repository, &tag, media_type, &body).await.expect(201);
        let path = format!("/v2/{repository}/manifests/{tag}");
        let get = app.get(&path).header("accept", media_type).send().await.expect(200);
        get.with("content-type", media_type).with_body(&body);
    }
}

#[tokio::test]
async fn everything_that_the_specification_allows_is_accepted() {
    let app = App::start().await;
    let repository = app.repository("open");
    app.push_parts(&repository, 1).await;
    let mut data = image(OCI_MANIFEST, 1);
    data["config"]["data"] = json!("e30=");
    data["org.example.custom"] = json!({ "any": ["thing", 1, null, 1.5e300] });
    let mut unlabelled = image(OCI_MANIFEST, 1);
    unlabelled.as_object_mut().expect("an object").remove("mediaType");
    let mut no_layers = image(OCI_MANIFEST, 1);
    no_layers["layers"] = json!([]);
    let mut foreign_digest = index(OCI_INDEX, &[]);
    foreign_digest["manifests"] = json!([
        { "mediaType": OCI_MANIFEST, "digest": format!("blake3:{}", "a".repeat(64)), "size": 5 },
    ]);
    let subject = descriptor(OCI_MANIFEST, b"nowhere");
    let documents = [
        (OCI_MANIFEST, data),
        (OCI_MANIFEST, unlabelled),
        (OCI_MANIFEST, no_layers),
        (OCI_MANIFEST, artifact("application/x", &subject, 1)),
        (OCI_INDEX, index(OCI_INDEX, &[])),
        (OCI_INDEX, foreign_digest),
    ];
    for (number, (media_type, document)) in documents.into_iter().enumerate() {
        let body = spelled(&document);
        let tag = format!("v{number}");
        app.put_manifest(&repository, &tag, media_type, &body).await.expect(201);
        let path = format!("/v2/{repository}/manifests/{tag}");
        app.get(&path).send().await.expect(200).with("content-type", media_type).with_body(&body);
    }
}
