//! What the store's refusals mean to us.

use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::Error;

/// The part of a store's own words that is worth repeating.
const MESSAGE_CHARS_MAX: usize = 300;
/// Signatures are dated, and some stores refuse one that comes from the future.
const WRONG_CLOCK: &str = "; set the clock of this machine";

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

    /// Whether the refusal says that a presigned request came too late.
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

    /// What the caller can do about it.
    pub(super) fn meaning(&self) -> Error {
        match self.code.as_deref() {
            Some("NoSuchKey") => return Error::NotFound,
            Some("ConditionalRequestConflict" | "OperationAborted" | "PreconditionFailed") => {
                return Error::Conflict;
            }
            Some(
                "BadDigest"
                | "InvalidDigest"
                | "XAmzContentSHA256Mismatch"
                | "XAmzContentChecksumMismatch",
            ) => return Error::BadDigest,
            // Any other 404 may come from a proxy that does not know the store, and says nothing
            // about the key; the SDK calls one without a body `NotFound`. Expired credentials are
            // temporary ones, which are being renewed.
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
                "; check the access key, its secret and the region"
            }
            (Some("RequestTimeTooSkewed"), _) => WRONG_CLOCK,
            (Some("AccessDenied"), _) if self.says("not valid yet") => WRONG_CLOCK,
            (Some("AccessDenied"), _) | (None, 403) => {
                "; allow s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload on \
                 the objects and s3:ListBucket on the bucket"
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

/// What a failed request of the SDK means, whichever operation it was.
pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Error
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    match refusal(error) {
        Some(refusal) => refusal.meaning(),
        None if matches!(error, SdkError::ConstructionFailure(_)) => Error::Refused(chain(error)),
        None => Error::Unavailable(chain(error)),
    }
}

/// What the store said, if it said anything.
pub(super) fn refusal<E>(error: &SdkError<E, HttpResponse>) -> Option<Refusal>
where
    E: ProvideErrorMetadata,
{
    let SdkError::ServiceError(service) = error else { return None };
    let meta = service.err().meta();
    Some(Refusal {
        status: service.raw().status().as_u16(),
        code: meta.code().map(str::to_owned),
        message: meta.message().map(str::to_owned),
    })
}

/// An error and what caused it, in one line. The SDK's causes name hosts and reasons, not secrets.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
