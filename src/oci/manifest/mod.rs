//! Manifests: checked once, kept as they came.

mod body;
pub(crate) mod outline;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use self::body::Body;
use self::outline::Outline;
use super::descriptor::Descriptor;
use super::digest::AnyDigest;
use super::excerpt::{excerpt, excerpt_of};
use super::media_type::MediaType;

/// How many layers or children one manifest may list. Every one of them can cost a request to the
/// store; real images have at most a few hundred.
pub const DESCRIPTORS_MAX: usize = 10_000;

/// How many characters the description of a fault may have: it can quote the manifest.
const MESSAGE_CHARS_MAX: usize = 400;

/// Existed in release candidates of image-spec 1.1, and does not any more.
const ARTIFACT_MANIFEST: &str = "application/vnd.oci.artifact.manifest.v1+json";

/// A manifest that can be stored: its bytes, and what they refer to.
///
/// The bytes are served exactly as they were pushed and never written anew, because every digest
/// and signature is about bytes.
#[derive(Clone, Debug)]
pub struct Manifest {
    raw: Bytes,
    media_type: MediaType,
    blobs: Vec<Descriptor>,
    external_layers: Vec<Descriptor>,
    children: Vec<Descriptor>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

/// Why some bytes are no manifest that can be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It may well be a manifest, but of a kind that is not served here.
    #[error("{0}")]
    Unsupported(String),
    /// It is none. The sentence says what is wrong, and where.
    #[error("{0}")]
    Invalid(String),
}

impl Manifest {
    /// Checks the body of a push.
    ///
    /// `declared` is the `Content-Type` of the request, `None` when absent. A type that says no
    /// more than "JSON" or "bytes" is treated like an absent one: `curl` sends such types on its
    /// own.
    ///
    /// The checks go further than the specification asks. Two readers that understand one
    /// document differently have been a vulnerability before (CVE-2021-41190), so whatever could
    /// be read in two ways is refused.
    pub fn parse(raw: Bytes, declared: Option<&MediaType>) -> Result<Self, ManifestError> {
        let declared = declared.filter(|declared| !is_generic(declared));
        if let Some(declared) = declared {
            served(declared, "Content-Type")?;
        }
        let text = text(&raw)?;
        let outline = Outline::read(text)?;
        check_schema_version(&outline, declared)?;
        let media_type = media_type(&outline, declared)?;
        check_shape(&outline, &media_type)?;
        let body = Body::read(text, &media_type)?;
        Self::assemble(raw, media_type, body)
    }

    /// The bytes, exactly as pushed.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// What it is; one of [`MediaType::ACCEPTED`], or signed schema 1.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The blobs of an image that must exist: its config and its layers, in this order, without
    /// the [external ones](Self::external_layers).
    pub fn blobs(&self) -> &[Descriptor] {
        &self.blobs
    }

    /// The layers that may exist here or only elsewhere: those with `urls`, and those of a
    /// non-distributable type.
    pub fn external_layers(&self) -> &[Descriptor] {
        &self.external_layers
    }

    /// The manifests that an index lists.
    pub fn children(&self) -> &[Descriptor] {
        &self.children
    }

    /// The manifest that this one is about. It need not exist. Docker's types have no such field.
    pub fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// What the list of referrers shows as its type: `artifactType`, or for an image without one
    /// the type of its config (distribution-spec, "Listing referrers").
    pub fn artifact_type(&self) -> Option<&str> {
        self.artifact_type.as_deref()
    }

    /// Its own annotations, which the list of referrers repeats.
    pub fn annotations(&self) -> Option<&BTreeMap<String, String>> {
        self.annotations.as_ref()
    }

    /// A document of schema 1 whose signatures hold, with its layers.
    pub(crate) fn schema1(raw: Bytes, layers: Vec<Descriptor>) -> Self {
        Self {
            raw,
            media_type: MediaType::DockerSchema1Signed,
            blobs: layers,
            external_layers: Vec::new(),
            children: Vec::new(),
            subject: None,
            artifact_type: None,
            annotations: None,
        }
    }

    fn assemble(raw: Bytes, media_type: MediaType, body: Body) -> Result<Self, ManifestError> {
        if let Some(Descriptor { digest: AnyDigest::Other(digest), .. }) = &body.subject {
            // Nobody could ask for the referrers of such a digest: it would be lost silently.
            return Err(invalid(format!(
                "subject: the algorithm of digest {:?} is not supported here: use sha256 or sha512",
                excerpt(digest)
            )));
        }
        let (mut blobs, mut external_layers, mut children) = (Vec::new(), Vec::new(), Vec::new());
        let mut artifact_type = body.artifact_type.filter(|text| !text.is_empty());
        if media_type.is_index() {
            children = body.manifests.ok_or_else(|| missing("manifests", "an array"))?;
        } else {
            let config = body.config.ok_or_else(|| missing("config", "a descriptor"))?;
            let layers = body.layers.ok_or_else(|| missing("layers", "an array"))?;
            if artifact_type.is_none() && !config.media_type.is_empty() {
                artifact_type = Some(config.media_type.clone());
            }
            blobs.push(config);
            let (external, local): (Vec<_>, Vec<_>) = layers.into_iter().partition(is_external);
            blobs.extend(local);
            external_layers = external;
        }
        let Body { subject, annotations, .. } = body;
        Ok(Self {
            raw,
            media_type,
            blobs,
            external_layers,
            children,
            subject,
            artifact_type,
            annotations,
        })
    }
}

