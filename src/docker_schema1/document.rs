//! A signed document: split into payload and signatures, verified, and checked like other
//! manifests.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::ancestry;
use super::bounded::Bounded;
use super::encoding;
use super::jws::{self, Signature};
use super::{Error, HISTORY_MAX, SIGNATURES_MAX, invalid};
use crate::oci::array_as_object::ObjectOnly;
use crate::oci::descriptor::Descriptor;
use crate::oci::digest::{AnyDigest, Digest};
use crate::oci::manifest::duplicate_keys::TopLevel;
use crate::oci::manifest::{self, Manifest};
use crate::oci::media_type::MediaType;
use crate::oci::name::RepositoryName;
use crate::oci::truncate::truncate;

/// The media type of the layers of schema 1, which no document states.
const LAYER: &str = "application/vnd.docker.container.image.rootfs.diff+x-gtar";

/// Bytes of a name, its host included (distribution, `NameTotalLengthMax`).
const NAME_BYTES_MAX: usize = 255;

/// A document whose signatures hold.
#[derive(Clone, Debug)]
pub struct Signed {
    manifest: Manifest,
    payload: Bytes,
}

impl Signed {
    /// Reads a document and verifies its form, every signature, and what it refers to.
    ///
    /// Only the payload is signed, so a document that holds anything else beside its signatures is
    /// refused.
    pub fn parse(raw: Bytes) -> Result<Self, Error> {
        let text = manifest::text(&raw)?;
        let top_level = TopLevel::read(text)?;
        check_kind(&top_level)?;
        let (payload, signatures) = split(text)?;
        jws::verify(&payload, &signatures)?;
        let body: ObjectOnly<Body> = serde_json::from_slice(&payload)?;
        let layers = body.0.check()?;
        Ok(Self { manifest: Manifest::schema1(raw, layers), payload })
    }

    /// The signed bytes, which the digest of the manifest is about.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The whole document, and the layers that it refers to.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn into_manifest(self) -> Manifest {
        self.manifest
    }
}

/// The payload of a document that was verified when it was pushed.
pub(super) fn payload(raw: &[u8]) -> Result<Bytes, Error> {
    Ok(split(manifest::text(raw)?)?.0)
}

/// Refuses a document that another reader could take for another type of manifest (compare
/// CVE-2021-41190).
fn check_kind(top_level: &TopLevel<'_>) -> Result<(), Error> {
    match top_level.schema_version {
        Some(1) => {}
        Some(version) => return Err(invalid(format!("schemaVersion must be 1, it is {version}"))),
        None => return Err(invalid("the manifest has no schemaVersion: it must be the number 1")),
    }
    if !top_level.has("signatures") {
        return Err(invalid("the manifest is not signed: it has no signatures"));
    }
    if let Some(key) = ["config", "layers", "manifests"].iter().find(|key| top_level.has(key)) {
        return Err(invalid(format!(
            "the manifest is ambiguous: schema 1 must not have the key {key:?}"
        )));
    }
    let Some(own) = &top_level.media_type else { return Ok(()) };
    let Ok(parsed) = own.parse::<MediaType>();
    if parsed.is_schema1() {
        return Ok(());
    }
    Err(invalid(format!("mediaType {:?} is not that of schema 1", truncate(own))))
}

#[derive(Deserialize)]
struct Envelope {
    signatures: Bounded<ObjectOnly<Signature>, SIGNATURES_MAX>,
}

/// The only key that may follow after the payload.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnlySignatures {
    #[serde(rename = "signatures")]
    _signatures: IgnoredAny,
}

/// How to reconstruct the payload from the document.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Protected {
    format_length: u64,
    format_tail: String,
    /// Extensions that a verifier must understand (RFC 7515, 4.1.11). We know none.
    crit: Option<IgnoredAny>,
}

