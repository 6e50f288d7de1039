use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> MediaType {
    let Ok(media_type) = text.parse();
    media_type
}

#[test]
fn named_types_round_trip() {
    for media_type in MediaType::NAMED {
        assert_eq!(&parsed(media_type.as_str()), media_type);
    }
}

#[test]
fn parameters_case_and_space_are_ignored() {
    for text in [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
        "  Application/VND.OCI.image.manifest.v1+JSON ;charset=utf-8",
    ] {
        assert_eq!(parsed(text), MediaType::OciManifest, "{text}");
    }
    assert_eq!(parsed("Text/Plain; x=1").as_str(), "text/plain");
    assert_eq!(parsed(" ; x").as_str(), "");
}

#[test]
fn a_type_is_an_image_an_index_or_schema1() {
    for media_type in MediaType::NAMED {
        let kinds = [media_type.is_image(), media_type.is_index(), media_type.is_schema1()];
        assert_eq!(kinds.into_iter().filter(|&kind| kind).count(), 1, "{media_type}");
        assert_eq!(MediaType::ACCEPTED.contains(media_type), !media_type.is_schema1());
    }
}

proptest! {
    #[test]
    fn a_displayed_type_parses_to_the_same_value(
        text in "\\PC{0,60}|[a-zA-Z]{1,5}/[a-zA-Z.+]{1,9}( ?; ?q=1)?",
    ) {
        let media_type = parsed(&text);
        prop_assert_eq!(parsed(&media_type.to_string()), media_type);
    }
}
