//! Uploads: a session that any process may continue, and the commit that ends it.
//!
//! A new session costs no request to the store: the first thing that has to survive the request
//! creates its entry. The digest is compared before anything names the bytes, and committing copies
//! nothing.

mod buffer_pool;
mod commit;
mod memory;
mod parts;
mod session;
mod single_object;
mod writer;

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

use super::Error;
use super::blobs::Blobs;
use super::content::Blob;
use super::record::{self, Ended};
use super::settings::Limits;
use crate::oci::{Algorithm, Digest, RepositoryName, UploadId};
use crate::store::{self, BlobStore, Location, MultipartId, RecordKey, RecordStore};
use crate::telemetry::metrics::{Commit, Metrics};
use memory::UploadMemory;
use session::Hashes;
use writer::{Stop, UploadWriter};

pub use parts::{PART_BYTES_MIN, part_bytes};

/// The body of a request.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, Interrupted>> + Send>>;

/// A request body that ended before it was whole, and why.
#[derive(Clone, Debug)]
pub struct Interrupted(pub String);

/// Which session a request means.
#[derive(Clone, Debug)]
pub struct UploadAddress {
    /// The repository of the request; a session of another one is unknown here.
    pub repository: RepositoryName,
    /// Whose request it is; a session of somebody else is unknown to it. The registry compares
    /// subjects and knows nothing else of them.
    pub subject: String,
    /// The session.
    pub id: UploadId,
    /// Set where the request carries the location that starting the session gave out: the session
    /// is then known to be good even before anything was written for it.
    pub new: Option<NewSession>,
}

impl UploadAddress {
    /// The same session once something was written for it.
    #[must_use]
    pub fn begun(&self) -> Self {
        let Self { repository, subject, id, new: _ } = self;
        Self { repository: repository.clone(), subject: subject.clone(), id: *id, new: None }
    }
}

/// What starting a session fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// The algorithm that the client announced (`digest-algorithm`).
    pub algorithm: Option<Algorithm>,
}

/// One chunk of a session.
pub struct Chunk<'a> {
    /// The first and the last byte by `Content-Range`; `None` means that it follows what is there.
    pub range: Option<(u64, u64)>,
    /// Bytes of the body, where the client said so.
    pub length: Option<u64>,
    /// The bytes. What is not needed of them stays for whoever lends them.
    pub body: &'a mut Body,
}

impl std::fmt::Debug for Chunk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunk")
            .field("range", &self.range)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Chunk<'_> {
    fn expected(&self) -> Option<u64> {
        match self.range {
            Some((first, last)) => Some((last - first).saturating_add(1)),
            None => self.length,
        }
    }
}

/// Puts back what was read of a body.
fn unread(body: &mut Body, bytes: Bytes) {
    if !bytes.is_empty() {
        let rest = std::mem::replace(body, Box::pin(stream::empty()));
        *body = Box::pin(stream::iter([Ok(bytes)]).chain(rest));
    }
}

/// The upload sessions of all repositories.
#[derive(Debug)]
pub struct Uploads {
    records: Arc<dyn RecordStore>,
    data: Arc<dyn BlobStore>,
    blobs: Blobs,
    limits: Limits,
    memory: UploadMemory,
    metrics: Metrics,
    tasks: TaskTracker,
}

impl Uploads {
    pub(super) fn new(
        records: Arc<dyn RecordStore>,
        data: Arc<dyn BlobStore>,
        blobs: Blobs,
        limits: &Limits,
        metrics: Metrics,
        tasks: TaskTracker,
    ) -> Self {
        let memory = UploadMemory::new(limits, metrics.clone());
        Self { records, data, blobs, limits: limits.clone(), memory, metrics, tasks }
    }

    fn store(&self) -> &dyn RecordStore {
        self.records.as_ref()
    }

