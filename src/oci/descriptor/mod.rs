//! Descriptors: typed references to content.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use super::array_as_object::ObjectOnly;
use super::digest::AnyDigest;
use super::media_type::MediaType;
use super::truncate::truncate;

/// How many layers or children one manifest may list. Each of them can cost a request to the store.
/// Real images have at most a few hundred.
pub const DESCRIPTORS_MAX: usize = 10_000;

/// The type, digest and size of some content (image-spec, descriptor.md).
///
/// Every combination of values is a valid descriptor, so the fields are public. Other fields, such
/// as `data`, are accepted and dropped.
#[derive(Clone, Debug, PartialEq, Eq, DeriveDeserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Any text: a registry "MUST NOT" restrict the types of configs and layers.
    pub media_type: String,
    pub digest: AnyDigest,
    /// In bytes, at most `i64::MAX`: the specification asks for a signed integer.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// The type of the artifact that the descriptor references, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Other places from which clients can download the content: `http` or `https` URLs.
    #[serde(default, deserialize_with = "urls", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// The platform of an image, in an index.
    #[serde(default, deserialize_with = "platform", skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// The platform of an image (image-spec, image-index.md).
///
/// The two required fields may be missing: other registries do not check them, so such indexes
/// exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, DeriveDeserialize, Serialize)]
pub struct Platform {
    /// `GOARCH`, such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// `GOOS`, such as `linux`.
    #[serde(default)]
    pub os: String,
    /// The build of the operating system. Windows images need it.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(default, rename = "os.features", skip_serializing_if = "Option::is_none")]
    pub os_features: Option<Vec<String>>,
    /// The variant of the architecture, such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// `os/architecture`, and the variant if there is one, as clients spell it.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl Descriptor {
    /// Whether its type is that of a manifest.
    pub fn names_manifest(&self) -> bool {
        let Ok(media_type) = self.media_type.parse::<MediaType>();
        media_type.is_manifest()
    }
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    // A signed integer, as clients read it: a client would refuse a larger number at each pull.
    let size = i64::deserialize(deserializer)
        .map_err(|error| D::Error::custom(format_args!("size: {error}")))?;
    u64::try_from(size).map_err(|_| D::Error::custom("size: must not be negative"))
}

/// Clients follow these URLs, so other schemes (`file:`, `javascript:`) are refused. Go writes an
/// absent list as `null`.
fn urls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let urls = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
    let is_http = |url: &&String| {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        scheme
            .is_some_and(|scheme| ["http", "https"].iter().any(|s| s.eq_ignore_ascii_case(scheme)))
    };
    match urls.iter().find(|url| !is_http(url)) {
        None => Ok(urls),
        Some(url) => {
            Err(D::Error::custom(format_args!("urls: {:?} is no http or https URL", truncate(url))))
        }
    }
}

fn platform<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Platform>, D::Error> {
    let platform = Option::<ObjectOnly<Platform>>::deserialize(deserializer)?;
    Ok(platform.map(|ObjectOnly(platform)| platform))
}
