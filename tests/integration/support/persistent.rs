//! A client that retries like Docker: it repeats requests that fail with 503 or break, continues a
//! refused chunk at the offset of the session, and starts a lost session again.
//!
//! It uses its replicas in turn, one request each, and checks every response: never 500, and each
//! 503 has `Retry-After` and the JSON body of the specification.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::http::Client;
use super::{Reply, sha256};

/// How often a request is tried before the test fails.
const TRIES_MAX: usize = 6_000;

/// The flow of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// POST with the digest and the whole body.
    Post,
    /// POST, then PUT with the whole body.
    Put,
    /// POST, one PATCH without a range, PUT. A failed PATCH starts again with a POST.
    Patch,
    /// POST, a PATCH without a range for each chunk of this size, PUT. A failed one starts again
    /// with a POST.
    Pieces(usize),
    /// POST, a PATCH with a range for each chunk of this size, PUT.
    Chunks(usize),
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct Persistent {
    frontends: Mutex<Vec<Client>>,
    turn: AtomicUsize,
    pause: Duration,
    /// Statuses that a client without faults would not see.
    pub(crate) troubles: Mutex<Vec<String>>,
}

/// Why an upload has to start again.
struct Again;

impl Persistent {
    pub(crate) fn new(frontends: impl IntoIterator<Item = Client>) -> Self {
        Self {
            frontends: Mutex::new(frontends.into_iter().collect()),
            turn: AtomicUsize::new(0),
            pause: Duration::ZERO,
            troubles: Mutex::default(),
        }
    }

