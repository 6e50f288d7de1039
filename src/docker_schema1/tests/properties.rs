use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn no_bytes_are_too_strange(raw in prop::collection::vec(any::<u8>(), 0..300)) {
        let raw = Bytes::from(raw);
        prop_assert!(Signed::parse(raw.clone()).is_err());
        prop_assert!(document::payload(&raw).is_err());
        let _ = is_schema1(&raw, None, Negotiation::DockerLegacy);
        let _ = SigningKey::from_pem(&String::from_utf8_lossy(&raw));
    }

    /// Whatever is changed in a document, it is refused, or what is signed is still the same.
    #[test]
    fn no_change_goes_unseen(
        which in 0..4usize,
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), 32..127u8, 97..103u8],
        insert in any::<bool>(),
    ) {
        let document = [
            libtrust!("es256"), libtrust!("x5c-es256"), libtrust!("compact"),
            libtrust!("two-signatures"),
        ][which];
        let original = parse(document).expect("verified");
        let mut raw = document.as_bytes().to_vec();
        let at = at.index(raw.len());
        if insert { raw.insert(at, byte) } else { raw[at] = byte }
        if let Ok(changed) = Signed::parse(Bytes::from(raw)) {
            prop_assert_eq!(changed.payload(), original.payload());
        }
    }

    #[test]
    fn any_protected_header_and_any_key(
        length in any::<i64>(),
        tail in "\\PC{0,12}",
        x in "[A-Za-z0-9_=-]{0,90}",
        alg in "[A-Z0-9]{0,6}",
        crv in prop::sample::select(vec!["P-256", "P-384", "P-521", "P-1"]),
        kty in prop::sample::select(vec!["EC", "RSA", "oct"]),
    ) {
        let protected = serde_json::json!({
            "formatLength": length, "formatTail": encoding::encode(tail.as_bytes()),
        });
        let document = serde_json::json!({
            "schemaVersion": 1,
            "signatures": [{
                "header": {"alg": alg, "jwk": {
                    "kty": kty, "crv": crv, "x": x, "y": x, "n": x, "e": "AQAB",
                }},
                "signature": x,
                "protected": encoding::encode(protected.to_string().as_bytes()),
            }],
        });
        prop_assert!(parse(&document.to_string()).is_err());
    }

    /// What we sign we can verify, whatever it says.
    #[test]
    fn signing_is_the_inverse_of_verifying(name in "[a-z]{1,9}", text in "\\PC{0,40}") {
        let payload = payload_with(|body| {
            body["name"] = name.into();
            body["history"][0]["v1Compatibility"] = text.into();
        });
        let signed = parse(&signed(&payload)).expect("verified");
        prop_assert_eq!(signed.payload(), payload.as_bytes());
    }

    #[test]
    fn no_config_is_too_strange(
        config in "\\PC{0,60}|\\{\"history\":\\[\\{\"created\":\"[0-9TZ:.+-]{0,25}\"\\}\\],\
            \"rootfs\":\\{\\}\\}"
    ) {
        let key = SigningKey::generate();
        let name = (&"a".parse().expect("a name"), &"t".parse().expect("a tag"));
        let schema2 = b"{\"layers\":[]}";
        let config = config.as_bytes();
        let now = std::time::UNIX_EPOCH;
        let made = super::super::conversion::convert(name, schema2, config, &key, now);
        if let Ok(made) = made {
            prop_assert!(Signed::parse(made.raw).is_ok());
        }
    }

    #[test]
    fn compact_json_means_the_same(text in "[a-z \\\\\"<&\u{2028}]{0,20}", number in any::<i64>()) {
        let value = serde_json::json!({"k e y": [text, number, {"x": text}], "y": {}});
        let pretty = serde_json::to_string_pretty(&value).expect("JSON");
        let compact = encoding::escaped_like_go(&encoding::compact(&pretty));
        prop_assert_eq!(serde_json::from_str::<Value>(&compact).expect("JSON"), value.clone());
        prop_assert!(!compact.contains(['\n', '<', '&']));
    }
}
