//! Schema 1 manifests, and content negotiation between the five types (end-3, end-7).
//!
//! distribution-spec: "Pulling manifests", "Pushing Manifests". The rest is the measured behaviour
//! of Docker's registry 2.8; `tests/conformance/compare_with_distribution` compares both.

mod legacy;
mod matrix;
mod rejected;
mod types;

use longshore::oci::Negotiation;
use longshore::registry::ManifestSettings;
use longshore::setting::Secret;
use serde_json::{Value, json};

use crate::support::app::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::support::{App, sha256};

pub(super) const SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const UNSIGNED: &str = "application/vnd.docker.distribution.manifest.v1+json";

/// A document signed with Docker's libtrust.
pub(super) const DOCUMENT: &str = include_str!("fixtures/schema1/libtrust/es256.json");
/// The same payload with another signature.
pub(super) const SIGNED_AGAIN: &str = include_str!("fixtures/schema1/libtrust/rs256.json");
/// The image from which 2.8.2 made this document, and its key.
const SCHEMA2: &str = include_str!("fixtures/schema1/registry-2.8.2/schema2.json");
const CONFIG: &str = include_str!("fixtures/schema1/registry-2.8.2/config.json");
const SCHEMA1: &str = include_str!("fixtures/schema1/registry-2.8.2/schema1.json");
const KEY: &str = include_str!("fixtures/schema1/test-key.pem");

const LAYERS: [&[u8]; 3] = [
    include_bytes!("fixtures/schema1/registry-2.8.2/layer-0.tar.gz"),
    include_bytes!("fixtures/schema1/registry-2.8.2/layer-1.tar.gz"),
    include_bytes!("fixtures/schema1/registry-2.8.2/layer-2.tar.gz"),
];

/// The blob of an empty layer.
pub(super) const EMPTY_LAYER: [u8; 32] = [
    31, 139, 8, 0, 0, 9, 110, 136, 0, 255, 98, 24, 5, 163, 96, 20, 140, 88, 0, 8, 0, 0, 255, 255,
    46, 175, 181, 239, 0, 4, 0, 0,
];

/// The payload of a document: everything before the signatures, and the closing brace.
fn payload(document: &str) -> String {
    let end = document.find(",\n   \"signatures\"").expect("it is signed");
    format!("{}\n}}", &document[..end])
}

/// A registry that accepts schema 1, in OCI mode. `None` against a running registry, which the
/// tests cannot configure.
async fn taking() -> Option<App> {
    ours(|manifests| manifests.schema1_push = Some(true)).await
}

/// A registry in Docker mode.
async fn legacy() -> Option<App> {
    ours(|manifests| {
        manifests.mode = Negotiation::DockerLegacy;
        manifests.schema1_key = Some(Secret::new(KEY));
    })
    .await
}

async fn ours(change: impl FnOnce(&mut ManifestSettings)) -> Option<App> {
    let app = App::start_with(|settings| change(&mut settings.manifests)).await;
    app.is_ours().then_some(app)
}

impl App {
    async fn put_document(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        body: impl Into<bytes::Bytes>,
    ) -> crate::support::Reply {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let put = self.request("PUT", &path).header("content-type", media_type);
        put.body(body.into()).send().await
    }

    /// Sends no `Accept` header if there are no types.
    async fn get_manifest(
        &self,
        repository: &str,
        reference: &str,
        accept: &[&str],
    ) -> crate::support::Reply {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let get = accept.iter().fold(self.get(&path), |get, types| get.header("accept", types));
        get.send().await
    }

    /// Pushes the image from which 2.8.2 made schema 1, and returns its digest.
    async fn push_schema2(&self, repository: &str, tag: &str) -> String {
        self.push_blob(repository, CONFIG.as_bytes()).await;
        for layer in LAYERS {
            self.push_blob(repository, layer).await;
        }
        self.put_document(repository, tag, DOCKER_MANIFEST, SCHEMA2).await.expect(201);
        sha256(SCHEMA2.as_bytes())
    }
}

/// A descriptor of some manifest.
fn descriptor(media_type: &str, body: &str, architecture: Option<&str>) -> Value {
    let mut descriptor = json!({
        "mediaType": media_type, "digest": sha256(body.as_bytes()), "size": body.len(),
    });
    if let Some(architecture) = architecture {
        descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
    }
    descriptor
}

/// A list or an index of manifests.
fn list(media_type: &str, manifests: &[Value]) -> String {
    json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}).to_string()
}
