use std::fmt::Write as _;

use super::*;

#[track_caller]
fn invalid(document: &str, because: &str) {
    let error = parse(document).expect_err(because);
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    assert!(error.to_string().contains(because), "{error}");
}

#[track_caller]
fn unverified(document: &str, because: &str) {
    let error = parse(document).expect_err(because);
    assert!(matches!(error, Error::Unverified(_)), "{error:?}");
    assert!(error.to_string().contains(because), "{error}");
}

fn invalid_payload(change: impl FnOnce(&mut Value), because: &str) {
    invalid(&signed(&payload_with(change)), because);
}

#[test]
fn tampered() {
    for document in [
        libtrust!("es256"),
        libtrust!("es384"),
        libtrust!("es512"),
        libtrust!("rs256"),
        libtrust!("x5c-es256"),
        libtrust!("x5c-rs256"),
    ] {
        for (from, to) in [("amd64", "arm64"), ("a3ed", "a3ee"), ("fixture", "fixturf")] {
            unverified(&document.replacen(from, to, 1), "does not fit");
        }
    }
    // The second signature counts as much as the first.
    let two = libtrust!("two-signatures");
    for at in two.match_indices("\"signature\": \"").map(|(at, text)| at + text.len()) {
        let mut tampered = two.to_owned();
        let other = if &two[at..=at] == "A" { "B" } else { "A" };
        tampered.replace_range(at..=at, other);
        unverified(&tampered, "does not fit");
    }
}

#[test]
fn signed_by_another_key() {
    unverified(libtrust!("x5c-wrong-key"), "does not fit");
    let document = signed(&payload_with(|_| {}));
    let other = SigningKey::generate().sign(&payload_with(|_| {}), std::time::UNIX_EPOCH);
    let header = |text: &str| {
        let value: Value = serde_json::from_str(text).expect("JSON");
        value["signatures"][0]["header"]["jwk"].clone()
    };
    let (ours, theirs) = (header(&document), header(&other));
    let mut swapped = document;
    for key in ["kid", "x", "y"] {
        let text = |jwk: &Value| jwk[key].as_str().expect("text").to_owned();
        swapped = swapped.replace(&text(&ours), &text(&theirs));
    }
    unverified(&swapped, "does not fit");
}

#[test]
fn other_algorithms() {
    for alg in ["none", "HS256", "PS256", "ES256K", ""] {
        let document = libtrust!("es256").replace("ES256", alg);
        unverified(&document, "not supported");
    }
    for alg in ["ES384", "RS256", "ES512"] {
        unverified(&libtrust!("es256").replace("ES256", alg), "does not fit");
    }
    unverified(&libtrust!("rs256").replace("RS256", "ES256"), "does not fit");
}

#[test]
fn short_and_long_keys() {
    unverified(libtrust!("rs256-1024-bits"), "does not fit");
    let document: Value = serde_json::from_str(libtrust!("rs256")).expect("JSON");
    let jwk = &document["signatures"][0]["header"]["jwk"];
    let (n, kid) = (jwk["n"].as_str().expect("text"), jwk["kid"].as_str().expect("text"));
    let long = encoding::encode(&[0x55; 1025]);
    invalid(&libtrust!("rs256").replace(n, &long), "longer than 1024 bytes");
    let zero = encoding::encode(&[0; 256]);
    invalid(&libtrust!("rs256").replace(n, &zero), "zero");
    invalid(&libtrust!("rs256").replace(kid, "ABCD"), "fingerprint");
    invalid(&libtrust!("rs256").replace("\"AQAB\"", "\"AQABAQAB\""), "longer than 4 bytes");
    let private = libtrust!("rs256").replace("\"kty\"", "\"d\": \"AQAB\", \"kty\"");
    invalid(&private, "private key");
}

#[test]
fn chains_of_certificates() {
    unverified(libtrust!("x5c-circle"), "circle");
    unverified(libtrust!("x5c-gap"), "not signed by the one that follows");
    invalid(libtrust!("x5c-too-long"), "more than 8");
    let document: Value = serde_json::from_str(libtrust!("x5c-alone")).expect("JSON");
    let certificate = document["signatures"][0]["header"]["x5c"][0].as_str().expect("text");
    for wrong in ["", "!", "AAAA", &certificate[..certificate.len() - 8]] {
        unverified(&libtrust!("x5c-alone").replace(certificate, wrong), "certificate");
    }
    let trailing = format!("{}AAAA", certificate.trim_end_matches('='));
    let error = parse(&libtrust!("x5c-alone").replace(certificate, &trailing));
    assert!(error.is_err(), "bytes after a certificate");
}

#[test]
fn unsigned() {
    let payload = payload_with(|_| {});
    invalid(&payload, "not signed");
    invalid(&payload.replacen('{', "{\"signatures\": [],", 1), "empty");
    invalid(&payload.replacen('{', "{\"signatures\": null,", 1), "array");
    let headless = libtrust!("es256").replace("\"jwk\"", "\"key\"");
    unverified(&headless, "no key");
    invalid(libtrust!("nine-signatures"), "more than 8");
}

#[test]
fn truncated_anywhere() {
    let document = libtrust!("es256");
    for end in 0..document.len() {
        let error = parse(&document[..end]).expect_err("it is cut off");
        assert!(matches!(error, Error::Invalid(_)), "{end}: {error:?}");
    }
}

#[test]
fn content_that_is_not_signed() {
    let document = libtrust!("es256");
    for extra in ["\"name\": \"other\",", "\"x\": 1,", ",", "]"] {
        let smuggled = document.replacen("\"signatures\"", &format!("{extra}\"signatures\""), 1);
        assert!(matches!(parse(&smuggled), Err(Error::Invalid(_))), "{extra}");
    }
    let after = format!("{}, \"x\": 1}}", document.trim_end().trim_end_matches('}'));
    invalid(&after, "do not cover");
    invalid(&format!("{document} {{}}"), "trailing");
}

