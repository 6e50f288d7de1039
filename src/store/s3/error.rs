//! What failed requests and error answers of the store mean to the caller.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};

use crate::store::Error;
use crate::telemetry::error_chain;

/// How much of a store's own message is repeated.
const MESSAGE_CHARS_MAX: usize = 300;
/// Signatures are dated, and some stores refuse one from the future.
const WRONG_CLOCK: &str = "; set the clock of this machine";

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("the store did not answer within {0:?}")]
    ResponseTimeout(Duration),
    #[error("the upload made no progress for {0:?}")]
    UploadStalled(Duration),
    #[error(transparent)]
    NotConnected(BoxError),
    #[error(transparent)]
    ConnectionLost(BoxError),
}

impl SendError {
    /// Whether the store may have acted on the request nevertheless.
    pub(super) fn may_have_arrived(&self) -> bool {
        match self {
            Self::ResponseTimeout(_) | Self::UploadStalled(_) | Self::ConnectionLost(_) => true,
            Self::NotConnected(_) => false,
        }
    }
}

/// An operation that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// The status of the last answer, if there was one.
    pub(super) status: Option<u16>,
}

impl Failure {
    /// What a failed request of the SDK means, whichever operation it was.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let SdkError::ServiceError(service) = error else {
            let refused = matches!(error, SdkError::ConstructionFailure(_));
            let meaning = if refused { Error::Refused } else { Error::Unavailable };
            return meaning(error_chain(error)).into();
        };
        let (status, meta) = (service.raw().status().as_u16(), service.err().meta());
        let (code, message) = (meta.code().map(str::to_owned), meta.message().map(str::to_owned));
        Self { error: Refusal { status, code, message }.meaning(), status: Some(status) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, status: None }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// An answer that is not a success, by what S3 says in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

impl Refusal {
    /// Reads the XML of an error, or as much of it as there is.
    pub(super) fn parse(status: u16, body: &[u8]) -> Self {
        let body = String::from_utf8_lossy(body);
        Self { status, code: element(&body, "Code"), message: element(&body, "Message") }
    }

    /// Whether the refusal says that a presigned request arrived too late.
    ///
    /// S3 and its imitators answer `AccessDenied` with a message, R2 `ExpiredRequest`.
    /// `ExpiredToken` is about credentials on S3, so it does not count.
    pub(super) fn says_expired(&self) -> bool {
        match self.code.as_deref() {
            Some("ExpiredRequest" | "RequestExpired" | "ExpiredPresignRequest") => true,
            Some("AccessDenied") => self.says("expired"),
            Some(_) | None => false,
        }
    }

    /// What the refusal means to the caller.
    pub(super) fn meaning(&self) -> Error {
        match self.code.as_deref() {
            Some("NoSuchKey" | "NoSuchUpload") => return Error::NotFound,
            Some("PreconditionFailed") => return Error::Conflict,
            // Amazon S3, "Conditional writes": nothing was decided, and the client may try again.
            Some("ConditionalRequestConflict" | "OperationAborted") => return Error::TryAgain,
            Some(
                "BadDigest"
                | "InvalidDigest"
                | "XAmzContentSHA256Mismatch"
                | "XAmzContentChecksumMismatch",
            ) => return Error::BadDigest,
            // Any other 404 may come from a proxy that does not know the store, and says nothing
            // about the key; the SDK calls one without a body `NotFound`. Credentials that expire
            // are temporary, and are being renewed.
            Some(
                "NotFound"
                | "ExpiredToken"
                | "TokenRefreshRequired"
                | "RequestTimeout"
                | "SlowDown"
                | "Throttling"
                | "ThrottlingException",
            ) => return self.unavailable(),
            Some(_) | None => {}
        }
        match self.status {
            412 => Error::Conflict,
            501 => self.refused(),
            404 if self.code.is_none() => self.unavailable(),
            408 | 425 | 429 | 500.. | ..=299 => self.unavailable(),
            300..=499 => self.refused(),
        }
    }

    fn says(&self, words: &str) -> bool {
        self.message.as_deref().is_some_and(|message| message.contains(words))
    }

    fn unavailable(&self) -> Error {
        Error::Unavailable(self.words())
    }

    fn refused(&self) -> Error {
        let hint = match (self.code.as_deref(), self.status) {
            (Some("NoSuchBucket"), _) => "; create the bucket, or correct its name",
            (Some("InvalidAccessKeyId" | "XAdminUserNotFound" | "SignatureDoesNotMatch"), _) => {
                "; check the access key, its secret (also for white space at its ends) and the \
                 region"
            }
            (Some("RequestTimeTooSkewed"), _) => WRONG_CLOCK,
            (Some("AccessDenied"), _) if self.says("not valid yet") => WRONG_CLOCK,
            (Some("AccessDenied"), _) | (None, 403) => {
                "; allow s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload on \
                 the objects and s3:ListBucket on the bucket"
            }
            (None, 407) => {
                "; the HTTP proxy wants a login, which belongs into its address in the environment"
            }
            (_, 300..=399) => "; the bucket is in another region or at another endpoint",
            _ => "",
        };
        Error::Refused(self.words() + hint)
    }

    fn words(&self) -> String {
        let code = self.code.as_deref().unwrap_or("without an S3 error code");
        match &self.message {
            Some(message) => {
                let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
                format!("{} {code}: {message}", self.status)
            }
            None => format!("{} {code}", self.status),
        }
    }
}

/// The text of the first element of this name.
fn element(xml: &str, name: &str) -> Option<String> {
    let start = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let text = &xml[start..];
    let text = &text[..text.find(&format!("</{name}>"))?];
    let plain = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&#39;", "'")
        .replace("&#34;", "\"")
        .replace("&amp;", "&");
    (!plain.is_empty()).then_some(plain)
}
