//! Properties that hold for any input.

use proptest::prelude::*;

use super::*;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!(2)),
        Just(json!(DIGEST)),
        prop::sample::select(MediaType::ACCEPTED.to_vec()).prop_map(|t| json!(t.as_str())),
        "\\PC{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let key = prop_oneof![
            prop::sample::select(vec![
                "schemaVersion",
                "mediaType",
                "config",
                "layers",
                "manifests",
                "subject",
                "digest",
                "size",
                "annotations",
                "artifactType",
                "platform",
                "urls",
                "fsLayers",
            ])
            .prop_map(str::to_owned),
            "[a-c]{0,2}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn any_declared() -> impl Strategy<Value = Option<MediaType>> {
    prop::option::of(prop::sample::select(MediaType::ACCEPTED.to_vec()))
}

fn check(raw: Bytes, declared: Option<&MediaType>) {
    let Ok(manifest) = Manifest::parse(raw.clone(), declared) else { return };
    assert_eq!(manifest.raw(), &raw);
    let media_type = manifest.media_type();
    assert!(MediaType::ACCEPTED.contains(media_type));
    assert_eq!(manifest.blobs().is_empty(), media_type.is_index());
    assert!(manifest.children().is_empty() || media_type.is_index());
    // A manifest served under its own type can be pushed again.
    Manifest::parse(raw, Some(media_type)).expect("its own type is accepted");
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_a_panic(raw: Vec<u8>, declared in any_declared()) {
        check(raw.into(), declared.as_ref());
    }

    #[test]
    fn any_json_is_parsed_without_a_panic(value in any_json(), declared in any_declared()) {
        check(value.to_string().into(), declared.as_ref());
    }

    #[test]
    fn a_changed_manifest_is_parsed_without_a_panic(
        media_type in prop::sample::select(MediaType::ACCEPTED.to_vec()),
        key in "config|layers|manifests|subject|annotations|artifactType|mediaType|x",
        value in any_json(),
        declared in any_declared(),
    ) {
        check(with(&media_type, &key, value).to_string().into(), declared.as_ref());
    }

    #[test]
    fn a_damaged_manifest_is_parsed_without_a_panic(
        media_type in prop::sample::select(MediaType::ACCEPTED.to_vec()),
        position: prop::sample::Index,
        byte: u8,
    ) {
        let mut raw = minimal(&media_type).to_string().into_bytes();
        let position = position.index(raw.len());
        raw[position] = byte;
        check(raw.into(), None);
    }
}
