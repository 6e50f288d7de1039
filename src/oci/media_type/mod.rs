//! Media types of manifests.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde_with::{DeserializeFromStr, SerializeDisplay};

/// The media type of a manifest, without parameters.
///
/// Sources: image-spec, media-types.md; distribution, docs/spec/manifest-v2-1.md and
/// manifest-v2-2.md.
#[derive(Clone, PartialEq, Eq, Hash, SerializeDisplay, DeserializeFromStr)]
pub enum MediaType {
    /// An image, or an artifact in the format of an image.
    OciManifest,
    OciIndex,
    /// Docker's image manifest, version 2, schema 2.
    DockerManifest,
    DockerManifestList,
    /// Docker's image manifest, version 2, schema 1, without its signature.
    DockerSchema1,
    /// The same with its signatures inside.
    DockerSchema1Signed,
    /// Any other type, in lower case. Empty if the header is empty.
    Other(Box<str>),
}

impl MediaType {
    /// The types that can always be pushed. Schema 1 needs a setting.
    pub const ACCEPTED: [Self; 4] =
        [Self::OciManifest, Self::OciIndex, Self::DockerManifest, Self::DockerManifestList];

    const NAMED: &[Self] = &[
        Self::OciManifest,
        Self::OciIndex,
        Self::DockerManifest,
        Self::DockerManifestList,
        Self::DockerSchema1,
        Self::DockerSchema1Signed,
    ];

    /// The canonical spelling, as in the `Content-Type` header.
    pub fn as_str(&self) -> &str {
        match self {
            Self::OciManifest => "application/vnd.oci.image.manifest.v1+json",
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
            Self::DockerManifest => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerManifestList => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::DockerSchema1 => "application/vnd.docker.distribution.manifest.v1+json",
            Self::DockerSchema1Signed => {
                "application/vnd.docker.distribution.manifest.v1+prettyjws"
            }
            Self::Other(text) => text,
        }
    }

    /// The type of a manifest that is spelled so, in any case.
    pub(super) fn named(essence: &str) -> Option<Self> {
        Self::NAMED.iter().find(|t| t.as_str().eq_ignore_ascii_case(essence)).cloned()
    }

    /// Whether it lists other manifests.
    pub fn is_index(&self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerManifestList)
    }

    /// Whether it lists a config and layers.
    pub fn is_image(&self) -> bool {
        matches!(self, Self::OciManifest | Self::DockerManifest)
    }

    /// Whether it is the type of a manifest. Nothing of another type can be pushed as one.
    pub fn is_manifest(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    pub fn is_schema1(&self) -> bool {
        matches!(self, Self::DockerSchema1 | Self::DockerSchema1Signed)
    }

    /// Whether it is an OCI type, which has `subject`, `artifactType` and `annotations`.
    pub fn is_oci(&self) -> bool {
        matches!(self, Self::OciManifest | Self::OciIndex)
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl FromStr for MediaType {
    type Err = Infallible;

    /// Parses a header value. Drops parameters and ignores case (RFC 9110, 8.3.1).
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let essence = text.split_once(';').map_or(text, |(essence, _)| essence).trim();
        Ok(Self::named(essence).unwrap_or_else(|| Self::Other(essence.to_ascii_lowercase().into())))
    }
}
