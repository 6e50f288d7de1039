//! Delivery by redirect: distribution-spec "Pulling blobs" and its section "API" on redirects.
//! Clients download from the store with a presigned URL.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use longshore::config::Settings;
use longshore::http::Delivery;
use longshore::store::memory::Memory;
use longshore::telemetry::metrics::Metrics;

use crate::support::http::Client;
use crate::support::{App, Reply, bytes, sha256};

const TTL: Duration = Duration::from_mins(20);

/// A registry that redirects to a memory store with one stored blob.
struct Redirecting {
    app: App,
    repository: String,
    digest: String,
    path: String,
}

impl Redirecting {
    /// `None` if the tests cannot configure the registry.
    async fn start(step: Duration) -> Option<Self> {
        if App::start().await.leaves_out("delivery by redirect") {
            return None;
        }
        let mut settings = Settings::default();
        settings.blobs.delivery = Delivery::Redirect;
        settings.blobs.redirect_ttl = TTL;
        settings.blobs.redirect_step = step;
        let memory = Arc::new(Memory::new().with_presign("memory://bucket"));
        let app = App::over_memory(memory, settings).await;
        let repository = app.repository("redirect");
        let digest = app.push_blob(&repository, &bytes(800, 100_000)).await;
        let path = format!("/v2/{repository}/blobs/{digest}");
        Some(Self { app, repository, digest, path })
    }

    #[track_caller]
    fn redirected(&self, reply: Reply) -> String {
        let reply = reply.expect(307).says(b"");
        let reply = reply.has("docker-content-digest", &self.digest).has("content-length", "0");
        let reply = reply.has("cache-control", "no-store");
        let location = reply.has("docker-distribution-api-version", "registry/2.0").location();
        assert!(location.starts_with("memory://bucket/v1/d/"), "{location}");
        location
    }
}

/// The time and the duration in a URL of the memory store, in seconds.
fn dated(url: &str) -> (u64, u64) {
    let (_, query) = url.split_once("?dated=").expect("a date");
    let (dated, valid_for) = query.split_once("&valid_for=").expect("a duration");
    (dated.parse().expect("seconds"), valid_for.parse().expect("seconds"))
}

#[expect(clippy::disallowed_methods, reason = "the registry under test tells this time, too")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a date after 1970").as_secs()
}

#[tokio::test]
async fn a_stored_blob_is_redirected_to_the_store() {
    let step = Duration::from_mins(5);
    let Some(redirecting) = Redirecting::start(step).await else { return };
    let before = now();
    let location = redirecting.redirected(redirecting.app.get(&redirecting.path).send().await);
    let after = now();
    let (dated, valid_for) = dated(&location);
    assert_eq!(dated % step.as_secs(), 0, "dated at the beginning of a step");
    assert!(dated <= after && before < dated + step.as_secs(), "{before} {dated} {after}");
    assert_eq!(valid_for, (TTL + step).as_secs());
}

/// Otherwise no HTTP cache between client and store could have a hit.
#[tokio::test]
async fn a_presigned_url_is_stable_within_a_time_step() {
    let Some(redirecting) = Redirecting::start(Duration::from_mins(5)).await else { return };
    let mut urls = Vec::new();
    for _ in 0..3 {
        urls.push(redirecting.redirected(redirecting.app.get(&redirecting.path).send().await));
    }
    // At most one step ends during the test.
    assert!(urls[0] == urls[1] || urls[1] == urls[2], "{urls:?}");
    let Some(short) = Redirecting::start(Duration::from_secs(1)).await else { return };
    let first = short.redirected(short.app.get(&short.path).send().await);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let second = short.redirected(short.app.get(&short.path).send().await);
    assert_ne!(first, second);
    assert_eq!(first.split_once('?').map(|url| url.0), second.split_once('?').map(|url| url.0));
}

/// The client sends its range again to the store.
#[tokio::test]
async fn a_range_request_is_redirected_to_the_whole_blob() {
    let Some(redirecting) = Redirecting::start(Duration::from_mins(5)).await else { return };
    for range in ["bytes=0-9", "bytes=-1", "bytes=99999999-"] {
        let get = redirecting.app.get(&redirecting.path).header("range", range);
        redirecting.redirected(get.send().await);
    }
}

/// Stores answer a request for several ranges with the whole object.
#[tokio::test]
async fn several_ranges_are_not_redirected() {
    let Some(redirecting) = Redirecting::start(Duration::from_mins(5)).await else { return };
    let get = redirecting.app.get(&redirecting.path).header("range", "bytes=0-9,50000-50009");
    let reply = get.send().await.expect(206).lacks("location");
    let media_type = reply.header("content-type").expect("a type");
    assert!(media_type.starts_with("multipart/byteranges"), "{media_type}");
    let metrics = redirecting.app.metrics.exposition();
    let line = "longshore_blob_serves_total{mode=\"range\",reason=\"several_ranges\"} 1\n";
    assert!(metrics.contains(line), "{metrics}");
}

/// A URL that is signed for GET does not allow HEAD.
#[tokio::test]
async fn head_is_not_redirected() {
    let Some(redirecting) = Redirecting::start(Duration::from_mins(5)).await else { return };
    let head = redirecting.app.request("HEAD", &redirecting.path).send().await.expect(200);
    let head = head.has("content-length", "100000").says(b"").lacks("location");
    head.has("docker-content-digest", &redirecting.digest);
}

