//! Metrics of the requests to S3. Each attempt is counted, the SDK's retries included, so the
//! labels are read from the request as it is sent.

use std::time::{Duration, SystemTime};

use http::header::{DATE, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, Method, Request, StatusCode};

use super::error::SendError;
use crate::telemetry::metrics::{ConditionalWrite, Metrics, S3Operation, S3Outcome};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestLabels {
    operation: S3Operation,
    condition: Option<ConditionalWrite>,
    retry: bool,
}

impl RequestLabels {
    /// S3 tells its operations apart by the method and one key of the query.
    pub(super) fn of<B>(request: &Request<B>, attempt: u32) -> Self {
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
            _ if has("uploads") => S3Operation::ListMultiparts,
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
        Self { operation, condition, retry: attempt > 1 }
    }
}

fn outcome(answer: Result<StatusCode, &SendError>) -> S3Outcome {
    let status = match answer {
        Ok(status) => status,
        Err(SendError::ResponseTimeout(_) | SendError::UploadStalled(_)) => {
            return S3Outcome::Timeout;
        }
        Err(SendError::NotConnected(_) | SendError::ConnectionLost(_)) => {
            return S3Outcome::ConnectionError;
        }
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

/// Counts a request and its outcome.
pub(super) fn count(
    metrics: &Metrics,
    labels: RequestLabels,
    answer: Result<StatusCode, &SendError>,
    duration: Duration,
) {
    let RequestLabels { operation, condition, retry } = labels;
    let outcome = outcome(answer);
    metrics.s3_requests.inc((operation, outcome));
    metrics.s3_duration.observe((operation,), duration);
    if retry {
        metrics.s3_retries.inc((operation,));
    }
    if let Some(write) = condition
        && matches!(outcome, S3Outcome::Conflict | S3Outcome::ConditionFailed)
    {
        metrics.s3_conflicts.inc((write,));
    }
}

/// Records how far the clock of this machine is from that of the store, by an answer of now.
#[expect(clippy::disallowed_methods, reason = "a metric shows the time of this machine")]
pub(super) fn compare_clocks(metrics: &Metrics, answer: &HeaderMap) {
    let date = answer.get(DATE).and_then(|date| date.to_str().ok());
    let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else { return };
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let ahead = SystemTime::now()
        .duration_since(date)
        .map_or_else(|behind| -seconds(behind.duration()), seconds);
    metrics.store_clock_difference.set((), ahead);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(
        (method, target): (&str, &str),
        headers: &[(&str, &str)],
        attempt: u32,
    ) -> RequestLabels {
        let mut request = Request::builder().method(method).uri(format!("http://s3{target}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        RequestLabels::of(&request.body(()).unwrap(), attempt)
    }

    #[test]
    fn operations_are_told_apart_as_s3_does() {
        for (method, target, operation) in [
            ("GET", "/b/k", S3Operation::Get),
            ("GET", "/b?list-type=2&prefix=uploads", S3Operation::List),
            ("GET", "/b/uploads?x-id=GetObject", S3Operation::Get),
            ("GET", "/b/k?max-parts=1&uploadId=u&x-id=ListParts", S3Operation::ListParts),
            ("GET", "/b?uploads&prefix=v1%2Fd%2F", S3Operation::ListMultiparts),
            ("HEAD", "/b/k", S3Operation::Head),
            ("PUT", "/b/k?x-id=PutObject", S3Operation::Put),
            ("PUT", "/b/k?partNumber=1&uploadId=u", S3Operation::UploadPart),
            ("POST", "/b/k?uploads", S3Operation::CreateMultipart),
            ("POST", "/b/k?uploads=", S3Operation::CreateMultipart),
            ("POST", "/b/k?uploadId=u", S3Operation::CompleteMultipart),
            ("DELETE", "/b/k?uploadId=u", S3Operation::AbortMultipart),
            ("DELETE", "/b/k", S3Operation::Delete),
        ] {
            let labels = labels((method, target), &[], 1);
            assert_eq!(labels.operation, operation, "{method} {target}");
        }
    }

    #[test]
    fn conditions_are_in_the_headers() {
        let first = labels(("PUT", "/b/k"), &[("if-none-match", "*")], 1);
        assert_eq!((first.condition, first.retry), (Some(ConditionalWrite::Create), false));
        let second = labels(("PUT", "/b/k"), &[("if-match", "a")], 2);
        assert_eq!((second.condition, second.retry), (Some(ConditionalWrite::Replace), true));
        assert_eq!(labels(("GET", "/b/k"), &[("if-match", "a")], 1).condition, None);
    }
}
