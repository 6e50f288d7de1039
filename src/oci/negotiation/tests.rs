use super::*;
use crate::oci::accept::Accept;
use crate::oci::{Algorithm, Digest};

fn tag() -> Reference {
    Reference::Tag("v1".parse().expect("a tag"))
}

const TYPES: [MediaType; 6] = [
    MediaType::OciManifest,
    MediaType::OciIndex,
    MediaType::DockerManifest,
    MediaType::DockerManifestList,
    MediaType::DockerSchema1,
    MediaType::DockerSchema1Signed,
];

fn accepting(types: &[&str]) -> Accept {
    Accept::parse(types.iter().copied())
}

/// Every selection of the six types, alone and with a wildcard.
fn accepts() -> impl Iterator<Item = Accept> {
    (0..128usize).map(|bits| {
        let named = TYPES.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
        let mut named: Vec<&str> = named.map(|(_, media_type)| media_type.as_str()).collect();
        if bits & 64 != 0 {
            named.push("*/*");
        }
        accepting(&named)
    })
}

#[test]
fn a_manifest_asked_for_by_digest_is_never_replaced() {
    let digest = Reference::Digest(Digest::of(Algorithm::Sha256, b""));
    for (negotiation, stored) in [Negotiation::Oci, Negotiation::DockerLegacy]
        .into_iter()
        .flat_map(|negotiation| TYPES.map(|stored| (negotiation, stored)))
    {
        for accept in accepts() {
            let answer = negotiation.answer(&stored, &digest, &accept);
            let refused = answer == Answer::NotAcceptable && stored.is_oci();
            assert!(refused || answer == Answer::Stored, "{negotiation:?} {stored} {accept:?}");
        }
    }
}

#[test]
fn a_named_type_is_served_as_stored() {
    for accept in accepts() {
        for stored in TYPES.iter().filter(|stored| accept.names(stored)) {
            for negotiation in [Negotiation::Oci, Negotiation::DockerLegacy] {
                assert_eq!(negotiation.answer(stored, &tag(), &accept), Answer::Stored);
                assert_eq!(negotiation.child(stored, &accept), Answer::Stored);
            }
        }
    }
}

#[test]
fn oci_mode_converts_nothing_to_schema1() {
    for accept in accepts() {
        for stored in &TYPES {
            assert_ne!(Negotiation::Oci.answer(stored, &tag(), &accept), Answer::Schema1);
            assert_eq!(Negotiation::Oci.child(stored, &accept), Answer::Stored);
        }
    }
}

#[test]
fn a_wildcard_accepts_everything_in_oci_mode_and_nothing_in_docker_mode() {
    let accept = accepting(&["*/*"]);
    for stored in &TYPES {
        assert_eq!(Negotiation::Oci.answer(stored, &tag(), &accept), Answer::Stored);
    }
    let legacy = |stored| Negotiation::DockerLegacy.answer(&stored, &tag(), &accept);
    assert_eq!(legacy(MediaType::DockerManifest), Answer::Schema1);
    assert_eq!(legacy(MediaType::DockerManifestList), Answer::Child);
    assert_eq!(legacy(MediaType::OciIndex), Answer::NotAcceptable);
}
