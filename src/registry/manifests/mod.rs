//! Manifests: pushed with all records that name them, resolved, and deleted with their tags.

mod delete;

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;
use super::blobs::Blobs;
use super::concurrently::concurrently;
use super::content::StoredManifest;
use super::read_cache::ReadCache;
use super::record::{self, Base, Current, Records, Written};
use super::repositories::Repositories;
use super::schema1;
use super::settings::Sparse;
use super::tags::{TagChange, TagCondition, Tags};
use crate::docker_schema1::Schema1;
use crate::layout::encoding::{Draft, Nonce, decode};
use crate::layout::records::{self, Referrer, TagIndex, TagTarget};
use crate::oci::{
    Accept, Algorithm, Answer, AnyDigest, Descriptor, Digest, Manifest, MediaType, Reference,
    RepositoryName, Tag,
};
use crate::store::{Deadline, Record, RecordKey};

/// The manifest of a push after its record was written or found.
#[derive(Debug)]
struct WrittenManifest {
    generation: String,
    base: Base,
}

/// The attempt of a push that sets the tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    First,
    /// The manifest was deleted during an earlier attempt.
    Repeated,
}

/// A manifest that is pushed.
#[derive(Debug)]
pub struct Push<'a> {
    pub name: &'a RepositoryName,
    pub manifest: &'a Manifest,
    pub digest: Digest,
    /// The tags to set.
    pub tags: &'a [Tag],
    /// What must be true of each of the tags.
    pub condition: &'a TagCondition,
    /// The subject of the caller.
    pub by: &'a str,
}

/// The result of a push.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The subject whose referrers include the manifest now.
    pub subject: Option<Digest>,
}

/// The manifests of all repositories.
#[derive(Debug)]
pub struct Manifests {
    pub(super) records: Records,
    pub(super) read_cache: Arc<ReadCache>,
    pub(super) blobs: Blobs,
    pub(super) tags: Tags,
    pub(super) repositories: Arc<Repositories>,
    pub(super) sparse: Sparse,
    pub(super) schema1: Schema1,
}

impl Manifests {
    /// Checks the body of a push. `declared` is its `Content-Type`. Returns the manifest and its
    /// digest, which must be that of the reference, if it is a digest.
    pub fn accept(
        &self,
        raw: Bytes,
        declared: Option<&MediaType>,
        reference: &Reference,
    ) -> Result<(Manifest, Digest), Error> {
        let digest_of = |bytes: &[u8]| match reference {
            Reference::Tag(_) => Ok(Digest::of(Algorithm::Sha256, bytes)),
            Reference::Digest(expected) => {
                let actual = Digest::of(expected.algorithm(), bytes);
                if actual == *expected {
                    return Ok(actual);
                }
                let (expected, actual) = (Box::new(*expected), Box::new(actual));
                Err(Error::DigestMismatch { expected, actual })
            }
        };
        if let Some(signed) = self.schema1.accept(&raw, declared)? {
            let digest = digest_of(signed.payload())?;
            return Ok((signed.into_manifest(), digest));
        }
        let digest = digest_of(&raw)?;
        Ok((Manifest::parse(raw, declared)?, digest))
    }

    /// Finds a manifest: by tag at most two reads of the store, by digest one.
    pub async fn get(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Arc<StoredManifest>, Error> {
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => {
                self.read_cache.tag(name, tag).await?.ok_or(Error::ManifestUnknown)?
            }
        };
        self.read_cache.manifest(name, &digest).await?.ok_or(Error::ManifestUnknown)
    }

    /// Finds the manifest to serve to a client that accepts these types, by the rules of
    /// [`Negotiation`](crate::oci::Negotiation).
    pub async fn negotiate(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        accept: &Accept,
    ) -> Result<Arc<StoredManifest>, Error> {
        let stored = self.get(name, reference).await?;
        let negotiation = self.schema1.negotiation;
        match (negotiation.answer(&stored.media_type, reference, accept), reference) {
            (Answer::NotAcceptable, _) => {
                Err(Error::NotAcceptable { stored: stored.media_type.to_string() })
            }
            (Answer::Schema1, Reference::Tag(tag)) => self.convert(name, tag, &stored).await,
            (Answer::Child, Reference::Tag(tag)) => {
                let child = default_child(&stored).ok_or(Error::ManifestUnknown)?;
                let child = self.get(name, &Reference::Digest(child)).await?;
                match negotiation.child(&child.media_type, accept) {
                    Answer::Schema1 => self.convert(name, tag, &child).await,
                    Answer::Stored | Answer::Child | Answer::NotAcceptable => Ok(child),
                }
            }
            (Answer::Stored, _) | (Answer::Child | Answer::Schema1, Reference::Digest(_)) => {
                Ok(stored)
            }
        }
    }

    async fn convert(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        image: &Arc<StoredManifest>,
    ) -> Result<Arc<StoredManifest>, Error> {
        let now = self.records.now();
        // In a box: it is rare, and its future would make that of every pull larger.
        Box::pin(schema1::convert(&self.schema1, &self.blobs, (name, tag), image, now)).await
    }

