//! Manifests: pushed with everything that names them, resolved, and deleted with their tags.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::lists::walk;
use super::read_cache::CachedRecord;
use super::record::{self, Ensured, Seen, Written};
use super::referrers::Referrer;
pub use super::tags::TagCondition;
use super::tags::TagTarget;
use super::{Error, LIST_ROWS_MAX, Registry, concurrently};
use crate::docker_schema1 as schema1;
use crate::oci::{
    Accept, Answer, AnyDigest, Digest, Manifest, MediaType, Reference, RepositoryName, Tag,
};
use crate::store::{self, Deadline, Prefix, RecordKey, Version};

/// The entry `m/`: the header before the exact bytes of a manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Header {
    media_type: String,
    /// Blobs and manifests that it names, so that collecting needs no parsing.
    references: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Digest>,
    /// Names this life of the manifest: kept as long as it is pushed again, another one when it was
    /// deleted in between.
    #[serde(default)]
    life: String,
}

/// A manifest that was alive when it was written or read.
#[derive(Debug)]
struct Alive {
    life: String,
    version: Version,
}

/// A manifest as it is served.
#[derive(Clone, Debug)]
pub struct StoredManifest {
    /// The digest it was found by: the one in the request, or the one that the tag names.
    pub digest: Digest,
    /// The type it was pushed with.
    pub media_type: MediaType,
    /// The bytes as they were pushed.
    pub bytes: Bytes,
    /// The digest in quotation marks. Answers share it instead of writing it anew each time.
    quoted_digest: Bytes,
}

impl StoredManifest {
    /// A manifest that is found by this digest.
    pub fn new(digest: Digest, media_type: MediaType, bytes: Bytes) -> Self {
        let quoted_digest = Bytes::from(format!("\"{digest}\""));
        Self { digest, media_type, bytes, quoted_digest }
    }

    /// The digest as text, in quotation marks.
    pub fn quoted_digest(&self) -> Bytes {
        self.quoted_digest.clone()
    }

    /// The digest as text.
    pub fn digest_text(&self) -> Bytes {
        self.quoted_digest.slice(1..self.quoted_digest.len() - 1)
    }
}

/// A manifest on its way in.
#[derive(Debug)]
pub struct Push<'a> {
    /// The repository.
    pub name: &'a RepositoryName,
    /// The manifest, validated.
    pub manifest: &'a Manifest,
    /// Its digest.
    pub digest: Digest,
    /// The tags to set.
    pub tags: &'a [Tag],
    /// What must be true of each of the tags.
    pub condition: &'a TagCondition,
}

/// What a push did.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The subject whose referrers include the manifest now.
    pub subject: Option<Digest>,
}

/// What the entry of a manifest says. What is served under a digest has it, whatever happened to
/// the bucket or to the cache.
pub(super) fn cached_manifest(
    name: &RepositoryName,
    digest: &Digest,
    body: &Bytes,
) -> Result<StoredManifest, store::Error> {
    let (header, bytes) = record::decode::<Header>(body).map_err(Error::into_store)?;
    let Ok(media_type) = header.media_type.parse();
    let identity = schema1::identity(&media_type, &bytes);
    if identity.is_none_or(|identity| Digest::of(digest.algorithm(), &identity) != *digest) {
        tracing::error!(%name, %digest, "a stored manifest does not match its digest");
        return Err(store::Error::Damaged(format!("the manifest {digest} of {name}")));
    }
    Ok(StoredManifest::new(*digest, media_type, bytes))
}

impl Registry {
    /// Resolves a tag. At most one read of the store.
    async fn resolve(&self, name: &RepositoryName, tag: &Tag) -> Result<Digest, Error> {
        match self.read_cache.read(RecordKey::Tag(name.clone(), tag.clone())).await? {
            CachedRecord::Tag(target) => Ok(target.digest),
            _ => Err(Error::ManifestUnknown),
        }
    }

