use proptest::prelude::*;

use super::*;
use crate::oci::digest::Algorithm;

#[test]
fn valid_tags_are_accepted() {
    for text in ["latest", "v1.2.3", "_", "1", "A-b_c.d", &"a".repeat(128)] {
        assert_eq!(text.parse::<Tag>().map(|tag| tag.to_string()), Ok(text.to_owned()));
    }
}

#[test]
fn invalid_tags_are_refused() {
    for text in ["", ".a", "-a", "a/b", "a b", "a:b", "a+b", "é", "a\n", ".."] {
        assert!(matches!(text.parse::<Tag>(), Err(TagError::Malformed(_))), "{text:?}");
    }
    assert_eq!("a".repeat(129).parse::<Tag>(), Err(TagError::TooLong { bytes: 129 }));
}

#[test]
fn a_reference_with_a_colon_is_a_digest() {
    let digest = Digest::of(Algorithm::Sha256, b"");
    assert_eq!(digest.to_string().parse(), Ok(Reference::Digest(digest)));
    assert!(matches!("sha256:bad".parse::<Reference>(), Err(ReferenceError::Digest(_))));
    assert!(matches!(":".parse::<Reference>(), Err(ReferenceError::Digest(_))));
    assert!(matches!("latest".parse::<Reference>(), Ok(Reference::Tag(_))));
    assert!(matches!("".parse::<Reference>(), Err(ReferenceError::Tag(_))));
    // The fallback scheme for referrers spells a digest as a tag.
    let fallback = digest.to_string().replace(':', "-");
    assert!(matches!(fallback.parse::<Reference>(), Ok(Reference::Tag(_))));
}

proptest! {
    #[test]
    fn a_displayed_reference_parses_to_the_same_value(
        text in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}",
        bytes: [u8; 32],
    ) {
        let tag = text.parse::<Tag>().expect("grammatical");
        prop_assert_eq!(tag.as_str(), &text);
        for reference in [Reference::Tag(tag), Reference::Digest(Digest::Sha256(bytes))] {
            prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
        }
    }

    #[test]
    fn an_accepted_text_is_displayed_unchanged(text in "\\PC{0,140}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.to_string(), text);
        }
    }
}