    /// Adds a chunk to a session and returns its new offset, which is durable then.
    pub async fn append(&self, upload: &UploadAddress, mut chunk: Chunk<'_>) -> Result<u64, Error> {
        let _admitted = self.memory.admit()?;
        let mut may_be_new = true;
        loop {
            let mut receiver = self.receiver(upload, chunk.range, may_be_new, &[]).await?;
            match receive_chunk(&mut receiver, &mut chunk).await {
                Ok(offset) => return Ok(offset),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::SessionExists(bytes)) => {
                    unread(chunk.body, bytes);
                    may_be_new = false;
                }
            }
        }
    }

    /// Ends a session with its last chunk (which may be empty) and publishes the blob under the
    /// first digest. Repeating it is safe.
    pub async fn finish(
        &self,
        upload: &UploadAddress,
        chunk: Chunk<'_>,
        digests: &[Digest],
    ) -> Result<Blob, Error> {
        let finished = self.finish_with(upload, chunk, digests).await;
        if let Err(Error::DigestMismatch { .. }) = &finished {
            self.metrics.upload_commits.inc((Commit::DigestMismatch,));
        }
        finished
    }

    async fn finish_with(
        &self,
        upload: &UploadAddress,
        mut chunk: Chunk<'_>,
        digests: &[Digest],
    ) -> Result<Blob, Error> {
        let _admitted = self.memory.admit()?;
        let digest = digests.first().ok_or(Error::UploadUnknown)?;
        let mut may_be_new = true;
        loop {
            let receiver = self.receiver(upload, chunk.range, may_be_new, digests).await;
            let mut receiver = match receiver {
                Ok(receiver) => receiver,
                // The session is gone because this very commit succeeded before.
                Err(Error::UploadUnknown) => {
                    return self.finished_before(upload, digest).await;
                }
                Err(error) => return Err(error),
            };
            if !receiver.session.committing.is_empty() {
                return self.resume_commit(receiver, digests).await;
            }
            match self.finish_once(&mut receiver, &mut chunk, digests).await {
                Ok(blob) => return Ok(blob),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::SessionExists(bytes)) => {
                    unread(chunk.body, bytes);
                    may_be_new = false;
                }
            }
        }
    }

    /// The blob of a session that is gone, if its commit succeeded before.
    pub(super) async fn finished_before(
        &self,
        upload: &UploadAddress,
        digest: &Digest,
    ) -> Result<Blob, Error> {
        match self.blobs.get(&upload.repository, digest).await {
            Ok(blob) => Ok(Blob::clone(&blob)),
            Err(Error::BlobUnknown) => Err(Error::UploadUnknown),
            Err(error) => Err(error),
        }
    }

    /// How many bytes of a session are durable.
    pub async fn upload_offset(&self, upload: &UploadAddress) -> Result<u64, Error> {
        match self.load_session(upload).await? {
            Some(loaded) if !loaded.session.committing.is_empty() => Err(Error::UploadUnknown),
            Some(loaded) => Ok(loaded.session.offset),
            None if upload.new.is_some() => Ok(0),
            None => Err(Error::UploadUnknown),
        }
    }

    /// Ends a session without a blob. Its bytes are freed.
    pub async fn cancel(&self, upload: &UploadAddress) -> Result<(), Error> {
        self.cancel_once(upload).await?;
        self.metrics.upload_commits.inc((Commit::Aborted,));
        Ok(())
    }

    async fn cancel_once(&self, upload: &UploadAddress) -> Result<(), Error> {
        let key = RecordKey::Upload(upload.id);
        let Some(loaded) = self.load_session(upload).await? else {
            if upload.new.is_none() {
                return Err(Error::UploadUnknown);
            }
            // Nothing was written for it yet: a dead entry makes its location useless.
            return match self.records.create(&key, Bytes::new(), None).await {
                Ok(_) => Ok(()),
                Err(store::Error::Conflict) => Err(Error::Busy("the upload goes on".to_owned())),
                Err(error) => Err(error.into()),
            };
        };
        if !loaded.session.committing.is_empty() {
            return Err(Error::UploadUnknown);
        }
        let ended = record::delete_version(self.store(), &key, &loaded.version).await?;
        if matches!(ended, Ended::Not) {
            return Err(Error::Busy("the upload goes on".to_owned()));
        }
        if let Some((location, multipart)) = loaded.session.multipart() {
            self.abort_later(location, multipart);
        }
        if let (Ended::Here, Some(location)) = (ended, loaded.session.single_object.clone()) {
            self.delete_later(location);
        }
        Ok(())
    }

    /// Publishes a blob that comes in one request with its digests.
    pub async fn put_blob(
        &self,
        name: &RepositoryName,
        digests: &[Digest],
        chunk: Chunk<'_>,
    ) -> Result<Blob, Error> {
        let upload = UploadAddress {
            repository: name.clone(),
            // Nobody ever learns of this session: it lives as long as its one request.
            subject: String::new(),
            id: UploadId::random(),
            new: Some(NewSession { algorithm: None }),
        };
        self.finish(&upload, chunk, digests).await
    }

    /// The session as this request continues it, after checking where its chunk begins.
    async fn receiver<'a>(
        &'a self,
        upload: &'a UploadAddress,
        range: Option<(u64, u64)>,
        may_be_new: bool,
        digests: &[Digest],
    ) -> Result<UploadWriter<'a>, Error> {
        let begins = range.map(|(first, _)| first);
        let new = upload.new.filter(|_| may_be_new && matches!(begins, None | Some(0)));
        let mut receiver = if let Some(new) = new {
            UploadWriter::new_session(self, upload, first_hashes(new.algorithm, digests))
        } else {
            match self.load_within_budget(upload).await? {
                Some((loaded, reserved)) => {
                    UploadWriter::continuing(self, upload, loaded, reserved)?
                }
                None if upload.new.is_some() => UploadWriter::new_session(
                    self,
                    upload,
                    first_hashes(upload.new.and_then(|new| new.algorithm), digests),
                ),
                None => return Err(Error::UploadUnknown),
            }
        };
        if !receiver.session.committing.is_empty() {
            let same = receiver.session.committing == digests;
            return if same { Ok(receiver) } else { Err(Error::UploadUnknown) };
        }
        if begins.is_some_and(|first| first != receiver.session.offset) {
            return Err(Error::OutOfOrder { offset: receiver.session.offset });
        }
        let algorithms: Vec<Algorithm> = digests.iter().map(Digest::algorithm).collect();
        if !algorithms.is_empty() {
            receiver.hashes.keep(&algorithms);
        }
        Ok(receiver)
    }

    /// Deletes bytes that nobody knows of, after the response.
    pub(super) fn delete_later(&self, location: Location) {
        let store = self.data.clone();
        let deleting = async move { delete(store.as_ref(), &location).await };
        self.tasks.spawn(deleting.in_current_span());
    }

    /// Frees the parts of a multipart upload after the response.
    pub(super) fn abort_later(&self, location: Location, multipart: MultipartId) {
        let store = self.data.clone();
        let aborting = async move {
            if let Err(error) = store.abort(&location, &multipart).await {
                tracing::warn!(%location, %error, "parts of an ended upload remain");
            }
        };
        self.tasks.spawn(aborting.in_current_span());
    }
}

