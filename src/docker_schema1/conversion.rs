//! From schema 2 to schema 1, for clients that know nothing newer.
//!
//! The result has to be, byte by byte, what the Docker registry 2.x makes of the same image
//! (`manifest/schema1/config_builder.go`), so that its digest and the identifiers of its layers are
//! the same in both registries.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA384, digest as hash};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::bounded::Bounded;
use super::encoding::{compact, escaped_like_go};
use super::signing::{SigningKey, indented};
use super::{Error, HISTORY_MAX, invalid};
use crate::oci::DESCRIPTORS_MAX;
use crate::oci::array_as_object::ObjectOnly;
use crate::oci::digest::{Algorithm, Digest};
use crate::oci::name::RepositoryName;
use crate::oci::reference::Tag;

/// An empty tar, compressed: the layer of a step of the build that made none. Clients know the
/// digest of exactly these bytes.
const EMPTY_LAYER: [u8; 32] = [
    31, 139, 8, 0, 0, 9, 110, 136, 0, 255, 98, 24, 5, 163, 96, 20, 140, 88, 0, 8, 0, 0, 255, 255,
    46, 175, 181, 239, 0, 4, 0, 0,
];

/// How Go writes the zero time.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

pub(super) fn empty_layer_digest() -> Digest {
    Digest::of(Algorithm::Sha256, &EMPTY_LAYER)
}

/// A document that was made out of schema 2.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The document, signed.
    pub raw: Bytes,
    /// What its digest is about.
    pub payload: Bytes,
    /// The blob that stands for the layer of a step without one, if there is such a step. The
    /// repository must have this blob before a client sees the document.
    pub empty_layer: Option<Bytes>,
}

/// The layers of an image of schema 2, which has been checked before.
fn layers(schema2: &[u8]) -> Result<Vec<Digest>, Error> {
    #[derive(Deserialize)]
    struct Schema2 {
        layers: Option<Bounded<Layer, DESCRIPTORS_MAX>>,
    }
    #[derive(Deserialize)]
    struct Layer {
        digest: Digest,
    }
    let manifest: Schema2 = serde_json::from_slice(schema2)?;
    Ok(manifest.layers.unwrap_or_default().0.into_iter().map(|layer| layer.digest).collect())
}

