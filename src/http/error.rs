//! What the client sees when something is wrong: the envelope of the distribution-spec.
//!
//! This is the only place where an error becomes a status. What the client reads and what the log
//! says are different texts: the cause of a failure is for the log.

#![deny(clippy::wildcard_enum_match_arm)]

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::endpoint::RouteError;
use super::headers::value;
use super::limits::Limited;
use crate::auth::Denied;
use crate::oci::{Digest, DigestError, ErrorCode, ManifestError, ReferenceError};
use crate::quota::OverQuota;
use crate::registry;
use crate::telemetry::error_chain;
use crate::telemetry::metrics::{AuthMethod, AuthReason};

/// After how many seconds a client may come back when we are too busy or the store is away.
const RETRY_AFTER_SECONDS: &str = "5";
const TOO_BUSY: &str = "too busy, try again later";

/// A response that is an error, and the rejection of extractors.
#[derive(Debug)]
pub struct Error {
    status: StatusCode,
    errors: Vec<(ErrorCode, String, Option<Value>)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    auth: Option<AuthReason>,
    tried: Option<AuthMethod>,
    cause: Option<String>,
    /// Whether the rest of the body is read before the response is sent.
    pub(super) drains_body: bool,
}

/// Why a request was refused or failed: an extension of its response, for the log and the trace.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) code: ErrorCode,
    /// What the client reads, without the customary text of the code.
    pub(super) reason: String,
    /// Why the caller was refused. The client does not learn it.
    pub(super) auth: Option<AuthReason>,
    /// The credentials with which the caller was refused.
    pub(super) tried: Option<AuthMethod>,
    /// Why the registry failed. The client does not learn it.
    pub(super) cause: Option<String>,
}

impl Error {
    pub(super) fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        let errors = vec![(code, message.into(), None)];
        let headers = Vec::new();
        let (auth, tried, cause) = (None, None, None);
        Self { status, errors, headers, auth, tried, cause, drains_body: true }
    }

    pub(super) fn bad_request(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    fn not_found(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(super) fn detail(mut self, detail: Value) -> Self {
        if let Some(first) = self.errors.first_mut() {
            first.2 = Some(detail);
        }
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn digest(error: &DigestError) -> Self {
        Self::bad_request(ErrorCode::DigestInvalid, error.to_string())
    }

    pub(super) fn unsupported(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, ErrorCode::Unsupported, message)
    }

    /// The caller is known, and may not do this.
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What the client reads, without the customary text of the code.
    pub(super) fn reason(&self) -> String {
        self.errors.first().map(|(_, reason, _)| reason.clone()).unwrap_or_default()
    }

    /// 405, which has to say what is allowed instead (RFC 9110, 15.5.6).
    pub(super) fn not_allowed(allowed: &str, message: impl Into<String>) -> Self {
        Self::unsupported(StatusCode::METHOD_NOT_ALLOWED, message).header(ALLOW, value(allowed))
    }

    /// No change may begin without its line in the audit log.
    pub(super) fn unaudited() -> Self {
        let cause = "the audit log cannot be written (audit_log.on_failure)";
        Self::unavailable("changes cannot be recorded, try again later", cause.to_owned())
    }

    /// The memory for responses is reserved by others.
    pub(super) fn too_busy() -> Self {
        let cause = "no memory is left for the response (server.response_bytes)";
        Self::unavailable(TOO_BUSY, cause.to_owned())
    }

    fn unavailable(message: &str, cause: String) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message)
            .header(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        error.cause = Some(cause);
        error
    }

    /// The first error stands for all: there are several only where many things are missing.
    pub(super) fn failure(&self) -> Option<Failure> {
        let (code, message, detail) = self.errors.first()?;
        let mut reason = message.clone();
        if let Some(digest) = detail.as_ref().and_then(|detail| detail.get("digest")?.as_str()) {
            reason = format!("{reason}: {digest}");
        }
        if self.errors.len() > 1 {
            reason = format!("{reason} and {} more", self.errors.len() - 1);
        }
        let (auth, tried, cause) = (self.auth, self.tried, self.cause.clone());
        Some(Failure { code: *code, reason, auth, tried, cause })
    }

    /// Why the caller was refused. The client does not learn it.
    pub(super) fn auth(&self) -> Option<AuthReason> {
        self.auth
    }

    /// The refusal of a caller with these credentials.
    pub(super) fn refused(denied: Denied, tried: AuthMethod) -> Self {
        let mut error = Self::from(denied);
        error.tried = Some(tried);
        error
    }

    /// A failure of ours that no part of the program has a name for.
    pub(super) fn unexpected(cause: String) -> Self {
        let mut error = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::Unknown,
            "the request could not be carried out",
        );
        error.cause = Some(cause);
        error
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let failure = self.failure();
        let errors: Vec<Value> = self
            .errors
            .into_iter()
            .map(|(code, message, detail)| {
                let message = format!("{}: {message}", code.message());
                let mut error = json!({ "code": code.as_str(), "message": message });
                if let Some(detail) = detail {
                    error["detail"] = detail;
                }
                error
            })
            .collect();
        let body = json!({ "errors": errors }).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        if let Some(failure) = failure {
            response.extensions_mut().insert(failure);
        }
        response
    }
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Self {
        use registry::Error as Registry;
        let message = error.to_string();
        match error {
            Registry::BlobUnknown => Self::not_found(ErrorCode::BlobUnknown, message),
            Registry::ManifestUnknown => Self::not_found(ErrorCode::ManifestUnknown, message),
            Registry::NotAcceptable { .. } => Self::not_found(ErrorCode::ManifestUnknown, message)
                .header(VARY, HeaderValue::from_static("Accept")),
            Registry::NameUnknown => Self::not_found(ErrorCode::NameUnknown, message),
            Registry::UploadUnknown => Self::not_found(ErrorCode::BlobUploadUnknown, message),
            Registry::CursorUnknown => Self::unsupported(StatusCode::BAD_REQUEST, message),
            Registry::OutOfOrder { .. } => {
                let status = StatusCode::RANGE_NOT_SATISFIABLE;
                Self::new(status, ErrorCode::BlobUploadInvalid, message)
            }
            Registry::SizeMismatch => Self::bad_request(ErrorCode::SizeInvalid, message),
            Registry::DigestMismatch { .. } => Self::bad_request(ErrorCode::DigestInvalid, message),
            Registry::Interrupted(_) => Self::bad_request(ErrorCode::BlobUploadInvalid, message),
            Registry::TooLarge(_) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid, message)
            }
            Registry::Manifest(error) => {
                let code = match error {
                    ManifestError::Unsupported(_) => ErrorCode::Unsupported,
                    ManifestError::Invalid(_) => ErrorCode::ManifestInvalid,
                    ManifestError::Unverified(_) => ErrorCode::ManifestUnverified,
                    ManifestError::Name(_) => ErrorCode::NameInvalid,
                };
                Self::bad_request(code, message)
            }
            Registry::ReferencesMissing(digests) => {
                let code = ErrorCode::ManifestBlobUnknown;
                let missing = |digest: Digest| {
                    let message = "the manifest names content that is not here".to_owned();
                    (code, message, Some(json!({ "digest": digest.to_string() })))
                };
                let all = digests.len() < registry::MISSING_MAX;
                let mut errors: Vec<_> = digests.into_iter().map(missing).collect();
                if !all {
                    let message = "more may be missing: not all references were checked";
                    errors.push((code, message.to_owned(), None));
                }
                Self { errors, ..Self::bad_request(code, message) }
            }
            Registry::PreconditionFailed => {
                Self::new(StatusCode::PRECONDITION_FAILED, ErrorCode::Denied, message)
            }
            Registry::Busy(_) => Self::unavailable(TOO_BUSY, message),
            Registry::TooSlow => {
                let slow = "too slow while others wait for upload memory, try again later";
                // A client that sends slowly would wait long for this response.
                Self { drains_body: false, ..Self::unavailable(slow, message) }
            }
            Registry::OutcomeUnknown => {
                Self::unavailable("storage is unavailable, try again later", message)
            }
            Registry::Unavailable(ref source) => {
                Self::unavailable("storage is unavailable, try again later", error_chain(source))
            }
        }
    }
}

