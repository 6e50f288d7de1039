//! Committing an upload: compare the digests, make the bytes whole, publish them.
//!
//! The order is what makes a crash harmless: session → committing, last part, complete, pointer,
//! link, and the session ends. Whoever repeats the request goes on where it stopped.

use bytes::Bytes;
use futures_util::StreamExt;
use tracing::Instrument as _;

use super::parts;
use super::session::Hashes;
use super::writer::{Stop, UploadWriter};
use super::{Chunk, UploadAddress, Uploads, delete, receiving};
use crate::oci::Digest;
use crate::registry::Error;
use crate::registry::blobs::Published;
use crate::registry::content::Blob;
use crate::registry::record::{self, Ended};
use crate::store::{self, Location, Part, RecordKey, RecordStore, Version};

fn mismatch(expected: Digest, actual: Digest) -> Error {
    Error::DigestMismatch { expected: Box::new(expected), actual: Box::new(actual) }
}

/// Compares what can be compared before the bytes are made whole.
fn compare(receiver: &UploadWriter<'_>, digests: &[Digest]) -> Result<(), Error> {
    for expected in digests {
        let actual = match receiver.hashes.digest(expected.algorithm()) {
            Some(actual) => actual,
            // All of it is in the buffer, where it can be hashed again.
            None if receiver.buffer.len() as u64 == receiver.received => {
                Digest::of(expected.algorithm(), &receiver.buffer)
            }
            None => continue,
        };
        if actual != *expected {
            return Err(mismatch(*expected, actual));
        }
    }
    Ok(())
}

