//! Records: small objects that are written under conditions.

use std::time::SystemTime;

use async_trait::async_trait;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream as SdkBytes;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use md5::{Digest as _, Md5};

use super::answer::{StoreDate, lacks};
use super::blobs::{absent_is_ok, crc32};
use super::client::S3;
use super::deadline::{Dated, NO_ETAG};
use super::error::Failure;
use super::etag::version_of;
use super::operation::{Operation, OperationName};
use crate::store::{
    Deadline, Error, Listing, NO_CONDITIONS, Prefix, Record, RecordKey, RecordStore, Removal,
    Version,
};
use crate::telemetry::error_chain;
use crate::telemetry::metrics::S3Operation;

/// Records hold headers, manifests and the tails of uploads; larger ones are not ours.
const RECORD_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Up to this size the whole body is sent before the answer arrives, so no refusal is lost.
const REFUSAL_ARRIVES_BYTES: usize = 64 * 1024;

/// What must hold for a write to happen.
#[derive(Clone, Copy)]
enum Condition<'a> {
    Absent,
    Version(&'a Version),
}

impl S3 {
    /// A request that writes a record, without a condition and without its body.
    fn record_put(
        &self,
        key: &str,
        body: &Bytes,
    ) -> Result<(Operation, PutObjectFluentBuilder), Error> {
        if body.len() as u64 > RECORD_BYTES_MAX {
            return Err(Error::Refused(format!("a record of {} bytes is too large", body.len())));
        }
        let operation = self.operation(S3Operation::Put, key);
        let request = self.client.put_object().bucket(&self.bucket).key(key);
        // versitygw keeps what it has of a body whose connection breaks, unless it knows what the
        // whole has to be. Every store knows Content-MD5, except those that only know checksums.
        let request = if self.sends_crc32 {
            request.checksum_crc32(crc32(body))
        } else {
            request.content_md5(md5(body))
        };
        Ok((operation, request))
    }

    /// Writes a record, whatever is there. The store refuses it after `deadline`.
    pub(super) async fn overwrite(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Deadline,
    ) -> Dated<Result<Version, Error>> {
        let (operation, request) = match self.record_put(&self.key(key), &body) {
            Ok(put) => put,
            Err(error) => return Dated { result: Err(error), may_come_late: false },
        };
        let Dated { result, may_come_late } =
            self.write_dated(operation, request, body, deadline).await;
        Dated { result: result.map_err(Error::from), may_come_late }
    }

    /// Removes a record, whatever is there.
    pub(super) async fn remove_any(&self, key: &RecordKey) -> Result<(), Error> {
        let key = self.key(key);
        let operation = self.operation(S3Operation::Delete, &key);
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        absent_is_ok(operation.send(request.send()).await)
    }

    /// Writes a record if `condition` holds.
    async fn write(
        &self,
        key: &RecordKey,
        condition: Condition<'_>,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        let (key, length) = (self.key(key), body.len());
        let (operation, request) = self.record_put(&key, &body)?;
        let request = match condition {
            Condition::Absent => request.if_none_match("*"),
            Condition::Version(version) => request.if_match(self.if_match(version)),
        };
        let written = if let Some(deadline) = deadline {
            self.write_until(operation, request, body, deadline).await
        } else {
            let request = request.body(SdkBytes::from(body)).customize().disable_payload_signing();
            operation.send(request.send()).await.and_then(|output| {
                let version = output.e_tag.as_deref().map(version_of);
                version.ok_or_else(|| Error::Refused(NO_ETAG.to_owned()).into())
            })
        };
        let written = written.map_err(without_conditions);
        if matches!(written, Err(Error::Unavailable(_)))
            && length > REFUSAL_ARRIVES_BYTES
            && self.is_unmet(&key, condition).await
        {
            return Err(Error::ConflictAfterRetry);
        }
        match (written, condition) {
            // An absent record does not have the expected version.
            (Err(Error::NotFound), Condition::Version(_)) => Err(Error::Conflict),
            (Err(Error::NotFound), Condition::Absent) => {
                Err(Error::Unavailable("a write that was answered with 404".to_owned()))
            }
            (written, _) => written,
        }
    }

