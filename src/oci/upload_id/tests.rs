use proptest::prelude::*;

use super::*;

#[test]
fn random_identifiers_differ_and_round_trip() {
    let (a, b) = (UploadId::random(), UploadId::random());
    assert_ne!(a, b);
    assert_eq!(a.to_string().parse(), Ok(a));
}

#[test]
fn only_the_canonical_spelling_is_accepted() {
    let text = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    assert_eq!(text.parse::<UploadId>().map(|id| id.to_string()), Ok(text.to_owned()));
    let others = [
        String::new(),
        text.to_uppercase(),
        text.replace('-', ""),
        format!("{{{text}}}"),
        format!("urn:uuid:{text}"),
        format!("{text} "),
        text[1..].to_owned(),
    ];
    for other in others {
        assert!(other.parse::<UploadId>().is_err(), "{other:?}");
    }
}

proptest! {
    #[test]
    fn a_displayed_identifier_parses_to_the_same_value(bits: u128) {
        let id = UploadId(Uuid::from_u128(bits));
        prop_assert_eq!(id.to_string().parse(), Ok(id));
    }
}