/// Deletes bytes that nothing names. If that fails nobody tries again.
async fn delete(store: &dyn BlobStore, location: &Location) {
    if let Err(error) = store.delete(location).await {
        tracing::warn!(%location, %error, "orphaned object left behind");
    }
}

/// The hashes that a new session carries: those that are known to be needed, else SHA-256.
fn first_hashes(announced: Option<Algorithm>, digests: &[Digest]) -> Hashes {
    let mut algorithms: Vec<Algorithm> = digests.iter().map(Digest::algorithm).collect();
    if algorithms.is_empty() {
        algorithms.extend(announced);
    }
    if algorithms.is_empty() {
        algorithms.push(Algorithm::Sha256);
    }
    algorithms.sort();
    algorithms.dedup();
    Hashes::new(&algorithms)
}

/// The step in which the client is waited for, and parts are sent on meanwhile.
fn receiving() -> Span {
    tracing::info_span!(target: "traces", "upload.receive")
}

/// Takes in one chunk and makes it durable.
async fn receive_chunk(
    receiver: &mut UploadWriter<'_>,
    chunk: &mut Chunk<'_>,
) -> Result<u64, Stop> {
    let expected = chunk.expected();
    let before = receiver.received;
    let interrupted = receiver.receive(chunk.body, expected).instrument(receiving()).await?;
    let arrived = receiver.received - before;
    if let Some(reason) = interrupted {
        // What arrived is kept: the client may ask where it stands and go on from there.
        if arrived > 0 {
            receiver.save().await?;
        }
        return Err(Error::Interrupted(reason).into());
    }
    if expected.is_some_and(|bytes| bytes != arrived) {
        return Err(Error::SizeMismatch.into());
    }
    // Clients that send a blob in chunks say where each begins.
    if chunk.range.is_none() && receiver.may_stage() {
        receiver.stage().await?;
    } else {
        receiver.save().await?;
    }
    Ok(receiver.received)
}
