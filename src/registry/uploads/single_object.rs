//! Bytes that lie as one object before the upload is finished.
//!
//! Most clients send a layer in one request of unknown length and finish with another one. What
//! fits into one part is written, when the first of them ends, under the key that the blob will
//! have, and the session says where. Finishing then compares the digest, says in the session that
//! it is being committed, and publishes: the bytes are neither read nor written again.
//!
//! Should more bytes follow, they are read back, once. Whoever changes the session so that it names
//! them no more deletes them: nobody can publish what a session does not name, because committing
//! is a change of the session, too. Finding a session dead is not enough: it may have been
//! committed before it died.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tracing::Instrument as _;

use super::Uploads;
use super::session::damaged;
use super::writer::{Stop, UploadWriter};
use crate::layout::records::Session;
use crate::oci::Digest;
use crate::registry::Error;
use crate::registry::content::Blob;
use crate::registry::record::{self, Current, Written};
use crate::store::{self, Location};

impl UploadWriter<'_> {
    /// Whether everything that was received can lie as an object of its own: it is the beginning,
    /// no part of it was sent on, and it is too long to be kept in a link.
    pub(super) fn may_stage(&self) -> bool {
        let inline = self.uploads.limits.inline_bytes_max;
        self.is_unwritten() && self.session.multipart.is_none() && self.buffer.len() > inline
    }

    /// Writes everything that was received as one object, which nothing names yet.
    pub(super) async fn put_whole(&self, bytes: Bytes) -> Result<Location, Error> {
        let location = Location::new_unique(self.uploads.records.now());
        self.uploads.data.put(&location, bytes, self.hashes.sha256()).await?;
        Ok(location)
    }

    /// Makes everything that was received durable as an object of its own.
    pub(super) async fn stage(&mut self) -> Result<(), Stop> {
        let bytes = std::mem::take(&mut self.buffer).freeze();
        let location = self.put_whole(bytes.clone()).await?;
        self.session.single_object = Some(location.clone());
        self.session.offset = self.received;
        let body = self.session.encode(&self.hashes, &[]);
        let saving = tracing::info_span!(target: "traces", "session.save");
        let key = self.key();
        let created = record::create(self.uploads.store(), &key, &body, None);
        match created.instrument(saving).await? {
            Written::Ours(version) => {
                self.version = Some(version);
                self.uploads.memory.spares().keep(bytes, self.take_reserved());
                Ok(())
            }
            Written::Lost(seen) => {
                // A session names its staged bytes as long as it lives. One that does not name ours
                // is another one's, and ours was never there, so nobody knows of these bytes.
                if let Current::Live(now) = &seen
                    && !Session::decode(&now.body).map_err(Error::from)?.0.knows(&location)
                {
                    self.uploads.delete_later(location);
                }
                Err(Stop::SessionExists(bytes))
            }
        }
    }

    /// Takes the staged bytes back into memory, because more follows them.
    pub(super) async fn unstage(&mut self) -> Result<(), Stop> {
        let Some(location) = self.staged() else { return Ok(()) };
        let size = self.session.offset;
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        self.reserve(length).await?;
        let mut bytes = BytesMut::with_capacity(length);
        let read = self.uploads.data.get(&location, Some(0..size)).await;
        let mut stream = match read {
            // They lost against others of the same content, and the session has ended since.
            Err(store::Error::NotFound) => return Err(Error::UploadUnknown.into()),
            read => read.map_err(Error::from)?,
        };
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(Error::from)?);
        }
        if bytes.len() != length {
            let found = bytes.len();
            return Err(damaged(&format!("{found} bytes instead of {size} at {location}")).into());
        }
        self.carry(location, bytes).await
    }
}

impl Uploads {
    /// Publishes bytes that lie where the blob will have them.
    pub(super) async fn commit_staged(
        &self,
        receiver: &mut UploadWriter<'_>,
        location: Location,
        digests: &[Digest],
    ) -> Result<Blob, Error> {
        receiver.session.committing = digests.to_vec();
        let body = receiver.session.encode(&receiver.hashes, &[]);
        receiver.write_body(body).await?;
        if let Some((location, multipart)) = receiver.session.multipart() {
            // Of a request that took the bytes back and did not come further.
            self.abort_later(location, multipart);
        }
        self.publish_staged(receiver, location, &digests[0]).await
    }

    /// Goes on with a commit that another request began.
    pub(super) async fn resume_staged(
        &self,
        receiver: &mut UploadWriter<'_>,
        location: Location,
        digest: &Digest,
    ) -> Result<Blob, Error> {
        // The other one may have deleted them, because the same content was there before.
        match self.data.get(&location, Some(0..1)).await {
            Ok(_) => self.publish_staged(receiver, location, digest).await,
            Err(store::Error::NotFound) => self.finished_before(receiver.upload(), digest).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn publish_staged(
        &self,
        receiver: &mut UploadWriter<'_>,
        location: Location,
        digest: &Digest,
    ) -> Result<Blob, Error> {
        let (upload, size) = (receiver.upload(), receiver.session.offset);
        let published = self.blobs.publish(&upload.repository, digest, size, location).await?;
        Ok(self.end_later(receiver, published))
    }
}
