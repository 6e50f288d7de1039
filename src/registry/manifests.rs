//! Manifests: pushed with everything that names them, resolved, and deleted with their tags.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::entry::{self, Ensured, Record, Seen, Written};
use super::referrers::Referrer;
pub use super::tags::TagCondition;
use super::tags::TagTarget;
use super::{Error, LIST_ROWS_MAX, Registry, concurrently};
use crate::oci::{
    Accept, Answer, AnyDigest, Digest, Manifest, MediaType, Reference, RepositoryName, Tag, schema1,
};
use crate::store::{self, Deadline, EntryKey, Prefix};

/// The entry `m/`: the header before the exact bytes of a manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Header {
    media_type: String,
    /// Blobs and manifests that it names, so that collecting needs no parsing.
    references: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Digest>,
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

impl Registry {
    /// Resolves a tag. One read of the store.
    async fn resolve(&self, name: &RepositoryName, tag: &Tag) -> Result<Digest, Error> {
        let key = EntryKey::Tag(name.clone(), tag.clone());
        let record: Record<TagTarget> =
            entry::read(self.store(), &key).await?.ok_or(Error::ManifestUnknown)?;
        Ok(record.header.digest)
    }

    /// Finds a manifest: by tag two reads of the store, by digest one.
    pub async fn manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<StoredManifest, Error> {
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => self.resolve(name, tag).await?,
        };
        let key = EntryKey::Manifest(name.clone(), digest);
        let record: Record<Header> =
            entry::read(self.store(), &key).await?.ok_or(Error::ManifestUnknown)?;
        let media_type = record.header.media_type.parse().unwrap_or_else(|error| match error {});
        // What is served under a digest has it, whatever happened to the bucket.
        let identity = schema1::identity(&media_type, &record.payload);
        if identity.is_none_or(|bytes| Digest::of(digest.algorithm(), &bytes) != digest) {
            tracing::error!(%name, %digest, "a stored manifest does not match its digest");
            let what = format!("the manifest {digest} of {name}");
            return Err(Error::Unavailable(store::Error::Damaged(what)));
        }
        Ok(StoredManifest { digest, media_type, bytes: record.payload })
    }

    /// Finds the manifest to serve to a client that accepts these types, by the rules of
    /// [`Negotiation`](crate::oci::Negotiation).
    pub async fn negotiate(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        accept: &Accept,
    ) -> Result<StoredManifest, Error> {
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
    pub async fn put_manifest(&self, push: &Push<'_>) -> Result<Pushed, Error> {
        let leased_at = entry::moment(self.store());
        let (leased, seen_tags) =
            tokio::join!(self.lease_references(push), self.look_at_tags(push));
        leased?;
        let seen_tags = seen_tags?;
        let deadline = self.leases.deadline(leased_at);
        let (manifest, found, subject, marked) = tokio::join!(
            self.write_manifest(push, deadline),
            self.write_tags_of(push, deadline),
            self.write_referrer(push, deadline),
            self.mark(push.name, deadline),
        );
        manifest?;
        found?;
        marked?;
        let subject = subject?;
        let target = TagTarget {
            digest: push.digest,
            media_type: push.manifest.media_type().to_string(),
            size: push.manifest.raw().len() as u64,
        };
        let deadline = self.leases.deadline(entry::moment(self.store()));
        let mut changes = Vec::with_capacity(push.tags.len());
        for (tag, seen) in push.tags.iter().zip(seen_tags) {
            changes.push(self.set_tag(push.name, tag, &target, push.condition, seen, deadline));
        }
        concurrently(changes).await?;
        Ok(Pushed { subject })
    }

    /// Takes a lease on everything that the manifest names; says all that is missing.
    async fn lease_references(&self, push: &Push<'_>) -> Result<(), Error> {
        let mut keys: Vec<(Digest, EntryKey)> = Vec::new();
        for blob in push.manifest.blobs() {
            if let AnyDigest::Known(digest) = &blob.digest {
                keys.push((*digest, EntryKey::Link(push.name.clone(), *digest)));
            }
        }
        for child in push.manifest.children() {
            if let AnyDigest::Known(digest) = &child.digest {
                keys.push((*digest, EntryKey::Manifest(push.name.clone(), *digest)));
            }
        }
        keys.sort_by_key(|(digest, _)| *digest);
        keys.dedup_by(|a, b| a.1 == b.1);
        let lease = |(digest, key): (Digest, EntryKey)| async move {
            let leased = match entry::look(self.store(), &key).await? {
                Seen::Absent | Seen::Dead(_) => None,
                Seen::Alive(entry) => entry::lease(self.store(), &self.leases, &key, entry).await?,
            };
            let sparse = match key {
                EntryKey::Manifest(..) => self.policy.sparse_indexes,
                _ => self.policy.sparse_images,
            };
            Ok::<_, Error>((leased.is_none() && !sparse).then_some(digest))
        };
        let missing = concurrently(keys.into_iter().map(lease).collect()).await?;
        let missing: Vec<Digest> = missing.into_iter().flatten().collect();
        if missing.is_empty() { Ok(()) } else { Err(Error::ReferencesMissing(missing)) }
    }

    /// Reads the tags that will be set, and refuses early what cannot succeed.
    async fn look_at_tags(&self, push: &Push<'_>) -> Result<Vec<Seen>, Error> {
        let look = |tag: &Tag| {
            let key = EntryKey::Tag(push.name.clone(), tag.clone());
            async move { entry::look(self.store(), &key).await }
        };
        let seen = concurrently(push.tags.iter().map(look).collect()).await?;
        for tag in &seen {
            let current = match tag {
                Seen::Absent | Seen::Dead(_) => None,
                Seen::Alive(entry) => Some(entry::decode::<TagTarget>(&entry.body)?.0.digest),
            };
            if !push.condition.holds(current.as_ref()) {
                return Err(Error::PreconditionFailed);
            }
        }
        Ok(seen)
    }

    /// Writes the manifest. One that is there already is always renewed: a deletion that read it
    /// before then fails and starts again, and cannot take the tags of this push with it.
    async fn write_manifest(&self, push: &Push<'_>, deadline: Deadline) -> Result<(), Error> {
        let key = EntryKey::Manifest(push.name.clone(), push.digest);
        let manifest = push.manifest;
        let references = manifest.blobs().iter().chain(manifest.children());
        let header = Header {
            media_type: manifest.media_type().to_string(),
            references: references.map(|descriptor| descriptor.digest.to_string()).collect(),
            subject: known_subject(manifest),
        };
        let body = entry::encode(&header, manifest.raw());
        let mut seen = Seen::Absent;
        for _ in 0..entry::ATTEMPTS_MAX {
            match entry::write_over(self.store(), &key, &seen, &body, Some(deadline)).await? {
                Written::Ours(_) => return Ok(()),
                Written::Lost(now) => seen = now,
            }
        }
        Err(entry::contended())
    }

    /// Says which tags point at the manifest, before they do.
    async fn write_tags_of(&self, push: &Push<'_>, deadline: Deadline) -> Result<(), Error> {
        let write = |tag: &Tag| {
            let key = EntryKey::TagOf(push.name.clone(), push.digest, tag.clone());
            let body = entry::encode(&serde_json::Map::new(), &[]);
            async move { entry::ensure(self.store(), &self.leases, &key, &body, Some(deadline)).await }
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
        let key = EntryKey::Referrer(push.name.clone(), subject, push.digest);
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
        let body = entry::encode(&Referrer { descriptor }, &[]);
        entry::ensure(self.store(), &self.leases, &key, &body, Some(deadline)).await?;
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
        let key = EntryKey::Manifest(name.clone(), *digest);
        for _ in 0..entry::ATTEMPTS_MAX {
            let Some(record) = entry::read::<Header>(self.store(), &key).await? else {
                return Err(Error::ManifestUnknown);
            };
            self.delete_tags_of(name, digest).await?;
            if let Some(subject) = record.header.subject {
                let referrer = EntryKey::Referrer(name.clone(), subject, *digest);
                let seen = entry::look(self.store(), &referrer).await?;
                entry::kill(self.store(), &referrer, seen, |_| Ok(true)).await?;
            }
            let version = &record.entry.version;
            match entry::replace(self.store(), &key, version, &Bytes::new(), None).await? {
                Written::Ours(_) => return Ok(()),
                Written::Lost(_) => {}
            }
        }
        Err(entry::contended())
    }

    async fn delete_tags_of(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let prefix = Prefix::TagsOf(name.clone(), *digest);
        let mut last: Option<String> = None;
        loop {
            let page = self
                .rows(&prefix, last.as_deref(), LIST_ROWS_MAX, |rest| rest.parse::<Tag>().ok())
                .await?;
            let mut deletions = Vec::with_capacity(page.rows.len());
            for tag in &page.rows {
                deletions.push(self.delete_tag_of(name, digest, tag));
            }
            concurrently(deletions).await?;
            match page.rows.last() {
                Some(tag) if page.more => last = Some(tag.to_string()),
                Some(_) | None => return Ok(()),
            }
        }
    }

    async fn delete_tag_of(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        tag: &Tag,
    ) -> Result<(), Error> {
        let key = EntryKey::Tag(name.clone(), tag.clone());
        let seen = entry::look(self.store(), &key).await?;
        entry::kill(self.store(), &key, seen, |entry| {
            Ok(entry::decode::<TagTarget>(&entry.body)?.0.digest == *digest)
        })
        .await?;
        Ok(())
    }
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
