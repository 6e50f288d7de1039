//! Manifests that are accepted, and what is parsed from them.

use super::*;

#[test]
fn every_accepted_type_needs_no_content_type() {
    for media_type in MediaType::ACCEPTED {
        let name = media_type.as_str();
        let with_parameter = format!("{name}; charset=utf-8");
        let body = minimal(&media_type);
        for declared in [
            Some(name),
            Some(with_parameter.as_str()),
            None,
            Some(""),
            Some("application/json"),
            Some("application/octet-stream"),
        ] {
            let manifest = parse(&body, declared).expect(name);
            assert_eq!(manifest.media_type(), &media_type, "{declared:?}");
            assert_eq!(manifest.raw(), body.to_string().as_bytes());
            assert_eq!(manifest.blobs().len(), if media_type.is_image() { 2 } else { 0 });
            assert_eq!(manifest.children().len(), usize::from(media_type.is_index()));
        }
    }
}

#[test]
fn oci_types_need_no_media_type_inside() {
    for media_type in [MediaType::OciManifest, MediaType::OciIndex] {
        let body = without(&media_type, "mediaType");
        for declared in [None, Some(media_type.as_str()), Some("application/json")] {
            let manifest = parse(&body, declared).expect("sniffed");
            assert_eq!(manifest.media_type(), &media_type);
        }
    }
}

#[test]
fn white_space_and_unknown_keys_are_ignored() {
    let text = format!("\n {:#} \r\n", with(&MediaType::OciManifest, "x", json!([{"y": [1.5e3]}])));
    let manifest = parse_text(&text, None).expect("valid");
    assert_eq!(manifest.raw(), text.as_bytes());
    for key in ["data", "custom", "signatures", "history"] {
        parse(&with(&MediaType::OciIndex, key, json!({"a": null})), None).expect(key);
    }
    // The same key in two different objects is not a duplicate.
    parse(&with(&MediaType::OciIndex, "x", json!({"x": {"x": 1}, "y": {"x": 1}})), None)
        .expect("x");
}

#[test]
fn empty_lists_are_accepted() {
    let no_layers = with(&MediaType::OciManifest, "layers", json!([]));
    assert_eq!(parse(&no_layers, None).expect("no layers").blobs().len(), 1);
    let empty_index = with(&MediaType::OciIndex, "manifests", json!([]));
    assert!(parse(&empty_index, None).expect("empty index").children().is_empty());
}

#[test]
fn descriptors_may_have_any_type() {
    let mut layer = descriptor("application/x-whatever; but=legal");
    layer["data"] = json!("e30=");
    layer["digest"] = json!("blake3:abc");
    let body = with(&MediaType::OciManifest, "layers", json!([layer]));
    assert_eq!(parse(&body, None).expect("valid").blobs()[1].digest.to_string(), "blake3:abc");
}

#[test]
fn layers_with_urls_are_not_required() {
    let mut with_urls = descriptor(LAYER);
    with_urls["urls"] = json!(["https://example.com/layer"]);
    let layers = json!([
        descriptor(LAYER),
        with_urls,
        descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar"),
        descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"),
        descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
    ]);
    for media_type in [MediaType::OciManifest, MediaType::DockerManifest] {
        let manifest = parse(&with(&media_type, "layers", layers.clone()), None).expect("valid");
        assert_eq!((manifest.blobs().len(), manifest.external_layers().len()), (2, 5));
    }
}

#[test]
fn only_oci_types_have_a_subject() {
    let subject = descriptor("application/x-anything");
    for media_type in MediaType::ACCEPTED {
        let manifest = parse(&with(&media_type, "subject", subject.clone()), None).expect("valid");
        let oci = matches!(media_type, MediaType::OciManifest | MediaType::OciIndex);
        assert_eq!(manifest.subject().is_some(), oci, "{media_type}");
    }
    // For Docker's types `subject` is an unknown key, whatever its value.
    parse(&with(&MediaType::DockerManifest, "subject", json!(1)), None).expect("ignored");
    let null = with(&MediaType::OciManifest, "subject", Value::Null);
    assert!(parse(&null, None).expect("absent").subject().is_none());
}

#[test]
fn artifact_type_falls_back_to_the_config_of_an_image() {
    let of = |body| parse(&body, None).expect("valid").artifact_type().map(str::to_owned);
    let given = |media_type, value| of(with(media_type, "artifactType", value));
    let (image, index) = (&MediaType::OciManifest, &MediaType::OciIndex);
    assert_eq!(given(image, json!("a/b")).as_deref(), Some("a/b"));
    assert_eq!(given(index, json!("a/b")).as_deref(), Some("a/b"));
    for empty in [json!(""), Value::Null] {
        assert_eq!(given(image, empty.clone()).as_deref(), Some(CONFIG));
        assert_eq!(given(index, empty), None);
    }
    assert_eq!(of(minimal(index)), None);
    assert_eq!(of(with(image, "config", descriptor(""))), None);
}

#[test]
fn annotations_are_parsed() {
    let body = with(&MediaType::OciIndex, "annotations", json!({"k": "v"}));
    let manifest = parse(&body, None).expect("valid");
    let annotations = manifest.annotations().expect("has some");
    assert_eq!(annotations.get("k").map(String::as_str), Some("v"));
    assert!(parse(&minimal(&MediaType::OciIndex), None).expect("valid").annotations().is_none());
}

#[test]
fn large_annotations_are_accepted() {
    // The manifest of the conformance suite: 390 annotations of 10,000 bytes.
    let annotations: Value =
        (0..390).map(|i| (format!("k{i}"), json!("x".repeat(10_000)))).collect();
    parse(&with(&MediaType::OciManifest, "annotations", annotations), None).expect("valid");
}
