//! Blob data: objects written whole or in parts, and read as streams.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::ByteStream as SdkBytes;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::stream;

use super::answer::lacks;
use super::client::S3;
use super::deadline::NO_ETAG;
use super::error::Failure;
use super::etag::version_of;
use super::operation::OperationName;
use crate::layout::key::data_prefix;
use crate::store::{
    BlobStore, ByteStream, DataObject, Day, Error, Listing, Location, MultipartId, OpenMultiparts,
    Part, PresignGet, RecordStore as _, Version,
};
use crate::telemetry::error_chain;
use crate::telemetry::metrics::S3Operation;

/// S3 may take minutes to assemble ten thousand parts, and stores on a file system copy them.
const COMPLETE_TIMEOUT: Duration = Duration::from_mins(10);
/// Separates the `ETag` of a part from its checksum, which the store wants to see again.
const CHECKSUM_MARK: char = '#';

#[async_trait]
impl BlobStore for S3 {
    async fn put(
        &self,
        location: &Location,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
    ) -> Result<Version, Error> {
        let key = self.data_key(location)?;
        let operation = self.operation(S3Operation::Put, &key);
        let request = self.client.put_object().bucket(&self.bucket).key(key);
        let request = match sha256 {
            Some(sha256) => request.checksum_sha256(BASE64_STANDARD.encode(sha256)),
            None if self.sends_crc32 => request.checksum_crc32(crc32(&bytes)),
            None => request,
        };
        let request = request.body(SdkBytes::from(bytes));
        // Signing the payload would hash it once more, and only to protect it on the way.
        let sending = request.customize().disable_payload_signing().send();
        let tag = operation.send(sending).await?.e_tag;
        tag.as_deref().map(version_of).ok_or_else(|| Error::Refused(NO_ETAG.to_owned()))
    }

