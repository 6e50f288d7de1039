use std::time::{Duration, SystemTime};

use super::answer::StoreDate;
use super::client::root;
use super::error::Refusal;
use super::settings::endpoint as endpoint_of;
use super::{S3, Settings};
use crate::setting::Secret;
use crate::store::{BlobStore as _, Error, Location, ObjectStore as _, PresignGet};
use crate::telemetry::metrics::Metrics;

pub(super) fn settings() -> Settings {
    Settings {
        endpoint: Some("http://store.internal:9000".to_owned()),
        public_endpoint: Some("https://images.example.com".to_owned()),
        region: Some("eu-central-1".to_owned()),
        path_style: Some(true),
        access_key_id: Some("AKIDEXAMPLE".to_owned()),
        secret_access_key: Some(Secret::new("very-secret")),
        session_token: Some(Secret::new("token-secret")),
        attempts_max: 3,
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(1),
        stall_timeout: Duration::from_secs(1),
        ..Settings::default()
    }
}

pub(super) async fn connect(prefix: &str, settings: &Settings) -> Result<S3, Error> {
    S3::connect("images", prefix, settings, &Metrics::default()).await
}

pub(super) fn moment() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

pub(super) fn location() -> Location {
    "v1/d/20231114/0123456789abcdef0123456789abcdef".parse().expect("it is a location")
}

async fn presigned(settings: Settings) -> String {
    let store = connect("team/a", &settings).await.expect("the settings are fine");
    let options = PresignGet { dated: moment(), valid_for: Duration::from_mins(20) };
    let url = store.presign_get(&location(), options).await.expect("signing needs no network");
    url.expect("S3 can be reached by clients")
}

fn said(status: u16, code: &str, message: &str) -> Refusal {
    let code = format!("<Code>{code}</Code><Message>{message}</Message>");
    Refusal::parse(status, format!("<?xml version=\"1.0\"?>\n<Error>{code}</Error>").as_bytes())
}

#[test]
fn debug_prints_no_secrets() {
    let text = format!("{:?}", settings());
    assert!(!text.contains("secret-") && !text.contains("-secret"), "{text}");
    assert!(text.contains("secret_access_key: Some(***), session_token: Some(***)"), "{text}");
}

#[tokio::test]
async fn a_store_prints_no_secrets() {
    let store = connect("team/a", &settings()).await.expect("the settings are fine");
    let text = format!("{store:?}");
    assert!(!text.contains("very-secret") && !text.contains("token-secret"), "{text}");
    assert_eq!(
        store.describe(),
        "s3://images/team/a/ at http://store.internal:9000 (eu-central-1)"
    );
}

#[test]
fn a_prefix_ends_in_one_slash() {
    for (prefix, expected) in
        [("", ""), ("/", ""), ("a", "a/"), ("/a/", "a/"), ("a/b", "a/b/"), ("a/b//", "a/b/")]
    {
        assert_eq!(root(prefix), expected, "{prefix:?}");
    }
}

#[test]
fn an_endpoint_is_a_scheme_and_a_host() {
    for endpoint in ["http://a", "https://a.example.com", "http://10.0.0.1:9000"] {
        assert_eq!(endpoint_of(endpoint).expect(endpoint), endpoint);
        assert_eq!(endpoint_of(&format!("{endpoint}/")).expect(endpoint), endpoint);
    }
    for mistake in ["", "a", "a:9000", "ftp://a", "http://a/b", "http://a/?b", "http://u:p@a"] {
        assert!(endpoint_of(mistake).is_err(), "{mistake:?}");
    }
}

#[tokio::test]
async fn half_a_key_is_refused() {
    let half = Settings { secret_access_key: None, ..settings() };
    assert!(matches!(connect("team/a", &half).await, Err(Error::Refused(_))));
}

#[tokio::test]
async fn equal_requests_get_equal_urls() {
    let url = presigned(settings()).await;
    assert_eq!(url, presigned(settings()).await);
    let start = "https://images.example.com/images/team/a/v1/d/20231114/\
                 0123456789abcdef0123456789abcdef?";
    assert!(url.starts_with(start), "{url}");
    for part in [
        "response-content-type=application%2Foctet-stream",
        "X-Amz-Date=20231114T221320Z",
        "X-Amz-Expires=1200",
        "X-Amz-Credential=AKIDEXAMPLE%2F20231114%2Feu-central-1%2Fs3%2Faws4_request",
    ] {
        assert!(url.contains(part), "{part} is not in {url}");
    }
}