/// A document whose protected header says whatever it likes, signed all the same.
fn formatted(protected: &Value) -> String {
    let document = signed(&payload_with(|_| {}));
    let value: Value = serde_json::from_str(&document).expect("JSON");
    let old = value["signatures"][0]["protected"].as_str().expect("text");
    document.replace(old, &encoding::encode(protected.to_string().as_bytes()))
}

#[test]
fn formats_that_lie() {
    let json = |length: Value, tail: &str| {
        let tail = encoding::encode(tail.as_bytes());
        serde_json::json!({ "formatLength": length, "formatTail": tail })
    };
    for length in [0, 1, 5, 100, 100_000_000] {
        assert!(matches!(parse(&formatted(&json(length.into(), "\n}"))), Err(Error::Invalid(_))));
    }
    for length in [(-1).into(), u64::MAX.into(), 1e300.into(), "1".into(), Value::Null] {
        assert!(matches!(parse(&formatted(&json(length, "\n}"))), Err(Error::Invalid(_))));
    }
    let length = signed(&payload_with(|_| {})).find(",\n   \"signatures\"").expect("it is there");
    for tail in ["", "}}", "]", ",\"name\":\"b\"}", "\u{a0}}"] {
        invalid(&formatted(&json(length.into(), tail)), "formatTail");
    }
    let mut critical = json(length.into(), "\n}");
    critical["crit"] = serde_json::json!(["b64"]);
    invalid(&formatted(&critical), "crit");
    let honest = json(length.into(), "\n}");
    unverified(&formatted(&honest), "does not fit");
    invalid(&libtrust!("two-signatures").replacen("eyJ", "eyI", 1), "protected");
}

#[test]
fn signatures_that_disagree_about_the_payload() {
    let document: Value = serde_json::from_str(libtrust!("two-signatures")).expect("JSON");
    let other = serde_json::json!({"formatLength": 3, "formatTail": "fQ"});
    let protected = document["signatures"][1]["protected"].as_str().expect("text");
    let other = encoding::encode(other.to_string().as_bytes());
    let at = libtrust!("two-signatures").rfind(protected).expect("it is there");
    let mut text = libtrust!("two-signatures").to_owned();
    text.replace_range(at..at + protected.len(), &other);
    invalid(&text, "disagree");
}

#[test]
fn ambiguous() {
    for key in ["config", "layers", "manifests"] {
        invalid_payload(|body| body[key] = Value::Null, "ambiguous");
    }
    let oci = MediaType::OciManifest.to_string();
    invalid_payload(|body| body["mediaType"] = oci.as_str().into(), "mediaType");
    invalid_payload(|body| body["schemaVersion"] = 2.into(), "schemaVersion");
    invalid(&libtrust!("es256").replacen('{', "{\"name\": \"x\",", 1), "occurs twice");
    invalid(&libtrust!("es256").replacen('{', "{\"signatures\": [],", 1), "occurs twice");
    invalid(&format!("\u{feff}{}", libtrust!("es256")), "byte order mark");
    let array = "[".repeat(200) + &"]".repeat(200);
    let deep = payload_with(|_| {}).replacen('{', &format!("{{\"x\": {array},"), 1);
    invalid(&signed(&deep), "deep");
}

#[test]
fn cardinality() {
    invalid_payload(|body| body["history"] = serde_json::json!([]), "equally long");
    invalid_payload(|body| body["fsLayers"] = Value::Null, "equally long");
    invalid_payload(
        |body| {
            let (entry, layer) = (body["history"][0].clone(), body["fsLayers"][0].clone());
            body["history"] = std::iter::repeat_n(entry, HISTORY_MAX + 1).collect();
            body["fsLayers"] = std::iter::repeat_n(layer, HISTORY_MAX + 1).collect();
        },
        "more than 2000",
    );
    for wrong in ["", "sha256:abc", "tarsum+sha256:aa", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        invalid_payload(|body| body["fsLayers"][0]["blobSum"] = wrong.into(), "digest");
    }
}

#[test]
fn names() {
    let long = "a/".repeat(200) + "a";
    for name in ["", "UPPER/case", "a//b", "a b", "docker.io/", "../a", &long] {
        let document = signed(&payload_with(|body| body["name"] = name.into()));
        let error = parse(&document).expect_err("no name");
        assert!(matches!(error, Error::Name(_)), "{name}: {error:?}");
    }
}

#[test]
fn histories_in_a_circle() {
    let history = |entries: &[(&str, &str)]| {
        payload_with(|body| {
            let layer = body["fsLayers"][0].clone();
            body["fsLayers"] = std::iter::repeat_n(layer, entries.len()).collect();
            let entry = |(id, parent): &(&str, &str)| {
                let mut text = String::new();
                write!(text, "{{\"id\":\"{id}\",\"parent\":\"{parent}\"}}").expect("fits");
                serde_json::json!({"v1Compatibility": text})
            };
            body["history"] = entries.iter().map(entry).collect();
        })
    };
    invalid(&signed(&history(&[("a", "a")])), "circle");
    invalid(&signed(&history(&[("a", "b"), ("b", "a")])), "circle");
    invalid(&signed(&history(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")])), "circle");
    invalid(&signed(&history(&[("a", "b"), ("a", "c")])), "two different parents");
    parse(&signed(&history(&[("a", "b"), ("b", "c"), ("x", "c"), ("a", "b")]))).expect("a tree");
}
