//! Calls of S3 as spans, with the attributes that the conventions have for AWS.

use std::error::Error as StdError;
use std::future::Future;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use http::{HeaderMap, HeaderName};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::{Error, error};

/// How the store calls a request, for whoever asks its operator about it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// The span of one call. Whatever else is sent to the store, its key is no secret.
pub(super) fn call(operation: &'static str, bucket: &str, key: &str) -> Span {
    tracing::info_span!(
        target: "traces",
        "s3",
        otel.name = format!("S3.{operation}"),
        otel.kind = "client",
        otel.status_code = Empty,
        otel.status_description = Empty,
        rpc.system = "aws-api",
        rpc.service = "S3",
        rpc.method = operation,
        aws.s3.bucket = bucket,
        aws.s3.key = key,
        aws.s3.part_number = Empty,
        http.response.status_code = Empty,
        s3.request_id = Empty,
        outcome = Empty,
        error.type = Empty,
    )
}

/// Sends a request of the SDK as this span, retries included.
pub(super) async fn sent<T, E>(
    span: Span,
    request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
) -> Result<T, SdkError<E, HttpResponse>>
where
    T: RequestId,
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    let answer = request.instrument(span.clone()).await;
    if !span.is_disabled() {
        if let Some(id) = answer.request_id() {
            span.record("s3.request_id", id);
        }
        if let Err(SdkError::ServiceError(service)) = &answer {
            span.record("http.response.status_code", service.raw().status().as_u16());
        }
        ended(&span, &answer.as_ref().map_err(error::of));
    }
    answer
}

/// Notes what the head of an answer says.
pub(super) fn answered(span: &Span, status: u16, headers: &HeaderMap) {
    span.record("http.response.status_code", status);
    if let Some(id) = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()) {
        span.record("s3.request_id", id);
    }
}

/// Notes how a call ended.
pub(super) fn ended<T>(span: &Span, answer: &Result<T, Error>) {
    match answer {
        Ok(_) => {
            span.record("outcome", "ok");
        }
        Err(error) => failed(span, error),
    }
}

/// What is not there and what another one wrote first are answers; the rest are failures.
fn failed(span: &Span, error: &Error) {
    let (outcome, failure) = match error {
        Error::NotFound => ("absent", false),
        Error::Conflict => ("conflict", false),
        Error::Expired => ("expired", true),
        Error::BadDigest => ("bad_digest", true),
        Error::Unavailable(_) => ("unavailable", true),
        Error::Refused(_) => ("refused", true),
        Error::Damaged(_) => ("damaged", true),
    };
    span.record("outcome", outcome);
    if failure {
        span.record("error.type", outcome);
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", error.to_string());
    }
}
