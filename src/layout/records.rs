//! What the records of the bucket contain. [`key`](super::key) says where each of them lies.
//!
//! [`encoding`] says how they become bytes.
//!
//! | key | header | payload |
//! |---|---|---|
//! | `p/` | [`Pointer`] | none |
//! | `l/` | [`Link`] | the blob, if it is small |
//! | `m/` | [`Manifest`] | the manifest exactly as it was pushed |
//! | `t/` | [`Tag`] | none |
//! | `x/` | [`TagIndex`] | none |
//! | `c/` | [`Repository`] | none |
//! | `r/` | [`Referrer`] | none |
//! | `u/` | [`Session`] | the received bytes that are not in a part yet |
//! | `g/cache-key` | [`CacheKey`] | none |
//! | `g/keys` | [`TokenKeys`] | none |
//! | `g/usage` | [`Usage`] | none |
//! | `g/settings` | `registry::shared_settings` reads and writes its fields by name | none |
//! | `g/writer/` | [`Writer`] | none |
//! | `g/collector` | [`Collector`] | none |
//! | `g/run` | [`CollectorRun`] | none |
//! | `g/seen/` | [`Seen`] | a hash of 16 bytes for each link and its version, in ascending order |
//! | `g/quarantine/` | [`Quarantined`] | none |

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::encoding::{self, DecodeError};
use super::key::Location;
use crate::entropy;
use crate::oci::truncate::truncate_to;
use crate::oci::{self, Algorithm, Digest, RepositoryName};

/// `p/`: one per distinct content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pointer {
    /// Bytes of the blob.
    pub size: u64,
    /// The data object. Absent while all copies of the content are payloads of links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// The `ETag` of the data object, so that a listing of `d/` shows damage without any read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// A repository that had a link to the blob when this was written: a hint for mounts that name
    /// no source.
    pub repository: RepositoryName,
}

/// `l/`: a blob of one repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Link {
    /// Bytes of the blob.
    pub size: u64,
    /// The data object. Absent if the payload of this record is the blob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// The `ETag` of the data object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// `m/`: a manifest of one repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The media type with which it was pushed.
    pub media_type: String,
    /// The blobs and manifests that it names, so that a collector need not parse it.
    pub references: Vec<Reference>,
    /// The layers that it names by URLs, too, which the repository need not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external: Vec<Reference>,
    /// The manifest that this one refers to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Set by the first step of a deletion. Readers treat the manifest as deleted; a push makes it
    /// live again, and any deletion finishes what this one began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub doomed: bool,
    /// Stays the same while the manifest is pushed again, and changes when it is pushed after a
    /// deletion.
    pub generation: String,
}

/// A descriptor in a manifest, as far as the collector and the usage need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Also one of an algorithm that this registry does not know.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

/// `t/`: the manifest that a tag points at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// The digest of the manifest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub size: u64,
    /// Whether the push that wrote this had no precondition.
    #[serde(default)]
    pub unconditional: bool,
    /// Counts the changes of the tag, from 1.
    pub seq: u64,
    /// The subject of the caller whose push wrote this.
    pub by: String,
    /// When, in seconds since 1970, by the clock of the process. Informational.
    pub at: u64,
    /// What the tag pointed at before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<TagTarget>,
    /// What the manifest is.
    #[serde(default, skip_serializing_if = "Summary::is_empty")]
    pub summary: Summary,
}

/// What a manifest is, so that a list of tags need not read the manifests. Informational.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The type of the artifact, or of the config of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The platforms of an index, such as `linux/amd64`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    /// Bytes of the config and the layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_size: Option<u64>,
}

/// What a tag pointed at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagTarget {
    /// The digest of the manifest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub size: u64,
}

/// `x/`: the key says everything.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct TagIndex {}

/// `c/`: a repository. Its policy, home and quota are reserved for later releases.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Repository {
    /// When the first manifest was pushed, in seconds since 1970, by the clock of that process.
    pub created: u64,
}

