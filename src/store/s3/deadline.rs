//! Writes that the store refuses after their deadline.
//!
//! An ordinary request is signed when it is sent, and again for each retry, so its signature is
//! fresh even after a stall of two days. A presigned PUT is signed once, with the time at which the
//! lease was checked, and the store itself refuses it after the deadline. The SDK only signs the
//! request; this module sends and retries it.

use std::time::SystemTime;

use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::presigning::PresignedRequest;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};

use super::client::S3;
use super::error::{Failure, Refusal, SendError};
use super::etag::version_of;
use super::http_client::StallTimeoutBody;
use super::operation::Operation;
use super::presign::validity;
use super::retry::backoff;
use crate::store::{Deadline, Error, RecordStore as _, Version};
use crate::telemetry::error_chain;

/// Bytes of an answer that are read; a success has no body, an error a few lines.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Without an `ETag` one write of a record cannot be told from another.
pub(super) const NO_ETAG: &str = "the store acknowledged a write without an ETag";

/// An attempt that failed.
struct Failed {
    failure: Failure,
    retry: bool,
    /// Whether the store may have written the record nevertheless.
    may_have_happened: bool,
}

/// What became of a dated write.
pub(super) struct Dated<T> {
    pub(super) result: T,
    /// Whether an attempt without a definite answer may still take effect, until the deadline.
    pub(super) may_come_late: bool,
}

impl S3 {
    /// Sends `request` so that it has no effect after `deadline`.
    pub(super) async fn write_until(
        &self,
        operation: Operation,
        request: PutObjectFluentBuilder,
        body: Bytes,
        deadline: Deadline,
    ) -> Result<Version, Failure> {
        self.write_dated(operation, request, body, deadline).await.result
    }

    /// The same, and whether an attempt may still take effect.
    pub(super) async fn write_dated(
        &self,
        operation: Operation,
        request: PutObjectFluentBuilder,
        body: Bytes,
        deadline: Deadline,
    ) -> Dated<Result<Version, Failure>> {
        let mut may_come_late = false;
        let late = &mut may_come_late;
        let sending = Box::pin(self.send_until(&operation, request, body, deadline, late));
        let result = operation.run(sending).await;
        Dated { result, may_come_late }
    }

    async fn send_until(
        &self,
        operation: &Operation,
        request: PutObjectFluentBuilder,
        body: Bytes,
        deadline: Deadline,
        may_have_happened: &mut bool,
    ) -> Result<Version, Failure> {
        let length = i64::try_from(body.len()).unwrap_or(i64::MAX);
        let signed = request
            .content_length(length)
            .presigned(validity(deadline.leased_at, deadline.valid_for)?)
            .await
            .map_err(|error| Failure::of(&error))?;
        let end = deadline.leased_at + deadline.valid_for;
        let mut attempts = 0;
        loop {
            // The first attempt is always sent: the store's clock decides whether it is too late.
            let failed = match self.attempt(operation, &signed, &body, end).await {
                Ok(version) => return Ok(version),
                Err(failed) => failed,
            };
            attempts += 1;
            if matches!(failed.failure.error, Error::Expired) && *may_have_happened {
                let unknown = "the deadline passed while it is unknown whether the write happened";
                return Err(Error::Unavailable(unknown.to_owned()).into());
            }
            if matches!(failed.failure.error, Error::Conflict) && *may_have_happened {
                return Err(Failure { error: Error::ConflictAfterRetry, ..failed.failure });
            }
            *may_have_happened |= failed.may_have_happened;
            let late = self.now() >= end;
            if !failed.retry || late || attempts >= self.attempts_max {
                return Err(failed.failure);
            }
            tokio::time::sleep(backoff(attempts)).await;
        }
    }

    async fn attempt(
        &self,
        operation: &Operation,
        signed: &PresignedRequest,
        body: &Bytes,
        end: SystemTime,
    ) -> Result<Version, Failed> {
        let mut request = Request::builder().method(signed.method()).uri(signed.uri());
        for (name, value) in signed.headers() {
            request = request.header(name, value);
        }
        let request = request.body(body.clone()).map_err(|error| Failed {
            failure: Error::Refused(error.to_string()).into(),
            retry: false,
            may_have_happened: false,
        })?;
        let response = self.http.send(request).await.map_err(|error| no_answer(&error))?;
        operation.record_answer(response.status().as_u16(), response.headers());
        outcome(response, end).await
    }
}

fn no_answer(error: &SendError) -> Failed {
    Failed {
        failure: Error::Unavailable(error_chain(error)).into(),
        retry: true,
        may_have_happened: error.may_have_arrived(),
    }
}

/// What an answer means for a write whose deadline is `end`.
async fn outcome(response: Response<StallTimeoutBody>, end: SystemTime) -> Result<Version, Failed> {
    let (head, body) = response.into_parts();
    // Read also after a success: only then the connection can be used again.
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let status = Some(head.status.as_u16());
    if head.status == StatusCode::OK {
        let tag = head.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        return tag.map(version_of).ok_or_else(|| Failed {
            failure: Failure { error: Error::Refused(NO_ETAG.to_owned()), status },
            retry: false,
            may_have_happened: true,
        });
    }
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let refusal = Refusal::parse(head.status.as_u16(), &body);
    let store_date = head.headers.get(header::DATE).and_then(|date| date.to_str().ok());
    let store_date = store_date.and_then(|date| httpdate::parse_http_date(date).ok());
    // Not every store says that the request expired, but each sends the time of its clock.
    let too_late = matches!(refusal.status, 400 | 403)
        && (refusal.says_expired() || store_date.is_some_and(|date| date > end));
    let error = if too_late { Error::Expired } else { refusal.meaning() };
    let retry = matches!(error, Error::Unavailable(_));
    let failure = Failure { error, status };
    Err(Failed { failure, retry, may_have_happened: head.status.is_server_error() })
}
