//! Manifests that are refused, and the error messages.

use super::*;
use crate::oci::descriptor::DESCRIPTORS_MAX;

fn refusal(result: Result<Manifest, ManifestError>) -> String {
    match result {
        Err(ManifestError::Invalid(message)) => message,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn assert_refused(body: &Value, declared: Option<&str>, expected: &str) {
    let message = refusal(parse(body, declared));
    assert!(message.contains(expected), "{message:?} does not contain {expected:?}: {body}");
}

fn assert_text_refused(text: &str, expected: &str) {
    let message = refusal(parse_text(text, None));
    assert!(message.contains(expected), "{message:?} does not contain {expected:?}: {text}");
}

#[test]
fn a_body_that_is_not_one_json_object_is_refused() {
    let valid = minimal(&MediaType::OciManifest).to_string();
    for (text, expected) in [
        ("", "EOF"),
        ("{", "EOF"),
        ("[]", "expected a JSON object"),
        ("null", "expected a JSON object"),
        ("[2, \"a/b\"]", "expected a JSON object"),
        (&valid[..valid.len() - 1], "EOF"),
        (&format!("{valid}{valid}"), "trailing characters"),
        (&format!("{valid}\0"), "trailing characters"),
        (&format!("\u{feff}{valid}"), "byte order mark"),
        (&valid.replacen('{', "{'x': 1,", 1), "line 1 column"),
        (&valid.replacen('{', "{\"x\": \"\\ud800\",", 1), "line 1 column"),
        (&valid.replacen('{', "{\"x\": NaN,", 1), "line 1 column"),
        (&valid.replacen('{', "{\"x\": 1, /* */", 1), "line 1 column"),
    ] {
        assert_text_refused(text, expected);
    }
    let latin1 = Bytes::from_static(b"{\"x\": \"\xe9\"}");
    assert!(refusal(Manifest::parse(latin1, None)).contains("not UTF-8"));
}

#[test]
fn duplicate_keys_are_refused() {
    let valid = minimal(&MediaType::OciManifest).to_string();
    for doubled in [
        valid.replacen('{', "{\"mediaType\": \"x\", ", 1),
        valid.replacen('{', "{\"layers\": [], ", 1),
        valid.replacen('{', "{\"\\u006cayers\": [], ", 1),
        valid.replacen('{', "{\"x\": {\"a\": 1, \"b\": 2, \"a\": 1}, ", 1),
        valid.replacen('{', "{\"x\": [[{\"a\": {}, \"a\": {}}]], ", 1),
        valid.replacen("\"size\":1", "\"size\":1,\"size\":1", 1),
    ] {
        assert_text_refused(&doubled, "occurs twice");
    }
}

#[test]
fn deep_nesting_is_refused_without_a_stack_overflow() {
    let nested = |open: &str, close: &str, depth: usize| {
        let value = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let valid = minimal(&MediaType::OciManifest).to_string();
        valid.replacen('{', &format!("{{\"x\": {value}, "), 1)
    };
    parse_text(&nested("[", "]", 99), None).expect("99 and the manifest itself are 100");
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [100, 127, 128, 1_000_000] {
            assert_text_refused(&nested(open, close, depth), "nested more than 100 levels deep");
        }
    }
    assert_text_refused(&"[".repeat(1 << 20), "expected a JSON object");
}

#[test]
fn a_wrong_schema_version_is_refused() {
    let image = &MediaType::OciManifest;
    assert_refused(&without(image, "schemaVersion"), None, "no schemaVersion");
    for (version, expected) in [
        (json!(3), "schemaVersion must be 2, it is 3"),
        (json!(0), "schemaVersion must be 2"),
        (json!("2"), "schemaVersion: invalid type"),
        (json!(2.0), "schemaVersion: invalid type"),
        (json!(-2), "schemaVersion: invalid value"),
        (Value::Null, "schemaVersion"),
    ] {
        assert_refused(&with(image, "schemaVersion", version), None, expected);
    }
}

#[test]
fn a_media_type_that_differs_from_the_content_type_is_refused() {
    for own in MediaType::ACCEPTED {
        for declared in MediaType::ACCEPTED {
            if own != declared {
                assert_refused(
                    &minimal(&own),
                    Some(declared.as_str()),
                    "differs from the Content-Type",
                );
            }
        }
    }
    let image = &MediaType::OciManifest;
    for wrong in [CONFIG, "", "application/json", "application/vnd.oci.image.MANIFEST.v1+json"] {
        let body = with(image, "mediaType", json!(wrong));
        assert_refused(&body, Some(image.as_str()), "differs");
        assert_refused(&body, None, "mediaType");
    }
    assert_refused(&with(image, "mediaType", Value::Null), None, "mediaType: invalid type");
    assert_refused(&with(image, "mediaType", json!(2)), None, "mediaType: invalid type");
}

#[test]
fn docker_types_need_a_media_type() {
    for media_type in [MediaType::DockerManifest, MediaType::DockerManifestList] {
        let body = without(&media_type, "mediaType");
        assert_refused(&body, Some(media_type.as_str()), "no mediaType");
    }
}

#[test]
fn other_content_types_are_refused() {
    for declared in ["text/plain", CONFIG, "*/*", "nonsense"] {
        let message = refusal(parse(&minimal(&MediaType::OciManifest), Some(declared)));
        assert!(message.starts_with("Content-Type"), "{message}");
        for accepted in MediaType::ACCEPTED {
            assert!(message.contains(accepted.as_str()), "{message}");
        }
    }
    assert_refused(&json!({"schemaVersion": 2}), None, "no mediaType and none of the keys");
}

#[test]
fn keys_of_two_types_are_refused() {
    for value in [json!([]), Value::Null, json!([descriptor(LAYER)])] {
        for media_type in [MediaType::OciManifest, MediaType::DockerManifest] {
            for key in ["manifests", "fsLayers"] {
                assert_refused(&with(&media_type, key, value.clone()), None, "ambiguous");
            }
        }
        for media_type in [MediaType::OciIndex, MediaType::DockerManifestList] {
            for key in ["config", "layers", "fsLayers"] {
                assert_refused(&with(&media_type, key, value.clone()), None, "ambiguous");
            }
        }
    }
    let unlabelled = json!({"schemaVersion": 2, "layers": [], "manifests": []});
    assert_refused(&unlabelled, None, "ambiguous");
}

#[test]
fn errors_name_the_wrong_field() {
    let (image, index) = (&MediaType::OciManifest, &MediaType::OciIndex);
    let mut no_digest = descriptor(LAYER);
    no_digest.as_object_mut().expect("an object").remove("digest");
    let mut negative = descriptor(LAYER);
    negative["size"] = json!(-1);
    let mut short = descriptor(LAYER);
    short["digest"] = json!("sha256:00");
    let array = json!([LAYER, DIGEST, 1]);
    for (media_type, key, value, expected) in [
        (image, "config", Value::Null, "no config"),
        (image, "config", json!("x"), "config: invalid type"),
        (image, "config", array.clone(), "config: invalid type"),
        (image, "layers", json!({}), "layers: invalid type"),
        (image, "layers", json!([descriptor(LAYER), 1]), "layers: [1]: invalid type"),
        (image, "layers", json!([array]), "layers: [0]: invalid type"),
        (image, "layers", json!([no_digest]), "layers: [0]: missing field `digest`"),
        (image, "layers", json!([negative]), "layers: [0]: size: must not be negative"),
        (index, "manifests", json!([short]), "manifests: [0]: \"sha256:00\" is not a digest"),
        (index, "manifests", json!(false), "manifests: invalid type"),
        (image, "subject", json!({}), "subject: missing field"),
        (image, "subject", short.clone(), "subject: \"sha256:00\" is not a digest"),
        (image, "artifactType", json!(1), "artifactType: invalid type"),
        (index, "annotations", json!({"a": 1}), "annotations: invalid type"),
        (index, "annotations", json!([]), "annotations: invalid type"),
    ] {
        assert_refused(&with(media_type, key, value), None, expected);
    }
    for (media_type, key) in [(image, "config"), (index, "manifests")] {
        let expected = format!("no {key}");
        assert_refused(&without(media_type, key), Some(media_type.as_str()), &expected);
    }
}

#[test]
fn a_subject_with_an_unsupported_digest_is_refused() {
    let mut subject = descriptor(LAYER);
    subject["digest"] = json!("blake3:abc");
    let body = with(&MediaType::OciIndex, "subject", subject);
    assert_refused(&body, None, "subject: the algorithm of digest \"blake3:abc\"");
}

#[test]
fn too_many_descriptors_are_refused() {
    let most: Vec<_> = vec![descriptor(LAYER); DESCRIPTORS_MAX];
    parse(&with(&MediaType::OciIndex, "manifests", json!(most)), None).expect("at the limit");
    let more: Vec<_> = vec![descriptor(LAYER); DESCRIPTORS_MAX + 1];
    let body = with(&MediaType::OciManifest, "layers", json!(more));
    assert_refused(&body, None, "layers: more than 10000 descriptors");
}

#[test]
fn errors_truncate_long_values() {
    let long = "x".repeat(1 << 20);
    let image = &MediaType::OciManifest;
    for body in [
        with(image, "mediaType", json!(long)),
        with(image, "schemaVersion", json!(long)),
        with(image, "config", json!(long)),
        with(image, "layers", json!([{"mediaType": long, "digest": long, "size": long}])),
    ] {
        assert!(refusal(parse(&body, None)).len() < 500);
    }
}

#[test]
fn unsupported_types_are_refused_with_a_hint() {
    let unsupported = |body: &Value, declared: Option<&str>| {
        let error = parse(body, declared).expect_err("not served");
        assert!(matches!(error, ManifestError::Unsupported(_)), "{error:?}");
        assert!(error.to_string().contains("not supported"), "{error}");
    };
    let schema1 = json!({"schemaVersion": 1, "name": "a", "fsLayers": [], "history": []});
    unsupported(&schema1, None);
    unsupported(&schema1, Some("application/json"));
    for media_type in [MediaType::DockerSchema1, MediaType::DockerSchema1Signed] {
        unsupported(&schema1, Some(media_type.as_str()));
        unsupported(&with(&MediaType::OciIndex, "mediaType", json!(media_type.as_str())), None);
    }
    let artifact = with(&MediaType::OciIndex, "mediaType", json!(ARTIFACT_MANIFEST));
    unsupported(&artifact, None);
    unsupported(&artifact, Some(ARTIFACT_MANIFEST));
}
