//! Blobs: found, opened, mounted and deleted through the links of a repository.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::Error;
use super::content::{Blob, Content, StoredData};
use super::read_cache::{ReadCache, RecordAge};
use super::record::{self, Base, CreatedOrLeased, Current, Ended, Records, Written};
use crate::layout::encoding::{Draft, Known, decode};
use crate::layout::records::{Link, Pointer};
use crate::oci::{Digest, RepositoryName};
use crate::store::{
    self, BlobStore, ByteStream, Deadline, Location, PresignGet, Record, RecordKey,
};
use crate::telemetry::metrics::{Commit, Metrics};

/// How often a read that breaks off is resumed where it stopped.
const READ_RESUMES_MAX: u32 = 4;

/// A blob that was published.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) blob: Blob,
    /// The data object that was written for the blob and is not needed: a pointer to the same
    /// content existed.
    pub(super) duplicate: Option<Location>,
}

/// A pointer after a lease on it was taken.
enum Leased {
    /// It names the data, which is there.
    There,
    /// It names the data, which is missing.
    Missing(Record),
    /// Another request has pointed it elsewhere since it was read.
    Moved(Record),
    /// It was deleted since it was read.
    Deleted,
}

/// The repository from which a mount takes a blob.
#[derive(Clone, Debug)]
pub enum MountSource {
    /// The repository that the request names.
    Named(RepositoryName),
    /// Any repository that the caller may read.
    Any,
}

/// A blob that was mounted.
#[derive(Clone, Debug)]
pub struct Mounted {
    pub blob: Blob,
    pub from: RepositoryName,
}

/// The blobs of all repositories.
#[derive(Clone, Debug)]
pub struct Blobs {
    pub(super) records: Records,
    pub(super) data: Arc<dyn BlobStore>,
    pub(super) read_cache: Arc<ReadCache>,
    pub(super) metrics: Metrics,
}

impl Blobs {
    /// Finds a blob of a repository. At most one read of the store.
    pub async fn get(&self, name: &RepositoryName, digest: &Digest) -> Result<Arc<Blob>, Error> {
        let (blob, _) = self.read_cache.link(name, digest).await?.ok_or(Error::BlobUnknown)?;
        Ok(blob)
    }

