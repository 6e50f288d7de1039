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

#[test]
fn a_segment_says_whether_the_session_is_new() {
    let id: UploadId = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().expect("an identifier");
    let new = |algorithm| Some(NewSession { algorithm });
    for (mark, new) in [
        ("", None),
        ("-new", new(None)),
        ("-new-sha256", new(Some(Algorithm::Sha256))),
        ("-new-sha512", new(Some(Algorithm::Sha512))),
    ] {
        let text = format!("{id}{mark}");
        let segment = UploadSegment { id, new };
        assert_eq!(text.parse(), Ok(segment), "{mark}");
        assert_eq!(segment.to_string(), text);
    }
    for mark in ["-", "new", "-NEW", "-new-", "-newsha256", "-new-md5", "-new-sha256-", " ", "é"] {
        assert!(format!("{id}{mark}").parse::<UploadSegment>().is_err(), "{mark}");
    }
    for text in ["", "-new", "67e55044", "67e55044-10b1-426f-9247-bb680e5fe0cé"] {
        assert!(text.parse::<UploadSegment>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn a_displayed_identifier_parses_to_the_same_value(bits: u128) {
        let id = UploadId(Uuid::from_u128(bits));
        prop_assert_eq!(id.to_string().parse(), Ok(id));
    }
}
