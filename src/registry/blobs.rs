//! Blobs: found, opened, mounted and deleted through the links of a repository.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::read_cache::CachedRecord;
use super::record::{self, Ensured, Record, Seen, Written};
use super::{Error, Registry};
use crate::oci::{Digest, RepositoryName};
use crate::store::{
    self, BlobStore, ByteStream, Deadline, Location, PresignGet, RecordKey, RecordStore,
};
use crate::telemetry::metrics::Commit;

/// How often a read that breaks off in the middle is taken up again where it stopped.
const READ_RESUMES_MAX: u32 = 4;

/// The entry `l/`: a blob of one repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) size: u64,
    /// Where the bytes are; absent if they are the payload of this entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
}

/// The entry `p/`: one per distinct content.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pointer {
    size: u64,
    /// Where the bytes are; absent while the content is only kept inside links.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    /// A repository that had a link to it when this was written: a hint for mounts that name no
    /// source.
    repository: RepositoryName,
}

/// A blob that the repository has.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The digest it was asked for by.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Where they are.
    pub content: Content,
}

/// Where the bytes of a blob are.
#[derive(Clone, Debug)]
pub enum Content {
    /// In the link itself.
    Inline(Bytes),
    /// In the store.
    Stored(Location),
}

/// A blob that was published.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) blob: Blob,
    /// Bytes that nothing names, because the same content was there before.
    pub(super) surplus: Option<Location>,
}

/// Where a mount takes a blob from.
#[derive(Clone, Debug)]
pub enum MountSource {
    /// The repository that the request names.
    Named(RepositoryName),
    /// Any repository, if the caller may read it.
    Any,
}

fn location(text: &str) -> Result<Location, Error> {
    text.parse()
        .map_err(|error| Error::Unavailable(store::Error::Damaged(format!("a location: {error}"))))
}

fn blob_of(digest: &Digest, link: &Link, payload: &Bytes) -> Result<Blob, Error> {
    let content = match &link.location {
        Some(text) => Content::Stored(location(text)?),
        None => Content::Inline(payload.clone()),
    };
    Ok(Blob { digest: *digest, size: link.size, content })
}

impl Blob {
    /// Bytes that the blob itself holds in memory.
    pub(super) fn inline_bytes(&self) -> usize {
        match &self.content {
            Content::Inline(bytes) => bytes.len(),
            Content::Stored(_) => 0,
        }
    }
}

/// What the link of a blob says.
pub(super) fn cached_blob(digest: &Digest, body: &Bytes) -> Result<Blob, store::Error> {
    let (header, payload) = record::decode::<Link>(body).map_err(Error::into_store)?;
    blob_of(digest, &header, &payload).map_err(Error::into_store)
}

impl Registry {
    /// Finds a blob of a repository. At most one read of the store.
    pub async fn blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Arc<Blob>, Error> {
        match self.read_cache.read(RecordKey::Link(name.clone(), *digest)).await? {
            CachedRecord::Blob(blob, _) => Ok(blob),
            _ => Err(Error::BlobUnknown),
        }
    }