    /// Stores a manifest: leases the content that it names, writes its record and the records that
    /// name it, then sets the tags.
    ///
    /// A deletion of the same manifest may run at the same time, and delete what was written last
    /// or not see it. So the push ends with touching the manifest. If that succeeds, no deletion
    /// was completed meanwhile, and one that still runs has to begin again and finds all records.
    /// If the manifest was deleted, the push is repeated.
    pub async fn put(&self, push: &Push<'_>) -> Result<Pushed, Error> {
        let leased_at = self.records.now();
        let (leased, tags) = tokio::join!(self.lease_references(push), self.read_tags(push));
        leased?;
        let mut tags = tags?;
        let deadline = self.records.deadline(leased_at);
        let mut attempt = Attempt::First;
        for _ in 0..record::ATTEMPTS_MAX {
            // Taken before the manifest is written: the tags rely on the manifest being young.
            let written_at = self.records.now();
            let (written, indexed, added) = tokio::join!(
                self.write_manifest(push, deadline),
                self.write_tag_indexes(push, deadline),
                self.repositories.add(push.name, deadline),
            );
            let written = written?;
            indexed?;
            added?;
            let subject = self.write_referrer(push, deadline).await?;
            let tags_deadline = self.records.deadline(written_at);
            self.set_tags(push, std::mem::take(&mut tags), attempt, tags_deadline).await?;
            let named = subject.is_some() || !push.tags.is_empty();
            if !named || self.still_current(push, written).await? {
                return Ok(Pushed { subject });
            }
            attempt = Attempt::Repeated;
        }
        Err(record::contended())
    }

    /// Points the tags at the manifest. When a push is repeated, every tag that exists was written
    /// after our first attempt, so only a missing tag is set again.
    async fn set_tags(
        &self,
        push: &Push<'_>,
        current: Vec<Current>,
        attempt: Attempt,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let change = TagChange {
            target: TagTarget {
                digest: push.digest,
                media_type: push.manifest.media_type().to_string(),
                size: push.manifest.raw().len() as u64,
            },
            unconditional: *push.condition == TagCondition::None,
            by: push.by.to_owned(),
            at: records::seconds(self.records.now()),
        };
        let condition = match attempt {
            Attempt::First => push.condition,
            Attempt::Repeated => &TagCondition::Absent,
        };
        let mut current = current.into_iter();
        let set = |tag| {
            let current = current.next();
            let set = self.tags.set(push.name, tag, &change, condition, current, deadline);
            async move {
                match set.await {
                    Err(Error::PreconditionFailed) if attempt == Attempt::Repeated => Ok(()),
                    outcome => outcome,
                }
            }
        };
        concurrently(push.tags.iter().map(set).collect()).await?;
        Ok(())
    }

    /// Takes a lease on the records of all content that the manifest names, and reports all that
    /// are missing.
    async fn lease_references(&self, push: &Push<'_>) -> Result<(), Error> {
        let known = |digest: &AnyDigest| match digest {
            AnyDigest::Known(digest) => Some(*digest),
            AnyDigest::Other(_) => None,
        };
        let blobs = push.manifest.blobs().iter().filter_map(|blob| {
            let digest = known(&blob.digest)?;
            let key = RecordKey::Link(push.name.clone(), digest);
            Some((digest, key, self.sparse == Sparse::All))
        });
        // A registry need not have these, but a client may rely on one that it has.
        let external = push.manifest.external_layers().iter().filter_map(|layer| {
            let digest = known(&layer.digest)?;
            Some((digest, RecordKey::Link(push.name.clone(), digest), true))
        });
        let children = push.manifest.children().iter().filter_map(|child| {
            let digest = known(&child.digest)?;
            let key = RecordKey::Manifest(push.name.clone(), digest);
            Some((digest, key, self.sparse != Sparse::None))
        });
        let mut keys: Vec<_> = blobs.chain(external).chain(children).collect();
        keys.sort_by_key(|(digest, _, optional)| (*digest, *optional));
        keys.dedup_by(|a, b| a.1 == b.1);
        let lease = |(digest, key, sparse): (Digest, RecordKey, bool)| async move {
            let leased = match self.records.read(&key).await? {
                Current::Absent | Current::Tombstone(_) => None,
                Current::Live(record) => self.records.lease(&key, record).await?,
            };
            Ok::<_, Error>((leased.is_none() && !sparse).then_some(digest))
        };
        let missing = concurrently(keys.into_iter().map(lease).collect()).await?;
        let missing: Vec<Digest> = missing.into_iter().flatten().collect();
        if missing.is_empty() { Ok(()) } else { Err(Error::ReferencesMissing(missing)) }
    }

