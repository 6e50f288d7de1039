//! Uploads: a session that any replica may continue, and the commit that ends it.
//!
//! Starting a session costs no request to the store: the first request whose bytes have to be
//! durable creates the session record. A blob becomes visible only after its digest is verified,
//! and committing copies no data.
//!
//! # Which bytes lie where, and when
//!
//! | the client sends | its bytes lie until the commit | and then | store requests |
//! |---|---|---|---|
//! | inline blob in `POST` or `PUT` | in the buffer | in the link | 2 |
//! | blob below a part in `POST` or `PUT` | in the buffer | in a data object | 3 |
//! | longer blob in `POST` or `PUT` | in parts and in the buffer | in a data object | *n* + 7 |
//! | inline blob in `PATCH`, then `PUT` | in the tail | in the link | 5 |
//! | blob below a part in `PATCH`, then `PUT` | in a single object | in the same object | 7 |
//! | longer blob in `PATCH`, then `PUT` | in parts and in the tail | in a data object | *n* + 9 |
//! | chunks with `Content-Range` | in parts and in the tail | as above | 2 or more a chunk |
//! | more bytes after a single object | read back, then as for chunks | as above | 2 more |
//!
//! An *inline* blob has up to 64 KiB (`uploads.inline_bytes`), a *part* 16 MiB at first
//! (`uploads.part_bytes`). The *tail* is the payload of the session record: the bytes after the
//! parts, less than 5 MiB, or less than 64 MiB in an upload of more than 5,000 parts, or less than
//! a part with `uploads.equal_parts`. A *single object* is a data object that only the session
//! names.
//!
//! The requests are: pointer and link; for a data object one write, or, for *n* parts, start, *n*
//! parts, complete, and the write of the session that reserves part numbers (64 each time); for a
//! session its write at the end of each chunk, its read at the beginning of each further request,
//! the write that marks it as committing (not for an inline blob), and its deletion after the
//! response. Content that the store has already costs two reads and the deletion of our object.

mod buffer_pool;
mod commit;
mod hashes;
mod incoming;
mod memory;
mod multipart;
mod parts;
mod request;
mod session;
mod shares;
mod single_object;
mod whole;
mod writer;

use std::sync::Arc;

use tracing::Instrument as _;

use super::Error;
use super::blobs::Blobs;
use super::content::Blob;
use super::lease::Leases;
use super::record::{Ended, Records, Written};
use super::settings::UploadSettings;
use crate::layout::records::{Multipart, Session};
use crate::oci::{Digest, NewSession, RepositoryName, UploadId};
use crate::store::{BlobStore, Location, MultipartId};
use crate::tasks::Tasks;
use crate::telemetry::metrics::{Commit, Metrics};
use request::{Digests, Request};
use session::Found;
use writer::{Stop, UploadWriter};

pub use incoming::{Body, Claimant, Interrupted};
pub(super) use memory::UploadMemory;
pub use parts::{PART_BYTES_MIN, TAIL_BYTES_MAX, part_bytes};
pub use request::{Chunk, UploadAddress};
pub use whole::Whole;

/// The upload sessions of all repositories.
#[derive(Clone, Debug)]
pub struct Uploads {
    pub(super) records: Records,
    pub(super) data: Arc<dyn BlobStore>,
    pub(super) blobs: Blobs,
    pub(super) leases: Leases,
    pub(super) limits: UploadSettings,
    pub(super) memory: UploadMemory,
    pub(super) metrics: Metrics,
    /// Work that continues after its response.
    pub(super) tasks: Tasks,
}

impl Uploads {
    /// Adds a chunk to a session and returns its new offset, which is durable then.
    pub async fn append(&self, upload: &UploadAddress, chunk: Chunk<'_>) -> Result<u64, Error> {
        let permit = self.memory.admit(&chunk.claimant).await?;
        let request = Request::new(upload, &chunk, None, permit.incoming());
        let mut writer = UploadWriter::open(self, request).await?;
        writer.receive(chunk).instrument(receiving()).await?;
        writer.save_chunk().await?;
        Ok(writer.received)
    }

