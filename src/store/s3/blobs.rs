//! The bytes of blobs, written whole and read as streams.

use std::ops::Range;

use aws_sdk_s3::primitives::ByteStream as SdkBytes;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::stream;

use super::{ByteStream, Error, Location, S3, error, trace};

impl S3 {
    pub(super) async fn put_whole(
        &self,
        location: &Location,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
    ) -> Result<(), Error> {
        let key = self.bytes_key(location);
        let span = trace::call("PutObject", &self.bucket, &key);
        let request = self.client.put_object().bucket(&self.bucket).key(key);
        let request = match sha256 {
            Some(sha256) => request.checksum_sha256(BASE64_STANDARD.encode(sha256)),
            None if self.sends_crc32 => request.checksum_crc32(crc32(&bytes)),
            None => request,
        };
        let request = request.body(SdkBytes::from(bytes));
        // Signing the payload would hash it once more, and only to protect it on the way.
        let request = request.customize().disable_payload_signing();
        match trace::sent(span, request.send()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error::of(&error)),
        }
    }

    pub(super) async fn open(
        &self,
        location: &Location,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, Error> {
        if range.as_ref().is_some_and(Range::is_empty) {
            // HTTP cannot ask for nothing.
            return Ok(Box::pin(stream::empty()));
        }
        let key = self.bytes_key(location);
        let span = trace::call("GetObject", &self.bucket, &key);
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let header = range.as_ref().map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let output = match trace::sent(span, request.set_range(header).send()).await {
            Ok(output) => output,
            Err(error) => {
                // The caller knows the size, so a range outside of it means that bytes are gone.
                let refusal = error::refusal(&error);
                let outside = refusal.is_some_and(|refusal| refusal.status == 416);
                return Err(if outside {
                    Error::Damaged(format!("{location} is shorter than it was"))
                } else {
                    error::of(&error)
                });
            }
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
        Ok(counted(output.body, promised))
    }
}

/// The CRC-32 of some bytes as S3 spells it.
pub(super) fn crc32(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(crc32fast::hash(bytes).to_be_bytes())
}

/// A stream that ends well only after as many bytes as were promised.
fn counted(body: SdkBytes, promised: Option<u64>) -> ByteStream {
    let read = stream::unfold(Some((body, promised)), |state| async move {
        let (mut body, left) = state?;
        let (item, left) = match body.next().await {
            Some(Ok(chunk)) => match left.map(|left| left.checked_sub(chunk.len() as u64)) {
                Some(None) => (Err(Error::Damaged("more bytes than promised".to_owned())), None),
                Some(Some(left)) => (Ok(chunk), Some(Some(left))),
                None => (Ok(chunk), Some(None)),
            },
            Some(Err(error)) => (Err(Error::Unavailable(error::chain(&error))), None),
            None => match left {
                None | Some(0) => return None,
                Some(left) => {
                    let error = format!("the stream ended {left} bytes early");
                    (Err(Error::Unavailable(error)), None)
                }
            },
        };
        Some((item, left.map(|left| (body, left))))
    });
    Box::pin(read)
}
