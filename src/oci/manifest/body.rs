//! The second pass over a manifest: its references, now that its type says which keys matter.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::oci::array_as_object::ObjectOnly;
use crate::oci::descriptor::{DESCRIPTORS_MAX, Descriptor};
use crate::oci::media_type::MediaType;

/// The values of the keys that the media type defines. All other keys are skipped unread: a
/// registry "MUST NOT" fail on keys that it does not know.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) config: Option<Descriptor>,
    /// Empty, too, if the key is missing: Go programs leave out what is empty.
    pub(super) layers: Vec<Descriptor>,
    pub(super) manifests: Option<Vec<Descriptor>>,
    pub(super) subject: Option<Descriptor>,
    pub(super) artifact_type: Option<String>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

impl Body {
    /// Parses a document that passed the first pass.
    pub(super) fn read(text: &str, media_type: &MediaType) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let body = deserializer.deserialize_map(BodyVisitor { media_type })?;
        deserializer.end()?;
        Ok(body)
    }
}

struct BodyVisitor<'a> {
    media_type: &'a MediaType,
}

impl<'de> Visitor<'de> for BodyVisitor<'_> {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
        let (image, index) = (self.media_type.is_image(), self.media_type.is_index());
        let oci = self.media_type.is_oci();
        let mut body = Body::default();
        while let Some(key) = map.next_key::<String>()? {
            let at = |error| A::Error::custom(format_args!("{key}: {error}"));
            match key.as_str() {
                "config" if image => body.config = optional(&mut map).map_err(at)?,
                "layers" if image => body.layers = map.next_value_seed(List).map_err(at)?,
                "manifests" if index => {
                    body.manifests = Some(map.next_value_seed(List).map_err(at)?);
                }
                "subject" if oci => body.subject = optional(&mut map).map_err(at)?,
                "artifactType" if oci => body.artifact_type = map.next_value().map_err(at)?,
                "annotations" if oci => body.annotations = map.next_value().map_err(at)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(body)
    }
}

/// A descriptor, or `null`: Go writes an absent descriptor so.
fn optional<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Descriptor>, A::Error> {
    let value = map.next_value::<Option<ObjectOnly<Descriptor>>>()?;
    Ok(value.map(|ObjectOnly(descriptor)| descriptor))
}

/// An array of descriptors, or `null`: Go writes an array without elements so. Its errors begin
/// with the position of the element: `[3]: …`.
struct List;

impl<'de> DeserializeSeed<'de> for List {
    type Value = Vec<Descriptor>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List {
    type Value = Vec<Descriptor>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of descriptors")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut descriptors = Vec::new();
        loop {
            let position = descriptors.len();
            let at = |error| A::Error::custom(format_args!("[{position}]: {error}"));
            match seq.next_element::<ObjectOnly<Descriptor>>().map_err(at)? {
                None => return Ok(descriptors),
                Some(_) if position == DESCRIPTORS_MAX => {
                    return Err(A::Error::custom(format_args!(
                        "more than {DESCRIPTORS_MAX} descriptors"
                    )));
                }
                Some(ObjectOnly(descriptor)) => descriptors.push(descriptor),
            }
        }
    }
}
