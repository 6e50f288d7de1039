//! Pushing a manifest: its record, the records that name it, and its tags.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Manifests, Push, Pushed};
use crate::docker_schema1::identity;
use crate::layout::encoding::{Draft, Nonce, decode};
use crate::layout::records::{self, Referrer, Summary, TagIndex, TagTarget};
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName, Tag};
use crate::registry::Error;
use crate::registry::concurrently::concurrently;
use crate::registry::record::{self, Base, CreatedOrLeased, Current, Written};
use crate::registry::tags::{TagChange, TagCondition};
use crate::store::{Deadline, Record, RecordKey};

/// The manifest of a push after its record was written or found.
#[derive(Debug)]
struct WrittenManifest {
    generation: String,
    /// The bytes in the record.
    bytes: Bytes,
    base: Base,
}

/// A manifest that is live and not being deleted.
pub(super) struct Live<'a> {
    pub(super) record: &'a Record,
    generation: String,
    bytes: Bytes,
}

/// The attempt of a push that sets the tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    First,
    /// The manifest was deleted during an earlier attempt.
    Repeated,
}

impl Manifests {
    /// Stores a manifest: leases the content that it names, writes its record and the records that
    /// name it, then sets the tags.
    ///
    /// A deletion of the same manifest may run at the same time, and delete what was written last
    /// or not see it. So the push ends with touching the manifest. If that succeeds, no deletion
    /// was completed meanwhile, and one that still runs has to begin again and finds all records.
    /// If the manifest was deleted, the push is repeated.
    ///
    /// A push that would change nothing writes nothing: it takes effect when it has read that the
    /// manifest is there, young and not being deleted.
    pub async fn put(&self, push: &Push<'_>) -> Result<Pushed, Error> {
        let large = self.admit_large(push.manifest).await?;
        let leased_at = self.records.now();
        let (leased, tags) = tokio::join!(self.lease_references(push), self.read_tags(push));
        drop(large);
        leased?;
        let mut tags = tags?;
        let subject = known_subject(push.manifest);
        let deadline = self.records.deadline(leased_at);
        let mut attempt = Attempt::First;
        let mut pointed_at = None;
        for _ in 0..record::ATTEMPTS_MAX {
            // Taken before the manifest is written: the tags rely on the manifest being young.
            let written_at = self.records.now();
            let (created, indexed, added, referred) = tokio::join!(
                self.create_manifest(push, deadline),
                self.write_tag_indexes(push, deadline),
                self.repositories.add(push.name, deadline),
                self.write_referrer(push, deadline),
            );
            let created = created?;
            indexed?;
            added?;
            let referrer_created = referred?;
            let written = match created {
                Ok(written) => written,
                Err(current) => {
                    if attempt == Attempt::First
                        && push.condition.allows_repetition()
                        && !referrer_created
                        && self.is_there(push, &current)?
                    {
                        tags = self.current_tags(push).await?;
                        if all_point_at(&tags, &push.digest)?
                            && self.is_unchanged(push, &current).await?
                        {
                            let pointed_at = vec![Some(push.digest); push.tags.len()];
                            return Ok(Pushed { subject, pointed_at });
                        }
                    }
                    let written = self.write_manifest(push, current, deadline).await?;
                    // A deletion may have read or deleted it before the manifest was written.
                    self.rewrite_referrer(push, deadline).await?;
                    written
                }
            };
            let tags_deadline = self.records.deadline(written_at);
            let read = std::mem::take(&mut tags);
            let set = self.set_tags(push, &written, read, attempt, tags_deadline).await?;
            let pointed_at = pointed_at.get_or_insert(set);
            let named = subject.is_some() || !push.tags.is_empty();
            if !named || self.still_current(push, written).await? || !self.dangles(push).await? {
                return Ok(Pushed { subject, pointed_at: std::mem::take(pointed_at) });
            }
            attempt = Attempt::Repeated;
        }
        Err(record::contended())
    }