/// Splits a document into its payload and its signatures.
fn split(text: &str) -> Result<(Bytes, Vec<Signature>), Error> {
    let envelope: ObjectOnly<Envelope> = serde_json::from_str(text)?;
    let signatures: Vec<Signature> =
        envelope.0.signatures.0.into_iter().map(|ObjectOnly(signature)| signature).collect();
    let mut format: Option<(u64, String)> = None;
    for signature in &signatures {
        let this = format_of(signature)?;
        match &format {
            Some(first) if *first != this => {
                return Err(invalid("the signatures disagree about formatLength or formatTail"));
            }
            Some(_) => {}
            None => format = Some(this),
        }
    }
    let (length, tail) = format.ok_or_else(|| invalid("the list of signatures is empty"))?;
    let end = usize::try_from(length).ok().filter(|end| text.is_char_boundary(*end));
    let (head, rest) = match end {
        Some(end) if end < text.len() => text.split_at(end),
        Some(_) | None => return Err(invalid("formatLength lies outside of the manifest")),
    };
    check_rest(rest)?;
    if tail.trim_matches(encoding::SPACE) != "}" {
        return Err(invalid("formatTail must be the brace that ends the manifest"));
    }
    Ok((Bytes::from([head, &tail].concat()), signatures))
}

fn format_of(signature: &Signature) -> Result<(u64, String), Error> {
    let protected = encoding::decode(&signature.protected, "protected")?;
    let ObjectOnly(protected): ObjectOnly<Protected> = serde_json::from_slice(&protected)
        .map_err(|error| invalid(format!("the protected header of a signature: {error}")))?;
    if protected.crit.is_some() {
        return Err(invalid("the protected header of a signature has unknown extensions (crit)"));
    }
    let tail = encoding::decode(&protected.format_tail, "formatTail")?;
    let tail = String::from_utf8(tail).map_err(|_| invalid("formatTail is not UTF-8 text"))?;
    Ok((protected.format_length, tail))
}

/// Checks that only `,"signatures":[…]}` follows after the shared part of payload and document.
fn check_rest(rest: &str) -> Result<(), Error> {
    let only = rest
        .trim_start_matches(encoding::SPACE)
        .strip_prefix(',')
        .is_some_and(|rest| serde_json::from_str::<OnlySignatures>(&format!("{{{rest}")).is_ok());
    if only {
        return Ok(());
    }
    Err(invalid("the manifest has content beside the signatures that they do not cover"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    name: String,
    fs_layers: Option<Bounded<ObjectOnly<FsLayer>, HISTORY_MAX>>,
    history: Option<Bounded<ObjectOnly<History>, HISTORY_MAX>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FsLayer {
    blob_sum: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct History {
    v1_compatibility: String,
}

impl Body {
    /// Checks the payload, and returns the layers, each once.
    fn check(self) -> Result<Vec<Descriptor>, Error> {
        check_name(&self.name)?;
        let layers = self.fs_layers.unwrap_or_default().0;
        let history = self.history.unwrap_or_default().0;
        if layers.len() != history.len() {
            return Err(invalid(format!(
                "fsLayers and history must be equally long: there are {} layers and {} entries",
                layers.len(),
                history.len()
            )));
        }
        ancestry::check(history.iter().map(|ObjectOnly(entry)| entry.v1_compatibility.as_str()))?;
        let mut seen = std::collections::HashSet::new();
        let digests = layers.into_iter().map(|ObjectOnly(layer)| layer.blob_sum);
        Ok(digests.filter(|digest| seen.insert(*digest)).map(layer).collect())
    }
}

fn layer(digest: Digest) -> Descriptor {
    Descriptor {
        media_type: LAYER.to_owned(),
        digest: AnyDigest::Known(digest),
        // Schema 1 does not say.
        size: 0,
        artifact_type: None,
        annotations: None,
        urls: Vec::new(),
        platform: None,
    }
}

/// Whether the first part of a name is a host, as Docker's clients tell the two apart.
fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let dotted = text.contains(['.', ':']) && !text.starts_with('.') && text.bytes().all(plain);
    dotted || text == "localhost"
}

/// The name in a document need not be that of the repository it is pushed to: a copy keeps its
/// signature. It may begin with the host that it came from.
fn check_name(name: &str) -> Result<(), Error> {
    let path = match name.split_once('/') {
        Some((host, path)) if is_host(host) => path,
        Some(_) | None => name,
    };
    if name.len() <= NAME_BYTES_MAX && path.parse::<RepositoryName>().is_ok() {
        return Ok(());
    }
    Err(Error::Name(format!("the name in the manifest, {:?}, is not one", truncate(name))))
}