    /// The same for a client that asks whether it has to upload the blob: an old link is renewed,
    /// so that it is still there when the manifest arrives.
    pub async fn blob_for_push(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Arc<Blob>, Error> {
        let key = RecordKey::Link(name.clone(), *digest);
        match self.read_cache.read(key.clone()).await? {
            CachedRecord::Blob(blob, true) => return Ok(blob),
            CachedRecord::Blob(_, false) => {}
            _ => return Err(Error::BlobUnknown),
        }
        let record: Record<Link> =
            record::read(self.store(), &key).await?.ok_or(Error::BlobUnknown)?;
        let blob = Arc::new(blob_of(digest, &record.header, &record.payload)?);
        record::lease(self.store(), &self.leases, &key, record.entry)
            .await?
            .ok_or(Error::BlobUnknown)?;
        Ok(blob)
    }

    /// Opens a blob, or a range of it that lies within its size. A stream that breaks off in the
    /// middle is taken up again where it stopped.
    pub async fn open(&self, blob: &Blob, range: Option<Range<u64>>) -> Result<ByteStream, Error> {
        let range = range.unwrap_or(0..blob.size);
        match &blob.content {
            Content::Inline(bytes) => {
                let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let slice = bytes.slice(within(range.start)..within(range.end));
                Ok(Box::pin(stream::iter([Ok(slice)])))
            }
            Content::Stored(location) => {
                let first = self.blobs.get(location, Some(range.clone())).await;
                let first = first.map_err(|error| missing_bytes(error, location))?;
                Ok(resuming(self.blobs.clone(), location.clone(), range, first))
            }
        }
    }

    /// A URL at which the client finds the bytes without us, good for `valid_for` from `dated` on;
    /// `None` where it has to get them here.
    pub async fn redirect(
        &self,
        blob: &Blob,
        dated: SystemTime,
        valid_for: Duration,
    ) -> Result<Option<String>, Error> {
        match &blob.content {
            Content::Inline(_) => Ok(None),
            Content::Stored(location) => {
                let options = PresignGet { dated, valid_for };
                Ok(self.blobs.presign_get(location, options).await?)
            }
        }
    }

    /// Makes a blob of another repository readable in this one. `None` if it cannot be done, and
    /// the client has to upload the blob.
    ///
    /// `may_read` decides about sources that the request did not name.
    pub async fn mount(
        &self,
        target: &RepositoryName,
        source: &MountSource,
        digest: &Digest,
        may_read: &(dyn Fn(&RepositoryName) -> bool + Send + Sync),
    ) -> Result<Option<Blob>, Error> {
        let leased_at = record::moment(self.store());
        let pointer_key = RecordKey::Pointer(*digest);
        let (named, pointer) = match source {
            MountSource::Named(name) => {
                let key = RecordKey::Link(name.clone(), *digest);
                let (link, pointer) = tokio::join!(
                    record::read::<Link>(self.store(), &key),
                    record::read::<Pointer>(self.store(), &pointer_key)
                );
                (link?, pointer?)
            }
            MountSource::Any => {
                let pointer = record::read::<Pointer>(self.store(), &pointer_key).await?;
                let Some(found) = &pointer else { return Ok(None) };
                if !may_read(&found.header.repository) {
                    return Ok(None);
                }
                let key = RecordKey::Link(found.header.repository.clone(), *digest);
                (record::read::<Link>(self.store(), &key).await?, pointer)
            }
        };
        let Some(link) = named else { return Ok(None) };
        let deadline = self.leases.deadline(leased_at);
        if link.header.location.is_none() {
            let (blob, _) = self.link_inline(target, digest, &link.payload, leased_at).await?;
            return Ok(Some(blob));
        }
        // The pointer is what keeps the bytes: a link of the source may be deleted at any moment.
        let Some(pointer) = pointer else { return Ok(None) };
        let Some(text) = pointer.header.location.clone() else { return Ok(None) };
        let leased = record::lease(self.store(), &self.leases, &pointer_key, pointer.entry).await?;
        if leased.is_none() {
            return Ok(None);
        }
        let size = pointer.header.size;
        let blob = self.link_stored(target, digest, size, &location(&text)?, deadline).await?;
        Ok(Some(blob))
    }

    /// Removes a blob from a repository. Its bytes are the collector's business.
    pub async fn delete_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let key = RecordKey::Link(name.clone(), *digest);
        let seen = record::look(self.store(), &key).await?;
        let killed = record::kill(self.store(), &key, seen, |_| Ok(true)).await?;
        if killed { Ok(()) } else { Err(Error::BlobUnknown) }
    }

    /// Publishes a small blob: the link carries its bytes.
    ///
    /// A pointer beside it lets a mount without a source find it. It carries nothing that the link
    /// relies on, so it is written at the same time.
    pub(super) async fn link_inline(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        bytes: &Bytes,
        leased_at: SystemTime,
    ) -> Result<(Blob, Commit), Error> {
        let size = bytes.len() as u64;
        let link = record::encode(&Link { size, location: None }, bytes);
        let hint = Pointer { size, location: None, repository: name.clone() };
        let (link_key, pointer_key) =
            (RecordKey::Link(name.clone(), *digest), RecordKey::Pointer(*digest));
        let hint = record::encode(&hint, &[]);
        let deadline = Some(self.leases.deadline(leased_at));
        let (linked, hinted) = tokio::join!(
            record::ensure(self.store(), &self.leases, &link_key, &link, deadline),
            hint_at(self.store(), &pointer_key, &hint)
        );
        let commit = match linked? {
            Ensured::Written => Commit::Created,
            Ensured::Found(_) => Commit::Exists,
        };
        if let Err(error) = hinted {
            tracing::debug!(%digest, %error, "no pointer beside an inline blob");
        }
        Ok((Blob { digest: *digest, size, content: Content::Inline(bytes.clone()) }, commit))
    }

