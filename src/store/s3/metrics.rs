//! What is counted of the requests to S3, each try for itself: it is read off the request as it
//! leaves, so that what the SDK repeats on its own is seen.

use std::time::Duration;

use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{Method, Request, StatusCode};

use super::http_client::{Answer, NoAnswer};
use crate::telemetry::metrics::{ConditionalWrite, Metrics, S3Operation, S3Outcome};

/// The header in which the SDK says which try this is: `attempt=2; max=4`.
const ATTEMPT: &str = "amz-sdk-request";

/// Marks a request of our own that was sent before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again;

/// A request, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    operation: S3Operation,
    condition: Option<ConditionalWrite>,
    repeated: bool,
}

impl Asked {
    /// Reads it off a request. S3 tells its operations apart by the method and one key of the
    /// query.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let has = |key: &str| query.split('&').any(|pair| pair.split('=').next() == Some(key));
        let operation = match *request.method() {
            Method::HEAD => S3Operation::Head,
            Method::PUT if has("partNumber") => S3Operation::UploadPart,
            Method::PUT => S3Operation::Put,
            Method::POST if has("uploads") => S3Operation::CreateMultipart,
            Method::POST => S3Operation::CompleteMultipart,
            Method::DELETE if has("uploadId") => S3Operation::AbortMultipart,
            Method::DELETE => S3Operation::Delete,
            _ if has("list-type") => S3Operation::List,
            _ if has("uploadId") => S3Operation::ListParts,
            _ => S3Operation::Get,
        };
        let headers = request.headers();
        let condition = match operation {
            S3Operation::Put if headers.contains_key(IF_NONE_MATCH) => {
                Some(ConditionalWrite::Create)
            }
            S3Operation::Put if headers.contains_key(IF_MATCH) => Some(ConditionalWrite::Replace),
            _ => None,
        };
        let attempt = headers.get(ATTEMPT).and_then(|value| value.to_str().ok());
        let ours = request.extensions().get::<Again>().is_some();
        let repeated = ours
            || attempt.is_some_and(|value| {
                let count = value.split(';').find_map(|part| part.trim().strip_prefix("attempt="));
                count.is_some_and(|count| count != "1")
            });
        Self { operation, condition, repeated }
    }
}

fn outcome(answer: &Result<Answer, NoAnswer>) -> S3Outcome {
    let status = match answer {
        Ok(answer) => answer.status(),
        Err(NoAnswer::Silent(_) | NoAnswer::Stalled(_)) => return S3Outcome::Timeout,
        Err(NoAnswer::Broken(_)) => return S3Outcome::ConnectionError,
    };
    match status {
        StatusCode::NOT_FOUND => S3Outcome::NotFound,
        StatusCode::CONFLICT => S3Outcome::Conflict,
        StatusCode::PRECONDITION_FAILED => S3Outcome::ConditionFailed,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => S3Outcome::SlowDown,
        status if status.is_server_error() => S3Outcome::Failed,
        status if status.is_success() => S3Outcome::Ok,
        _ => S3Outcome::Refused,
    }
}

/// Counts a request and what came of it.
pub(super) fn count(
    metrics: &Metrics,
    asked: Asked,
    answer: &Result<Answer, NoAnswer>,
    took: Duration,
) {
    let outcome = outcome(answer);
    metrics.s3_requests.inc((asked.operation, outcome));
    metrics.s3_duration.observe((asked.operation,), took);
    if asked.repeated {
        metrics.s3_retries.inc((asked.operation,));
    }
    if let Some(write) = asked.condition
        && matches!(outcome, S3Outcome::Conflict | S3Outcome::ConditionFailed)
    {
        metrics.s3_conflicts.inc((write,));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, target: &str, headers: &[(&str, &str)]) -> Asked {
        let mut request = Request::builder().method(method).uri(format!("http://s3{target}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Asked::of(&request.body(()).unwrap())
    }

    #[test]
    fn operations_are_told_apart_as_s3_does() {
        for (method, target, operation) in [
            ("GET", "/b/k", S3Operation::Get),
            ("GET", "/b?list-type=2&prefix=uploads", S3Operation::List),
            ("GET", "/b/uploads?x-id=GetObject", S3Operation::Get),
            ("GET", "/b/k?max-parts=1&uploadId=u&x-id=ListParts", S3Operation::ListParts),
            ("HEAD", "/b/k", S3Operation::Head),
            ("PUT", "/b/k?x-id=PutObject", S3Operation::Put),
            ("PUT", "/b/k?partNumber=1&uploadId=u", S3Operation::UploadPart),
            ("POST", "/b/k?uploads", S3Operation::CreateMultipart),
            ("POST", "/b/k?uploads=", S3Operation::CreateMultipart),
            ("POST", "/b/k?uploadId=u", S3Operation::CompleteMultipart),
            ("DELETE", "/b/k?uploadId=u", S3Operation::AbortMultipart),
            ("DELETE", "/b/k", S3Operation::Delete),
        ] {
            assert_eq!(asked(method, target, &[]).operation, operation, "{method} {target}");
        }
    }

    #[test]
    fn conditions_and_tries_are_in_the_headers() {
        let first = asked("PUT", "/b/k", &[(ATTEMPT, "attempt=1; max=4"), ("if-none-match", "*")]);
        assert_eq!((first.condition, first.repeated), (Some(ConditionalWrite::Create), false));
        let second =
            asked("PUT", "/b/k", &[(ATTEMPT, "ttl=x; attempt=2; max=4"), ("if-match", "a")]);
        assert_eq!((second.condition, second.repeated), (Some(ConditionalWrite::Replace), true));
        assert_eq!(asked("GET", "/b/k", &[("if-match", "a")]).condition, None);
    }
}