    /// Whether `condition` is known not to hold.
    ///
    /// Stores refuse a condition before they read the body, and some then close the connection at
    /// once. The client sees only a body that it could not send, in each attempt.
    async fn is_unmet(&self, key: &str, condition: Condition<'_>) -> bool {
        let operation = self.operation(S3Operation::Head, key);
        let request = self.client.head_object().bucket(&self.bucket).key(key);
        match (operation.send(request.send()).await, condition) {
            (Ok(_), Condition::Absent) => true,
            (Ok(found), Condition::Version(version)) => {
                found.e_tag.is_some_and(|tag| version_of(&tag) != *version)
            }
            // An answer to HEAD has no body, so nothing says what was not found.
            (Err(_), _) => false,
        }
    }
}

#[async_trait]
impl RecordStore for S3 {
    async fn read(&self, key: &RecordKey) -> Result<Record, Error> {
        let date = StoreDate::default();
        let key = self.key(key);
        let operation = self.operation(S3Operation::Get, &key);
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let request = request.customize().interceptor(date.clone());
        let name = operation.name.clone();
        record(operation.send(request.send()).await?, &date, &name).await
    }

    async fn create(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        self.write(key, Condition::Absent, body, deadline).await
    }

    async fn replace(
        &self,
        key: &RecordKey,
        expected: &Version,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        self.write(key, Condition::Version(expected), body, deadline).await
    }

    async fn remove(&self, key: &RecordKey, expected: &Version) -> Result<Removal, Error> {
        if !self.dialect().conditional_delete {
            // A store that ignores the condition would remove any version.
            return Ok(Removal::Unsupported);
        }
        let key = self.key(key);
        let operation = self.operation(S3Operation::Delete, &key);
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        let request = request.if_match(self.if_match(expected));
        match operation.send(request.send()).await.map_err(Error::from) {
            Ok(_) => Ok(Removal::Removed),
            Err(Error::Conflict | Error::ConflictAfterRetry | Error::NotFound) => {
                Ok(Removal::Conflict)
            }
            Err(error) => Err(error),
        }
    }

    async fn discard(&self, key: &RecordKey, expected: &Version) -> Result<(), Error> {
        match self.remove(key, expected).await? {
            Removal::Unsupported => self.remove_any(key).await,
            Removal::Removed | Removal::Conflict => Ok(()),
        }
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        self.list_keys(&self.key(prefix), after, limit).await
    }

    #[expect(clippy::disallowed_methods, reason = "deadlines are dated with the clock that signs")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Reads a record from an answer.
async fn record(
    output: GetObjectOutput,
    date: &StoreDate,
    operation: &OperationName,
) -> Result<Record, Error> {
    let size = output.content_length.unwrap_or_default().unsigned_abs();
    if size > RECORD_BYTES_MAX {
        return Err(Error::Damaged(format!("a record of {size} bytes")));
    }
    let version = output.e_tag.as_deref().map(version_of).ok_or_else(|| lacks("ETag"))?;
    let written = output.last_modified.ok_or_else(|| lacks("Last-Modified"))?;
    let written = SystemTime::try_from(written).map_err(|_| lacks("valid Last-Modified"))?;
    let age = date.since(written)?;
    let body = output.body.collect().await;
    let body = body.map_err(|error| operation.broke_off(error_chain(&error)))?.into_bytes();
    if body.len() as u64 != size {
        return Err(operation.broke_off(format!("{} of {size} bytes arrived", body.len())));
    }
    Ok(Record { body, version, age })
}

/// What a failed conditional write means. A store that does not know the condition says 501.
fn without_conditions(failure: Failure) -> Error {
    match failure {
        Failure { error: Error::Refused(why), status: Some(501) } => {
            Error::Refused(format!("{why}; {NO_CONDITIONS}"))
        }
        Failure { error, .. } => error,
    }
}

/// The MD5 of some bytes as RFC 1864 encodes it. It detects truncation and is no protection.
fn md5(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(Md5::digest(bytes))
}