    /// Finds a blob for a client that asks whether it has to upload it. An old link is touched, so
    /// that it still exists when the manifest arrives.
    pub async fn get_for_push(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Arc<Blob>, Error> {
        match self.read_cache.link(name, digest).await? {
            Some((blob, RecordAge::Fresh)) => return Ok(blob),
            Some((_, RecordAge::NeedsLease)) => {}
            None => return Err(Error::BlobUnknown),
        }
        Box::pin(self.lease_link(name, digest)).await
    }

    async fn lease_link(&self, name: &RepositoryName, digest: &Digest) -> Result<Arc<Blob>, Error> {
        let key = RecordKey::Link(name.clone(), *digest);
        let link = self.records.load::<Link>(&key).await?.ok_or(Error::BlobUnknown)?;
        self.records.lease(&key, link.record).await?.ok_or(Error::BlobUnknown)?;
        Ok(Arc::new(Blob::from_link(digest, link.header, link.payload)))
    }

    /// Opens a blob, or a range that lies within its size. If the stream from the store breaks off,
    /// it is resumed where it stopped.
    pub async fn open(&self, blob: &Blob, range: Option<Range<u64>>) -> Result<ByteStream, Error> {
        let range = range.unwrap_or(0..blob.size);
        match &blob.content {
            Content::Inline(bytes) => {
                let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let slice = bytes.slice(within(range.start)..within(range.end));
                Ok(Box::pin(stream::iter([Ok(slice)])))
            }
            Content::Stored(location) => {
                let first = self.data.get(location, Some(range.clone())).await;
                let first = first.map_err(|error| missing_data(error, location))?;
                Ok(resuming(self.data.clone(), location.clone(), range, first))
            }
        }
    }

    /// A URL from which the client can read the blob without us, valid for `valid_for` from `dated`
    /// on. `None` if the client has to read it here.
    pub async fn redirect_url(
        &self,
        blob: &Blob,
        dated: SystemTime,
        valid_for: Duration,
    ) -> Result<Option<String>, Error> {
        match &blob.content {
            Content::Inline(_) => Ok(None),
            Content::Stored(location) => {
                let options = PresignGet { dated, valid_for };
                Ok(self.data.presign_get(location, options).await?)
            }
        }
    }

    /// Makes a blob of another repository readable in this one. `None` if that is not possible, and
    /// the client has to upload the blob. `may_read` decides about a source that the request did
    /// not name.
    pub async fn mount(
        &self,
        target: &RepositoryName,
        source: &MountSource,
        digest: &Digest,
        may_read: &(dyn Fn(&RepositoryName) -> bool + Send + Sync),
    ) -> Result<Option<Mounted>, Error> {
        let leased_at = self.records.now();
        let pointer_key = RecordKey::Pointer(*digest);
        let (link, pointer, from) = match source {
            MountSource::Named(name) => {
                let key = RecordKey::Link(name.clone(), *digest);
                let (link, pointer) = tokio::join!(
                    self.records.load::<Link>(&key),
                    self.records.load::<Pointer>(&pointer_key)
                );
                (link?, pointer?, name.clone())
            }
            MountSource::Any => {
                let pointer = self.records.load::<Pointer>(&pointer_key).await?;
                let Some(found) = &pointer else { return Ok(None) };
                if !may_read(&found.header.repository) {
                    return Ok(None);
                }
                let from = found.header.repository.clone();
                let key = RecordKey::Link(from.clone(), *digest);
                (self.records.load::<Link>(&key).await?, pointer, from)
            }
        };
        let Some(link) = link else { return Ok(None) };
        let deadline = self.records.deadline(leased_at);
        if link.header.location.is_none() {
            let (blob, _) = self.link_inline(target, digest, &link.payload, leased_at).await?;
            return Ok(Some(Mounted { blob, from }));
        }
        // The pointer keeps the data from being collected: the link of the source may be deleted
        // at any time.
        let Some(pointer) = pointer else { return Ok(None) };
        let Some(data) = StoredData::of_pointer(pointer.header) else { return Ok(None) };
        match self.lease_pointer(&pointer_key, pointer.record, &data).await? {
            Leased::There => {
                let blob = self.link_stored(target, digest, data, deadline).await?;
                Ok(Some(Mounted { blob, from }))
            }
            // The upload of the client repairs a pointer to missing data.
            Leased::Missing(_) | Leased::Moved(_) | Leased::Deleted => Ok(None),
        }
    }

    /// Deletes a blob from a repository. Its data stays until it is collected.
    pub async fn delete(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let key = RecordKey::Link(name.clone(), *digest);
        let current = self.records.read(&key).await?;
        if self.records.delete(&key, current, |_| Ok(true)).await? {
            return Ok(());
        }
        self.read_cache.forget_deleted(key).await;
        Err(Error::BlobUnknown)
    }

    /// Publishes a small blob as the payload of its link.
    ///
    /// A pointer without a location is written at the same time, so that a mount without a source
    /// finds the blob. The link does not depend on it.
    pub(super) async fn link_inline(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        bytes: &Bytes,
        leased_at: SystemTime,
    ) -> Result<(Blob, Commit), Error> {
        let size = bytes.len() as u64;
        let link = Link { size, location: None, etag: None };
        let hint = Pointer { size, location: None, etag: None, repository: name.clone() };
        let (link_key, pointer_key) =
            (RecordKey::Link(name.clone(), *digest), RecordKey::Pointer(*digest));
        let draft = Draft::new(&link, bytes.clone());
        let deadline = Some(self.records.deadline(leased_at));
        let (linked, hinted) = tokio::join!(
            self.records.create_or_lease(&link_key, &draft, deadline),
            self.write_hint(&pointer_key, &hint)
        );
        let commit = match linked? {
            CreatedOrLeased::Created => Commit::Created,
            CreatedOrLeased::Leased(found) => {
                self.repair_inline(&link_key, digest, found, &draft, deadline).await?;
                Commit::Exists
            }
        };
        if let Err(error) = hinted {
            tracing::debug!(%digest, %error, "no pointer was written for an inline blob");
        }
        Ok((Blob::from_link(digest, link, bytes.clone()), commit))
    }

    /// Puts the content into a link whose data object is missing.
    async fn repair_inline(
        &self,
        key: &RecordKey,
        digest: &Digest,
        found: Record,
        draft: &Draft,
        deadline: Option<Deadline>,
    ) -> Result<(), Error> {
        let (Link { size, location, etag }, _) = decode(&found.body)?;
        let Some(location) = location else { return Ok(()) };
        let data = StoredData { location, size, etag };
        if !self.exists(&data).await? {
            self.report_repair("link", digest, &data.location);
            self.records.upsert(key, &Current::Live(found), draft, deadline).await?;
        }
        Ok(())
    }

    /// Writes a pointer without a location unless there is a live pointer: every other one is
    /// better.
    async fn write_hint(&self, key: &RecordKey, hint: &Pointer) -> Result<(), Error> {
        let draft = Draft::new(hint, Bytes::new());
        if let Written::Lost(dead @ Current::Tombstone(_)) =
            self.records.create(key, &draft, None).await?
        {
            self.records.upsert(key, &dead, &draft, None).await?;
        }
        Ok(())
    }

    /// Publishes a data object that is complete and verified: writes the pointer, or uses the one
    /// that exists, and the link last. No collector could delete the object before `leased_at`.
    pub(super) async fn publish(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        data: StoredData,
        leased_at: SystemTime,
    ) -> Result<Published, Error> {
        let deadline = self.records.deadline(leased_at);
        let written = data.location.clone();
        let claimed = self.claim_pointer(name, digest, data, deadline).await?;
        let duplicate = (claimed.location != written).then_some(written);
        let blob = self.link_stored(name, digest, claimed, deadline).await?;
        let commit = if duplicate.is_none() { Commit::Created } else { Commit::Exists };
        self.metrics.upload_commits.inc((commit,));
        Ok(Published { blob, duplicate })
    }

    /// Points the pointer of this content at `written`, unless it points at data that exists: then
    /// takes a lease on it and returns that data.
    async fn claim_pointer(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        written: StoredData,
        deadline: Deadline,
    ) -> Result<StoredData, Error> {
        let key = RecordKey::Pointer(*digest);
        let StoredData { location, size, etag } = written.clone();
        let (location, repository) = (Some(location), name.clone());
        let draft = Draft::new(&Pointer { size, location, etag, repository }, Bytes::new());
        let mut current = Current::Absent;
        for _ in 0..record::ATTEMPTS_MAX {
            if let Current::Live(record) = &current
                && let Some(found) = StoredData::of_pointer(decode(&record.body)?.0)
                && found.location != written.location
            {
                match self.lease_pointer(&key, record.clone(), &found).await? {
                    Leased::There => return Ok(found),
                    Leased::Missing(leased) => {
                        self.report_repair("pointer", digest, &found.location);
                        current = Current::Live(leased);
                    }
                    Leased::Moved(now) => {
                        current = Current::Live(now);
                        continue;
                    }
                    Leased::Deleted => {
                        current = self.records.read(&key).await?;
                        continue;
                    }
                }
            }
            match self.records.upsert(&key, &current, &draft, Some(deadline)).await? {
                Written::Ours(_) => return Ok(written),
                Written::Replaced(now) | Written::Lost(now) => current = now,
            }
        }
        Err(record::contended())
    }

    /// Deletes a pointer to a data object that does not exist. False if the pointer names another
    /// one by now, or the object is there.
    ///
    /// Only this version of the pointer is deleted: an upload that repairs it replaces that.
    pub async fn drop_dangling_pointer(
        &self,
        digest: &Digest,
        location: &Location,
    ) -> Result<bool, Error> {
        let key = RecordKey::Pointer(*digest);
        let Some(found) = self.records.load::<Pointer>(&key).await? else { return Ok(false) };
        let data = StoredData::of_pointer(found.header).filter(|data| data.location == *location);
        let Some(data) = data else { return Ok(false) };
        if self.data.head(location).await?.is_some() || self.exists(&data).await? {
            return Ok(false);
        }
        tracing::warn!(%digest, %location, "deleting a pointer to data that is missing");
        let base = Base::of(&found.record, Known::All)?;
        Ok(self.records.delete_version(&key, &base).await? == Ended::Here)
    }

    /// Takes a lease on a pointer that names `data`, and looks at the same time whether the data is
    /// there.
    async fn lease_pointer(
        &self,
        key: &RecordKey,
        record: Record,
        data: &StoredData,
    ) -> Result<Leased, Error> {
        let (leased, exists) = tokio::join!(self.records.lease(key, record), self.exists(data));
        let (leased, exists) = (leased?, exists?);
        let Some(leased) = leased else { return Ok(Leased::Deleted) };
        let now = decode::<Pointer>(&leased.body)?.0.location;
        Ok(match (now.as_ref() == Some(&data.location), exists) {
            (false, _) => Leased::Moved(leased),
            (true, true) => Leased::There,
            (true, false) => Leased::Missing(leased),
        })
    }

    /// Whether a data object exists and has the expected size.
    ///
    /// Only a GET can tell for certain that it is absent: the 404 of a HEAD may be that of a proxy.
    /// A pointer that stopped naming good data would leave it to the collector, although links
    /// still name it.
    async fn exists(&self, StoredData { location, size, .. }: &StoredData) -> Result<bool, Error> {
        if let Some(found) = self.data.head(location).await? {
            return Ok(found.size == *size);
        }
        match self.data.get(location, Some(0..1)).await {
            Ok(_) => Ok(true),
            Err(store::Error::NotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn report_repair(&self, record: &'static str, digest: &Digest, location: &Location) {
        tracing::error!(%digest, %location, "blob data missing: the {record} is repaired");
        self.metrics.repaired_records.inc(());
    }

    /// Links a blob to data that exists and that the pointer names. A link to other data is
    /// changed: what no pointer names will be collected.
    async fn link_stored(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        data: StoredData,
        deadline: Deadline,
    ) -> Result<Blob, Error> {
        let key = RecordKey::Link(name.clone(), *digest);
        let StoredData { location, size, etag } = data.clone();
        let link = Link { size, location: Some(location), etag };
        let draft = Draft::new(&link, Bytes::new());
        let mut done = self.records.create_or_lease(&key, &draft, Some(deadline)).await?;
        for _ in 0..record::ATTEMPTS_MAX {
            let CreatedOrLeased::Leased(found) = done else {
                return Ok(Blob::from_link(digest, link, Bytes::new()));
            };
            let (old, payload) = decode::<Link>(&found.body)?;
            let Some(other) = old.location.clone().filter(|old| *old != data.location) else {
                return Ok(Blob::from_link(digest, old, payload));
            };
            self.report_repair("link", digest, &other);
            let current = Current::Live(found);
            done = match self.records.upsert(&key, &current, &draft, Some(deadline)).await? {
                Written::Ours(_) => CreatedOrLeased::Created,
                Written::Replaced(_) | Written::Lost(_) => {
                    self.records.create_or_lease(&key, &draft, Some(deadline)).await?
                }
            };
        }
        Err(record::contended())
    }
}

/// A link must point at data that exists. If the data is missing, the client gets 503, not 404: a
/// client that believes the blob unknown could lose content that can be repaired.
fn missing_data(error: store::Error, location: &Location) -> Error {
    match error {
        store::Error::NotFound => {
            tracing::error!(%location, "blob data missing for an existing link");
            Error::Unavailable(store::Error::Damaged(format!("no data at {location}")))
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
                let at = range.start;
                tracing::debug!(%location, at, %error, "resuming a broken read from the store");
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
