//! Descriptors: references to content, with its size.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, Error};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use super::digest::AnyDigest;
use super::object_only::ObjectOnly;

/// Says what some content is, how large it is and how to recognize it (image-spec,
/// descriptor.md).
///
/// Every combination of values is a valid descriptor, so the fields are public. Fields that we
/// have no use for (`data` among them) are accepted and not kept.
#[derive(Clone, Debug, PartialEq, Eq, DeriveDeserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is. Any text: a registry "MUST NOT" restrict the types of configs and layers.
    pub media_type: String,
    /// How to recognize it.
    pub digest: AnyDigest,
    /// Bytes. Not more than fit the signed integer that the specification asks for.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// What an artifact is for, where the descriptor points at one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Whatever else the author wants to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Where else the content can be had.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// What it runs on, in an index.
    #[serde(default, deserialize_with = "platform", skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// What an image runs on (image-spec, image-index.md).
///
/// The two required fields may be missing, because other registries never looked and such
/// indexes exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, DeriveDeserialize, Serialize)]
pub struct Platform {
    /// As Go spells it: `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// As Go spells it: `linux`.
    #[serde(default)]
    pub os: String,
    /// Which build of the operating system; Windows needs it.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// What the operating system must be able to do.
    #[serde(default, rename = "os.features", skip_serializing_if = "Option::is_none")]
    pub os_features: Option<Vec<String>>,
    /// Which variant of the architecture: `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    // Read as the signed integer that it is for everybody else; a larger number would be refused
    // by the client that pulls, after we had promised it.
    let size = i64::deserialize(deserializer)
        .map_err(|error| D::Error::custom(format_args!("size: {error}")))?;
    u64::try_from(size).map_err(|_| D::Error::custom("size: must not be negative"))
}

/// Programs written in Go write an absent list as `null`.
fn null_as_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn platform<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Platform>, D::Error> {
    let platform = Option::<ObjectOnly<Platform>>::deserialize(deserializer)?;
    Ok(platform.map(|ObjectOnly(platform)| platform))
}
