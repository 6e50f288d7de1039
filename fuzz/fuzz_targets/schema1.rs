//! A signed document that is accepted is kept byte for byte and has one payload; a config of any
//! kind either converts to such a document or is refused.

#![no_main]

use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use longshore::docker_schema1::{Schema1, Signed, SigningKey, identity};
use longshore::oci::{MediaType, Negotiation};

static SCHEMA1: LazyLock<Schema1> = LazyLock::new(|| Schema1 {
    push: true,
    negotiation: Negotiation::DockerLegacy,
    key: Some(SigningKey::generate()),
});

fuzz_target!(|input: (bool, &[u8])| {
    let (converts, raw) = input;
    let raw = Bytes::copy_from_slice(raw);
    if converts {
        convert(&raw);
        return;
    }
    let _ = SCHEMA1.accept(&raw, None);
    let payload = identity(&MediaType::DockerSchema1Signed, &raw);
    let Ok(signed) = Signed::parse(raw.clone()) else { return };
    assert_eq!(signed.manifest().raw(), &raw);
    assert_eq!(signed.manifest().media_type(), &MediaType::DockerSchema1Signed);
    assert_eq!(payload.as_ref(), Some(signed.payload()));
    // Between payload and document there is nothing but the signatures.
    let payload: serde_json::Value = serde_json::from_slice(signed.payload()).expect("JSON");
    let mut whole: serde_json::Value = serde_json::from_slice(&raw).expect("JSON");
    whole.as_object_mut().expect("an object").remove("signatures");
    assert_eq!(payload, whole);
});

fn convert(config: &[u8]) {
    let layer = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";
    let image = serde_json::json!({ "layers": [{ "digest": layer }] }).to_string();
    let name = (&"a/b".parse().expect("a name"), &"v1".parse().expect("a tag"));
    let Ok(Some(made)) = SCHEMA1.convert(name, image.as_bytes(), config, UNIX_EPOCH) else { return };
    let signed = Signed::parse(made.raw).expect("what we sign can be verified");
    assert_eq!(signed.payload(), &made.payload);
}
