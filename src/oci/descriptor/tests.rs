use serde_json::{Value, from_value, json, to_value};

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn with(key: &str, value: Value) -> Value {
    let mut descriptor = json!({"mediaType": "a/b", "digest": DIGEST, "size": 0});
    descriptor[key] = value;
    descriptor
}

#[test]
fn a_descriptor_with_every_field_round_trips() {
    let full = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": DIGEST,
        "size": 7,
        "artifactType": "a/b",
        "annotations": {"k": "v"},
        "urls": ["https://example.com/x"],
        "platform": {
            "architecture": "arm64", "os": "linux", "os.version": "1", "os.features": ["x"],
            "variant": "v8",
        },
    });
    let descriptor: Descriptor = from_value(full.clone()).expect("valid");
    assert_eq!(descriptor.platform.as_ref().and_then(|p| p.variant.as_deref()), Some("v8"));
    assert_eq!(to_value(descriptor).expect("serializes"), full);
}

#[test]
fn absent_and_null_fields_are_not_written() {
    let least = json!({"mediaType": "", "digest": "blake3:x", "size": i64::MAX});
    let descriptor: Descriptor = from_value(least.clone()).expect("valid");
    assert_eq!(to_value(descriptor).expect("serializes"), least);
    for key in ["annotations", "urls", "platform", "artifactType", "data"] {
        from_value::<Descriptor>(with(key, Value::Null)).expect(key);
    }
}

#[test]
fn unknown_fields_are_ignored() {
    for (key, value) in [("data", json!("e30=")), ("data", json!(1)), ("org.example", json!({}))] {
        from_value::<Descriptor>(with(key, value)).expect(key);
    }
    from_value::<Descriptor>(with("platform", json!({"x": 1}))).expect("platform");
}

#[test]
fn the_scheme_of_a_url_has_no_case() {
    for url in ["http://example.com/x", "https://example.com/x", "HTTPS://example.com/x"] {
        from_value::<Descriptor>(with("urls", json!([url]))).expect(url);
    }
}

#[test]
fn wrong_values_are_refused() {
    for (key, value) in [
        ("size", json!(-1)),
        ("size", json!(1.5)),
        ("size", json!("1")),
        ("size", json!(9_223_372_036_854_775_808_u64)),
        ("size", Value::Null),
        ("digest", json!("sha256:00")),
        ("digest", json!("nonsense")),
        ("digest", Value::Null),
        ("mediaType", Value::Null),
        ("mediaType", json!(1)),
        ("annotations", json!({"a": 1})),
        ("annotations", json!([])),
        ("urls", json!("https://example.com")),
        ("urls", json!(["https://example.com", "file:///x"])),
        ("urls", json!(["javascript:alert(1)"])),
        ("urls", json!(["javascript:https://example.com"])),
        ("urls", json!(["example.com"])),
        ("urls", json!([""])),
        ("platform", json!(["amd64", "linux"])),
        ("platform", json!("linux/amd64")),
    ] {
        assert!(from_value::<Descriptor>(with(key, value.clone())).is_err(), "{key}: {value}");
    }
    for key in ["mediaType", "digest", "size"] {
        let mut descriptor = with("size", json!(1));
        descriptor.as_object_mut().expect("an object").remove(key);
        assert!(from_value::<Descriptor>(descriptor).is_err(), "{key}");
    }
}