/// The document as text, if it can be JSON at all.
pub(crate) fn text(raw: &[u8]) -> Result<&str, ManifestError> {
    let text = str::from_utf8(raw).map_err(|error| {
        invalid(format!("the manifest is not UTF-8 text: byte {} is wrong", error.valid_up_to()))
    })?;
    if text.starts_with('\u{feff}') {
        return Err(invalid("the manifest begins with a byte order mark, which JSON forbids"));
    }
    Ok(text)
}

fn check_schema_version(
    outline: &Outline<'_>,
    declared: Option<&MediaType>,
) -> Result<(), ManifestError> {
    match outline.schema_version {
        Some(2) => Ok(()),
        Some(1) if declared.is_none() => Err(schema1()),
        Some(version) => Err(invalid(format!("schemaVersion must be 2, it is {version}"))),
        None => Err(missing("schemaVersion", "the number 2")),
    }
}

/// What the manifest is, by its own word and the client's.
fn media_type(
    outline: &Outline<'_>,
    declared: Option<&MediaType>,
) -> Result<MediaType, ManifestError> {
    let Some(own) = &outline.media_type else {
        return match declared {
            Some(MediaType::DockerManifest | MediaType::DockerManifestList) => {
                Err(missing("mediaType", "the same as the Content-Type"))
            }
            Some(declared) => Ok(declared.clone()),
            None => sniffed(outline),
        };
    };
    if let Some(declared) = declared {
        // Spelled exactly: other readers of the body will not forgive case or parameters.
        if declared.as_str() != *own {
            let own = excerpt(own);
            return Err(invalid(format!(
                "mediaType {own:?} differs from the Content-Type of the request, {declared}"
            )));
        }
        return Ok(declared.clone());
    }
    let Ok(parsed) = own.parse::<MediaType>();
    served(&parsed, "mediaType")?;
    if parsed.as_str() != *own {
        return Err(invalid(format!("mediaType {:?} must be spelled {parsed}", excerpt(own))));
    }
    Ok(parsed)
}

/// What an unlabelled document must be. Docker's types are always labelled.
fn sniffed(outline: &Outline<'_>) -> Result<MediaType, ManifestError> {
    if outline.has("manifests") {
        Ok(MediaType::OciIndex)
    } else if outline.has("config") || outline.has("layers") {
        Ok(MediaType::OciManifest)
    } else {
        Err(invalid(
            "the manifest has no mediaType and none of the keys config, layers and manifests, and \
             the request has no Content-Type that says what it is",
        ))
    }
}

/// Refuses a document that a reader who looks at other keys first would take for another type.
fn check_shape(outline: &Outline<'_>, media_type: &MediaType) -> Result<(), ManifestError> {
    let foreign: &[&str] = if media_type.is_index() {
        &["config", "layers", "fsLayers"]
    } else {
        &["manifests", "fsLayers"]
    };
    match foreign.iter().find(|key| outline.has(key)) {
        None => Ok(()),
        Some(key) => Err(invalid(format!(
            "the manifest is ambiguous: {media_type} must not have the key {key:?}"
        ))),
    }
}

/// Refuses types that cannot be stored. `at` says where the type was read.
fn served(media_type: &MediaType, at: &str) -> Result<(), ManifestError> {
    match media_type {
        MediaType::OciManifest
        | MediaType::OciIndex
        | MediaType::DockerManifest
        | MediaType::DockerManifestList => Ok(()),
        MediaType::DockerSchema1 | MediaType::DockerSchema1Signed => Err(schema1()),
        MediaType::Other(text) if **text == *ARTIFACT_MANIFEST => {
            Err(ManifestError::Unsupported(format!(
                "{ARTIFACT_MANIFEST} was withdrawn before image-spec 1.1 and is not supported: \
                 push an image manifest with artifactType"
            )))
        }
        MediaType::Other(text) => Err(invalid(format!(
            "{at} {:?} is no type of a manifest that is accepted here: use {}",
            excerpt(text),
            MediaType::ACCEPTED.each_ref().map(MediaType::as_str).join(", ")
        ))),
    }
}

/// Whether a `Content-Type` says nothing about what the manifest is.
pub(crate) fn is_generic(media_type: &MediaType) -> bool {
    matches!(media_type.as_str(), "" | "application/json" | "application/octet-stream")
}

/// Whether a layer may be absent here: it says where else it is, or that it must not be copied.
fn is_external(layer: &Descriptor) -> bool {
    !layer.urls.is_empty()
        || layer.media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
        || layer.media_type.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
}

fn schema1() -> ManifestError {
    ManifestError::Unsupported(
        "pushing Docker image manifests of schema 1 is not supported: push schema 2 or an OCI \
         manifest"
            .to_owned(),
    )
}

fn missing(key: &str, what: &str) -> ManifestError {
    invalid(format!("the manifest has no {key}: it must be {what}"))
}

fn invalid(message: impl AsRef<str>) -> ManifestError {
    ManifestError::Invalid(excerpt_of(message.as_ref(), MESSAGE_CHARS_MAX))
}

impl From<serde_json::Error> for ManifestError {
    fn from(error: serde_json::Error) -> Self {
        invalid(format!("the manifest is invalid: {error}"))
    }
}