#[derive(Deserialize)]
struct Config {
    rootfs: Option<RootFs>,
    history: Option<Bounded<ObjectOnly<Step>, HISTORY_MAX>>,
    #[serde(default)]
    architecture: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RootFs {
    diff_ids: Option<Bounded<String, DESCRIPTORS_MAX>>,
    base_layer: Option<String>,
}

/// A step of the build that made the image.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Step {
    created: Option<String>,
    author: Option<String>,
    created_by: Option<String>,
    comment: Option<String>,
    empty_layer: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Schema1<'a> {
    schema_version: u32,
    name: &'a RepositoryName,
    tag: &'a Tag,
    architecture: &'a str,
    fs_layers: Vec<FsLayer>,
    history: Vec<History>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FsLayer {
    blob_sum: Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct History {
    v1_compatibility: String,
}

/// What stands for a step that is not the last: just enough to have a place in the chain.
#[derive(Serialize)]
struct Placeholder<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    parent: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    comment: &'a str,
    created: String,
    container_config: Command<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    author: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    throwaway: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Command<'a> {
    cmd: [&'a str; 1],
}

/// Makes a document of schema 1 out of an image of schema 2 and the config of that image.
pub(super) fn convert(
    (name, tag): (&RepositoryName, &Tag),
    schema2: &[u8],
    config: &[u8],
    key: &SigningKey,
    signed_at: SystemTime,
) -> Result<Converted, Error> {
    let text = str::from_utf8(config).map_err(|_| unfit("is not UTF-8 text"))?;
    let ObjectOnly(image) = serde_json::from_str::<ObjectOnly<Config>>(text)
        .map_err(|error| unfit(error.to_string()))?;
    let steps: Vec<Step> =
        image.history.unwrap_or_default().0.into_iter().map(|ObjectOnly(step)| step).collect();
    let rootfs = image.rootfs.ok_or_else(|| unfit("has no rootfs"))?;
    let (diff_ids, layers) = (rootfs.diff_ids.unwrap_or_default().0.len(), layers(schema2)?);
    if diff_ids != layers.len() {
        let count = layers.len();
        return Err(unfit(format!("has {diff_ids} diff_ids for {count} layers")));
    }
    let blobs = blobs(&steps, &layers)?;
    let base_layer = rootfs.base_layer.unwrap_or_default();
    let mut history = placeholders(&steps, &blobs, &base_layer)?;
    let parent = history.last().map(|(id, _)| id.clone()).unwrap_or_default();
    let (Some(last), Some(blob)) = (steps.last(), blobs.last()) else {
        return Err(unfit("has no history"));
    };
    let id = sha256_hex(&format!("{} {parent} {text}", blob.hex()));
    history.push((id.clone(), top(text, &id, &parent, last)?));
    let schema1 = Schema1 {
        schema_version: 1,
        name,
        tag,
        architecture: image.architecture.as_deref().unwrap_or_default(),
        fs_layers: blobs.iter().rev().map(|digest| FsLayer { blob_sum: *digest }).collect(),
        history: history
            .into_iter()
            .rev()
            .map(|(_, v1_compatibility)| History { v1_compatibility })
            .collect(),
    };
    let payload = escaped_like_go(&indented(&schema1));
    Ok(Converted {
        raw: Bytes::from(key.sign(&payload, signed_at)),
        payload: Bytes::from(payload),
        empty_layer: steps.iter().any(Step::is_empty).then(|| Bytes::from_static(&EMPTY_LAYER)),
    })
}

impl Step {
    fn is_empty(&self) -> bool {
        self.empty_layer == Some(true)
    }
}

/// The blob of each step, the first step first.
fn blobs(steps: &[Step], layers: &[Digest]) -> Result<Vec<Digest>, Error> {
    let mut layers = layers.iter();
    let blob = |step: &Step| {
        if step.is_empty() {
            return Ok(empty_layer_digest());
        }
        let layer = layers.next().copied();
        layer.ok_or_else(|| unfit("has more steps with a layer than there are layers"))
    };
    steps.iter().map(blob).collect()
}

/// Identifier and text of every step but the last.
fn placeholders(
    steps: &[Step],
    blobs: &[Digest],
    base_layer: &str,
) -> Result<Vec<(String, String)>, Error> {
    let but_last = steps.len().saturating_sub(1);
    let mut made: Vec<(String, String)> = Vec::with_capacity(steps.len());
    for (step, blob) in steps[..but_last].iter().zip(blobs) {
        let mut parent = made.last().map(|(id, _)| id.clone()).unwrap_or_default();
        let id = sha256_hex(&format!("{} {parent}", blob.hex()));
        if made.is_empty() && !base_layer.is_empty() {
            // Images of Windows stand on a layer that is not theirs.
            let base = hash(&SHA384, base_layer.as_bytes());
            parent = hex::encode(&base.as_ref()[..32]);
        }
        let placeholder = Placeholder {
            id: &id,
            parent: &parent,
            comment: step.comment.as_deref().unwrap_or_default(),
            created: time_like_go(step.created.as_deref())?,
            container_config: Command { cmd: [step.created_by.as_deref().unwrap_or_default()] },
            author: step.author.as_deref().unwrap_or_default(),
            throwaway: step.is_empty(),
        };
        let text = serde_json::to_string(&placeholder).map_err(Error::from)?;
        made.push((id, escaped_like_go(&text)));
    }
    Ok(made)
}

/// The last step is the image itself: its config, less what schema 1 did not have.
fn top(config: &str, id: &str, parent: &str, step: &Step) -> Result<String, Error> {
    time_like_go(step.created.as_deref())?;
    let own: BTreeMap<String, &RawValue> =
        serde_json::from_str(config).map_err(|error| unfit(error.to_string()))?;
    let mut values: BTreeMap<String, String> = own
        .into_iter()
        .filter(|(key, _)| key != "rootfs" && key != "history")
        .map(|(key, value)| (key, compact(value.get())))
        .collect();
    values.insert("id".to_owned(), format!("\"{id}\""));
    if !parent.is_empty() {
        values.insert("parent".to_owned(), format!("\"{parent}\""));
    }
    if step.is_empty() {
        values.insert("throwaway".to_owned(), "true".to_owned());
    }
    let mut pairs = Vec::with_capacity(values.len());
    for (key, value) in values {
        pairs.push(format!("{}:{value}", serde_json::to_string(&key)?));
    }
    Ok(escaped_like_go(&format!("{{{}}}", pairs.join(","))))
}

/// A time of RFC 3339 as Go would write it again: no zeros at the end of a fraction, `Z` for UTC.
fn time_like_go(text: Option<&str>) -> Result<String, Error> {
    let Some(text) = text else { return Ok(NO_TIME.to_owned()) };
    if OffsetDateTime::parse(text, &Rfc3339).is_err() {
        return Err(unfit("has a history with a time that is not of RFC 3339"));
    }
    let text = text.strip_suffix("+00:00").map_or_else(|| text.to_owned(), |t| format!("{t}Z"));
    let Some((seconds, rest)) = text.split_once('.') else { return Ok(text) };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (fraction, zone) = rest.split_at(digits);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Ok([seconds, point, fraction, zone].concat())
}

fn sha256_hex(text: &str) -> String {
    Digest::of(Algorithm::Sha256, text.as_bytes()).hex()
}

fn unfit(what: impl AsRef<str>) -> Error {
    let what = what.as_ref();
    invalid(format!(
        "the image cannot be converted to schema 1, which the client asks for: its config {what}"
    ))
}