impl From<RouteError> for Error {
    fn from(error: RouteError) -> Self {
        let message = error.to_string();
        match error {
            RouteError::Unknown => Self::unsupported(StatusCode::NOT_FOUND, message),
            RouteError::Method { allowed } => Self::not_allowed(allowed, message),
            RouteError::Path | RouteError::Name(_) => {
                Self::bad_request(ErrorCode::NameInvalid, message)
            }
            RouteError::Digest(error) | RouteError::Reference(ReferenceError::Digest(error)) => {
                Self::digest(&error)
            }
            RouteError::Reference(ReferenceError::Tag(_)) => {
                Self::bad_request(ErrorCode::ManifestInvalid, message)
            }
            RouteError::Upload => Self::not_found(ErrorCode::BlobUploadUnknown, message),
        }
    }
}

impl From<Limited> for Error {
    fn from(limited: Limited) -> Self {
        // Rounded up: the client that waits so long is not refused again.
        let seconds = limited.after.as_secs() + u64::from(limited.after.subsec_nanos() > 0);
        let (status, code) = (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests);
        Self::new(status, code, limited.to_string()).header(RETRY_AFTER, seconds.max(1).into())
    }
}

impl From<OverQuota> for Error {
    fn from(over: OverQuota) -> Self {
        Self::forbidden(over.to_string())
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        let message = denied.to_string();
        let (_, reason) = denied.metric_label();
        let mut error = match denied {
            Denied::Unauthenticated { challenge, .. } => {
                Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, message)
                    .header(WWW_AUTHENTICATE, value(&challenge))
            }
            Denied::Forbidden { .. } => Self::forbidden(message),
            Denied::TooManyAttempts => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message)
                    .header(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS))
            }
            Denied::Unavailable => Self::unavailable(
                &message,
                "the keys of tokens were not read or fetched since the start".to_owned(),
            ),
        };
        error.auth = Some(reason);
        error
    }
}
