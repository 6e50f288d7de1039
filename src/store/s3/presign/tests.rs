use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_s3::config::Region;

use super::super::tests::{connect, location, moment, settings};
use super::super::{BYTES_MEDIA_TYPE, PresignGet, S3, Settings, validity};
use super::*;
use crate::setting::Secret;
use crate::store::{BlobStore as _, Location};
use crate::telemetry::metrics::Metrics;

/// What the SDK makes of it, for comparison.
async fn by_sdk(store: &S3, key: &str, options: PresignGet) -> String {
    let request = store.public.get_object().bucket(&store.bucket).key(key);
    let request = request.response_content_type(BYTES_MEDIA_TYPE);
    let validity = validity(options.dated, options.valid_for).expect("it is valid");
    request.presigned(validity).await.expect("signing needs no network").uri().to_owned()
}

fn options(dated: SystemTime) -> PresignGet {
    PresignGet { dated, valid_for: Duration::from_mins(20) }
}

async fn presigned(store: &S3, location: &Location, options: PresignGet) -> String {
    store.presign_get(location, options).await.expect("it is signed").expect("there is a URL")
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
                let store = store.expect("the settings are fine");
                presigned(&store, &location(), options(moment())).await;
                for second in 0..8 {
                    let options = options(moment() + Duration::from_secs(second));
                    let location = Location::new_unique(options.dated);
                    let key = store.bytes_key(&location);
                    let ours = store.presigner.sign(&key, options.dated, options.valid_for);
                    let ours = ours.expect("it was learned");
                    assert_eq!(ours, by_sdk(&store, &key, options).await);
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 7 * 3 * 4 * 8);
}

#[tokio::test]
async fn any_key_is_encoded_as_the_sdk_does() {
    let store = connect("team/a", &settings()).await.expect("the settings are fine");
    presigned(&store, &location(), options(moment())).await;
    let visible: String = (' '..='~').collect();
    for key in [visible.as_str(), "a+b c/ü/€/🦀", "%41", "a/../b", "\u{7f}\u{1}", "x"] {
        let options = options(moment());
        let ours = store.presigner.sign(key, options.dated, options.valid_for);
        let url = by_sdk(&store, key, options).await;
        // Leading and doubled slashes apart, which no key of ours has.
        assert_eq!(ours, Some(url), "{key:?}");
    }
}

#[tokio::test]
async fn another_day_has_another_key() {
    let store = connect("team/a", &settings()).await.expect("the settings are fine");
    let key = store.bytes_key(&location());
    for day in 0..3 {
        let options = options(moment() + Duration::from_hours(24 * day));
        assert_eq!(store.presigner.sign(&key, options.dated, options.valid_for), None);
        let url = presigned(&store, &location(), options).await;
        assert_eq!(url, by_sdk(&store, &key, options).await);
        assert_eq!(store.presigner.sign(&key, options.dated, options.valid_for), Some(url));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_learned_is_not_believed_for_ever() {
    let store = connect("team/a", &settings()).await.expect("the settings are fine");
    let options = options(moment());
    presigned(&store, &location(), options).await;
    let sign = || store.presigner.sign("key", options.dated, options.valid_for);
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(sign().is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(sign(), None);
}

/// Has another key each time, and each is about to expire.
#[derive(Debug, Default)]
struct Rotating(AtomicU32);

impl ProvideCredentials for Rotating {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        let soon = moment() + Duration::from_secs(5);
        let (id, secret) = (format!("AKID{number}"), format!("secret{number}"));
        let token = Some(format!("token{number}"));
        let credentials = Credentials::new(id, secret, token, Some(soon), "test");
        future::ProvideCredentials::ready(Ok(credentials))
    }
}

#[tokio::test]
async fn credentials_that_rotate_are_followed() {
    let provider = SharedCredentialsProvider::new(Rotating::default());
    let region = Region::from_static("eu-central-1");
    let store = S3::over(("images", "team/a"), &settings(), region, provider, &Metrics::default())
        .expect("the settings are fine");
    let first = presigned(&store, &location(), options(moment())).await;
    let second = presigned(&store, &location(), options(moment())).await;
    assert!(first.contains("Credential=AKID0%2F") && first.contains("Token=token0"), "{first}");
    assert!(second.contains("Credential=AKID1%2F") && second.contains("Token=token1"), "{second}");
}

#[tokio::test]
async fn nothing_is_signed_with_credentials_that_were_replaced() {
    let store = connect("team/a", &settings()).await.expect("the settings are fine");
    let options = options(moment());
    presigned(&store, &location(), options).await;
    let sign = || store.presigner.sign("key", options.dated, options.valid_for);
    assert!(sign().is_some());
    // Some other request of ours has made the SDK get them again.
    store.presigner.credentials.provide_credentials().await.expect("there are some");
    assert_eq!(sign(), None);
}

#[tokio::test]
async fn what_cannot_be_learned_from_is_left_to_the_sdk() {
    let store = connect("team/a", &settings()).await.expect("the settings are fine");
    let good = presigned(&store, &location(), options(moment())).await;
    let key = store.bytes_key(&location());
    let dated = options(moment());
    for bad in [
        String::new(),
        good.replace("X-Amz-Expires=1200", "X-Amz-Expires=1201"),
        good.replace("Signature=", "Signature=0"),
        good.replace("images.example.com", "elsewhere.example.com"),
        good.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        good.replace("v1/d/", "v1/e/"),
    ] {
        assert_ne!(bad, good);
        store.presigner.learn(&bad, &key, dated.dated, dated.valid_for, moment());
        assert_eq!(store.presigner.sign(&key, dated.dated, dated.valid_for), None, "{bad}");
    }
}
