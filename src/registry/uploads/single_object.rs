//! Uploads whose bytes lie as one object before the upload is finished.
//!
//! Most clients send a layer in one request of unknown length and finish with another one. What
//! fits into one part is written, when the first of them ends, to the key that the blob will have,
//! and the session names that object. Finishing then compares the digest, marks the session as
//! committing, and publishes: the bytes are neither read nor written again.
//!
//! If more bytes follow, the object is read back, once. The request whose write makes the session
//! stop naming the object deletes it: no request can publish an object that the session does not
//! name, because committing is a write of the session, too. A tombstone proves nothing: the session
//! may have been committed before it was deleted.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tracing::Instrument as _;

use super::Uploads;
use super::request::Digests;
use super::session::damaged;
use super::writer::{Stop, Tail, UploadWriter};
use crate::registry::Error;
use crate::registry::content::{Blob, StoredData};
use crate::registry::record::Written;
use crate::store::{self, Location, Version};

impl<'a> UploadWriter<'a> {
    /// Makes a chunk durable: as a single object if it is probably the whole blob, which begins the
    /// session, does not say its place, and is too long for a link.
    pub(super) async fn save_chunk(&mut self) -> Result<(), Stop<'a>> {
        let inline_bytes_max = self.uploads.limits.inline_bytes;
        // Clients that send a blob in several chunks say where each begins.
        let whole = self.is_new() && self.request.begins.is_none();
        if whole && self.buffer.len() > inline_bytes_max {
            self.save_single_object().await
        } else {
            self.save().await
        }
    }

    /// Writes everything that was received as one object, which no record names yet.
    pub(super) async fn put_object(&self, bytes: Bytes) -> Result<StoredData, Error> {
        let location = Location::new_unique(self.uploads.records.now());
        let size = bytes.len() as u64;
        let Version(etag) = self.uploads.data.put(&location, bytes, self.hashes.sha256()).await?;
        Ok(StoredData { location, size, etag: Some(etag) })
    }

    async fn save_single_object(&mut self) -> Result<(), Stop<'a>> {
        let bytes = std::mem::take(&mut self.buffer).freeze();
        // The record is refused if it arrives so late that a collector may have found the object,
        // which nothing names until then.
        let deadline = self.uploads.records.deadline(self.uploads.records.now());
        let StoredData { location, etag, .. } = self.put_object(bytes.clone()).await?;
        self.session.single_object = Some(location.clone());
        self.session.single_object_etag = etag;
        self.session.offset = self.received;
        self.session.hashes = self.hashes.save();
        let body = self.encode();
        let saving = tracing::info_span!(target: "traces", "session.save");
        match self.write_record(body, Some(deadline)).instrument(saving).await? {
            Written::Ours(_) => {
                self.uploads.memory.pool().recycle(bytes, self.reservation.take());
                Ok(())
            }
            // Another request has continued the session, which names our object.
            Written::Replaced(current) => Err(self.conflict(current).into()),
            Written::Lost(_) => {
                self.uploads.delete_later(Some(location));
                self.rebase(bytes).await?;
                self.save().await
            }
        }
    }

    /// Reads a single object back into the buffer.
    pub(super) async fn read_back(&mut self) -> Result<(), Stop<'a>> {
        let Tail::SingleObject(location) = &self.tail else { return Ok(()) };
        let size = self.session.offset;
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        let needed = length.max(self.part_bytes_min());
        let reservation = self.uploads.memory.reserve(self.request.incoming, needed).await?;
        let mut bytes = BytesMut::with_capacity(length);
        let mut stream = match self.uploads.data.get(location, Some(0..size)).await {
            // The same content was there before, and the session has ended since.
            Err(store::Error::NotFound) => return Err(Error::UploadUnknown.into()),
            stream => stream.map_err(Error::from)?,
        };
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(Error::from)?);
        }
        if bytes.len() != length {
            let found = bytes.len();
            return Err(damaged(format!("{found} bytes instead of {size} at {location}")).into());
        }
        self.buffer = bytes;
        self.reservation = Some(reservation);
        self.tail = Tail::Buffered;
        if self.buffer.len() >= self.part_bytes() { self.send_part().await } else { Ok(()) }
    }
}

impl Uploads {
    /// Publishes the single object of a session.
    pub(super) async fn commit_single_object(
        &self,
        writer: &mut UploadWriter<'_>,
        digests: Digests<'_>,
        location: Location,
    ) -> Result<Blob, Error> {
        writer.session.committing = digests.all().to_vec();
        writer.session.hashes = writer.hashes.save();
        let body = writer.encode();
        let leased_at = self.records.now();
        writer.replace_record(body).await?;
        if let Some(multipart) = writer.session.multipart.take() {
            // Of a request that read the object back and did not finish.
            self.abort_later(multipart);
        }
        self.publish_single_object(writer, digests, location, leased_at).await
    }

    /// Continues a commit that another request began, with a lease on its session.
    pub(super) async fn resume_single_object(
        &self,
        writer: &mut UploadWriter<'_>,
        digests: Digests<'_>,
        location: Location,
        leased_at: SystemTime,
    ) -> Result<Blob, Error> {
        // The other request may have deleted the object, because the content was there before.
        match self.data.get(&location, Some(0..1)).await {
            Ok(_) => self.publish_single_object(writer, digests, location, leased_at).await,
            Err(store::Error::NotFound) => {
                self.finished_before(writer.request.upload, digests.blob()).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn publish_single_object(
        &self,
        writer: &mut UploadWriter<'_>,
        digests: Digests<'_>,
        location: Location,
        leased_at: SystemTime,
    ) -> Result<Blob, Error> {
        let (upload, digest) = (writer.request.upload, digests.blob());
        let (size, etag) = (writer.session.offset, writer.session.single_object_etag.clone());
        let (name, data) = (&upload.repository, StoredData { location, size, etag });
        let published = self.blobs.publish(name, digest, data, leased_at).await?;
        Ok(self.end_later(writer, published, None))
    }
}
