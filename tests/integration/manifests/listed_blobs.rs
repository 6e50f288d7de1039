//! Indexes that list blobs, as a build cache of `BuildKit` does: image-spec, "Image Index", allows
//! descriptors of any media type.

use serde_json::{Value, json};

use crate::support::app::{DOCKER_LIST, OCI_INDEX, OCI_MANIFEST};
use crate::support::content::{descriptor, index, spelled};
use crate::support::{App, bytes, sha256};

const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

/// The two types of an index.
const INDEXES: [&str; 2] = [OCI_INDEX, DOCKER_LIST];

#[tokio::test]
async fn a_build_cache_is_accepted_and_served() {
    let app = App::start().await;
    let repository = app.repository("cache");
    let (layer, config) = (bytes(1, 100_000), b"{\"layers\":[],\"records\":[]}".to_vec());
    app.push_blob(&repository, &layer).await;
    app.push_blob(&repository, &config).await;
    let listed = [descriptor(LAYER, &layer), descriptor(CACHE_CONFIG, &config)];
    for media_type in INDEXES {
        let body = spelled(&index(media_type, &listed));
        for reference in ["buildcache", &sha256(&body)] {
            app.put_manifest(&repository, reference, media_type, &body).await.expect(201);
            let path = format!("/v2/{repository}/manifests/{reference}");
            let get = app.get(&path).header("accept", media_type).send().await.expect(200);
            get.with("content-type", media_type).with_body(&body);
        }
    }
}

#[tokio::test]
async fn missing_blobs_of_an_index_are_named() {
    let app = App::start().await;
    let (repository, other) = (app.repository("here"), app.repository("there"));
    let (there, absent) = (bytes(1, 100), bytes(2, 100));
    app.push_blob(&repository, &there).await;
    // What another repository has does not count.
    app.push_blob(&other, &absent).await;
    for media_type in INDEXES {
        for absent_type in [LAYER, CACHE_CONFIG, "", OCI_MANIFEST] {
            let listed = [descriptor(LAYER, &there), descriptor(absent_type, &absent)];
            let body = spelled(&index(media_type, &listed));
            let reply = app.put_manifest(&repository, "v1", media_type, &body).await;
            let reply = reply.expect_envelope(400, &["MANIFEST_BLOB_UNKNOWN"]);
            assert_eq!(reply.json()["errors"][0]["detail"]["digest"], sha256(&absent));
            app.get(&format!("/v2/{repository}/manifests/v1")).send().await.expect(404);
        }
        // One error, although it is listed as a manifest and as a blob.
        let listed = [descriptor(OCI_MANIFEST, &absent), descriptor(LAYER, &absent)];
        let body = spelled(&index(media_type, &listed));
        let reply = app.put_manifest(&repository, "v1", media_type, &body).await;
        reply.expect_envelope(400, &["MANIFEST_BLOB_UNKNOWN"]);
    }
}

/// The media type of a descriptor may be one that is unknown here.
#[tokio::test]
async fn an_index_may_name_a_manifest_by_another_type() {
    let app = App::start().await;
    let repository = app.repository("renamed");
    let (_, child) = app.push_small(&repository, "child", 1).await;
    for media_type in INDEXES {
        for child_type in ["", "application/json", "application/vnd.example+json"] {
            let body = spelled(&index(media_type, &[descriptor(child_type, &child)]));
            app.put_manifest(&repository, "v1", media_type, &body).await.expect(201);
        }
    }
}

/// An index of a build cache can list layers that are stored elsewhere.
#[tokio::test]
async fn external_layers_of_an_index_may_be_missing() {
    let app = App::start().await;
    let repository = app.repository("external");
    let with_urls = |media_type: &str| -> Value {
        let mut layer = descriptor(media_type, b"elsewhere");
        layer["urls"] = json!(["https://store.example/elsewhere"]);
        layer
    };
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    for media_type in INDEXES {
        for layer in [with_urls(foreign), with_urls(LAYER), descriptor(foreign, b"elsewhere")] {
            let body = spelled(&index(media_type, &[layer]));
            app.put_manifest(&repository, "v1", media_type, &body).await.expect(201);
        }
        // A manifest has to be here, wherever else it is.
        let body = spelled(&index(media_type, &[with_urls(OCI_MANIFEST)]));
        let reply = app.put_manifest(&repository, "v2", media_type, &body).await;
        reply.expect_envelope(400, &["MANIFEST_BLOB_UNKNOWN"]);
    }
}
