//! Manifests of every type, and functions that push them.

use std::io::{self, Write as _};

use serde_json::{Value, json};

use super::app::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use super::{App, Reply, bytes, sha256};

/// The four supported types.
pub const TYPES: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// The digest of no content.
pub const NOWHERE: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";

/// Prints why a test does not run.
pub fn skip(reason: &str) {
    writeln!(io::stderr(), "not run: {reason}").expect("stderr can be written");
}

/// A descriptor of some bytes.
pub fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": sha256(content), "size": content.len() })
}

/// JSON with unusual white space, so that only the same bytes have the same digest.
pub fn spelled(document: &Value) -> Vec<u8> {
    format!("\n{document:#}\t\n").into_bytes()
}

/// An image of one of the two types, with the config `{}` and one layer made from a seed.
pub fn image(media_type: &str, seed: u64) -> Value {
    let (config, layer) = if media_type == OCI_MANIFEST {
        ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar")
    } else {
        (
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        )
    };
    json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor(config, b"{}"),
        "layers": [descriptor(layer, &bytes(seed, 100))],
    })
}

/// An index of one of the two types.
pub fn index(media_type: &str, children: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": children })
}

/// An artifact with a subject: an OCI image with the config `{}` and no layers.
pub fn artifact(artifact_type: &str, subject: &Value, seed: u64) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [],
        "subject": subject,
        "annotations": { "seed": seed.to_string() },
    })
}

impl App {
    /// Pushes a manifest and returns the response.
    pub async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        body: &[u8],
    ) -> Reply {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let put = self.request("PUT", &path).header("content-type", media_type);
        put.body(body.to_vec()).send().await
    }

    /// Pushes a small image that differs from all others in the repository, and returns its digest
    /// and its bytes.
    pub async fn push_small(
        &self,
        repository: &str,
        reference: &str,
        seed: u64,
    ) -> (String, Vec<u8>) {
        self.push_parts(repository, seed).await;
        let body = spelled(&image(OCI_MANIFEST, seed));
        self.put_manifest(repository, reference, OCI_MANIFEST, &body).await.expect(201);
        (sha256(&body), body)
    }

    /// Pushes the config and the layer of the [`image`] of a seed.
    pub async fn push_parts(&self, repository: &str, seed: u64) {
        self.push_blob(repository, b"{}").await;
        self.push_blob(repository, &bytes(seed, 100)).await;
    }

    /// Pushes a document of a type with everything that it references: an image, or an index of one
    /// image. Returns its bytes.
    pub async fn push_type(
        &self,
        repository: &str,
        media_type: &str,
        tag: &str,
        seed: u64,
    ) -> Vec<u8> {
        self.push_parts(repository, seed).await;
        let child_type = match media_type {
            OCI_INDEX => OCI_MANIFEST,
            DOCKER_LIST => DOCKER_MANIFEST,
            image => image,
        };
        let child = spelled(&image(child_type, seed));
        let body = if child_type == media_type {
            child
        } else {
            self.put_manifest(repository, &sha256(&child), child_type, &child).await.expect(201);
            let mut listed = descriptor(child_type, &child);
            listed["platform"] = json!({ "architecture": "amd64", "os": "linux" });
            spelled(&index(media_type, &[listed]))
        };
        self.put_manifest(repository, tag, media_type, &body).await.expect(201);
        body
    }
}
