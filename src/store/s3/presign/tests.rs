use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_credential_types::provider::future;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};

use super::super::client::{S3, sdk_config};
use super::super::http_client::HttpClient;
use super::super::tests::{location, moment, settings};
use super::*;
use crate::http_proxy::Proxies;
use crate::setting::Secret;
use crate::store::{BlobStore as _, Location};
use crate::telemetry::metrics::Metrics;

/// Made once, because it reads all root certificates.
static HTTP: LazyLock<HttpClient> = LazyLock::new(|| {
    HttpClient::new(&settings(), Proxies::default(), Metrics::default()).expect("a client")
});

/// The URL that the SDK makes, for comparison.
async fn by_sdk(bucket: &str, settings: &Settings, key: &str, options: PresignGet) -> String {
    let (id, secret) = (settings.access_key_id.clone(), settings.secret_access_key.clone());
    let (id, secret) = (id.expect("an id"), secret.expect("a secret"));
    let token = settings.session_token.as_ref().map(|token| token.expose().to_owned());
    let credentials = Credentials::new(id, secret.expose(), token, None, "test");
    let credentials = LatestCredentials::new(SharedCredentialsProvider::new(credentials));
    let region = Region::new(settings.region.clone().expect("a region"));
    let mut config = sdk_config(settings, &HTTP, region, credentials);
    config.set_endpoint_url(settings.public_endpoint.clone().or(settings.endpoint.clone()));
    let request = Client::from_conf(config.build()).get_object().bucket(bucket).key(key);
    let request = request.response_content_type("application/octet-stream");
    let validity = validity(options.dated, options.valid_for).expect("it is valid");
    request.presigned(validity).await.expect("signing needs no network").uri().to_owned()
}

fn options(dated: SystemTime) -> PresignGet {
    PresignGet { dated, valid_for: Duration::from_mins(20) }
}

async fn connect(prefix: &str, settings: &Settings) -> S3 {
    super::super::tests::connect(prefix, settings).await.expect("the settings are fine")
}

async fn over(provider: impl ProvideCredentials + 'static) -> S3 {
    let provider = SharedCredentialsProvider::new(provider);
    let region = Region::from_static("eu-central-1");
    let metrics = Metrics::default();
    let store =
        S3::with_credentials(("images", "team/a"), &settings(), region, provider, &metrics).await;
    store.expect("the settings are fine")
}

async fn presigned(store: &S3, location: &Location, options: PresignGet) -> String {
    store.presign_get(location, options).await.expect("it is signed").expect("there is a URL")
}

async fn sign(store: &S3, key: &str, options: PresignGet) -> (String, PresignKey) {
    store.presigner.url(key, options, moment()).await.expect("it is signed")
}

