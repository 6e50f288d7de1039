//! Content negotiation: whether a client gets the stored manifest or a replacement.

#[cfg(test)]
mod tests;

use super::accept::Accept;
use super::media_type::MediaType;
use super::reference::Reference;

/// The rules for serving manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiation {
    /// The distribution-spec, with the one replacement that Docker's registry 3.x still makes.
    Oci,
    /// Docker's registry 2.x.
    DockerLegacy,
}

/// The outcome of a negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Serve the stored manifest.
    Stored,
    /// Serve the `linux/amd64` image of a list, negotiated again with [`Negotiation::child`].
    Child,
    /// Serve the image converted to schema 1.
    Schema1,
    /// Refuse: the client would take the manifest for another type.
    NotAcceptable,
}

impl Negotiation {
    /// Decides what to serve for a manifest of the type `stored`.
    ///
    /// A manifest asked for by digest is never replaced, because the digest would be wrong. An OCI
    /// document is never replaced either: a client that names only other types is refused. The
    /// modes differ in this:
    ///
    /// - `Oci`: without a header, or with a wildcard, the client gets the stored manifest. A client
    ///   that asks for a tag and names schema 2 but no list gets the `linux/amd64` image of a list.
    /// - `DockerLegacy`: only the exact name of a type counts, as in 2.x. A client that does not
    ///   name schema 2 gets schema 1; one that does not name lists gets an image of the list.
    pub fn answer(self, stored: &MediaType, reference: &Reference, accept: &Accept) -> Answer {
        let by_tag = matches!(reference, Reference::Tag(_));
        let named = accept.names(stored);
        let taken = named || (self == Self::Oci && accept.is_unrestricted());
        match stored {
            _ if taken => Answer::Stored,
            MediaType::OciManifest | MediaType::OciIndex => Answer::NotAcceptable,
            MediaType::DockerManifest if by_tag && self == Self::DockerLegacy => Answer::Schema1,
            MediaType::DockerManifestList if by_tag && self == Self::DockerLegacy => Answer::Child,
            MediaType::DockerManifestList if by_tag && accept.names(&MediaType::DockerManifest) => {
                Answer::Child
            }
            MediaType::DockerManifest
            | MediaType::DockerManifestList
            | MediaType::DockerSchema1
            | MediaType::DockerSchema1Signed
            | MediaType::Other(_) => Answer::Stored,
        }
    }

    /// Decides how to serve the image that replaces a list. Only a schema 2 image is converted, as
    /// in 2.x.
    pub fn child(self, stored: &MediaType, accept: &Accept) -> Answer {
        match (self, stored) {
            (Self::DockerLegacy, MediaType::DockerManifest) if !accept.names(stored) => {
                Answer::Schema1
            }
            _ => Answer::Stored,
        }
    }
}