#[tokio::test]
async fn without_a_public_endpoint_clients_get_the_private_one() {
    let private = Settings { public_endpoint: None, ..settings() };
    let url = presigned(private).await;
    assert!(url.starts_with("http://store.internal:9000/images/"), "{url}");
}

#[tokio::test]
async fn without_path_style_the_bucket_is_part_of_the_host() {
    let url = presigned(Settings { path_style: Some(false), ..settings() }).await;
    assert!(url.starts_with("https://images.images.example.com/team/a/v1/"), "{url}");
}

#[test]
fn refusals_are_read_as_far_as_they_go() {
    let refusal = said(403, "AccessDenied", "Request &lt;has&gt; expired &amp; gone");
    assert_eq!(refusal.code.as_deref(), Some("AccessDenied"));
    assert_eq!(refusal.message.as_deref(), Some("Request <has> expired & gone"));
    for body in ["", "<html>404</html>", "<Code>", "<Code></Code>", "</Code><Code>", "\u{fffd}"] {
        let refusal = Refusal::parse(404, body.as_bytes());
        assert_eq!(refusal, Refusal { status: 404, code: None, message: None }, "{body:?}");
    }
    let _ = Refusal::parse(500, &[0xff, 0x3c, 0x00]);
}

#[test]
fn only_a_missing_key_is_not_found() {
    assert!(matches!(said(404, "NoSuchKey", "").meaning(), Error::NotFound));
    assert!(matches!(said(404, "NoSuchUpload", "").meaning(), Error::NotFound));
    assert!(matches!(said(404, "NoSuchBucket", "").meaning(), Error::Refused(_)));
    assert!(matches!(said(404, "NotFound", "").meaning(), Error::Unavailable(_)));
    assert!(matches!(Refusal::parse(404, b"").meaning(), Error::Unavailable(_)));
}

#[test]
fn refusals_mean_what_the_caller_can_do() {
    assert!(matches!(said(412, "PreconditionFailed", "").meaning(), Error::Conflict));
    for code in ["ConditionalRequestConflict", "OperationAborted"] {
        assert!(matches!(said(409, code, "").meaning(), Error::TryAgain), "{code}");
    }
    for code in ["BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"] {
        assert!(matches!(said(400, code, "").meaning(), Error::BadDigest), "{code}");
    }
    for (status, code) in [
        (503, "SlowDown"),
        (500, "InternalError"),
        (200, "InternalError"),
        (400, "RequestTimeout"),
        (400, "ExpiredToken"),
        (429, "TooManyRequests"),
    ] {
        assert!(matches!(said(status, code, "").meaning(), Error::Unavailable(_)), "{code}");
    }
    for (status, code) in [
        (403, "AccessDenied"),
        (403, "SignatureDoesNotMatch"),
        (403, "InvalidAccessKeyId"),
        (301, "PermanentRedirect"),
        (400, "InvalidPart"),
        (501, "NotImplemented"),
    ] {
        assert!(matches!(said(status, code, "").meaning(), Error::Refused(_)), "{code}");
    }
}

#[test]
fn a_wrong_signature_may_come_from_white_space() {
    let Error::Refused(text) = said(403, "SignatureDoesNotMatch", "").meaning() else {
        panic!("403 is a refusal");
    };
    assert!(text.contains("its secret (also for white space at its ends)"), "{text}");
}

#[test]
fn a_request_that_came_too_late_is_told_from_other_refusals() {
    assert!(said(403, "AccessDenied", "Request has expired").says_expired());
    assert!(said(403, "ExpiredRequest", "").says_expired());
    assert!(!said(403, "AccessDenied", "Access Denied.").says_expired());
    assert!(!said(400, "ExpiredToken", "The provided token has expired.").says_expired());
}

#[test]
fn a_long_message_is_cut() {
    let Error::Refused(text) = said(403, "AccessDenied", &"x".repeat(100_000)).meaning() else {
        panic!("403 is a refusal");
    };
    assert!(text.len() < 1000, "{} bytes", text.len());
}

#[test]
fn an_age_is_never_negative() {
    let date = StoreDate::default();
    assert!(date.since(moment()).is_err());
    *date.0.lock().expect("no other thread has it") = Some(moment());
    let since = |time| date.since(time).expect("there is a date");
    assert_eq!(since(moment() - Duration::from_secs(7)), Duration::from_secs(7));
    assert_eq!(since(moment() + Duration::from_secs(7)), Duration::ZERO);
}