#[tokio::test]
async fn inline_blobs_and_manifests_are_not_redirected() {
    let Some(redirecting) = Redirecting::start(Duration::from_mins(5)).await else { return };
    let Redirecting { app, repository, .. } = &redirecting;
    for size in [0, 10, 64 * 1024] {
        let content = bytes(801, size);
        let digest = app.push_blob(repository, &content).await;
        app.blob(repository, &digest).await.expect(200).says(&content).lacks("location");
    }
    let small = app.push_blob(repository, b"0123456789").await;
    let get = app.get(&format!("/v2/{repository}/blobs/{small}")).header("range", "bytes=2-3");
    get.send().await.expect(206).says(b"23").has("content-range", "bytes 2-3/10");
    let (_, manifest) = app.push_image(repository, "v1", 802).await;
    let get = app.get(&format!("/v2/{repository}/manifests/v1")).send().await;
    get.expect(200).says(&manifest).lacks("location");
}

#[tokio::test]
async fn preconditions_and_authorization_are_checked_before_a_redirect() {
    let Some(redirecting) = Redirecting::start(Duration::from_mins(5)).await else { return };
    let Redirecting { app, digest, path, .. } = &redirecting;
    let get = app.get(path).header("if-none-match", format!("\"{digest}\""));
    get.send().await.expect(304).says(b"").lacks("location");
    let get = app.get(path).header("if-match", format!("\"{}\"", sha256(b"other")));
    get.send().await.expect(412).lacks("location");
    let other = app.repository("other");
    app.blob(&other, digest).await.expect_error(404, "BLOB_UNKNOWN").lacks("location");
}

/// If clients can reach the store of this run, the test follows the URL. Otherwise the registry
/// serves the blob.
#[tokio::test]
async fn the_presigned_url_serves_the_blob() {
    let redirecting = |settings: &mut Settings| settings.blobs.delivery = Delivery::Redirect;
    let app = App::start_with(redirecting).await;
    if app.leaves_out("delivery by redirect") {
        return;
    }
    let repository = app.repository("followed");
    for size in [100_000, 17 * 1024 * 1024] {
        let content = bytes(810, size);
        let digest = app.push_blob(&repository, &content).await;
        let reply = app.blob(&repository, &digest).await;
        if reply.status != 307 {
            reply.expect(200).says(&content).has("docker-content-digest", digest);
            continue;
        }
        let url = reply.has("docker-content-digest", &digest).location();
        let path = url.find("://").and_then(|at| Some(at + 3 + url[at + 3..].find('/')?));
        let (origin, path) = url.split_at(path.expect("an absolute URL"));
        let store = Client::new(origin);
        store.request("GET", path).send().await.expect(200).says(&content);
        let part = store.request("GET", path).header("range", "bytes=65530-65539").send().await;
        part.expect(206).says(&content[65_530..65_540]);
    }
}

/// The address of the client decides, as reported by a trusted proxy and by no other peer.
#[tokio::test]
async fn only_clients_in_redirect_networks_are_redirected() {
    if App::start().await.leaves_out("delivery by network") {
        return;
    }
    for (trusted, forwarded, networks, redirected) in [
        ("", None, "127.0.0.0/8", true),
        ("", None, "10.0.0.0/8,fd00::/8", false),
        ("", Some("10.1.2.3"), "10.0.0.0/8", false),
        ("127.0.0.1", Some("10.1.2.3"), "10.0.0.0/8", true),
        ("127.0.0.1", Some("::ffff:10.1.2.3"), "10.0.0.0/8", true),
        ("127.0.0.1", Some("fd00::7"), "10.0.0.0/8,fd00::/8", true),
        ("127.0.0.1", Some("192.0.2.1"), "10.0.0.0/8,fd00::/8", false),
        ("127.0.0.1", Some("10.1.2.3, 192.0.2.1"), "10.0.0.0/8", false),
        ("127.0.0.1", None, "10.0.0.0/8", false),
    ] {
        let mut settings = Settings::default();
        settings.blobs.delivery = Delivery::Auto;
        settings.blobs.redirect_networks = networks.parse().expect("networks");
        settings.server.trusted_proxies = trusted.parse().unwrap_or_default();
        let memory = Arc::new(Memory::new().with_presign("memory://bucket"));
        let metrics = Metrics::default();
        let app = App::counting(memory, settings, metrics.clone()).await;
        let repository = app.repository("networks");
        let digest = app.push_blob(&repository, &bytes(801, 100_000)).await;
        let mut request = app.get(&format!("/v2/{repository}/blobs/{digest}"));
        if let Some(forwarded) = forwarded {
            request = request.header("x-forwarded-for", forwarded);
        }
        let reply = request.send().await;
        if redirected {
            let location = reply.expect(307).location();
            assert!(location.starts_with("memory://bucket/"), "{forwarded:?} {location}");
        } else {
            reply.expect(200).says(&bytes(801, 100_000));
        }
        let mode = if redirected { "redirect" } else { "proxy" };
        let counted =
            format!("longshore_blob_serves_total{{mode=\"{mode}\",reason=\"network\"}} 1\n");
        assert!(metrics.exposition().contains(&counted), "{}", metrics.exposition());
    }
}