/// `r/`: a manifest that names a subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Referrer {
    /// The descriptor of the manifest, as the list of referrers shows it.
    pub descriptor: Value,
}

/// `g/cache-key`: one for all processes on the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheKey {
    pub key: MacKey,
}

/// `g/keys`: the keys with which every process on the bucket signs and verifies tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenKeys {
    pub keys: Vec<TokenKey>,
}

/// A key that signs tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenKey {
    /// Random; tokens name it (`kid`).
    pub id: String,
    /// The seed of the Ed25519 key.
    pub seed: MacKey,
    /// From when on it signs, in seconds since 1970, by the store's clock. Of several keys, that
    /// which began last signs. It verifies from the start.
    pub signs_from: u64,
    /// What a later release has added.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// `g/usage`: what the namespaces with a quota store, and which process counts it. Its age is that
/// of the totals, or of the claim of the process that scans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The host and the process that scans, or has scanned last.
    pub scanner: String,
    /// Whether it has not finished.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scanning: bool,
    /// When the last complete scan ended, in seconds since 1970, by the store's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scanned_at: Option<u64>,
    /// What that scan has counted: bytes by namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespaces: BTreeMap<Box<str>, u64>,
}

/// A secret of 32 bytes, 64 hexadecimal digits in the record: the key of the MACs in the shared
/// cache, or the seed of a key that signs tokens. Nothing prints it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacKey([u8; 32]);

impl MacKey {
    pub fn random() -> Self {
        Self(entropy::bytes())
    }

    /// The key itself, for the one place that needs it.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl TryFrom<String> for MacKey {
    type Error = &'static str;

    /// The error does not repeat the text: it may be most of a key.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut key = [0; 32];
        hex::decode_to_slice(text, &mut key).map_err(|_| "the key is not 64 hexadecimal digits")?;
        Ok(Self(key))
    }
}

impl From<MacKey> for String {
    fn from(key: MacKey) -> Self {
        hex::encode(key.0)
    }
}

/// `u/`: an upload session, with all that any process needs to continue it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// The repository that the blob is uploaded to.
    pub repository: RepositoryName,
    /// The subject of the caller who started the session; no other caller may continue it.
    pub subject: String,
    /// Bytes that were acknowledged to the client: those of the parts and of the payload, or all
    /// bytes of the single object.
    pub offset: u64,
    /// The state of each hash at `offset`.
    pub hashes: Vec<(Algorithm, String)>,
    /// The object that holds all acknowledged bytes, if they came in one request that probably sent
    /// the whole blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_object: Option<Location>,
    /// Its `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_object_etag: Option<String>,
    /// The object that was the single object before more bytes followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_object: Option<Location>,
    /// The multipart upload; absent until there are enough bytes for a part.
    pub multipart: Option<Multipart>,
    /// The parts that the store acknowledged, in ascending order of their numbers.
    pub parts: Vec<Part>,
    /// The first part number that no request has used.
    pub part_next: u32,
    /// Set while a request sends parts: only that request uses the numbers below this bound. A
    /// later request that finds it set (the writer died, or still runs) begins at the bound, so no
    /// two requests send a part under the same number.
    pub reserved_to: Option<u32>,
    /// The digests with which the session is being committed, that of the blob first; empty before
    /// the commit. No bytes can follow then, and each request that continues the commit verifies
    /// all of them: content that one request rejected must not be published by another.
    pub committing: Vec<Digest>,
}

/// The multipart upload of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Multipart {
    /// The data object that completing the upload creates.
    pub location: Location,
    /// The identifier that the store gave the upload.
    pub id: String,
}

/// A part that the store acknowledged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u32,
    /// What the store returned for it (an `ETag` on S3).
    pub tag: String,
    /// Bytes of the part.
    pub size: u64,
}

