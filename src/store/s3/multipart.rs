//! Large blobs, sent in parts.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadError;
use aws_sdk_s3::primitives::ByteStream as SdkBytes;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::blobs::crc32;
use super::error::{self, Refusal};
use super::{Error, Location, MultipartId, Part, S3, trace};

/// S3 may take minutes to put ten thousand parts together, and stores on a file system copy them.
const COMPLETE_TIMEOUT: Duration = Duration::from_mins(10);
/// Stands between the `ETag` and the checksum of a part, which the store wants to see again.
const CHECKSUM_MARK: char = '#';

impl S3 {
    pub(super) async fn start_multipart(&self, location: &Location) -> Result<MultipartId, Error> {
        // S3 refuses parts with a checksum that was not announced here.
        let algorithm = self.sends_crc32.then_some(ChecksumAlgorithm::Crc32);
        let key = self.bytes_key(location);
        let span = trace::call("CreateMultipartUpload", &self.bucket, &key);
        let request = self.client.create_multipart_upload().bucket(&self.bucket).key(key);
        let request = request.set_checksum_algorithm(algorithm);
        let output = trace::sent(span, request.send()).await.map_err(|error| error::of(&error))?;
        output
            .upload_id
            .map(MultipartId)
            .ok_or_else(|| Error::Refused("a multipart upload without an id".to_owned()))
    }

    pub(super) async fn send_part(
        &self,
        location: &Location,
        id: &MultipartId,
        number: u32,
        bytes: Bytes,
    ) -> Result<Part, Error> {
        let size = bytes.len() as u64;
        let checksum = self.sends_crc32.then(|| crc32(&bytes));
        let key = self.bytes_key(location);
        let span = trace::call("UploadPart", &self.bucket, &key);
        span.record("aws.s3.part_number", number);
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
        let output = trace::sent(span, request.send()).await.map_err(|error| meaning(&error))?;
        let tag =
            output.e_tag.ok_or_else(|| Error::Refused("a part without an ETag".to_owned()))?;
        let tag = match checksum {
            None => tag,
            Some(checksum) => format!("{tag}{CHECKSUM_MARK}{checksum}"),
        };
        Ok(Part { number, tag, size })
    }

    pub(super) async fn complete_multipart(
        &self,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<(), Error> {
        let listed: Result<Vec<CompletedPart>, Error> = parts.iter().map(completed).collect();
        let patient = TimeoutConfig::builder().read_timeout(COMPLETE_TIMEOUT).build();
        let key = self.bytes_key(location);
        let span = trace::call("CompleteMultipartUpload", &self.bucket, &key);
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(&id.0)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(listed?)).build())
            .customize()
            .config_override(aws_sdk_s3::Config::builder().timeout_config(patient));
        match trace::sent(span, request.send()).await {
            Ok(_) => Ok(()),
            Err(error) if is_uncertain(&error) => {
                // The key is unique to this upload: what lies there in the right size is ours.
                let size: u64 = parts.iter().map(|part| part.size).sum();
                if self.size_of(location).await? == Some(size) {
                    return Ok(());
                }
                Err(meaning(&error))
            }
            Err(error) => Err(error::of(&error)),
        }
    }

    pub(super) async fn abort_multipart(
        &self,
        location: &Location,
        id: &MultipartId,
    ) -> Result<(), Error> {
        let key = self.bytes_key(location);
        let span = trace::call("AbortMultipartUpload", &self.bucket, &key);
        let request = self.client.abort_multipart_upload().bucket(&self.bucket);
        match trace::sent(span, request.key(key).upload_id(&id.0).send()).await {
            Ok(_) => Ok(()),
            Err(error) if error::refusal(&error).as_ref().is_some_and(is_gone) => Ok(()),
            Err(error) => Err(error::of(&error)),
        }
    }

    /// Asked by the upload's own name: `MinIO` lists the uploads of one whole key, and none below a
    /// prefix, but every store lists the parts of an upload.
    pub(super) async fn is_open_multipart(
        &self,
        location: &Location,
        id: &MultipartId,
    ) -> Result<bool, Error> {
        let key = self.bytes_key(location);
        let span = trace::call("ListParts", &self.bucket, &key);
        let request = self.client.list_parts().bucket(&self.bucket).key(key).upload_id(&id.0);
        match trace::sent(span, request.max_parts(1).send()).await {
            Ok(_) => Ok(true),
            Err(error) if error::refusal(&error).as_ref().is_some_and(is_gone) => Ok(false),
            Err(error) => Err(error::of(&error)),
        }
    }

    /// How many bytes lie at a location, `None` if there is nothing.
    async fn size_of(&self, location: &Location) -> Result<Option<u64>, Error> {
        let key = self.bytes_key(location);
        let span = trace::call("HeadObject", &self.bucket, &key);
        let request = self.client.head_object().bucket(&self.bucket).key(key);
        match trace::sent(span, request.send()).await {
            Ok(output) => Ok(output.content_length.and_then(|size| u64::try_from(size).ok())),
            // An answer to HEAD has no body, so this 404 cannot say what it means. Whoever meant
            // it, the completion that we ask about stays a failure.
            Err(error) => match error::refusal(&error) {
                Some(Refusal { status: 404, .. }) => Ok(None),
                Some(_) | None => Err(error::of(&error)),
            },
        }
    }
}

/// Whether a completion that failed may have happened: its answer was lost, or an earlier one was
/// and the upload has turned into an object since.
fn is_uncertain(error: &SdkError<CompleteMultipartUploadError, HttpResponse>) -> bool {
    match error::refusal(error) {
        Some(refusal) => is_gone(&refusal) || matches!(refusal.meaning(), Error::Unavailable(_)),
        None => !matches!(error, SdkError::ConstructionFailure(_)),
    }
}

fn is_gone(refusal: &Refusal) -> bool {
    refusal.code.as_deref() == Some("NoSuchUpload")
}

/// What a failed request for an upload means: an upload that is gone is something absent.
fn meaning<E>(error: &SdkError<E, HttpResponse>) -> Error
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    if error::refusal(error).as_ref().is_some_and(is_gone) {
        Error::NotFound
    } else {
        error::of(error)
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