    /// Ends a session with its last chunk (which may be empty) and publishes the blob under the
    /// first digest. Repeating it is safe.
    pub async fn finish(
        &self,
        upload: &UploadAddress,
        chunk: Chunk<'_>,
        digests: &[Digest],
    ) -> Result<Blob, Error> {
        let permit = self.memory.admit(&chunk.claimant).await?;
        let digests = Digests::new(digests).ok_or(Error::UploadUnknown)?;
        let request = Request::new(upload, &chunk, Some(digests), permit.incoming());
        let committed = async {
            let mut writer = UploadWriter::open(self, request).await?;
            writer.receive(chunk).instrument(receiving()).await?;
            self.commit(&mut writer, digests).await
        };
        let finished = match committed.await {
            Ok(blob) => Ok(blob),
            Err(Stop::Committing(writer)) => self.resume_commit(*writer, digests).await,
            // A tombstone does not tell what the session became. A caller who may not
            // read the repository must not learn what it has by ending a session and finishing it.
            Err(Stop::Ended) if !upload.may_read => Err(Error::UploadUnknown),
            Err(Stop::Ended) => self.finished_before(upload, digests.blob()).await,
            Err(Stop::Failed(error)) => Err(error),
        };
        if let Err(Error::DigestMismatch { .. }) = &finished {
            self.metrics.upload_commits.inc((Commit::DigestMismatch,));
        }
        finished
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
            // No client learns of this session: it ends with its one request.
            subject: String::new(),
            id: UploadId::random(),
            may_read: false,
            new: Some(NewSession { algorithm: None }),
        };
        self.finish(&upload, chunk, digests).await
    }

    /// How many bytes of a session are durable.
    pub async fn offset(&self, upload: &UploadAddress) -> Result<u64, Error> {
        match self.load_session(upload).await? {
            Found::Session(loaded) if loaded.session.committing.is_empty() => {
                Ok(loaded.session.offset)
            }
            Found::Nothing if upload.new.is_some() => Ok(0),
            Found::Session(_) | Found::Ended | Found::Nothing => Err(Error::UploadUnknown),
        }
    }

    /// Ends a session without a blob, and frees its bytes.
    pub async fn cancel(&self, upload: &UploadAddress) -> Result<(), Error> {
        let busy = || Error::Busy("another request writes to the upload session".to_owned());
        let key = upload.key();
        match self.load_session(upload).await? {
            Found::Session(mut loaded) if loaded.session.committing.is_empty() => {
                match self.records.delete_version(&key, &loaded.base).await? {
                    Ended::Here => self.free_later(&mut loaded.session),
                    // Another request may have committed the session before it ended.
                    Ended::Elsewhere => {}
                    Ended::Not => return Err(busy()),
                }
            }
            // No record was written yet: a tombstone invalidates the location.
            Found::Nothing if upload.new.is_some() => {
                if let Written::Lost(_) = self.records.bury(&key, None).await? {
                    return Err(busy());
                }
            }
            Found::Session(_) | Found::Ended | Found::Nothing => return Err(Error::UploadUnknown),
        }
        self.metrics.upload_commits.inc((Commit::Aborted,));
        Ok(())
    }

    /// The blob of a session that has ended, if its commit succeeded before. The client relies on
    /// the blob from now on as if it had pushed it, so this takes a lease on its link.
    async fn finished_before(
        &self,
        upload: &UploadAddress,
        digest: &Digest,
    ) -> Result<Blob, Error> {
        match self.blobs.get_for_push(&upload.repository, digest).await {
            Ok(blob) => Ok(Blob::clone(&blob)),
            Err(Error::BlobUnknown) => Err(Error::UploadUnknown),
            Err(error) => Err(error),
        }
    }

    /// Frees the bytes of a session that certainly ended without a blob, after the response.
    fn free_later(&self, session: &mut Session) {
        if let Some(multipart) = session.multipart.take() {
            self.abort_later(multipart);
        }
        self.delete_later(session.single_object.take());
    }

    /// Deletes an object that no record names, after the response.
    fn delete_later(&self, object: Option<Location>) {
        if let Some(location) = object {
            let uploads = self.clone();
            let deleting = async move { uploads.delete_object(&location).await };
            self.tasks.spawn(deleting.in_current_span());
        }
    }

    /// Does not try again if that fails.
    async fn delete_object(&self, location: &Location) {
        if let Err(error) = self.data.delete(location).await {
            tracing::warn!(%location, %error, "orphaned object left behind");
        }
    }

    /// Frees the parts of a multipart upload after the response.
    fn abort_later(&self, Multipart { location, id }: Multipart) {
        let data = self.data.clone();
        let aborting = async move {
            if let Err(error) = data.abort(&location, &MultipartId(id)).await {
                tracing::warn!(%location, %error, "orphaned parts left behind");
            }
        };
        self.tasks.spawn(aborting.in_current_span());
    }
}

/// The time in which the client sends its body, and parts are sent to the store meanwhile.
fn receiving() -> tracing::Span {
    tracing::info_span!(target: "traces", "upload.receive")
}