    /// Reads the tags that will be set, and refuses early what cannot succeed. Without a condition
    /// it reads nothing: most tags are new.
    async fn read_tags(&self, push: &Push<'_>) -> Result<Vec<Current>, Error> {
        if *push.condition == TagCondition::None {
            return Ok(Vec::new());
        }
        let read = |tag| self.tags.read(push.name, tag);
        let tags = concurrently(push.tags.iter().map(read).collect()).await?;
        for tag in &tags {
            if !push.condition.holds_of(tag)? {
                return Err(Error::PreconditionFailed);
            }
        }
        Ok(tags)
    }

    /// Writes the manifest. An existing one is always touched: a deletion that has read it before
    /// then fails and begins again, and cannot delete the tags of this push. One that is being
    /// deleted begins another generation.
    async fn write_manifest(
        &self,
        push: &Push<'_>,
        deadline: Deadline,
    ) -> Result<WrittenManifest, Error> {
        let key = RecordKey::Manifest(push.name.clone(), push.digest);
        let mut generation = Nonce::random().to_string();
        let mut current = Current::Absent;
        for _ in 0..record::ATTEMPTS_MAX {
            let draft = draft(push, &generation);
            let known = draft.known();
            let written = self.records.upsert(&key, &current, &draft, Some(deadline)).await?;
            let now = match written {
                Written::Ours(base) => return Ok(WrittenManifest { generation, base }),
                Written::Replaced(now) | Written::Lost(now) => now,
            };
            match live(&now)? {
                Some((record, found)) => {
                    if matches!(current, Current::Live(_)) && found == generation {
                        // Another push has touched it since we read it, which is as good.
                        let base = Base::of(record, known)?;
                        return Ok(WrittenManifest { generation, base });
                    }
                    generation = found;
                }
                None => generation = Nonce::random().to_string(),
            }
            current = now;
        }
        Err(record::contended())
    }

    /// Touches the manifest after all records that name it were written. `false` if it was deleted
    /// since [`Self::write_manifest`].
    async fn still_current(
        &self,
        push: &Push<'_>,
        written: WrittenManifest,
    ) -> Result<bool, Error> {
        let key = RecordKey::Manifest(push.name.clone(), push.digest);
        let WrittenManifest { generation, mut base } = written;
        for touched_by_another in [false, true] {
            let draft = draft(push, &generation);
            let now = match self.records.replace(&key, &base, &draft, None).await? {
                Written::Ours(_) => return Ok(true),
                // Ours happened, but a deletion that began before it may have been first.
                Written::Replaced(now) | Written::Lost(now) => now,
            };
            let Some((record, found)) = live(&now)? else { return Ok(false) };
            if found != generation {
                return Ok(false);
            }
            // The first touch by another push may have happened before our last write; the second
            // one happened after it.
            if touched_by_another {
                return Ok(true);
            }
            base = Base::of(record, draft.known())?;
        }
        Ok(true)
    }

    /// Records which tags point at the manifest, before they do.
    async fn write_tag_indexes(&self, push: &Push<'_>, deadline: Deadline) -> Result<(), Error> {
        let write = |tag: &Tag| {
            let key = RecordKey::TagIndex(push.name.clone(), push.digest, tag.clone());
            async move { self.create_or_lease(&key, &TagIndex {}, deadline).await }
        };
        concurrently(push.tags.iter().map(write).collect()).await?;
        tracing::trace!(tags = push.tags.len(), "tag indexes written");
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
        self.create_or_lease(&key, &Referrer { descriptor }, deadline).await?;
        Ok(Some(subject))
    }

    async fn create_or_lease(
        &self,
        key: &RecordKey,
        header: &(impl Serialize + DeserializeOwned + Sync),
        deadline: Deadline,
    ) -> Result<(), Error> {
        let draft = Draft::new(header, Bytes::new());
        self.records.create_or_lease(key, &draft, Some(deadline)).await?;
        Ok(())
    }
}

/// A manifest that is live and not being deleted, and its generation.
fn live(current: &Current) -> Result<Option<(&Record, String)>, Error> {
    let Current::Live(record) = current else { return Ok(None) };
    let (header, _) = decode::<records::Manifest>(&record.body)?;
    Ok((!header.doomed).then_some((record, header.generation)))
}

/// The record of the pushed manifest, with a new nonce.
fn draft(push: &Push<'_>, generation: &str) -> Draft {
    let manifest = push.manifest;
    let references = |descriptors: &mut dyn Iterator<Item = &Descriptor>| {
        let reference = |descriptor: &Descriptor| records::Reference {
            digest: descriptor.digest.to_string(),
            size: descriptor.size,
        };
        descriptors.map(reference).collect()
    };
    let header = records::Manifest {
        media_type: manifest.media_type().to_string(),
        references: references(&mut manifest.blobs().iter().chain(manifest.children())),
        external: references(&mut manifest.external_layers().iter()),
        subject: known_subject(manifest),
        artifact_type: manifest.artifact_type().map(str::to_owned),
        doomed: false,
        generation: generation.to_owned(),
    };
    Draft::new(&header, manifest.raw().clone())
}

/// The `linux/amd64` image of a list, which clients that did not know lists got.
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
