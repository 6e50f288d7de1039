//! What the clients push: few blobs and documents, so that clients meet each other.

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use crate::random::Random;

pub(crate) const REPOSITORIES: [&str; 3] = ["lib/one", "lib/two", "solo"];
pub(crate) const TAGS: [&str; 3] = ["latest", "stable", "v1"];

/// Bytes of the blobs: inline, in one object, in several parts. The last one is `{}`.
const LENGTHS: [usize; 11] =
    [60, 700, 1_024, 2_000, 5_000, 12_000, 16_384, 20_000, 37_000, 50_000, 2];
const EMPTY: usize = LENGTHS.len() - 1;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) bytes: Bytes,
}

/// A manifest. It names other content by its number.
pub(crate) struct Document {
    pub(crate) digest: String,
    pub(crate) bytes: Bytes,
    pub(crate) media_type: &'static str,
    pub(crate) blobs: Vec<usize>,
    /// Layers with URLs, which a repository need not have.
    pub(crate) foreign: Vec<usize>,
    pub(crate) children: Vec<usize>,
    pub(crate) subject: Option<usize>,
}

pub(crate) struct Content {
    pub(crate) blobs: Vec<Blob>,
    pub(crate) documents: Vec<Document>,
}

pub(crate) static CONTENT: LazyLock<Content> = LazyLock::new(Content::make);

/// The blobs that have a digest by SHA-512.
const LONG_DIGESTS: [usize; 2] = [4, 8];

pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Content {
    fn make() -> Self {
        let random = Random::new(7);
        let blob = |length| {
            let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
            if length == 2 {
                bytes = b"{}".to_vec();
            }
            Blob { digest: sha256(&bytes), bytes: bytes.into() }
        };
        let mut blobs: Vec<Blob> = LENGTHS.into_iter().map(blob).collect();
        for number in LONG_DIGESTS {
            let Blob { digest, bytes } = &mut blobs[number];
            *digest = format!("sha512:{}", hex::encode(Sha512::digest(&bytes[..])));
        }
        let mut content = Self { blobs, documents: Vec::new() };
        for (config, layers) in [(0, [3, 8]), (1, [4, 7]), (0, [5, 9]), (2, [8, 6]), (1, [3, 9])] {
            content.add_image(config, &layers, &[]);
        }
        content.add_image(2, &[4], &[5, 7]);
        content.add_image(0, &[6], &[3, 8]);
        content.add_index(&[0, 1]);
        content.add_index(&[2, 3]);
        for subject in [0, 1, 7] {
            content.add_artifact(subject);
        }
        content
    }

    fn descriptor(&self, media_type: &str, blob: usize) -> Value {
        let Blob { digest, bytes } = &self.blobs[blob];
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    fn described(&self, document: usize) -> Value {
        let Document { digest, bytes, media_type, .. } = &self.documents[document];
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    fn add_image(&mut self, config: usize, layers: &[usize], foreign: &[usize]) {
        let config_type = "application/vnd.oci.image.config.v1+json";
        let mut listed: Vec<Value> =
            layers.iter().map(|layer| self.descriptor(LAYER, *layer)).collect();
        for layer in foreign {
            let mut descriptor = self.descriptor(FOREIGN, *layer);
            descriptor["urls"] = json!(["https://elsewhere.invalid/layer"]);
            listed.push(descriptor);
        }
        let body = json!({
            "schemaVersion": 2, "mediaType": IMAGE, "layers": listed,
            "config": self.descriptor(config_type, config),
        });
        let blobs = layers.iter().copied().chain([config]).collect();
        self.add(IMAGE, &body, (blobs, foreign.to_vec(), Vec::new(), None));
    }

    fn add_index(&mut self, children: &[usize]) {
        let listed: Vec<Value> = children.iter().map(|child| self.described(*child)).collect();
        let body = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": listed });
        self.add(INDEX, &body, (Vec::new(), Vec::new(), children.to_vec(), None));
    }

    fn add_artifact(&mut self, subject: usize) {
        let empty = "application/vnd.oci.empty.v1+json";
        let body = json!({
            "schemaVersion": 2, "mediaType": IMAGE, "artifactType": "application/x-signature",
            "config": self.descriptor(empty, EMPTY), "layers": [],
            "subject": self.described(subject),
        });
        self.add(IMAGE, &body, (vec![EMPTY], Vec::new(), Vec::new(), Some(subject)));
    }

    fn add(
        &mut self,
        media_type: &'static str,
        body: &Value,
        (blobs, foreign, children, subject): (Vec<usize>, Vec<usize>, Vec<usize>, Option<usize>),
    ) {
        let bytes: Bytes = body.to_string().into();
        let digest = sha256(&bytes);
        let document = Document { digest, bytes, media_type, blobs, foreign, children, subject };
        self.documents.push(document);
    }

    pub(crate) fn document(&self, digest: &str) -> Option<&Document> {
        self.documents.iter().find(|document| document.digest == digest)
    }
}
