//! Writes that the store refuses after their deadline.
//!
//! An ordinary request is signed when it is sent, and signed again when it is repeated, so it is
//! as fresh as ever after a stall of two days. A presigned PUT is signed once, dated with the
//! moment at which the lease was checked, and the store itself refuses it when its time is over.
//! The SDK only signs it; sending it, and again while there is time, is ours.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::presigning::PresignedRequest;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use tracing::{Instrument as _, Span};

use super::error::{self, Refusal};
use super::http_client::{NoAnswer, Watched};
use super::metrics::Again;
use super::{
    BACKOFF_FIRST, BACKOFF_MAX, Deadline, Error, NO_ETAG, RecordStore as _, S3, Version, trace,
    validity,
};

/// What is read of an answer; all of it is an error of a few lines.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A try that did not succeed, and what is known about it.
struct Failed {
    error: Error,
    again: bool,
    /// Whether the write may have happened nevertheless.
    may_have_happened: bool,
}

impl S3 {
    /// Sends `request` so that it has no effect after `deadline`.
    pub(super) async fn write_dated(
        &self,
        span: Span,
        request: PutObjectFluentBuilder,
        body: Bytes,
        deadline: Deadline,
    ) -> Result<Version, Error> {
        let writing = self.write_until(&span, request, body, deadline);
        let written = writing.instrument(span.clone()).await;
        trace::ended(&span, &written);
        written
    }

    async fn write_until(
        &self,
        span: &Span,
        request: PutObjectFluentBuilder,
        body: Bytes,
        deadline: Deadline,
    ) -> Result<Version, Error> {
        let length = i64::try_from(body.len()).unwrap_or(i64::MAX);
        let signed = request
            .content_length(length)
            .presigned(validity(deadline.leased_at, deadline.valid_for)?)
            .await
            .map_err(|error| error::of(&error))?;
        let end = deadline.leased_at + deadline.valid_for;
        let mut may_have_happened = false;
        let mut tries = 0;
        loop {
            // The first try is never withheld, even late: whether it is too late the store says.
            let failed = match self.attempt(span, &signed, &body, end, tries > 0).await {
                Ok(version) => return Ok(version),
                Err(failed) => failed,
            };
            tries += 1;
            if matches!(failed.error, Error::Expired) && may_have_happened {
                return Err(Error::Unavailable(
                    "the deadline passed while it is unknown whether the write happened".to_owned(),
                ));
            }
            may_have_happened |= failed.may_have_happened;
            let late = self.now() >= end;
            if !failed.again || late || tries >= self.attempts_max {
                return Err(failed.error);
            }
            tokio::time::sleep(pause(tries)).await;
        }
    }

    async fn attempt(
        &self,
        span: &Span,
        signed: &PresignedRequest,
        body: &Bytes,
        end: SystemTime,
        again: bool,
    ) -> Result<Version, Failed> {
        let unsent = |what: String| Failed {
            error: Error::Refused(what),
            again: false,
            may_have_happened: false,
        };
        let mut request = Request::builder().method(signed.method()).uri(signed.uri());
        if again {
            request = request.extension(Again);
        }
        for (name, value) in signed.headers() {
            request = request.header(name, value);
        }
        let request = request.body(body.clone()).map_err(|error| unsent(error.to_string()))?;
        let response = self.transport.send(request).await.map_err(|error| no_answer(&error))?;
        trace::answered(span, response.status().as_u16(), response.headers());
        judge(response, end).await
    }
}

fn no_answer(error: &NoAnswer) -> Failed {
    Failed {
        error: Error::Unavailable(error::chain(error)),
        again: true,
        may_have_happened: error.may_have_arrived(),
    }
}

/// What an answer means for a write whose time is over at `end`.
async fn judge(response: Response<Watched>, end: SystemTime) -> Result<Version, Failed> {
    let (head, body) = response.into_parts();
    // Also after a success: a connection whose answer was read to its end is used again.
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    if head.status == StatusCode::OK {
        let tag = head.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        return tag.map(|tag| Version(tag.to_owned())).ok_or_else(|| Failed {
            error: Error::Refused(NO_ETAG.to_owned()),
            again: false,
            may_have_happened: true,
        });
    }
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let refusal = Refusal::parse(head.status.as_u16(), &body);
    let store_date = head.headers.get(header::DATE).and_then(|date| date.to_str().ok());
    let store_date = store_date.and_then(|date| httpdate::parse_http_date(date).ok());
    // Not every store says that it was the time, but each says what its clock shows.
    let too_late = matches!(refusal.status, 400 | 403)
        && (refusal.says_expired() || store_date.is_some_and(|date| date > end));
    let error = if too_late { Error::Expired } else { refusal.meaning() };
    let again = matches!(error, Error::Unavailable(_));
    Err(Failed { error, again, may_have_happened: head.status.is_server_error() })
}

/// The pause after so many tries: doubling, and a random part of it so that callers spread out.
fn pause(tries: u32) -> Duration {
    let ceiling = BACKOFF_FIRST.saturating_mul(1 << (tries - 1).min(16)).min(BACKOFF_MAX);
    let part = getrandom::u32().unwrap_or(u32::MAX / 2);
    ceiling.mul_f64(f64::from(part) / f64::from(u32::MAX))
}