    /// Publishes bytes that lie complete and verified at `written`: the pointer first (or the one
    /// that is there already: then ours are not needed), the link last.
    pub(super) async fn publish(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        size: u64,
        written: Location,
    ) -> Result<Published, Error> {
        let leased_at = record::moment(self.store());
        let deadline = self.leases.deadline(leased_at);
        let adopted = self.adopt(name, digest, size, &written).await?;
        let blob = self.link_stored(name, digest, size, &adopted, deadline).await?;
        let ours = adopted == written;
        let commit = if ours { Commit::Created } else { Commit::Exists };
        self.metrics.upload_commits.inc((commit,));
        Ok(Published { blob, surplus: (!ours).then_some(written) })
    }

    /// The location that the pointer of this content names, ours if there was none.
    async fn adopt(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        size: u64,
        written: &Location,
    ) -> Result<Location, Error> {
        let key = RecordKey::Pointer(*digest);
        let pointer =
            Pointer { size, location: Some(written.to_string()), repository: name.clone() };
        let body = record::encode(&pointer, &[]);
        let mut seen = Seen::Absent;
        for _ in 0..record::ATTEMPTS_MAX {
            if let Seen::Alive(entry) = &seen {
                let (header, _) = record::decode::<Pointer>(&entry.body)?;
                if let Some(text) = header.location {
                    match record::lease(self.store(), &self.leases, &key, entry.clone()).await? {
                        Some(_) => return location(&text),
                        None => seen = record::look(self.store(), &key).await?,
                    }
                    continue;
                }
            }
            match record::write_over(self.store(), &key, &seen, &body, None).await? {
                Written::Ours(_) => return Ok(written.clone()),
                Written::Lost(now) => seen = now,
            }
        }
        Err(record::contended())
    }

    async fn link_stored(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        size: u64,
        location: &Location,
        deadline: Deadline,
    ) -> Result<Blob, Error> {
        let key = RecordKey::Link(name.clone(), *digest);
        let body = record::encode(&Link { size, location: Some(location.to_string()) }, &[]);
        let ensured =
            record::ensure(self.store(), &self.leases, &key, &body, Some(deadline)).await?;
        if let Ensured::Found(found) = ensured {
            let (header, payload) = record::decode(&found.body)?;
            return blob_of(digest, &header, &payload);
        }
        Ok(Blob { digest: *digest, size, content: Content::Stored(location.clone()) })
    }
}

/// Leaves a hint where there is nothing yet; anything that is there already is better.
async fn hint_at(
    store: &dyn RecordStore,
    key: &RecordKey,
    body: &Bytes,
) -> Result<(), store::Error> {
    match store.create(key, body.clone(), None).await {
        Ok(_) | Err(store::Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A link that is alive names bytes that exist (invariant I2). If they do not, the client must not
/// hear that the blob is unknown: that would make it lose data that can be repaired.
fn missing_bytes(error: store::Error, location: &Location) -> Error {
    match error {
        store::Error::NotFound => {
            tracing::error!(%location, "a live link names bytes that do not exist");
            Error::Unavailable(store::Error::Damaged(format!("no bytes at {location}")))
        }
        other => other.into(),
    }
}

fn resuming(
    store: Arc<dyn BlobStore>,
    location: Location,
    range: Range<u64>,
    first: ByteStream,
) -> ByteStream {
    let state = (store, location, range, first, 0u32);
    Box::pin(stream::unfold(
        state,
        |(store, location, mut range, mut bytes, mut resumes)| async move {
            loop {
                if range.is_empty() {
                    return None;
                }
                let error = match bytes.next().await {
                    Some(Ok(chunk)) => {
                        range.start += chunk.len() as u64;
                        return Some((Ok(chunk), (store, location, range, bytes, resumes)));
                    }
                    Some(Err(error)) => error,
                    None => store::Error::Unavailable("the store sent too few bytes".to_owned()),
                };
                if resumes == READ_RESUMES_MAX {
                    range.start = range.end;
                    return Some((Err(error), (store, location, range, bytes, resumes)));
                }
                resumes += 1;
                tracing::debug!(%location, at = range.start, %error, "taking up a broken read");
                match store.get(&location, Some(range.clone())).await {
                    Ok(again) => bytes = again,
                    Err(error) => {
                        bytes = Box::pin(stream::iter([Err(error)]));
                    }
                }
            }
        },
    ))
}
