use super::*;
use crate::oci::digest::AnyDigest;

const SIGNED: [&str; 10] = [
    libtrust!("es256"),
    libtrust!("es384"),
    libtrust!("es512"),
    libtrust!("rs256"),
    libtrust!("two-signatures"),
    libtrust!("x5c-es256"),
    libtrust!("x5c-rs256"),
    libtrust!("x5c-alone"),
    fixture!("skopeo.json"),
    fixture!("registry-2.8.2/schema1.json"),
];

#[test]
fn what_docker_signed() {
    for document in SIGNED {
        let signed = parse(document).unwrap_or_else(|error| panic!("{error}: {document}"));
        assert_eq!(signed.manifest().raw(), document.as_bytes());
        assert_eq!(signed.manifest().media_type(), &MediaType::DockerSchema1Signed);
        let payload: Value = serde_json::from_slice(signed.payload()).expect("JSON");
        let mut whole: Value = serde_json::from_str(document).expect("JSON");
        whole.as_object_mut().expect("an object").remove("signatures");
        assert_eq!(payload, whole);
    }
}

#[test]
fn the_payload_is_what_was_signed_to_the_last_byte() {
    let first = parse(libtrust!("es256")).expect("verified");
    for other in [libtrust!("rs256"), libtrust!("two-signatures"), libtrust!("x5c-es256")] {
        assert_eq!(parse(other).expect("verified").payload(), first.payload());
    }
    assert!(first.payload().ends_with(b"\n   ]\n}"));
    // Spaces at the end are part of it, although the document does not show them.
    let compact = parse(libtrust!("compact")).expect("verified");
    assert!(compact.payload().ends_with(b"\"history\":[]}\n\n"));
    assert!(!libtrust!("compact").ends_with('\n'));
    for document in SIGNED {
        let bytes = Bytes::from_static(document.as_bytes());
        let found = identity(&MediaType::DockerSchema1Signed, &bytes);
        assert_eq!(found.as_ref(), Some(parse(document).expect("verified").payload()));
    }
}

#[test]
fn every_layer_is_referred_to_once() {
    let document = fixture!("registry-2.8.2/schema1.json");
    let signed = parse(document).expect("verified");
    let layers = signed.manifest().blobs();
    assert_eq!(layers.len(), 4, "of five steps two have the same empty layer");
    assert!(layers.iter().any(|l| l.digest == AnyDigest::Known(empty_layer_digest())));
}

#[test]
fn names_of_elsewhere_are_names() {
    for name in ["a", "library/a", "docker.io/library/a", "localhost:5000/a", "localhost/a"] {
        let payload = payload_with(|body| body["name"] = name.into());
        parse(&signed(&payload)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_history_may_be_any_text_and_repeat_itself() {
    let entries = ["", "no JSON", "[]", "{\"id\":1}", "{}", "{\"id\":\"a\",\"parent\":\"b\"}"];
    let payload = payload_with(|body| {
        let (entry, layer) = (body["history"][0].clone(), body["fsLayers"][0].clone());
        body["history"] = entries
            .iter()
            .flat_map(|text| {
                let mut entry = entry.clone();
                entry["v1Compatibility"] = (*text).into();
                [entry.clone(), entry]
            })
            .collect();
        body["fsLayers"] = std::iter::repeat_n(layer, 2 * entries.len()).collect();
    });
    parse(&signed(&payload)).expect("verified");
}

#[test]
fn keys_have_the_names_that_docker_gives_them() {
    let key = SigningKey::from_pem(KEY).expect("libtrust wrote it, with a header in the block");
    assert_eq!(key.id(), KEY_ID.trim());
    assert_eq!(SigningKey::generate().id().split(':').count(), 12);
    assert_ne!(SigningKey::generate().id(), SigningKey::generate().id());
    assert!(!format!("{key:?}").contains("BEGIN"));
}

#[test]
fn keys_in_other_forms() {
    // openssl ecparam -name prime256v1 -genkey, and the same through openssl pkcs8 -topk8 -nocrypt.
    let sec1 = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        .to_owned()
        + KEY;
    assert_eq!(SigningKey::from_pem(&sec1).expect("a key").id(), KEY_ID.trim());
    for wrong in ["", "-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----", "nonsense"] {
        assert_eq!(SigningKey::from_pem(wrong).err(), Some(KeyError), "{wrong}");
    }
}

#[test]
fn what_a_push_claims_to_be() {
    let document = libtrust!("es256").as_bytes();
    let claims = |declared: Option<&str>, rule| {
        let declared = declared.map(|text| {
            let Ok(media_type) = text.parse::<MediaType>();
            media_type
        });
        is_schema1(document, declared.as_ref(), rule)
    };
    for rule in [Negotiation::Oci, Negotiation::DockerLegacy] {
        assert!(claims(None, rule));
        assert!(claims(Some("application/json; charset=utf-8"), rule));
        assert!(claims(Some("application/vnd.docker.distribution.manifest.v1+json"), rule));
        assert!(claims(Some("application/vnd.docker.distribution.manifest.v1+prettyjws"), rule));
        assert!(!claims(Some("application/vnd.oci.image.manifest.v1+json"), rule));
    }
    assert!(!claims(Some("text/plain"), Negotiation::Oci));
    assert!(claims(Some("text/plain"), Negotiation::DockerLegacy));
    assert!(!is_schema1(b"{\"schemaVersion\":2}", None, Negotiation::DockerLegacy));
    assert!(!is_schema1(b"{\"schemaVersion\":1", None, Negotiation::DockerLegacy));
}
