//! A signed document that is accepted is kept byte for byte and has one payload; a config of any kind
//! either converts to such a document or is refused.

#![no_main]

use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use longshore::oci::MediaType;
use longshore::docker_schema1::{self as schema1, Declared, Signed, SigningKey, Source};

static KEY: LazyLock<SigningKey> = LazyLock::new(SigningKey::generate);

fuzz_target!(|input: (bool, &[u8])| {
    let (converts, raw) = input;
    let raw = Bytes::copy_from_slice(raw);
    if converts {
        convert(&raw);
        return;
    }
    let _ = schema1::is_meant(&raw, None, Declared::Any);
    let taken_out = schema1::payload(&raw);
    let Ok(signed) = Signed::parse(raw.clone()) else { return };
    assert_eq!(signed.manifest().raw(), &raw);
    assert_eq!(taken_out.as_ref(), Ok(signed.payload()));
    let media_type = signed.manifest().media_type();
    assert_eq!(media_type, &MediaType::DockerSchema1Signed);
    assert_eq!(schema1::identity(media_type, &raw).as_ref(), Some(signed.payload()));
    // Between payload and document there is nothing but the signatures.
    let payload: serde_json::Value = serde_json::from_slice(signed.payload()).expect("JSON");
    let mut whole: serde_json::Value = serde_json::from_slice(&raw).expect("JSON");
    whole.as_object_mut().expect("an object").remove("signatures");
    assert_eq!(payload, whole);
});

fn convert(config: &[u8]) {
    let image = serde_json::json!({
        "config": {"digest": schema1::empty_layer_digest()},
        "layers": [{"digest": schema1::empty_layer_digest()}],
    });
    let source = Source::read(image.to_string().as_bytes()).expect("an image");
    let name = (&"a/b".parse().expect("a name"), &"v1".parse().expect("a tag"));
    let Ok(made) = schema1::convert(name, &source, config, &KEY, UNIX_EPOCH) else { return };
    let signed = Signed::parse(made.raw).expect("what we sign can be verified");
    assert_eq!(signed.payload(), &made.payload);
}