    /// The delay after each failure.
    pub(crate) fn pausing(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Replaces the replicas.
    pub(crate) fn talk_to(&self, frontends: impl IntoIterator<Item = Client>) {
        *self.frontends.lock().expect("no panic") = frontends.into_iter().collect();
    }

    fn next(&self) -> Client {
        let frontends = self.frontends.lock().expect("no panic");
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        frontends[turn % frontends.len()].clone()
    }

    pub(crate) fn trouble(&self, what: impl Into<String>) {
        self.troubles.lock().expect("no panic").push(what.into());
    }

    /// The guarantees to clients, whatever happens to the store.
    fn hold(said: &str, reply: &Reply) {
        assert_ne!(reply.status.as_u16(), 500, "{said}: {reply:?}");
        if reply.status.as_u16() >= 400 && !said.starts_with("HEAD") {
            let code = reply.json()["errors"][0]["code"].clone();
            assert!(code.is_string(), "{said}: {reply:?}");
        }
        if reply.status.as_u16() == 503 {
            let seconds = reply.header("retry-after").and_then(|text| text.parse::<u64>().ok());
            assert!(seconds.is_some_and(|seconds| seconds > 0), "{said}: {reply:?}");
        }
    }

    /// Sends a request once. `None` if the response was 503 or did not arrive.
    async fn once(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, String)],
        body: &[u8],
    ) -> Option<Reply> {
        let client = self.next();
        let mut request = client.request(method, path).body(body.to_vec());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let said = format!("{method} {path}");
        match request.try_send().await {
            Ok(reply) => {
                Self::hold(&said, &reply);
                if reply.status.as_u16() != 503 {
                    return Some(reply);
                }
                self.trouble(format!("503 {said}"));
            }
            Err(_) => self.trouble(format!("broken {said}")),
        }
        tokio::time::sleep(self.pause).await;
        None
    }

    /// Sends a request until there is a response.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, String)],
        body: &[u8],
    ) -> Reply {
        for _ in 0..TRIES_MAX {
            if let Some(reply) = self.once(method, path, headers, body).await {
                return reply;
            }
        }
        let troubles = self.troubles.lock().expect("no panic").clone();
        panic!("{method} {path}: no answer after {TRIES_MAX} tries: {troubles:?}")
    }

    /// Pushes a blob, retries included, and returns its digest.
    pub(crate) async fn push_blob(&self, repository: &str, content: &[u8], flow: Flow) -> String {
        let digest = sha256(content);
        for _ in 0..TRIES_MAX {
            if self.try_push(repository, content, &digest, flow).await.is_ok() {
                return digest;
            }
        }
        panic!("a blob could not be pushed: {:?}", self.troubles)
    }

    async fn try_push(
        &self,
        repository: &str,
        content: &[u8],
        digest: &str,
        flow: Flow,
    ) -> Result<(), Again> {
        let start = format!("/v2/{repository}/blobs/uploads/");
        if flow == Flow::Post {
            let path = format!("{start}?digest={digest}");
            self.ask("POST", &path, &[], content).await.expect(201);
            return Ok(());
        }
        let mut location = self.ask("POST", &start, &[], &[]).await.expect(202).location();
        let mut last: &[u8] = &[];
        match flow {
            Flow::Post | Flow::Put => last = content,
            Flow::Patch | Flow::Pieces(_) => {
                let size = if let Flow::Pieces(size) = flow { size } else { content.len().max(1) };
                for piece in content.chunks(size) {
                    let sent = self.once("PATCH", &location, &[], piece).await.ok_or(Again)?;
                    location = sent.expect(202).location();
                }
            }
            Flow::Chunks(size) => location = self.chunks(location, content, size).await?,
        }
        let separator = if location.contains('?') { '&' } else { '?' };
        let close = format!("{location}{separator}digest={digest}");
        let reply = self.ask("PUT", &close, &[], last).await;
        match reply.status.as_u16() {
            201 => {
                assert_eq!(reply.header("docker-content-digest"), Some(digest), "{reply:?}");
                Ok(())
            }
            404 | 416 => {
                self.trouble(format!("{} PUT {close}", reply.status));
                Err(Again)
            }
            _ => panic!("{close}: {reply:?}"),
        }
    }

    /// Sends the chunks, each until it is stored, and returns the last location.
    async fn chunks(
        &self,
        mut location: String,
        content: &[u8],
        size: usize,
    ) -> Result<String, Again> {
        let mut offset = 0;
        for _ in 0..TRIES_MAX + content.len() / size {
            if offset == content.len() {
                return Ok(location);
            }
            let chunk = &content[offset..content.len().min(offset + size)];
            let range = format!("{offset}-{}", offset + chunk.len() - 1);
            let headers = [("content-range", range)];
            let mut reply = self.once("PATCH", &location, &headers, chunk).await;
            if reply.as_ref().is_none_or(|reply| reply.status.as_u16() != 202) {
                if let Some(reply) = &reply {
                    self.trouble(format!("{} PATCH {location}", reply.status));
                }
                reply = Some(self.ask("GET", &location, &[], &[]).await);
            }
            let Some(reply) = reply else { continue };
            match reply.status.as_u16() {
                202 | 204 => {
                    let stands = offset_of(&reply);
                    assert!(stands >= offset, "an acknowledged offset went back: {reply:?}");
                    offset = stands;
                    location = reply.location();
                }
                404 => {
                    self.trouble(format!("404 GET {location}"));
                    return Err(Again);
                }
                _ => panic!("GET {location}: {reply:?}"),
            }
        }
        Err(Again)
    }

    /// Pushes a manifest.
    pub(crate) async fn push_manifest(&self, path: &str, media_type: &str, manifest: &[u8]) {
        let headers = [("content-type", media_type.to_owned())];
        self.ask("PUT", path, &headers, manifest).await.expect(201);
    }

    /// Pulls existing content: retries after 503, and requests the rest after a broken body.
    pub(crate) async fn pull(&self, path: &str) -> Vec<u8> {
        let reply = self.ask("GET", path, &[], &[]).await;
        reply.expect(200).body.to_vec()
    }
}

/// The offset of a session. The protocol cannot tell one byte from none.
fn offset_of(reply: &Reply) -> usize {
    let range = reply.header("range").unwrap_or_else(|| panic!("no Range: {reply:?}"));
    let last = range.strip_prefix("0-").and_then(|last| last.parse::<usize>().ok());
    let last = last.unwrap_or_else(|| panic!("{reply:?}"));
    if last == 0 { 0 } else { last + 1 }
}
