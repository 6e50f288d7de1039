//! Committing an upload: compare the digests, complete the bytes, publish them.
//!
//! The order makes a crash harmless: the session becomes committing, the last part is sent, the
//! multipart upload completed, pointer and link written, and the session ends. A client that
//! repeats the request continues at the step where the first one stopped.
//!
//! Until the pointer names a data object, the session does, and keeps a collector from deleting it.
//! So pointer and link carry a deadline that begins when the session was written last, or, without
//! a session, before the object was written.

use std::time::SystemTime;

use bytes::Bytes;
use futures_util::StreamExt;
use tracing::Instrument as _;

use super::Uploads;
use super::hashes::Hashes;
use super::parts;
use super::request::Digests;
use super::session::{base_of, damaged};
use super::writer::{Stop, Tail, UploadWriter};
use crate::layout::records::Session;
use crate::oci::Digest;
use crate::registry::Error;
use crate::registry::blobs::Published;
use crate::registry::content::{Blob, StoredData};
use crate::registry::record::{self, Base, Current, Ended, Written};
use crate::store::{self, Location, MultipartId, Part, RecordKey, Version};

fn mismatch(expected: Digest, actual: Digest) -> Error {
    Error::DigestMismatch { expected: Box::new(expected), actual: Box::new(actual) }
}