    /// Points the tags at the manifest. When a push is repeated, every tag that exists was written
    /// after our first attempt, so only a missing tag is set again. Returns what each tag pointed
    /// at before.
    async fn set_tags(
        &self,
        push: &Push<'_>,
        written: &WrittenManifest,
        current: Vec<Current>,
        attempt: Attempt,
        deadline: Deadline,
    ) -> Result<Vec<Option<Digest>>, Error> {
        let change = TagChange {
            target: TagTarget {
                digest: push.digest,
                media_type: push.manifest.media_type().to_string(),
                size: written.bytes.len() as u64,
            },
            summary: Summary::of(push.manifest),
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
                    Err(Error::PreconditionFailed) if attempt == Attempt::Repeated => Ok(None),
                    outcome => outcome,
                }
            }
        };
        concurrently(push.tags.iter().map(set).collect()).await
    }

    /// Reads the tags that will be set, and refuses early what cannot succeed. Without a condition
    /// it reads nothing: most tags are new.
    async fn read_tags(&self, push: &Push<'_>) -> Result<Vec<Current>, Error> {
        if *push.condition == TagCondition::None {
            return Ok(Vec::new());
        }
        let tags = self.current_tags(push).await?;
        for tag in &tags {
            if !push.condition.holds_of(tag)? {
                return Err(Error::PreconditionFailed);
            }
        }
        Ok(tags)
    }

    /// Writes a manifest that is probably new. If not, returns what is there.
    async fn create_manifest(
        &self,
        push: &Push<'_>,
        deadline: Deadline,
    ) -> Result<Result<WrittenManifest, Current>, Error> {
        let key = RecordKey::Manifest(push.name.clone(), push.digest);
        let generation = Nonce::random().to_string();
        let bytes = push.manifest.raw().clone();
        let draft = draft(push, &generation, &bytes);
        Ok(match self.records.create(&key, &draft, Some(deadline)).await? {
            Written::Ours(base) => Ok(WrittenManifest { generation, bytes, base }),
            Written::Replaced(now) | Written::Lost(now) => Err(now),
        })
    }

    /// Whether the same manifest is there, undamaged, not being deleted, and so young that clients
    /// may rely on it.
    fn is_there(&self, push: &Push<'_>, current: &Current) -> Result<bool, Error> {
        let Some(found) = live(current)? else { return Ok(false) };
        Ok(kept(push, &found.bytes) == found.bytes && self.records.is_young(found.record))
    }

    /// Whether the referrer is there, and the manifest still lives the life in which it was read:
    /// then it did so all the time in between.
    async fn is_unchanged(&self, push: &Push<'_>, read: &Current) -> Result<bool, Error> {
        if let Some(key) = referrer_key(push)
            && !self.records.exists(&key).await?
        {
            return Ok(false);
        }
        let key = RecordKey::Manifest(push.name.clone(), push.digest);
        let now = self.records.read(&key).await?;
        Ok(match (live(read)?, live(&now)?) {
            (Some(before), Some(after)) => before.generation == after.generation,
            _ => false,
        })
    }

    /// Whether a tag of the push or its referrer names the manifest, which was deleted. If not, the
    /// push happened before the deletion, which has deleted everything of it.
    async fn dangles(&self, push: &Push<'_>) -> Result<bool, Error> {
        for tag in self.current_tags(push).await? {
            if points_at(&tag, &push.digest)? {
                return Ok(true);
            }
        }
        match referrer_key(push) {
            Some(key) => self.records.exists(&key).await,
            None => Ok(false),
        }
    }

    /// The tags of the push as they are now.
    async fn current_tags(&self, push: &Push<'_>) -> Result<Vec<Current>, Error> {
        let read = |tag| self.tags.read(push.name, tag);
        concurrently(push.tags.iter().map(read).collect()).await
    }

    /// Writes over a manifest that exists. It is always touched: a deletion that has read it before
    /// then fails and begins again, and cannot delete the tags of this push. One that is being
    /// deleted begins another generation.
    async fn write_manifest(
        &self,
        push: &Push<'_>,
        mut current: Current,
        deadline: Deadline,
    ) -> Result<WrittenManifest, Error> {
        let key = RecordKey::Manifest(push.name.clone(), push.digest);
        let mut read_by = None;
        for _ in 0..record::ATTEMPTS_MAX {
            let (generation, bytes) = match live(&current)? {
                Some(Live { record, generation, bytes }) => {
                    let bytes = kept(push, &bytes);
                    if read_by.as_ref() == Some(&generation) {
                        // Another push has touched it since we read it: a deletion that has read
                        // it before fails then, too.
                        let base = Base::of(record, draft(push, &generation, &bytes).known())?;
                        return Ok(WrittenManifest { generation, bytes, base });
                    }
                    read_by = Some(generation.clone());
                    (generation, bytes)
                }
                None => (Nonce::random().to_string(), push.manifest.raw().clone()),
            };
            let draft = draft(push, &generation, &bytes);
            match self.records.upsert(&key, &current, &draft, Some(deadline)).await? {
                Written::Ours(base) => return Ok(WrittenManifest { generation, bytes, base }),
                Written::Replaced(now) | Written::Lost(now) => current = now,
            }
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
        let WrittenManifest { generation, bytes, mut base } = written;
        for touched_by_another in [false, true] {
            let draft = draft(push, &generation, &bytes);
            let now = match self.records.replace(&key, &base, &draft, None).await? {
                Written::Ours(_) => return Ok(true),
                // Ours happened, but a deletion that began before it may have been first.
                Written::Replaced(now) | Written::Lost(now) => now,
            };
            let Some(found) = live(&now)? else { return Ok(false) };
            if found.generation != generation {
                return Ok(false);
            }
            // The first touch by another push may have happened before our last write; the second
            // one happened after it.
            if touched_by_another {
                return Ok(true);
            }
            base = Base::of(found.record, draft.known())?;
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

    /// Adds the manifest to the referrers of its subject, if it has one. Returns whether this
    /// created the record.
    async fn write_referrer(&self, push: &Push<'_>, deadline: Deadline) -> Result<bool, Error> {
        let Some(key) = referrer_key(push) else { return Ok(false) };
        self.create_or_lease(&key, &referrer(push.manifest, &push.digest), deadline).await
    }

    /// The same, with another version of a record that is there: a deletion that has read it does
    /// not delete it.
    async fn rewrite_referrer(&self, push: &Push<'_>, deadline: Deadline) -> Result<(), Error> {
        let Some(key) = referrer_key(push) else { return Ok(()) };
        let draft = Draft::new(&referrer(push.manifest, &push.digest), Bytes::new());
        self.records.put(&key, &draft, Some(deadline)).await
    }

    async fn create_or_lease(
        &self,
        key: &RecordKey,
        header: &(impl Serialize + DeserializeOwned + Sync),
        deadline: Deadline,
    ) -> Result<bool, Error> {
        let draft = Draft::new(header, Bytes::new());
        let done = self.records.create_or_lease(key, &draft, Some(deadline)).await?;
        Ok(matches!(done, CreatedOrLeased::Created))
    }
}

impl Manifests {
    /// Writes the record of a manifest among the referrers of its subject, if it is missing: the
    /// push of the manifest died before it, or another program deleted it. Returns whether it was.
    pub async fn restore_referrer(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, Error> {
        let key = RecordKey::Manifest(name.clone(), *digest);
        let current = self.records.read(&key).await?;
        let Some(Live { bytes, .. }) = live(&current)? else { return Ok(false) };
        let Some(stored) = current.header::<records::Manifest>()? else { return Ok(false) };
        let manifest = Manifest::parse(bytes, stored.media_type.parse().ok().as_ref())?;
        let Some(subject) = known_subject(&manifest) else { return Ok(false) };
        let referrer_key = RecordKey::Referrer(name.clone(), subject, *digest);
        let before = self.records.read(&referrer_key).await?;
        let draft = Draft::new(&referrer(&manifest, digest), Bytes::new());
        let Written::Ours(written) =
            self.records.upsert(&referrer_key, &before, &draft, None).await?
        else {
            return Ok(false);
        };
        // A deletion may have read the referrers before this one was there.
        if live(&self.records.read(&key).await?)?.is_some() {
            return Ok(true);
        }
        self.records.delete_version(&referrer_key, &written).await?;
        Ok(false)
    }
}

/// The key of the manifest among the referrers of its subject, if it has one.
fn referrer_key(push: &Push<'_>) -> Option<RecordKey> {
    let subject = known_subject(push.manifest)?;
    Some(RecordKey::Referrer(push.name.clone(), subject, push.digest))
}

/// The record under [`referrer_key`].
fn referrer(manifest: &Manifest, digest: &Digest) -> Referrer {
    let mut descriptor = serde_json::json!({
        "mediaType": manifest.media_type().as_str(),
        "digest": digest.to_string(),
        "size": manifest.raw().len(),
    });
    if let Some(artifact_type) = manifest.artifact_type() {
        descriptor["artifactType"] = artifact_type.into();
    }
    if let Some(annotations) = manifest.annotations() {
        descriptor["annotations"] = serde_json::json!(annotations);
    }
    Referrer { descriptor }
}

fn points_at(tag: &Current, digest: &Digest) -> Result<bool, Error> {
    Ok(tag.header::<records::Tag>()?.is_some_and(|tag| tag.digest == *digest))
}

fn all_point_at(tags: &[Current], digest: &Digest) -> Result<bool, Error> {
    tags.iter().try_fold(true, |all, tag| Ok(all && points_at(tag, digest)?))
}

pub(super) fn live(current: &Current) -> Result<Option<Live<'_>>, Error> {
    let Current::Live(record) = current else { return Ok(None) };
    let (header, bytes) = decode::<records::Manifest>(&record.body)?;
    let generation = header.generation;
    Ok((!header.doomed).then_some(Live { record, generation, bytes }))
}

/// The bytes that a push leaves of a manifest that is there. Signed manifests that differ in their
/// signatures have the same digest: the first one stays, so that a push cannot change what a digest
/// serves. Damaged bytes are replaced.
fn kept(push: &Push<'_>, stored: &Bytes) -> Bytes {
    let (manifest, digest) = (push.manifest, push.digest);
    let intact = |signed: Bytes| Digest::of(digest.algorithm(), &signed) == digest;
    if manifest.media_type().is_schema1()
        && identity(manifest.media_type(), stored).is_some_and(intact)
    {
        return stored.clone();
    }
    manifest.raw().clone()
}

/// The record of the pushed manifest with these bytes, and with a new nonce.
fn draft(push: &Push<'_>, generation: &str, bytes: &Bytes) -> Draft {
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
    Draft::new(&header, bytes.clone())
}

/// The subject, where its digest is one that this registry can serve.
fn known_subject(manifest: &Manifest) -> Option<Digest> {
    manifest.subject()?.digest.known()
}
