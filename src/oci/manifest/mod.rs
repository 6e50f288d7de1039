//! Manifests: parsed and checked once, stored and served byte for byte.

mod body;
pub(crate) mod duplicate_keys;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use self::body::Body;
use self::duplicate_keys::TopLevel;
use super::descriptor::Descriptor;
use super::digest::AnyDigest;
use super::media_type::MediaType;
use super::truncate::{truncate, truncate_to};

/// How long an error message may be, in characters: it can quote the manifest.
pub(crate) const MESSAGE_CHARS_MAX: usize = 400;

/// A type that release candidates of image-spec 1.1 had and the release dropped.
const ARTIFACT_MANIFEST: &str = "application/vnd.oci.artifact.manifest.v1+json";

/// A valid manifest: its bytes, and the content that it references.
///
/// The registry serves the bytes exactly as they were pushed and never serializes a manifest again,
/// because digests and signatures cover the bytes.
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

/// Why the registry refuses a manifest. Each message says what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A type of manifest that this registry does not support.
    #[error("{0}")]
    Unsupported(String),
    #[error("{0}")]
    Invalid(String),
    /// It is schema 1, and a signature does not fit.
    #[error("{0}")]
    Unverified(String),
    /// It is schema 1, and names a repository that cannot exist.
    #[error("{0}")]
    Name(String),
}

impl Manifest {
    /// Parses and checks the body of a push.
    ///
    /// `declared` is the `Content-Type` of the request, `None` when absent. `application/json` and
    /// `application/octet-stream` are treated as absent: `curl` sends such types by default.
    ///
    /// The checks are stricter than the specification. Two readers that understood one document
    /// differently have been a vulnerability (CVE-2021-41190), so an ambiguous document is refused.
    pub fn parse(raw: Bytes, declared: Option<&MediaType>) -> Result<Self, ManifestError> {
        let declared = declared.filter(|declared| !is_generic(declared));
        if let Some(declared) = declared {
            served(declared, "Content-Type")?;
        }
        let text = text(&raw)?;
        let top_level = TopLevel::read(text)?;
        check_schema_version(&top_level, declared)?;
        let media_type = media_type(&top_level, declared)?;
        check_shape(&top_level, &media_type)?;
        let body = Body::read(text, &media_type)?;
        Self::assemble(raw, media_type, body)
    }

    /// The bytes, exactly as pushed.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// One of [`MediaType::ACCEPTED`], or signed schema 1.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The blobs that must exist before an image can be pushed: its config, then its layers,
    /// without the [external layers](Self::external_layers).
    pub fn blobs(&self) -> &[Descriptor] {
        &self.blobs
    }

    /// The layers that need not exist in this registry: layers with `urls`, and layers of a
    /// non-distributable type. An index can list such layers, too.
    pub fn external_layers(&self) -> &[Descriptor] {
        &self.external_layers
    }

    /// What an index lists, without the [external layers](Self::external_layers): manifests, and
    /// blobs where the [type](Descriptor::names_manifest) says so.
    pub fn children(&self) -> &[Descriptor] {
        &self.children
    }

    /// The manifest that this one refers to. It need not exist. Docker's types have no subject.
    pub fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// The type in the list of referrers: `artifactType`, or for an image without `artifactType`
    /// the media type of its config (distribution-spec, "Listing referrers").
    pub fn artifact_type(&self) -> Option<&str> {
        self.artifact_type.as_deref()
    }

    /// The annotations of the manifest itself. The list of referrers repeats them.
    pub fn annotations(&self) -> Option<&BTreeMap<String, String>> {
        self.annotations.as_ref()
    }

