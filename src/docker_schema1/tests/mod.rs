mod conversion;
mod properties;
mod refused;
mod verified;

use bytes::Bytes;
use serde_json::Value;

use super::conversion::empty_layer_digest;
use super::*;

macro_rules! fixture {
    ($path:expr) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/integration/fixtures/schema1/",
            $path
        ))
    };
}
use fixture;

/// A document that Docker's own library signed; `fixtures/schema1/generate` made it.
macro_rules! libtrust {
    ($name:literal) => {
        fixture!(concat!("libtrust/", $name, ".json"))
    };
}
use libtrust;

const KEY: &str = fixture!("test-key.pem");
const KEY_ID: &str = fixture!("test-key.id");

fn parse(text: &str) -> Result<Signed, Error> {
    Signed::parse(Bytes::copy_from_slice(text.as_bytes()))
}

/// A document of ours over any payload.
fn signed(payload: &str) -> String {
    SigningKey::from_pem(KEY).expect("a key").sign(payload, std::time::UNIX_EPOCH)
}

/// The payload of a document with one layer and one entry, changed.
fn payload_with(change: impl FnOnce(&mut Value)) -> String {
    let mut body = serde_json::json!({
        "schemaVersion": 1,
        "name": "a/b",
        "tag": "v1",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": empty_layer_digest().to_string()}],
        "history": [{"v1Compatibility": "{\"id\":\"a\"}"}],
    });
    change(&mut body);
    signing::indented(&body)
}
