use proptest::prelude::*;

use super::*;

const EMPTY_SHA256: &str =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const EMPTY_SHA512: &str = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
                            47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";

fn any_digest() -> impl Strategy<Value = Digest> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(Digest::Sha256),
        prop::collection::vec(any::<u8>(), 64)
            .prop_map(|bytes| Digest::Sha512(bytes.try_into().expect("64 bytes"))),
    ]
}

#[test]
fn empty_content_has_the_well_known_digests() {
    assert_eq!(Digest::of(Algorithm::Sha256, b"").to_string(), EMPTY_SHA256);
    assert_eq!(Digest::of(Algorithm::Sha512, b"").to_string(), EMPTY_SHA512);
}

#[test]
fn malformed_digests_are_refused() {
    let upper = EMPTY_SHA256.to_uppercase().replace("SHA", "sha");
    let (short, long) = (&EMPTY_SHA256[..70], format!("{EMPTY_SHA256}0"));
    let crossed = EMPTY_SHA256.replace("sha256", "sha512");
    let padded = format!(" {EMPTY_SHA256}");
    for text in [
        "",
        ":",
        "sha256",
        "sha256:",
        "sha256:baddigeststring",
        "../../etc:abc",
        "sha256::abc",
        "blake3:",
        "blake3:a/b",
        "Blake3:abc",
        "+x:abc",
        "a..b:abc",
        upper.as_str(),
        short,
        long.as_str(),
        crossed.as_str(),
        padded.as_str(),
    ] {
        assert!(matches!(text.parse::<Digest>(), Err(DigestError::Malformed(_))), "{text}");
        assert!(matches!(text.parse::<AnyDigest>(), Err(DigestError::Malformed(_))), "{text}");
    }
}

#[test]
fn an_unsupported_algorithm_is_not_malformed() {
    for text in ["blake3:abc", "sha256+b64u:LCa0a2j_xo-5m0U8HTBBNBNCLXBkg7-g", "multihash+x:QmRZ"] {
        assert!(matches!(text.parse::<Digest>(), Err(DigestError::Unsupported(_))), "{text}");
        let other = text.parse::<AnyDigest>().expect("grammatical");
        assert_eq!((other.known(), other.to_string()), (None, text.to_owned()));
    }
    assert!(matches!("md5".parse::<Algorithm>(), Err(DigestError::Unsupported(_))));
    assert!(matches!("SHA256".parse::<Algorithm>(), Err(DigestError::Malformed(_))));
}

#[test]
fn errors_truncate_the_text() {
    let error = "x".repeat(1 << 20).parse::<Digest>().expect_err("no colon");
    assert!(error.to_string().len() < 400, "{error}");
}

#[test]
fn deserializing_checks_the_grammar() {
    let digest = EMPTY_SHA256.parse::<Digest>().expect("valid");
    let json = serde_json::to_string(&digest).expect("serializes");
    assert_eq!(json, format!("\"{EMPTY_SHA256}\""));
    assert_eq!(serde_json::from_str::<Digest>(&json).expect("parses"), digest);
    assert!(serde_json::from_str::<Digest>("\"sha256:00\"").is_err());
    assert!(serde_json::from_str::<Digest>("7").is_err());
}

proptest! {
    #[test]
    fn a_displayed_digest_parses_to_the_same_value(digest in any_digest()) {
        prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        prop_assert_eq!(digest.to_string().parse::<AnyDigest>(), Ok(AnyDigest::Known(digest)));
        prop_assert_eq!(format!("{}:{}", digest.algorithm(), digest.hex()), digest.to_string());
    }

    #[test]
    fn unsupported_digests_round_trip(
        text in "[a-r][a-z0-9]{0,5}([+._-][a-z0-9]{1,5}){0,3}:[a-zA-Z0-9=_-]{1,80}",
    ) {
        prop_assert_eq!(text.parse::<AnyDigest>().expect("grammatical").to_string(), text);
    }

    #[test]
    fn an_accepted_text_is_displayed_unchanged(
        text in "\\PC{0,20}|(sha256|sha512|blake3):[0-9a-fA-F]{60,130}",
    ) {
        if let Ok(digest) = text.parse::<AnyDigest>() {
            prop_assert_eq!(digest.to_string(), text);
        }
    }
}