    /// A schema 1 document whose signatures were verified, with its layers.
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
            // No client can list the referrers of such a digest: the link would be lost silently.
            return Err(invalid(format!(
                "subject: the algorithm of digest {:?} is not supported here: use sha256 or sha512",
                truncate(digest)
            )));
        }
        let mut artifact_type = body.artifact_type.filter(|text| !text.is_empty());
        let (mut blobs, mut children) = (Vec::new(), Vec::new());
        let external_layers;
        if media_type.is_index() {
            let listed = body.manifests.ok_or_else(|| missing("manifests", "an array"))?;
            (external_layers, children) = listed
                .into_iter()
                .partition(|listed| is_external(listed) && !listed.names_manifest());
        } else {
            let config = body.config.ok_or_else(|| missing("config", "a descriptor"))?;
            if artifact_type.is_none() && !config.media_type.is_empty() {
                artifact_type = Some(config.media_type.clone());
            }
            (external_layers, blobs) = body.layers.into_iter().partition(is_external);
            blobs.insert(0, config);
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

/// The document as UTF-8 text without a byte order mark.
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
    top_level: &TopLevel<'_>,
    declared: Option<&MediaType>,
) -> Result<(), ManifestError> {
    match top_level.schema_version {
        Some(2) => Ok(()),
        Some(1) if declared.is_none() => Err(schema1()),
        Some(version) => Err(invalid(format!("schemaVersion must be 2, it is {version}"))),
        None => Err(missing("schemaVersion", "the number 2")),
    }
}

/// The type of the manifest, from its `mediaType` and the `Content-Type`. They must agree.
fn media_type(
    top_level: &TopLevel<'_>,
    declared: Option<&MediaType>,
) -> Result<MediaType, ManifestError> {
    let Some(own) = &top_level.media_type else {
        return match declared {
            Some(MediaType::DockerManifest | MediaType::DockerManifestList) => {
                Err(missing("mediaType", "the same as the Content-Type"))
            }
            Some(declared) => Ok(declared.clone()),
            None => sniffed(top_level),
        };
    };
    if let Some(declared) = declared {
        // Exactly equal: other readers of the body compare case and parameters.
        if declared.as_str() != *own {
            let own = truncate(own);
            return Err(invalid(format!(
                "mediaType {own:?} differs from the Content-Type of the request, {declared}"
            )));
        }
        return Ok(declared.clone());
    }
    let Ok(parsed) = own.parse::<MediaType>();
    served(&parsed, "mediaType")?;
    if parsed.as_str() != *own {
        return Err(invalid(format!("mediaType {:?} must be spelled {parsed}", truncate(own))));
    }
    Ok(parsed)
}

/// The type of a document without `mediaType`. Docker's types always have one.
fn sniffed(top_level: &TopLevel<'_>) -> Result<MediaType, ManifestError> {
    if top_level.has("manifests") {
        Ok(MediaType::OciIndex)
    } else if top_level.has("config") || top_level.has("layers") {
        Ok(MediaType::OciManifest)
    } else {
        Err(invalid(
            "the manifest has no mediaType and none of the keys config, layers and manifests, and \
             the request has no Content-Type that says what it is",
        ))
    }
}

/// Refuses a document that another reader could take for another type, because of its keys.
fn check_shape(top_level: &TopLevel<'_>, media_type: &MediaType) -> Result<(), ManifestError> {
    let foreign: &[&str] = if media_type.is_index() {
        &["config", "layers", "fsLayers"]
    } else {
        &["manifests", "fsLayers"]
    };
    match foreign.iter().find(|key| top_level.has(key)) {
        None => Ok(()),
        Some(key) => Err(invalid(format!(
            "the manifest is ambiguous: {media_type} must not have the key {key:?}"
        ))),
    }
}

/// Refuses types that this registry does not store. `at` says where the type was found.
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
            truncate(text),
            MediaType::ACCEPTED.each_ref().map(MediaType::as_str).join(", ")
        ))),
    }
}

/// Whether a `Content-Type` says nothing about the type of the manifest.
pub(crate) fn is_generic(media_type: &MediaType) -> bool {
    matches!(media_type.as_str(), "" | "application/json" | "application/octet-stream")
}

/// Whether a layer may be missing here: it has URLs, or its type forbids distribution.
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

pub(crate) fn invalid(message: impl AsRef<str>) -> ManifestError {
    ManifestError::Invalid(truncate_to(message.as_ref(), MESSAGE_CHARS_MAX))
}

impl From<serde_json::Error> for ManifestError {
    fn from(error: serde_json::Error) -> Self {
        invalid(format!("the manifest is invalid: {error}"))
    }
}
