//! How many requests to the store wait for each other. A store is 10 to 60 ms away, so this number
//! is what a client waits for; requests that are sent at the same time count as one.
//!
//! Each request to the store takes a second of virtual time, so the seconds until the head of the
//! response are the round trips in a row. No socket is involved: it would stand outside that time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use http::HeaderMap;
use longshore::config::Settings;
use longshore::http::{Api, router};
use longshore::store::memory::{Fault, FaultKind, Memory};
use longshore::tasks::Tasks;
use longshore::telemetry::metrics::Metrics;
use tokio::time::Instant;
use tower::Service as _;

use crate::support::app::{OCI_MANIFEST, api, image_manifest};
use crate::support::{bytes, sha256};

const MIB: usize = 1024 * 1024;
const SECOND: Duration = Duration::from_secs(1);

/// A replica over a store of which each request takes a second.
struct Far {
    memory: Arc<Memory>,
    api: Arc<Api>,
    tasks: Tasks,
}

/// The status, the headers, and the round trips in a row until the head of a response.
struct Answer {
    status: u16,
    headers: HeaderMap,
    round_trips: u64,
}

impl Answer {
    #[track_caller]
    fn expect(self, status: u16, round_trips: u64) -> Self {
        assert_eq!((self.status, self.round_trips), (status, round_trips));
        self
    }

    fn location(&self) -> String {
        self.headers["location"].to_str().expect("text").to_owned()
    }
}

impl Far {
    fn new() -> Self {
        let far = Self::replica(Arc::new(Memory::new()), Settings::default());
        far.memory.inject(Fault::everywhere(FaultKind::Delay(SECOND)).always());
        far
    }

    fn replica(memory: Arc<Memory>, mut settings: Settings) -> Self {
        settings.store.url = "s3://shared".parse().expect("the URL of a bucket");
        let tasks = Tasks::new();
        let api = api(&settings, memory.clone(), None, &Metrics::default(), &tasks);
        Self { memory, api, tasks }
    }

    /// Another replica, which remembers for an hour what it has read.
    fn remembering(&self) -> Self {
        let mut settings = Settings::default();
        settings.cache.local_ttl = Duration::from_hours(1);
        Self::replica(self.memory.clone(), settings)
    }

    async fn send(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let request = Request::builder().method(method).uri(path).header("host", "a");
        let request = request.header("content-length", body.len());
        let request = request.header("content-type", OCI_MANIFEST);
        let request = request.body(Body::from(body.to_vec())).expect("a request");
        let begun = Instant::now();
        let Ok(response) = router(&self.api).call(request).await;
        let round_trips = begun.elapsed().as_secs();
        // Tasks after the response must not overlap with the next request.
        self.tasks.wait().await;
        let (head, _) = response.into_parts();
        Answer { status: head.status.as_u16(), headers: head.headers, round_trips }
    }

    /// Pushes a blob as docker does. Returns the round trips of PATCH and PUT.
    async fn push_blob(&self, content: &[u8]) -> u64 {
        let start = self.send("POST", "/v2/a/blobs/uploads/", b"").await.expect(202, 0);
        let chunk = self.send("PATCH", &start.location(), content).await;
        let path = format!("{}?digest={}", chunk.location(), sha256(content));
        let put = self.send("PUT", &path, b"").await;
        assert_eq!((chunk.status, put.status), (202, 201));
        chunk.round_trips + put.round_trips
    }
}

#[tokio::test(start_paused = true)]
async fn pushing_blobs() {
    let far = Far::new();
    // Data, session; session, committing, pointer, link.
    assert_eq!(far.push_blob(&bytes(1, MIB)).await, 6);
    // Begin, session, the first part, session; session, committing, the tail, complete, pointer,
    // link: eight and the two parts.
    assert_eq!(far.push_blob(&bytes(2, 20 * MIB)).await, 8 + 2);
    // A small one waits in the session, and becomes its own link.
    assert_eq!(far.push_blob(&bytes(3, 1000)).await, 3);
    let content = bytes(4, MIB);
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&content));
    far.send("POST", &path, &content).await.expect(201, 3);
    let mount = format!("/v2/b/blobs/uploads/?mount={}&from=a", sha256(&content));
    far.send("POST", &mount, b"").await.expect(201, 3);
}

#[tokio::test(start_paused = true)]
async fn pushing_manifests() {
    let far = Far::new();
    let (config, layers) = (b"{}".to_vec(), [bytes(1, MIB), bytes(2, MIB)]);
    for content in [&config, &layers[0], &layers[1]] {
        far.push_blob(content).await;
    }
    let manifest = image_manifest(&config, &layers);
    let path = "/v2/a/manifests/v1";
    // Links; manifest, tag index, repository; tag; manifest.
    far.send("PUT", path, &manifest).await.expect(201, 4);
    // Links; the manifest is there; it is read; the tag is read; the manifest is read again.
    far.send("PUT", path, &manifest).await.expect(201, 5);
    // A replica that has just told a client that the blobs are there does not read the links.
    let near = far.remembering();
    for content in [&config, &layers[0], &layers[1]] {
        let blob = format!("/v2/a/blobs/{}", sha256(content));
        near.send("HEAD", &blob, b"").await.expect(200, 1);
        near.send("HEAD", &blob, b"").await.expect(200, 0);
    }
    near.send("PUT", path, &manifest).await.expect(201, 4);
}

#[tokio::test(start_paused = true)]
async fn pulling() {
    let far = Far::new();
    let (config, layer) = (b"{}".to_vec(), bytes(1, MIB));
    for content in [&config, &layer] {
        far.push_blob(content).await;
    }
    let manifest = image_manifest(&config, std::slice::from_ref(&layer));
    far.send("PUT", "/v2/a/manifests/v1", &manifest).await.expect(201, 4);
    let by_digest = format!("/v2/a/manifests/{}", sha256(&manifest));
    let blob = format!("/v2/a/blobs/{}", sha256(&layer));
    let near = far.remembering();
    for method in ["HEAD", "GET"] {
        far.send(method, "/v2/a/manifests/v1", b"").await.expect(200, 2);
        far.send(method, &by_digest, b"").await.expect(200, 1);
        near.send(method, "/v2/a/manifests/v1", b"").await;
        near.send(method, "/v2/a/manifests/v1", b"").await.expect(200, 0);
        near.send(method, &by_digest, b"").await.expect(200, 0);
    }
    far.send("HEAD", &blob, b"").await.expect(200, 1);
    far.send("GET", &blob, b"").await.expect(200, 2);
}

#[tokio::test(start_paused = true)]
async fn pages_for_people() {
    let far = Far::new();
    far.push_blob(b"{}").await;
    let manifest = image_manifest(b"{}", &[b"{}"]);
    for tag in 0..60 {
        let path = format!("/v2/a/manifests/v{tag}");
        assert_eq!(far.send("PUT", &path, &manifest).await.status, 201);
    }
    far.send("GET", "/ui/", b"").await.expect(200, 1);
    // The listings; the records of all rows at the same time.
    far.send("GET", "/ui/repository/a", b"").await.expect(200, 2);
    far.send("GET", "/ui/repository/a", b"").await.expect(200, 0);
    // The tag; the manifest; its config, beside a listing of the referrers and one of the tags.
    far.send("GET", "/ui/manifest/a/v1", b"").await.expect(200, 3);
}
