//! Which manifest a client gets: what is stored, or what it can read instead.

#[cfg(test)]
mod tests;

use super::accept::Accept;
use super::media_type::MediaType;

/// The rules by which manifests are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiation {
    /// Those of the distribution-spec, with the one exchange that Docker's registry 3.x still
    /// makes.
    Oci,
    /// Those of Docker's registry 2.x.
    DockerLegacy,
}

/// What to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What is stored.
    Stored,
    /// The image for `linux/amd64` of a list, and [that](Negotiation::child) as its own type wants.
    Child,
    /// The image, converted to schema 1.
    Schema1,
    /// Nothing: the client would take it for something else.
    NotAcceptable,
}

impl Negotiation {
    /// Decides for a manifest that is stored as `stored`.
    ///
    /// By digest nothing is ever exchanged for something else, because the digest would be wrong.
    /// OCI documents never are, and are refused to clients that name other types only. What
    /// differs is what counts as naming, and how far back in time an exchange may go:
    ///
    /// - `Oci`: no header and wildcards take what there is. A client that asks for a tag and knows
    ///   schema 2 but no lists gets the `linux/amd64` image of a list.
    /// - `DockerLegacy`: only the exact name of a type counts, as in 2.x. A client that does not
    ///   name schema 2 gets schema 1; one that does not name lists gets the image of one.
    pub fn answer(self, stored: &MediaType, by_tag: bool, accept: &Accept) -> Answer {
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

    /// Decides for the image that is served in place of a list. Whatever is no schema 2 is served
    /// as it is, as 2.x does.
    pub fn child(self, stored: &MediaType, accept: &Accept) -> Answer {
        match (self, stored) {
            (Self::DockerLegacy, MediaType::DockerManifest) if !accept.names(stored) => {
                Answer::Schema1
            }
            _ => Answer::Stored,
        }
    }
}
