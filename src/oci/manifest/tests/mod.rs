mod accepted;
mod properties;
mod refused;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn descriptor(media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": DIGEST, "size": 1})
}

/// The smallest valid manifest of a type.
fn minimal(media_type: &MediaType) -> Value {
    let mut body = json!({"schemaVersion": 2, "mediaType": media_type.as_str()});
    if media_type.is_index() {
        body["manifests"] = json!([descriptor(MediaType::OciManifest.as_str())]);
    } else {
        body["config"] = descriptor(CONFIG);
        body["layers"] = json!([descriptor(LAYER)]);
    }
    body
}

/// [`minimal`], with a key added or its value replaced.
fn with(media_type: &MediaType, key: &str, value: Value) -> Value {
    let mut body = minimal(media_type);
    body[key] = value;
    body
}

fn without(media_type: &MediaType, key: &str) -> Value {
    let mut body = minimal(media_type);
    body.as_object_mut().expect("an object").remove(key);
    body
}

fn parse_text(text: &str, declared: Option<&str>) -> Result<Manifest, ManifestError> {
    let declared = declared.map(|text| {
        let Ok(media_type) = text.parse::<MediaType>();
        media_type
    });
    Manifest::parse(Bytes::copy_from_slice(text.as_bytes()), declared.as_ref())
}

fn parse(body: &Value, declared: Option<&str>) -> Result<Manifest, ManifestError> {
    parse_text(&body.to_string(), declared)
}
