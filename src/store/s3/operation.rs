//! One operation on S3, its retries included: a span with the attributes that the OpenTelemetry
//! conventions have for AWS, and an error that names the operation.

use std::error::Error as StdError;
use std::sync::Arc;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use http::{HeaderMap, HeaderName};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::error::Failure;
use super::retry;
use crate::store::Error;
use crate::telemetry::metrics::{Label as _, S3Operation};

/// The store's id of a request, which its support asks for.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// An operation and the address to which it is sent, for the texts of its errors.
#[derive(Clone, Debug)]
pub(super) struct OperationName {
    operation: S3Operation,
    address: Arc<str>,
}

#[derive(Debug)]
pub(super) struct Operation {
    pub(super) name: OperationName,
    span: Span,
}

impl OperationName {
    /// The error of an answer that broke off.
    pub(super) fn broke_off(&self, why: String) -> Error {
        self.failed("while its answer was read", Error::Unavailable(why))
    }

    fn failed(&self, when: &str, error: Error) -> Error {
        let (name, address) = (self.operation.as_str(), &self.address);
        let text = |why| format!("store operation {name} at {address} failed {when}: {why}");
        match error {
            Error::Unavailable(why) => Error::Unavailable(text(why)),
            Error::Refused(why) => Error::Refused(text(why)),
            Error::NotFound
            | Error::Conflict
            | Error::ConflictAfterRetry
            | Error::TryAgain
            | Error::Expired
            | Error::BadDigest
            | Error::Damaged(_) => error,
        }
    }
}

impl Operation {
    pub(super) fn new(operation: S3Operation, address: Arc<str>, bucket: &str, key: &str) -> Self {
        let method = api_name(operation);
        let span = tracing::info_span!(
            target: "traces",
            "s3",
            otel.name = format!("S3.{method}"),
            otel.kind = "client",
            otel.status_code = Empty,
            otel.status_description = Empty,
            rpc.system = "aws-api",
            rpc.service = "S3",
            rpc.method = method,
            aws.s3.bucket = bucket,
            aws.s3.key = key,
            aws.s3.part_number = Empty,
            http.response.status_code = Empty,
            s3.request_id = Empty,
            outcome = Empty,
            error.type = Empty,
        );
        Self { name: OperationName { operation, address }, span }
    }

    pub(super) fn part(self, number: u32) -> Self {
        self.span.record("aws.s3.part_number", number);
        self
    }

    /// Sends a request of the SDK, which retries it.
    pub(super) fn send<T, E>(
        self,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    ) -> impl Future<Output = Result<T, Failure>> + Send
    where
        T: RequestId + Send,
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        // On the heap: it is large, and would be part of every future around it.
        let request = Box::pin(request);
        async move {
            let sending = async {
                let answer = request.await;
                self.record_request(&answer);
                answer.map_err(|error| after_retries(Failure::of(&error)))
            };
            self.run(sending).await
        }
    }

    /// Runs what sends the requests of this operation, as its span.
    pub(super) async fn run<T>(
        &self,
        sending: impl Future<Output = Result<T, Failure>> + Send,
    ) -> Result<T, Failure> {
        let sending = retry::counted(sending).instrument(self.span.clone());
        let (result, attempts) = sending.await;
        let when = match attempts {
            0 => "before it was sent".to_owned(),
            1 => "after 1 attempt".to_owned(),
            attempts => format!("after {attempts} attempts"),
        };
        let result = result.map_err(|Failure { error, status }| Failure {
            error: self.name.failed(&when, error),
            status,
        });
        match &result {
            Ok(_) => {
                self.span.record("outcome", "ok");
            }
            Err(failure) => self.record_failure(&failure.error),
        }
        result
    }

    fn record_request<T, E>(&self, answer: &Result<T, SdkError<E, HttpResponse>>)
    where
        T: RequestId,
        E: ProvideErrorMetadata,
    {
        if self.span.is_disabled() {
            return;
        }
        if let Some(id) = answer.request_id() {
            self.span.record("s3.request_id", id);
        }
        if let Err(SdkError::ServiceError(service)) = answer {
            self.span.record("http.response.status_code", service.raw().status().as_u16());
        }
    }

    /// Records what the head of an answer says.
    pub(super) fn record_answer(&self, status: u16, headers: &HeaderMap) {
        self.span.record("http.response.status_code", status);
        if let Some(id) = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()) {
            self.span.record("s3.request_id", id);
        }
    }

    /// An absent object and a condition that does not hold are answers; the rest are failures.
    fn record_failure(&self, error: &Error) {
        let (outcome, failed) = match error {
            Error::NotFound => ("absent", false),
            Error::Conflict | Error::ConflictAfterRetry | Error::TryAgain => ("conflict", false),
            Error::Expired => ("expired", true),
            Error::BadDigest => ("bad_digest", true),
            Error::Unavailable(_) => ("unavailable", true),
            Error::Refused(_) => ("refused", true),
            Error::Damaged(_) => ("damaged", true),
        };
        self.span.record("outcome", outcome);
        if failed {
            self.span.record("error.type", outcome);
            self.span.record("otel.status_code", "ERROR");
            self.span.record("otel.status_description", error.to_string());
        }
    }
}

/// A conflict of a repeated request may be one with its own first attempt.
fn after_retries(failure: Failure) -> Failure {
    match failure.error {
        Error::Conflict if retry::attempts() > 1 => {
            Failure { error: Error::ConflictAfterRetry, ..failure }
        }
        _ => failure,
    }
}

/// How Amazon calls an operation.
fn api_name(operation: S3Operation) -> &'static str {
    match operation {
        S3Operation::Get => "GetObject",
        S3Operation::Head => "HeadObject",
        S3Operation::Put => "PutObject",
        S3Operation::Delete => "DeleteObject",
        S3Operation::List => "ListObjectsV2",
        S3Operation::CreateMultipart => "CreateMultipartUpload",
        S3Operation::UploadPart => "UploadPart",
        S3Operation::CompleteMultipart => "CompleteMultipartUpload",
        S3Operation::AbortMultipart => "AbortMultipartUpload",
        S3Operation::ListParts => "ListParts",
        S3Operation::ListMultiparts => "ListMultipartUploads",
    }
}