    async fn head(&self, location: &Location) -> Result<Option<DataObject>, Error> {
        let key = self.data_key(location)?;
        let operation = self.operation(S3Operation::Head, &key);
        let request = self.client.head_object().bucket(&self.bucket).key(key);
        let output = match operation.send(request.send()).await {
            Ok(output) => output,
            Err(Failure { status: Some(404), .. }) => return Ok(None),
            Err(failure) => return Err(failure.error),
        };
        let size = output.content_length.and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| lacks("Content-Length"))?;
        let version = version_of(&output.e_tag.ok_or_else(|| lacks("ETag"))?);
        Ok(Some(DataObject { size, version }))
    }

    async fn get(
        &self,
        location: &Location,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, Error> {
        let key = self.data_key(location)?;
        if range.as_ref().is_some_and(Range::is_empty) {
            // HTTP cannot ask for an empty range.
            return Ok(Box::pin(stream::empty()));
        }
        let operation = self.operation(S3Operation::Get, &key);
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let header = range.as_ref().map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let name = operation.name.clone();
        let output = match operation.send(request.set_range(header).send()).await {
            Ok(output) => output,
            // The caller knows the size, so a range outside of the object means lost data.
            Err(Failure { status: Some(416), .. }) => {
                return Err(Error::Damaged(format!("{location} is shorter than it was")));
            }
            Err(failure) => return Err(failure.error),
        };
        let promised = output.content_length.and_then(|size| u64::try_from(size).ok());
        let wanted = range.map(|range| range.end - range.start);
        if let Some(wanted) = wanted
            && promised != Some(wanted)
        {
            return Err(Error::Damaged(format!(
                "{wanted} bytes of {location} were asked for and the store has {promised:?}"
            )));
        }
        Ok(checked_length(output.body, promised, name))
    }

    async fn delete(&self, location: &Location) -> Result<(), Error> {
        let key = self.data_key(location)?;
        let operation = self.operation(S3Operation::Delete, &key);
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        absent_is_ok(operation.send(request.send()).await)
    }

    async fn presign_get(
        &self,
        location: &Location,
        options: PresignGet,
    ) -> Result<Option<String>, Error> {
        let (url, key) = self.presigner.url(&self.data_key(location)?, options, self.now()).await?;
        self.metrics.presigned.inc((key,));
        Ok(Some(url))
    }

    async fn start(&self, location: &Location) -> Result<MultipartId, Error> {
        // S3 refuses parts with a checksum that was not announced here.
        let algorithm = self.sends_crc32.then_some(ChecksumAlgorithm::Crc32);
        let key = self.data_key(location)?;
        let operation = self.operation(S3Operation::CreateMultipart, &key);
        let request = self.client.create_multipart_upload().bucket(&self.bucket).key(key);
        let output = operation.send(request.set_checksum_algorithm(algorithm).send()).await?;
        let id = output.upload_id.map(MultipartId);
        id.ok_or_else(|| Error::Refused("a multipart upload without an id".to_owned()))
    }

    async fn put_part(
        &self,
        location: &Location,
        id: &MultipartId,
        number: u32,
        bytes: Bytes,
    ) -> Result<Part, Error> {
        let size = bytes.len() as u64;
        let checksum = self.sends_crc32.then(|| crc32(&bytes));
        let key = self.data_key(location)?;
        let operation = self.operation(S3Operation::UploadPart, &key).part(number);
        let request = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(&id.0)
            .part_number(part_number(number)?)
            .set_checksum_crc32(checksum.clone())
            .body(SdkBytes::from(bytes))
            .customize()
            .disable_payload_signing();
        let output = operation.send(request.send()).await?;
        let tag =
            output.e_tag.ok_or_else(|| Error::Refused("a part without an ETag".to_owned()))?;
        let tag = match checksum {
            None => tag,
            Some(checksum) => format!("{tag}{CHECKSUM_MARK}{checksum}"),
        };
        Ok(Part { number, tag, size })
    }

    async fn complete(
        &self,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<Version, Error> {
        let completed: Result<Vec<CompletedPart>, Error> = parts.iter().map(completed).collect();
        let completed = CompletedMultipartUpload::builder().set_parts(Some(completed?)).build();
        let timeout = TimeoutConfig::builder().read_timeout(COMPLETE_TIMEOUT).build();
        let key = self.data_key(location)?;
        let operation = self.operation(S3Operation::CompleteMultipart, &key);
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(&id.0)
            .multipart_upload(completed)
            .customize()
            .config_override(aws_sdk_s3::Config::builder().timeout_config(timeout));
        let error = match operation.send(request.send()).await.map(|output| output.e_tag) {
            Ok(Some(tag)) => return Ok(version_of(&tag)),
            Ok(None) => Error::Unavailable(NO_ETAG.to_owned()),
            Err(failure) => failure.error,
        };
        // It may have happened: its answer was lost, or that of an earlier attempt was, and the
        // upload has become an object since.
        if matches!(error, Error::NotFound | Error::Unavailable(_)) {
            // The key is unique to this upload: an object of the right size there is ours. If a
            // proxy answered and not the store, the completion stays a failure.
            let size: u64 = parts.iter().map(|part| part.size).sum();
            if let Some(found) = self.head(location).await?.filter(|found| found.size == size) {
                return Ok(found.version);
            }
        }
        Err(error)
    }

    async fn abort(&self, location: &Location, id: &MultipartId) -> Result<(), Error> {
        let key = self.data_key(location)?;
        let operation = self.operation(S3Operation::AbortMultipart, &key);
        let request = self.client.abort_multipart_upload().bucket(&self.bucket);
        absent_is_ok(operation.send(request.key(key).upload_id(&id.0).send()).await)
    }

    /// Lists the parts of the upload, because `MinIO` lists uploads by one whole key only, and
    /// none below a prefix.
    async fn is_open(&self, location: &Location, id: &MultipartId) -> Result<bool, Error> {
        let key = self.data_key(location)?;
        let operation = self.operation(S3Operation::ListParts, &key);
        let request = self.client.list_parts().bucket(&self.bucket).key(key).upload_id(&id.0);
        match operation.send(request.max_parts(1).send()).await {
            Ok(_) => Ok(true),
            Err(Failure { error: Error::NotFound, .. }) => Ok(false),
            Err(failure) => Err(failure.error),
        }
    }

    async fn list_days(&self) -> Result<Vec<Day>, Error> {
        self.list_prefixes(&self.key(data_prefix(None))).await
    }

    async fn list_data(
        &self,
        day: &Day,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        self.list_keys(&self.key(data_prefix(Some(day))), after, limit).await
    }

    async fn list_multiparts(&self, limit: usize) -> Result<OpenMultiparts, Error> {
        self.list_uploads(&self.key(data_prefix(None)), limit).await
    }
}

impl S3 {
    /// The key of a location in the bucket.
    fn data_key(&self, location: &Location) -> Result<String, Error> {
        Ok(self.key(location.key()?))
    }
}

pub(super) fn absent_is_ok<T>(deleted: Result<T, Failure>) -> Result<(), Error> {
    match deleted {
        Ok(_) | Err(Failure { error: Error::NotFound, .. }) => Ok(()),
        Err(failure) => Err(failure.error),
    }
}

fn completed(part: &Part) -> Result<CompletedPart, Error> {
    let (tag, checksum) = match part.tag.split_once(CHECKSUM_MARK) {
        Some((tag, checksum)) => (tag, Some(checksum.to_owned())),
        None => (part.tag.as_str(), None),
    };
    Ok(CompletedPart::builder()
        .part_number(part_number(part.number)?)
        .e_tag(tag)
        .set_checksum_crc32(checksum)
        .build())
}

fn part_number(number: u32) -> Result<i32, Error> {
    i32::try_from(number).map_err(|_| Error::Refused(format!("there is no part {number}")))
}

/// The CRC-32 of some bytes as S3 encodes it.
pub(super) fn crc32(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(crc32fast::hash(bytes).to_be_bytes())
}

/// A stream that fails unless it has exactly the promised number of bytes.
fn checked_length(body: SdkBytes, promised: Option<u64>, operation: OperationName) -> ByteStream {
    let read = stream::unfold(Some((body, promised, operation)), |state| async move {
        let (mut body, left, operation) = state?;
        let (item, left) = match body.next().await {
            Some(Ok(chunk)) => match left.map(|left| left.checked_sub(chunk.len() as u64)) {
                Some(None) => (Err(Error::Damaged("more bytes than promised".to_owned())), None),
                Some(Some(left)) => (Ok(chunk), Some(Some(left))),
                None => (Ok(chunk), Some(None)),
            },
            Some(Err(error)) => (Err(operation.broke_off(error_chain(&error))), None),
            None => match left {
                None | Some(0) => return None,
                Some(left) => {
                    let error = format!("the stream ended {left} bytes early");
                    (Err(operation.broke_off(error)), None)
                }
            },
        };
        Some((item, left.map(|left| (body, left, operation))))
    });
    Box::pin(read)
}