#[tokio::test]
async fn urls_are_those_of_the_sdk() {
    let prefixes = ["", "team/a", "with space", "+%&=?#;:@!$'()*,[]", "ü/日本", "~-._", "a//b"];
    let tokens = [None, Some("token/with+all=sorts&of% characters"), Some("plain")];
    let places = [
        (Some("http://store.internal:9000"), true),
        (Some("https://images.example.com"), false),
        (None, true),
        (None, false),
    ];
    let mut compared = 0;
    for prefix in prefixes {
        for token in tokens {
            for (endpoint, path_style) in places {
                let settings = Settings {
                    endpoint: endpoint.map(str::to_owned),
                    public_endpoint: None,
                    session_token: token.map(Secret::new),
                    path_style: Some(path_style),
                    ..settings()
                };
                let store = connect(prefix, &settings).await;
                for second in 0..8 {
                    let options = options(moment() + Duration::from_secs(second));
                    let location = Location::new_unique(options.dated);
                    let ours = presigned(&store, &location, options).await;
                    assert_eq!(
                        ours,
                        by_sdk("images", &settings, &store.key(&location), options).await
                    );
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 7 * 3 * 4 * 8);
}

/// The SDK has rules for buckets: which can be part of a host, and which are elsewhere.
#[tokio::test]
async fn every_bucket_is_where_the_sdk_finds_it() {
    let regions = ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"];
    let point = "arn:aws:s3:eu-central-1:123456789012:accesspoint/point";
    let buckets = ["images", "with.dots", "Upper_case", "zone--euc1-az1--x-s3", point];
    let endpoints = [None, Some("http://10.0.0.1:9000"), Some("https://store.example.com")];
    let mut compared = 0;
    for region in regions {
        for bucket in buckets {
            for (endpoint, path_style) in
                endpoints.into_iter().flat_map(|endpoint| [(endpoint, true), (endpoint, false)])
            {
                let settings = Settings {
                    region: Some(region.to_owned()),
                    endpoint: endpoint.map(str::to_owned),
                    public_endpoint: None,
                    path_style: Some(path_style),
                    ..settings()
                };
                // Not every bucket is possible everywhere.
                let Ok(store) = S3::connect(bucket, "team/a", &settings, &Metrics::default()).await
                else {
                    continue;
                };
                let ours = presigned(&store, &location(), options(moment())).await;
                let key = store.key(location());
                assert_eq!(ours, by_sdk(bucket, &settings, &key, options(moment())).await);
                compared += 1;
            }
        }
    }
    assert!(compared > 60, "{compared}");
}

#[tokio::test]
async fn any_key_is_encoded_as_the_sdk_does() {
    let store = connect("team/a", &settings()).await;
    let visible: String = (' '..='~').collect();
    for key in [visible.as_str(), "a+b c/ü/€/🦀", "%41", "a/../b", "\u{7f}\u{1}", "x"] {
        let options = options(moment());
        let (ours, _) = sign(&store, key, options).await;
        // Leading and doubled slashes apart, which no key of ours has.
        assert_eq!(ours, by_sdk("images", &settings(), key, options).await, "{key:?}");
    }
}

#[tokio::test]
async fn another_day_has_another_key() {
    let store = connect("team/a", &settings()).await;
    let key = store.key(location());
    for day in 0..3 {
        let options = options(moment() + Duration::from_hours(24 * day));
        let expected = by_sdk("images", &settings(), &key, options).await;
        assert_eq!(sign(&store, &key, options).await, (expected.clone(), PresignKey::Derived));
        assert_eq!(sign(&store, &key, options).await, (expected, PresignKey::Cached));
    }
}

/// Has another key each time it is asked.
#[derive(Debug)]
struct Rotating {
    asked: AtomicU32,
    expiry: Option<SystemTime>,
}

impl Rotating {
    fn until(expiry: Option<SystemTime>) -> Self {
        Self { asked: AtomicU32::new(0), expiry }
    }
}

impl ProvideCredentials for Rotating {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let (id, secret) = (format!("AKID{number}"), format!("secret{number}"));
        let token = Some(format!("token{number}"));
        let credentials = Credentials::new(id, secret, token, self.expiry, "test");
        future::ProvideCredentials::ready(Ok(credentials))
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_without_an_expiry_are_fetched_again_after_a_while() {
    let store = over(Rotating::until(None)).await;
    let options = options(moment());
    let (first, _) = sign(&store, "key", options).await;
    tokio::time::advance(Duration::from_secs(15 * 60 - 1)).await;
    assert_eq!(sign(&store, "key", options).await, (first.clone(), PresignKey::Cached));
    tokio::time::advance(Duration::from_secs(1)).await;
    let (later, origin) = sign(&store, "key", options).await;
    assert!(later.contains("Credential=AKID1%2F"), "{later}");
    assert_eq!(origin, PresignKey::Derived);
}

#[tokio::test]
async fn credentials_that_rotate_are_followed() {
    let store = over(Rotating::until(Some(moment() + Duration::from_secs(5)))).await;
    let first = presigned(&store, &location(), options(moment())).await;
    let second = presigned(&store, &location(), options(moment())).await;
    assert!(first.contains("Credential=AKID0%2F") && first.contains("Token=token0"), "{first}");
    assert!(second.contains("Credential=AKID1%2F") && second.contains("Token=token1"), "{second}");
}

#[tokio::test]
async fn nothing_is_signed_with_credentials_that_were_replaced() {
    let store = over(Rotating::until(Some(moment() + Duration::from_hours(1)))).await;
    let options = options(moment());
    let (first, _) = sign(&store, "key", options).await;
    assert_eq!(sign(&store, "key", options).await, (first.clone(), PresignKey::Cached));
    // Some other request of ours has made the SDK fetch them again.
    store.presigner.credentials.provide_credentials().await.expect("there are some");
    let (second, origin) = sign(&store, "key", options).await;
    assert!(first.contains("Credential=AKID0%2F") && second.contains("Credential=AKID1%2F"));
    assert_eq!(origin, PresignKey::Derived);
}