impl<'a> UploadWriter<'a> {
    /// Compares the digests that can be compared before the bytes are complete: a digest of an
    /// algorithm without a hash only if all bytes can be had now. Returns the first mismatch.
    async fn compare(&mut self, digests: Digests<'_>) -> Result<Option<Error>, Stop<'a>> {
        let digests = digests.all();
        if digests.iter().any(|digest| !self.hashes.has(digest.algorithm())) {
            self.read_back().await?;
        }
        let whole = self.buffer.len() as u64 == self.received;
        let compare = |expected: &Digest| {
            let hashed = self.hashes.digest(expected.algorithm());
            let whole = || whole.then(|| Digest::of(expected.algorithm(), &self.buffer));
            let actual = hashed.or_else(whole).filter(|actual| actual != expected)?;
            Some(mismatch(*expected, actual))
        };
        let comparing = tracing::info_span!(target: "traces", "digest.finish");
        Ok(comparing.in_scope(|| digests.iter().find_map(compare)))
    }
}

impl Uploads {
    /// Commits what was received under the digests of the request.
    pub(super) async fn commit<'a>(
        &self,
        writer: &mut UploadWriter<'a>,
        digests: Digests<'_>,
    ) -> Result<Blob, Stop<'a>> {
        let mut compared = writer.compare(digests).await?;
        if compared.is_some() && writer.is_new() {
            // The location may be that of the start although chunks were added since.
            let received = std::mem::take(&mut writer.buffer).freeze();
            writer.rebase(received).await?;
            compared = writer.compare(digests).await?;
        }
        if let Some(mismatch) = compared {
            self.discard(writer).await;
            return Err(mismatch.into());
        }
        let committing = tracing::info_span!(target: "traces", "upload.commit");
        let committed = async {
            if let Tail::SingleObject(location) = &writer.tail {
                let location = location.clone();
                Ok(self.commit_single_object(writer, digests, location).await?)
            } else if writer.session.multipart.is_none() {
                Ok(self.commit_buffer(writer, digests).await?)
            } else {
                self.commit_parts(writer, digests).await
            }
        };
        committed.instrument(committing).await
    }

    /// A blob of which no part was sent: it fits into one request to the store.
    async fn commit_buffer(
        &self,
        writer: &mut UploadWriter<'_>,
        digests: Digests<'_>,
    ) -> Result<Blob, Error> {
        let leased_at = self.records.now();
        let (upload, digest) = (writer.request.upload, digests.blob());
        let bytes = std::mem::take(&mut writer.buffer).freeze();
        let name = &upload.repository;
        let published = if bytes.len() <= self.limits.inline_bytes {
            let (blob, commit) = self.blobs.link_inline(name, digest, &bytes, leased_at).await?;
            self.metrics.upload_commits.inc((commit,));
            Published { blob, duplicate: None }
        } else {
            let data = writer.put_object(bytes).await?;
            self.blobs.publish(name, digest, data, leased_at).await?
        };
        let former = writer.session.single_object.take();
        Ok(self.end_later(writer, published, former))
    }

    /// A blob of which parts were sent.
    async fn commit_parts<'a>(
        &self,
        writer: &mut UploadWriter<'a>,
        digests: Digests<'_>,
    ) -> Result<Blob, Stop<'a>> {
        if !writer.buffer.is_empty() && !writer.is_saved() {
            writer.send_part().await?;
        }
        writer.drain().await?;
        writer.session.committing = digests.all().to_vec();
        if let Some(bound) = writer.session.reserved_to.take()
            && !writer.has_reserved_part_numbers()
        {
            writer.session.part_next = bound;
        }
        let (forgotten, body, tail) = writer.acknowledge_all();
        let leased_at = self.records.now();
        writer.replace_record(body).await?;
        self.delete_later(forgotten);
        Ok(self.complete(writer, digests, tail, leased_at).await?)
    }

    /// Continues a commit that another request began: the session holds everything it needs. It may
    /// be so old that a collector is about to end it, so this first touches it.
    pub(super) async fn resume_commit(
        &self,
        mut writer: UploadWriter<'_>,
        digests: Digests<'_>,
    ) -> Result<Blob, Error> {
        let committing = tracing::info_span!(target: "traces", "upload.commit", resumed = true);
        let committed = async {
            let tail = std::mem::take(&mut writer.buffer).freeze();
            let Some(leased_at) = self.touch_committing(&mut writer, digests, &tail).await? else {
                return self.finished_before(writer.request.upload, digests.blob()).await;
            };
            if let Tail::SingleObject(location) = &writer.tail {
                let location = location.clone();
                return self.resume_single_object(&mut writer, digests, location, leased_at).await;
            }
            self.complete(&mut writer, digests, tail, leased_at).await
        };
        committed.instrument(committing).await
    }

    /// Touches a session that is being committed. Returns the time that dates each write which
    /// relies on this; `None` if the session has ended.
    async fn touch_committing(
        &self,
        writer: &mut UploadWriter<'_>,
        digests: Digests<'_>,
        tail: &[u8],
    ) -> Result<Option<SystemTime>, Error> {
        for _ in 0..record::ATTEMPTS_MAX {
            let leased_at = self.records.now();
            let body = writer.encode_as(&writer.session, tail);
            let current = match writer.write_record(body, None).await? {
                Written::Ours(_) => return Ok(Some(leased_at)),
                Written::Replaced(current) | Written::Lost(current) => current,
            };
            // Another request that continues the same commit has touched it.
            let Current::Live(record) = current else { return Ok(None) };
            let (session, _) = Session::decode(&record.body)?;
            if session.committing != digests.all() {
                return Err(Error::UploadUnknown);
            }
            (writer.session, writer.base) = (session, Some(base_of(&record)?));
        }
        Err(record::contended())
    }

    /// Completes the multipart upload of a committing session, and publishes it. The session was
    /// written at `leased_at` or later.
    async fn complete(
        &self,
        writer: &mut UploadWriter<'_>,
        digests: Digests<'_>,
        tail: Bytes,
        mut leased_at: SystemTime,
    ) -> Result<Blob, Error> {
        let (upload, digest) = (writer.request.upload, digests.blob());
        let data = match self.complete_parts(writer, tail.clone()).await {
            Ok(data) => data,
            // The object is gone again: its content was there before, or did not match. If the
            // blob is there, this was done before.
            Err(Error::Unavailable(store::Error::NotFound)) => {
                return self.finished_before(upload, digest).await;
            }
            Err(error) => return Err(error),
        };
        for expected in digests.all() {
            if writer.hashes.has(expected.algorithm()) {
                continue;
            }
            let verified = self.verify_stored(&data, expected).await;
            if let (Err(Error::DigestMismatch { .. }), Some(base)) = (&verified, &writer.base) {
                // The object was deleted: no request can continue this commit.
                let _ended = self.end_session(&writer.key(), base).await;
            }
            verified?;
        }
        let taken = self.records.now().duration_since(leased_at).unwrap_or_default();
        if taken > self.records.deadline(leased_at).valid_for / 2 {
            // Completing a large object takes minutes, and the pointer would be refused.
            match self.touch_committing(writer, digests, &tail).await? {
                Some(touched) => leased_at = touched,
                None => return self.finished_before(upload, digest).await,
            }
        }
        let name = &upload.repository;
        let published = self.blobs.publish(name, digest, data, leased_at).await?;
        Ok(self.end_later(writer, published, None))
    }

    /// Sends the tail as the last part and completes the multipart upload. `NotFound` if another
    /// request has completed it, and the object is not there any more.
    async fn complete_parts(
        &self,
        writer: &UploadWriter<'_>,
        tail: Bytes,
    ) -> Result<StoredData, Error> {
        let multipart = writer.multipart()?;
        let (location, id) = (&multipart.location, &MultipartId(multipart.id.clone()));
        let parts = writer.session.parts.iter();
        let mut parts: Vec<Part> = parts
            .map(|part| Part { number: part.number, tag: part.tag.clone(), size: part.size })
            .collect();
        if !tail.is_empty() {
            // A request that repeats this sends the same bytes under the same number.
            let number = writer.next_part_number()?;
            let sent = parts::send(&*self.data, &self.metrics, (location, id), number, tail).await;
            match sent {
                // A request that did not finish has completed the upload.
                Err(store::Error::NotFound) => {
                    return self.completed_before(location, writer.session.offset).await;
                }
                sent => parts.push(sent?),
            }
        }
        let Version(etag) = self.data.complete(location, id, &parts).await?;
        let (location, size) = (location.clone(), writer.session.offset);
        Ok(StoredData { location, size, etag: Some(etag) })
    }

    /// The object that an earlier completion of the upload has made. The tail cannot be sent again,
    /// and some stores answer a repeated completion with the `ETag` of the parts that it names, so
    /// the object itself is asked. `NotFound` if it is not there any more.
    async fn completed_before(&self, location: &Location, size: u64) -> Result<StoredData, Error> {
        match self.data.head(location).await? {
            Some(found) if found.size == size => {
                let etag = Some(found.version.0);
                Ok(StoredData { location: location.clone(), size, etag })
            }
            Some(_) | None => Err(store::Error::NotFound.into()),
        }
    }

    /// Reads back an object that no record names yet, for a digest whose algorithm was not
    /// announced. Deletes the object if it does not match.
    async fn verify_stored(
        &self,
        StoredData { location, size, .. }: &StoredData,
        expected: &Digest,
    ) -> Result<(), Error> {
        let (mut hashes, mut left) = (Hashes::new(&[expected.algorithm()]), *size);
        let mut bytes = self.data.get(location, Some(0..*size)).await?;
        while let Some(chunk) = bytes.next().await {
            let chunk = chunk?;
            left = left.saturating_sub(chunk.len() as u64);
            hashes.update(&chunk);
        }
        if left > 0 {
            // A body that ends early says nothing about the object, which a pointer may name by
            // now: another request continues the same commit.
            return Err(damaged(format!("{left} bytes of {size} are missing at {location}")));
        }
        match hashes.digest(expected.algorithm()) {
            Some(actual) if actual == *expected => Ok(()),
            Some(actual) => {
                self.data.delete(location).await?;
                Err(mismatch(*expected, actual))
            }
            None => Err(Error::UploadUnknown),
        }
    }

    /// Ends a session whose content does not match its digest. Frees its bytes only if this call
    /// certainly ended it: another request may have begun to commit them.
    async fn discard(&self, writer: &mut UploadWriter<'_>) {
        if let Some(base) = writer.base.take()
            && self.end_session(&writer.key(), &base).await
        {
            self.free_later(&mut writer.session);
        }
    }

    /// Ends a session. False unless this call certainly deleted the record as it was read.
    async fn end_session(&self, key: &RecordKey, base: &Base) -> bool {
        match self.records.delete_version(key, base).await {
            Ok(ended) => matches!(ended, Ended::Here),
            Err(error) => {
                tracing::debug!(%key, %error, "the record of an ended upload session remains");
                false
            }
        }
    }

    /// Ends the session of a published blob after the response, and deletes the objects that no
    /// record names then: a duplicate of content that was there before, and the `former` single
    /// object, whose bytes the blob contains.
    pub(super) fn end_later(
        &self,
        writer: &mut UploadWriter<'_>,
        published: Published,
        former: Option<Location>,
    ) -> Blob {
        let Published { blob, duplicate } = published;
        let (uploads, key, base) = (self.clone(), writer.key(), writer.base.take());
        if base.is_none() && duplicate.is_none() {
            return blob;
        }
        let ending = async move {
            let ended = match base {
                Some(base) => uploads.end_session(&key, &base).await,
                None => true,
            };
            // If the session still exists, or another request committed it, a record may name its
            // single object.
            for location in duplicate.into_iter().chain(former.filter(|_| ended)) {
                uploads.delete_object(&location).await;
            }
        };
        self.tasks.spawn(ending.in_current_span());
        blob
    }
}