/// `g/writer/`: the lease of a process that writes to the bucket alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// The host and the process, for the operator.
    pub holder: String,
    /// When the process took the lease, in seconds since 1970, by the store's clock.
    pub since: u64,
    /// How long the lease lasts after this record was written, in seconds.
    pub valid_for: u64,
}

/// `g/collector`: the lease of the process that collects garbage. It saves double work, and nothing
/// relies on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collector {
    /// The host and the process, for the operator.
    pub holder: String,
    /// How long the lease lasts after this record was written, in seconds.
    pub valid_for: u64,
}

/// `g/run`: how far the garbage collection has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectorRun {
    /// Random; identifies the run.
    pub id: String,
    /// When the run began, in seconds since 1970, by the store's clock.
    pub began: u64,
    /// The phase that is not finished. Absent after the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The last repository of that phase that is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<RepositoryName>,
    /// When the last complete run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<u64>,
    /// The last day whose data objects were compared with their names, `<yyyymmdd>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaks_to: Option<String>,
    /// When that comparison last began with the oldest day, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaks_from_start: Option<u64>,
}

/// `g/seen/`: the links of a repository that a run found unreferenced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The run.
    pub run: String,
}

/// `g/quarantine/`: a data object that is to be deleted. The key has its location, and its age is
/// that of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The digest of the content, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Bytes of the data, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When, in seconds since 1970, by the store's clock. Informational.
    pub since: u64,
}

/// A moment as records hold it: seconds since 1970.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Platforms in a [`Summary`], and the characters of each text there: a client chooses them.
const PLATFORMS_MAX: usize = 16;
const SUMMARY_CHARS_MAX: usize = 128;

impl Summary {
    pub fn of(manifest: &oci::Manifest) -> Self {
        let text = |text: &str| truncate_to(text, SUMMARY_CHARS_MAX);
        let platforms = manifest.children().iter().filter_map(|child| child.platform.as_ref());
        // BuildKit says so of the attestations in an index.
        let platforms = platforms.filter(|platform| platform.os != "unknown");
        let layers = manifest.blobs().iter().chain(manifest.external_layers());
        let content_size = layers.fold(0, |sum: u64, blob| sum.saturating_add(blob.size));
        let is_index = manifest.media_type().is_index();
        Self {
            artifact_type: manifest.artifact_type().map(text),
            platforms: platforms.take(PLATFORMS_MAX).map(|one| text(&one.to_string())).collect(),
            content_size: (!is_index).then_some(content_size),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Tag {
    /// What the tag points at.
    pub fn target(&self) -> TagTarget {
        let Self { digest, media_type, size, .. } = self;
        TagTarget { digest: *digest, media_type: media_type.clone(), size: *size }
    }
}

impl Session {
    /// A session without any bytes.
    pub fn new(repository: RepositoryName, subject: String) -> Self {
        Self {
            repository,
            subject,
            offset: 0,
            hashes: Vec::new(),
            single_object: None,
            single_object_etag: None,
            former_object: None,
            multipart: None,
            parts: Vec::new(),
            part_next: 1,
            reserved_to: None,
            committing: Vec::new(),
        }
    }

    /// Reads a session and its payload, and checks that its bytes add up to its offset.
    pub fn decode(body: &Bytes) -> Result<(Self, Bytes), DecodeError> {
        let (session, tail) = encoding::decode::<Self>(body)?;
        let damaged = |what: &str| Err(DecodeError::Damaged(format!("an upload session {what}")));
        let Some(in_parts) =
            session.parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.size))
        else {
            return damaged("with impossible part sizes");
        };
        if session.single_object.is_some() {
            if !session.parts.is_empty() || !tail.is_empty() {
                return damaged("whose bytes are in two places");
            }
        } else if in_parts.checked_add(tail.len() as u64) != Some(session.offset) {
            return damaged("whose parts and payload are not as long as its offset");
        }
        Ok((session, tail))
    }
}