    /// Finds a manifest: by tag at most two reads of the store, by digest one.
    pub async fn manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Arc<StoredManifest>, Error> {
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => self.resolve(name, tag).await?,
        };
        match self.read_cache.read(RecordKey::Manifest(name.clone(), digest)).await? {
            CachedRecord::Manifest(manifest) => Ok(manifest),
            _ => Err(Error::ManifestUnknown),
        }
    }

    /// Finds the manifest to serve to a client that accepts these types, by the rules of
    /// [`Negotiation`](crate::oci::Negotiation).
    pub async fn negotiate(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        accept: &Accept,
    ) -> Result<Arc<StoredManifest>, Error> {
        let stored = self.manifest(name, reference).await?;
        let negotiation = self.policy.negotiation;
        let Reference::Tag(tag) = reference else {
            return match negotiation.answer(&stored.media_type, false, accept) {
                Answer::NotAcceptable => Err(Error::not_acceptable(&stored.media_type)),
                Answer::Stored | Answer::Child | Answer::Schema1 => Ok(stored),
            };
        };
        match negotiation.answer(&stored.media_type, true, accept) {
            Answer::Stored => Ok(stored),
            Answer::NotAcceptable => Err(Error::not_acceptable(&stored.media_type)),
            Answer::Schema1 => self.converted(name, tag, &stored).await,
            Answer::Child => {
                let child = default_child(&stored).ok_or(Error::ManifestUnknown)?;
                let child = self.manifest(name, &Reference::Digest(child)).await?;
                match negotiation.child(&child.media_type, accept) {
                    Answer::Schema1 => self.converted(name, tag, &child).await,
                    Answer::Stored | Answer::Child | Answer::NotAcceptable => Ok(child),
                }
            }
        }
    }

    /// Accepts a manifest: leases what it names, writes it with what finds it, then sets the tags.
    ///
    /// A deletion of the same manifest may run at the same time and remove what was written last,
    /// or not see it. So the push ends with a renewal of the manifest: where that succeeds, no
    /// deletion was completed meanwhile, and one that is under way has to begin again and finds
    /// everything. Where it does not, the manifest was deleted, and the push is done over.
    pub async fn put_manifest(&self, push: &Push<'_>) -> Result<Pushed, Error> {
        let leased_at = record::moment(self.store());
        let (leased, seen_tags) =
            tokio::join!(self.lease_references(push), self.look_at_tags(push));
        leased?;
        let mut seen_tags = seen_tags?;
        let deadline = self.leases.deadline(leased_at);
        for attempt in 0..record::ATTEMPTS_MAX {
            // Before the manifest is written: the tags rely on it being young.
            let written_at = record::moment(self.store());
            let (alive, found, marked) = tokio::join!(
                self.write_manifest(push, deadline),
                self.write_tags_of(push, deadline),
                self.mark(push.name, deadline),
            );
            let alive = alive?;
            found?;
            marked?;
            let subject = self.write_referrer(push, deadline).await?;
            let deadline = self.leases.deadline(written_at);
            let seen = std::mem::take(&mut seen_tags);
            self.set_tags(push, seen, attempt > 0, deadline).await?;
            let named = subject.is_some() || !push.tags.is_empty();
            if !named || self.outlived(push, alive).await? {
                return Ok(Pushed { subject });
            }
        }
        Err(record::contended())
    }

    /// Points the tags at the manifest. When the push is done over, what a tag holds by then was
    /// written after us: only a tag that is gone is set again.
    async fn set_tags(
        &self,
        push: &Push<'_>,
        seen: Vec<Seen>,
        over: bool,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let target = TagTarget {
            digest: push.digest,
            media_type: push.manifest.media_type().to_string(),
            size: push.manifest.raw().len() as u64,
            unconditional: *push.condition == TagCondition::None,
        };
        let condition = if over { &TagCondition::Absent } else { push.condition };
        let mut seen = seen.into_iter();
        let set = |tag| {
            let seen = seen.next();
            let set = self.set_tag(push.name, tag, &target, condition, seen, deadline);
            async move {
                match set.await {
                    Err(Error::PreconditionFailed) if over => Ok(()),
                    outcome => outcome,
                }
            }
        };
        concurrently(push.tags.iter().map(set).collect()).await?;
        Ok(())
    }

    /// Takes a lease on everything that the manifest names; says all that is missing.
    async fn lease_references(&self, push: &Push<'_>) -> Result<(), Error> {
        let mut keys: Vec<(Digest, RecordKey)> = Vec::new();
        for blob in push.manifest.blobs() {
            if let AnyDigest::Known(digest) = &blob.digest {
                keys.push((*digest, RecordKey::Link(push.name.clone(), *digest)));
            }
        }
        for child in push.manifest.children() {
            if let AnyDigest::Known(digest) = &child.digest {
                keys.push((*digest, RecordKey::Manifest(push.name.clone(), *digest)));
            }
        }
        keys.sort_by_key(|(digest, _)| *digest);
        keys.dedup_by(|a, b| a.1 == b.1);
        let lease = |(digest, key): (Digest, RecordKey)| async move {
            let leased = match record::look(self.store(), &key).await? {
                Seen::Absent | Seen::Dead(_) => None,
                Seen::Alive(entry) => {
                    record::lease(self.store(), &self.leases, &key, entry).await?
                }
            };
            let sparse = match key {
                RecordKey::Manifest(..) => self.policy.sparse_indexes,
                _ => self.policy.sparse_images,
            };
            Ok::<_, Error>((leased.is_none() && !sparse).then_some(digest))
        };
        let missing = concurrently(keys.into_iter().map(lease).collect()).await?;
        let missing: Vec<Digest> = missing.into_iter().flatten().collect();
        if missing.is_empty() { Ok(()) } else { Err(Error::ReferencesMissing(missing)) }
    }

    /// Reads the tags that will be set, and refuses early what cannot succeed. Without a condition
    /// nothing is read: most tags are new.
    async fn look_at_tags(&self, push: &Push<'_>) -> Result<Vec<Seen>, Error> {
        if *push.condition == TagCondition::None {
            return Ok(Vec::new());
        }
        let look = |tag: &Tag| {
            let key = RecordKey::Tag(push.name.clone(), tag.clone());
            async move { record::look(self.store(), &key).await }
        };
        let seen = concurrently(push.tags.iter().map(look).collect()).await?;
        for tag in &seen {
            let current = match tag {
                Seen::Absent | Seen::Dead(_) => None,
                Seen::Alive(entry) => Some(record::decode::<TagTarget>(&entry.body)?.0.digest),
            };
            if !push.condition.holds(current.as_ref()) {
                return Err(Error::PreconditionFailed);
            }
        }
        Ok(seen)
    }

    /// Writes the manifest. One that is there already is always renewed: a deletion that read it
    /// before then fails and starts again, and cannot take the tags of this push with it.
    async fn write_manifest(&self, push: &Push<'_>, deadline: Deadline) -> Result<Alive, Error> {
        let key = RecordKey::Manifest(push.name.clone(), push.digest);
        let mut life = record::nonce();
        let mut seen = Seen::Absent;
        for _ in 0..record::ATTEMPTS_MAX {
            let body = body(push, &life);
            let lost =
                match record::write_over(self.store(), &key, &seen, &body, Some(deadline)).await? {
                    Written::Ours(version) => return Ok(Alive { life, version }),
                    Written::Lost(lost) => lost,
                };
            if let Seen::Alive(entry) = &lost {
                let found = record::decode::<Header>(&entry.body)?.0.life;
                if matches!(seen, Seen::Alive(_)) && found == life {
                    // Another push has renewed it since we looked, which is as good.
                    return Ok(Alive { life, version: entry.version.clone() });
                }
                life = found;
            } else {
                life = record::nonce();
            }
            seen = lost;
        }
        Err(record::contended())
    }

    /// Renews the manifest after everything that names it was written. `false` if it was deleted
    /// since it was seen alive.
    async fn outlived(&self, push: &Push<'_>, alive: Alive) -> Result<bool, Error> {
        let key = RecordKey::Manifest(push.name.clone(), push.digest);
        let Alive { life, mut version } = alive;
        for renewed_by_another in [false, true] {
            let body = body(push, &life);
            match record::replace(self.store(), &key, &version, &body, None).await? {
                Written::Ours(_) => return Ok(true),
                Written::Lost(Seen::Alive(entry)) => {
                    if record::decode::<Header>(&entry.body)?.0.life != life {
                        return Ok(false);
                    }
                    // The first one may have been renewed before our last write, this one was not.
                    if renewed_by_another {
                        return Ok(true);
                    }
                    version = entry.version;
                }
                Written::Lost(Seen::Absent | Seen::Dead(_)) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Says which tags point at the manifest, before they do.
    async fn write_tags_of(&self, push: &Push<'_>, deadline: Deadline) -> Result<(), Error> {
        let write = |tag: &Tag| {
            let key = RecordKey::TagIndex(push.name.clone(), push.digest, tag.clone());
            let body = record::encode(&serde_json::Map::new(), &[]);
            let deadline = Some(deadline);
            async move { record::ensure(self.store(), &self.leases, &key, &body, deadline).await }
        };
        let written: Vec<Ensured> = concurrently(push.tags.iter().map(write).collect()).await?;
        tracing::trace!(tags = written.len(), "reverse index written");
        Ok(())
    }

    /// Adds the manifest to the referrers of its subject.
    async fn write_referrer(
        &self,
        push: &Push<'_>,
        deadline: Deadline,
    ) -> Result<Option<Digest>, Error> {
        let Some(subject) = known_subject(push.manifest) else { return Ok(None) };
        let key = RecordKey::Referrer(push.name.clone(), subject, push.digest);
        let mut descriptor = serde_json::json!({
            "mediaType": push.manifest.media_type().as_str(),
            "digest": push.digest.to_string(),
            "size": push.manifest.raw().len(),
        });
        if let Some(artifact_type) = push.manifest.artifact_type() {
            descriptor["artifactType"] = artifact_type.into();
        }
        if let Some(annotations) = push.manifest.annotations() {
            descriptor["annotations"] = serde_json::json!(annotations);
        }
        let body = record::encode(&Referrer { descriptor }, &[]);
        record::ensure(self.store(), &self.leases, &key, &body, Some(deadline)).await?;
        Ok(Some(subject))
    }

    /// Removes a manifest, every tag that points at it, and its place among the referrers.
    ///
    /// The tags go first, the manifest last and only if nobody has pushed it since it was read:
    /// otherwise everything is read again. So an acknowledged push is either whole or gone whole.
    pub async fn delete_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), Error> {
        let key = RecordKey::Manifest(name.clone(), *digest);
        for _ in 0..record::ATTEMPTS_MAX {
            let Some(record) = record::read::<Header>(self.store(), &key).await? else {
                return Err(Error::ManifestUnknown);
            };
            self.delete_tags_of(name, digest).await?;
            if let Some(subject) = record.header.subject {
                let referrer = RecordKey::Referrer(name.clone(), subject, *digest);
                let seen = record::look(self.store(), &referrer).await?;
                record::kill(self.store(), &referrer, seen, |_| Ok(true)).await?;
            }
            let version = &record.entry.version;
            match record::replace(self.store(), &key, version, &Bytes::new(), None).await? {
                Written::Ours(_) => return Ok(()),
                Written::Lost(_) => {}
            }
        }
        Err(record::contended())
    }

    /// The tags that point, or once pointed, at a manifest.
    async fn tags_of(&self, name: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, Error> {
        let prefix = Prefix::TagIndexes(name.clone(), *digest);
        let mut tags: Vec<Tag> = Vec::new();
        loop {
            // A deletion reads the store, never the cache.
            let last = tags.last().map(ToString::to_string).unwrap_or_default();
            let row = |rest: &str| rest.parse::<Tag>().ok();
            let page = walk(self.store(), &prefix, &last, LIST_ROWS_MAX, row).await?;
            let more = page.more && !page.rows.is_empty();
            tags.extend(page.rows);
            if !more {
                return Ok(tags);
            }
        }
    }

    async fn delete_tags_of(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let tags = self.tags_of(name, digest).await?;
        let mut deletions = Vec::with_capacity(tags.len());
        for tag in &tags {
            let key = RecordKey::Tag(name.clone(), tag.clone());
            deletions.push(async move {
                let seen = record::look(self.store(), &key).await?;
                record::kill(self.store(), &key, seen, |entry| {
                    Ok(record::decode::<TagTarget>(&entry.body)?.0.digest == *digest)
                })
                .await
            });
        }
        concurrently(deletions).await?;
        Ok(())
    }
}

/// The entry of a manifest, with a nonce of its own.
fn body(push: &Push<'_>, life: &str) -> Bytes {
    let manifest = push.manifest;
    let references = manifest.blobs().iter().chain(manifest.children());
    let header = Header {
        media_type: manifest.media_type().to_string(),
        references: references.map(|descriptor| descriptor.digest.to_string()).collect(),
        subject: known_subject(manifest),
        life: life.to_owned(),
    };
    record::encode(&header, manifest.raw())
}

/// The image of a list that clients got which did not know lists.
fn default_child(list: &StoredManifest) -> Option<Digest> {
    let list = Manifest::parse(list.bytes.clone(), Some(&list.media_type)).ok()?;
    let child = list.children().iter().find(|child| {
        child
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "linux" && platform.architecture == "amd64")
    })?;
    match &child.digest {
        AnyDigest::Known(digest) => Some(*digest),
        AnyDigest::Other(_) => None,
    }
}

/// The subject, where its digest is one that this registry can serve.
fn known_subject(manifest: &Manifest) -> Option<Digest> {
    match &manifest.subject()?.digest {
        AnyDigest::Known(digest) => Some(*digest),
        AnyDigest::Other(_) => None,
    }
}
