use proptest::prelude::*;

use super::*;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Parses headers; returns whether they accept everything, name the OCI manifest, name the index.
fn read(headers: &[&str]) -> (bool, bool, bool) {
    let accept = Accept::parse(headers.iter().copied());
    let names = |media_type| accept.names(&media_type);
    (accept.is_unrestricted(), names(MediaType::OciManifest), names(MediaType::OciIndex))
}

#[test]
fn a_missing_or_invalid_header_accepts_every_type() {
    for headers in [&[][..], &[""], &[" , ,"], &["nonsense"], &["a/b/c", "x/;q=1"], &["a/b;q=x"]] {
        assert_eq!(read(headers), (true, false, false), "{headers:?}");
    }
    assert!(Accept::default().is_unrestricted());
}

#[test]
fn a_wildcard_accepts_every_type_and_named_types_are_kept() {
    for wildcard in ["*/*", "application/*", "application/json", "Application/JSON ; q=0.1"] {
        assert_eq!(read(&[wildcard]), (true, false, false), "{wildcard}");
        assert_eq!(read(&[&format!("{OCI}, {wildcard}")]), (true, true, false), "{wildcard}");
    }
    assert_eq!(read(&["text/*"]), (false, false, false));
}

#[test]
fn several_headers_are_one_list() {
    let both = (false, true, true);
    assert_eq!(read(&[&format!("{OCI},{INDEX}")]), both);
    assert_eq!(read(&[OCI, INDEX]), both);
    assert_eq!(read(&[&format!(" ,{} ;q=0.5 ,, {INDEX};charset=utf-8", OCI.to_uppercase())]), both);
    assert_eq!(read(&[&format!("a/b;x=\"1,\\\",2;q=0\", {OCI};x=\"q=0;\";q=1, {INDEX}")]), both);
}

#[test]
fn a_weight_of_zero_excludes() {
    for zero in ["q=0", "Q=0.000", "q = 0.", "charset=utf-8; q=0"] {
        assert_eq!(read(&[&format!("{OCI};{zero}, {INDEX}")]), (false, false, true), "{zero}");
        assert_eq!(read(&[&format!("{OCI};{zero}")]), (false, false, false), "{zero}");
        assert_eq!(read(&[&format!("*/*;{zero}, {OCI}")]), (false, true, false), "{zero}");
    }
    assert_eq!(read(&[&format!("{OCI};q=0.001")]), (false, true, false));
}

#[test]
fn entries_after_the_limit_are_ignored() {
    let many = "a/b,".repeat(ENTRIES_MAX) + OCI;
    assert_eq!(read(&[&many]), (false, false, false));
}

proptest! {
    #[test]
    fn any_header_is_parsed_without_a_panic(
        headers in prop::collection::vec(
            "\\PC{0,80}|[a*]/[b*](;q=[0-9.\"\\\\]{0,4}|,){0,4}",
            0..4,
        ),
    ) {
        let accept = Accept::parse(headers.iter().map(String::as_str));
        prop_assert!(headers.iter().any(|header| header.contains('/')) || accept.is_unrestricted());
    }
}