impl Uploads {
    /// Receives the last chunk and commits.
    pub(super) async fn finish_once(
        &self,
        receiver: &mut UploadWriter<'_>,
        chunk: &mut Chunk<'_>,
        digests: &[Digest],
    ) -> Result<Blob, Stop> {
        let expected = chunk.expected();
        let before = receiver.received;
        let upload = receiver.upload();
        let interrupted = receiver.receive(chunk.body, expected).instrument(receiving()).await?;
        let arrived = receiver.received - before;
        if let Some(reason) = interrupted {
            // A chunk of a session may be taken up again; a blob in one request has no session.
            if arrived > 0 && chunk.range.is_some() {
                receiver.save().await?;
            }
            return Err(Error::Interrupted(reason).into());
        }
        if expected.is_some_and(|bytes| bytes != arrived) {
            return Err(Error::SizeMismatch.into());
        }
        if digests.iter().any(|digest| !receiver.hashes.has(digest.algorithm())) {
            receiver.unstage().await?;
        }
        let hashing = tracing::info_span!(target: "traces", "digest.finish");
        if let Err(mismatch) = hashing.in_scope(|| compare(receiver, digests)) {
            // The location may be the one of the start although chunks were added since.
            if receiver.is_unwritten() && upload.new.is_some() {
                match self.load_session(upload).await {
                    Ok(None) => {}
                    // The same for one that has ended, perhaps by this very request.
                    Ok(Some(_)) | Err(Error::UploadUnknown) => {
                        return Err(Stop::SessionExists(receiver.buffer.split().freeze()));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            self.discard(receiver).await;
            return Err(mismatch.into());
        }
        let committing = tracing::info_span!(target: "traces", "upload.commit");
        if let Some(location) = receiver.staged() {
            let publishing = self.commit_staged(receiver, location, digests);
            return Ok(publishing.instrument(committing).await?);
        }
        if receiver.session.multipart.is_none() {
            return Ok(self.commit_small(receiver, digests).instrument(committing).await?);
        }
        self.commit_parts(receiver, digests).instrument(committing).await
    }

    /// A blob that fits into one request to the store.
    async fn commit_small(
        &self,
        receiver: &mut UploadWriter<'_>,
        digests: &[Digest],
    ) -> Result<Blob, Error> {
        let leased_at = self.records.now();
        let name = &receiver.upload().repository;
        let bytes = receiver.buffer.split().freeze();
        let size = bytes.len() as u64;
        let digest = &digests[0];
        let published = if bytes.len() <= self.limits.inline_bytes_max {
            let (blob, commit) = self.blobs.link_inline(name, digest, &bytes, leased_at).await?;
            self.metrics.upload_commits.inc((commit,));
            Published { blob, duplicate: None }
        } else {
            let location = receiver.put_whole(bytes).await?;
            self.blobs.publish(name, digest, size, location).await?
        };
        Ok(self.end_later(receiver, published))
    }

    /// A blob whose parts are on their way to the store.
    async fn commit_parts(
        &self,
        receiver: &mut UploadWriter<'_>,
        digests: &[Digest],
    ) -> Result<Blob, Stop> {
        if !receiver.buffer.is_empty() && !receiver.buffer_is_durable() {
            receiver.send_part().await?;
        }
        receiver.drain().await?;
        receiver.stand_at(receiver.received);
        receiver.session.committing = digests.to_vec();
        if let Some(bound) = receiver.session.reserved_to.take()
            && !receiver.is_claimed()
        {
            receiver.session.part_next = bound;
        }
        let (body, tail) = receiver.pack();
        receiver.write_body(body).await?;
        Ok(self.complete(receiver, tail, digests).await?)
    }

    /// Goes on with a commit that another request began: everything it needs is in the session.
    pub(super) async fn resume_commit(
        &self,
        mut receiver: UploadWriter<'_>,
        digests: &[Digest],
    ) -> Result<Blob, Error> {
        let committing = tracing::info_span!(target: "traces", "upload.commit", resumed = true);
        if let Some(location) = receiver.staged() {
            let publishing = self.resume_staged(&mut receiver, location, &digests[0]);
            return publishing.instrument(committing).await;
        }
        let tail = receiver.buffer.split().freeze();
        self.complete(&mut receiver, tail, digests).instrument(committing).await
    }

    async fn complete(
        &self,
        receiver: &mut UploadWriter<'_>,
        tail: Bytes,
        digests: &[Digest],
    ) -> Result<Blob, Error> {
        let upload = receiver.upload();
        let (location, multipart) = receiver.target();
        let mut parts = receiver.session.store_parts();
        let mut completed = Ok(());
        if !tail.is_empty() {
            // Whoever repeats this sends the same bytes under the same number.
            let (number, size) = (receiver.session.part_next, tail.len() as u64);
            let target = (&location, &multipart);
            match parts::send(self.data.as_ref(), &self.metrics, target, number, tail).await {
                Ok(part) => parts.push(part),
                // Completed before, by a request that did not come further. Completing it again
                // finds the bytes whatever tag is named; one that is in shape is named.
                Err(store::Error::NotFound) => {
                    let tag = parts.last().map(|part| part.tag.clone()).unwrap_or_default();
                    parts.push(Part { number, tag, size });
                }
                Err(error) => completed = Err(error),
            }
        }
        if completed.is_ok() {
            completed = self.data.complete(&location, &multipart, &parts).await;
        }
        match completed {
            Ok(()) => {}
            // The bytes are gone again: they lost against others of the same content, or did not
            // match after all. If the blob is there, this was done before.
            Err(store::Error::NotFound) => {
                return self.finished_before(upload, &digests[0]).await;
            }
            Err(error) => return Err(error.into()),
        }
        for expected in digests {
            if !receiver.hashes.has(expected.algorithm()) {
                let verified =
                    self.verify_stored(&location, receiver.session.offset, expected).await;
                if let (Err(Error::DigestMismatch { .. }), Some(version)) =
                    (&verified, &receiver.version)
                {
                    // The bytes are gone: nobody can go on with this commit.
                    let _ended = self.end_session(upload, version.clone()).await;
                }
                verified?;
            }
        }
        let size = receiver.session.offset;
        let published = self.blobs.publish(&upload.repository, &digests[0], size, location).await?;
        Ok(self.end_later(receiver, published))
    }

    /// Reads back bytes that nothing names yet, for a digest whose algorithm was not announced. If
    /// they do not match they go.
    async fn verify_stored(
        &self,
        location: &Location,
        size: u64,
        expected: &Digest,
    ) -> Result<(), Error> {
        let mut hashes = Hashes::new(&[expected.algorithm()]);
        let mut bytes = self.data.get(location, Some(0..size)).await?;
        while let Some(chunk) = bytes.next().await {
            hashes.update(&chunk?);
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

    /// Ends a session whose content is not what the client said it is.
    async fn discard(&self, receiver: &mut UploadWriter<'_>) {
        if let Some((location, multipart)) = receiver.session.multipart() {
            self.abort_later(location, multipart);
        }
        let staged = receiver.carried.take().or(receiver.session.single_object.clone());
        if let Some(version) = receiver.version.take()
            && self.end_session(receiver.upload(), version).await
            && let Some(location) = staged
        {
            self.delete_later(location);
        }
    }

    /// Ends a session. False unless it certainly is as it was read, and has ended by this.
    async fn end_session(&self, upload: &UploadAddress, version: Version) -> bool {
        end(self.store(), &RecordKey::Upload(upload.id), &version).await
    }

    /// The blob is there; that its session ends, and that bytes go which nobody needs, does not
    /// have to be waited for.
    pub(super) fn end_later(&self, receiver: &mut UploadWriter<'_>, published: Published) -> Blob {
        let Published { blob, duplicate } = published;
        let (records, data) = (self.records.clone(), self.data.clone());
        let key = receiver.key();
        let (version, carried) = (receiver.version.take(), receiver.carried.take());
        if version.is_none() && duplicate.is_none() {
            return blob;
        }
        let ending = async move {
            let ended = match version {
                Some(version) => end(records.as_ref(), &key, &version).await,
                None => true,
            };
            // A session that is still there, or that another request has committed, may have given
            // a name to what this one took out of it.
            for location in duplicate.into_iter().chain(carried.filter(|_| ended)) {
                delete(data.as_ref(), &location).await;
            }
        };
        self.tasks.spawn(ending.in_current_span());
        blob
    }
}

async fn end(store: &dyn RecordStore, key: &RecordKey, version: &Version) -> bool {
    match record::delete_version(store, key, version).await {
        Ok(ended) => matches!(ended, Ended::Here),
        Err(error) => {
            tracing::debug!(%key, %error, "an ended session remains until it is collected");
            false
        }
    }
}
