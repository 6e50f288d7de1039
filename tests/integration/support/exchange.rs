//! Requests that many tests send, and assertions about responses.

use std::io::{self, Write};

use bytes::Bytes;
use longshore::oci::UploadSegment;
use longshore::registry::uploads::UploadAddress;
use longshore::store::RecordKey;

use super::{App, Reply, Request};

/// A location with one more query parameter.
pub fn with_query(location: &str, parameter: &str) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}{parameter}")
}

/// The key of the session that a caller without a login has at a location.
pub fn session_key(location: &str) -> RecordKey {
    let path = location.strip_prefix("/v2/").expect("a path");
    let (repository, segment) = path.split_once("/blobs/uploads/").expect("a location");
    let UploadSegment { id, new } = segment.parse().expect("a segment");
    let (repository, subject) = (repository.parse().expect("a name"), "anonymous".to_owned());
    UploadAddress { repository, subject, id, may_read: true, new }.key()
}

impl Reply {
    /// Asserts that a header occurs exactly once, with exactly this value.
    #[track_caller]
    pub fn has(self, name: &str, value: impl AsRef<str>) -> Self {
        let values: Vec<_> = self.headers.get_all(name).iter().collect();
        assert_eq!(values, [value.as_ref()], "{name}: {self:?}");
        self
    }

    /// Asserts that a header is not there.
    #[track_caller]
    pub fn lacks(self, name: &str) -> Self {
        assert!(!self.headers.contains_key(name), "{name}: {self:?}");
        self
    }

    /// Asserts the body, byte for byte.
    #[track_caller]
    pub fn says(self, body: &[u8]) -> Self {
        assert_eq!(self.body.len(), body.len(), "{self:?}");
        assert!(self.body == body, "the body has other bytes: {self:?}");
        self
    }

    /// Asserts that an upload has `offset` bytes, by all headers of the response.
    #[track_caller]
    pub fn stands_at(self, offset: usize) -> Self {
        let location = self.location();
        let segment = location.rsplit('/').next().unwrap_or_default();
        let id = segment.get(..36).unwrap_or_default().to_owned();
        self.has("range", format!("0-{}", offset.saturating_sub(1))).has("docker-upload-uuid", id)
    }

    /// The offset of an upload, by `Range`. Only for uploads with data: `0-0` also means none.
    #[track_caller]
    pub fn offset(&self) -> u64 {
        let range = self.header("range").unwrap_or_else(|| panic!("no Range: {self:?}"));
        let last: u64 = range.strip_prefix("0-").expect("0-<last>").parse().expect("a number");
        if last == 0 { 0 } else { last + 1 }
    }
}

impl Request<'_> {
    /// `Content-Range` of a chunk of `length` bytes at this offset.
    pub fn chunk_at(self, first: usize, length: usize) -> Self {
        self.header("content-range", format!("{first}-{}", first + length - 1))
    }
}

impl App {
    /// Starts an upload and returns its location. `query` is empty or begins with `?`.
    pub async fn start_upload(&self, repository: &str, query: &str) -> String {
        let path = format!("/v2/{repository}/blobs/uploads/{query}");
        self.request("POST", &path).send().await.expect(202).stands_at(0).location()
    }

    /// A chunk with its `Content-Range`.
    pub async fn patch_at(&self, location: &str, first: usize, chunk: &[u8]) -> Reply {
        let request = self.request("PATCH", location).chunk_at(first, chunk.len());
        request.body(chunk.to_vec()).send().await
    }

    /// A chunk without a range, with a `Content-Length`.
    pub async fn patch(&self, location: &str, chunk: &[u8]) -> Reply {
        self.request("PATCH", location).body(chunk.to_vec()).send().await
    }

    /// The final PUT. `last` may be empty.
    pub async fn close(&self, location: &str, digest: &str, last: &[u8]) -> Reply {
        let location = with_query(location, &format!("digest={digest}"));
        self.request("PUT", &location).body(Bytes::copy_from_slice(last)).send().await
    }

    pub async fn blob(&self, repository: &str, digest: &str) -> Reply {
        self.get(&format!("/v2/{repository}/blobs/{digest}")).send().await
    }

    /// Asserts that the repository has a blob with this content, by GET and by HEAD.
    pub async fn assert_blob(&self, repository: &str, digest: &str, content: &[u8]) {
        let length = content.len().to_string();
        let got = self.blob(repository, digest).await.expect(200).says(content);
        got.has("content-length", &length).has("docker-content-digest", digest);
        let head = self.request("HEAD", &format!("/v2/{repository}/blobs/{digest}")).send().await;
        head.expect(200).says(b"").has("content-length", &length);
    }

    /// Asserts that the repository has no such blob.
    pub async fn assert_no_blob(&self, repository: &str, digest: &str) {
        self.blob(repository, digest).await.expect_error(404, "BLOB_UNKNOWN");
        let head = self.request("HEAD", &format!("/v2/{repository}/blobs/{digest}")).send().await;
        head.expect(404).says(b"");
    }

    /// Asserts that the store has no orphaned data, if the test can inspect it.
    pub async fn assert_nothing_stored(&self) {
        self.settled().await;
        if let Some(memory) = &self.memory {
            assert_eq!(memory.data_objects(), []);
            assert_eq!(memory.open_multiparts(), 0);
        }
    }

    /// Whether to skip a test that needs its own settings or store. Prints the reason.
    pub fn leaves_out(&self, what: &str) -> bool {
        if !self.is_ours() {
            let _ = writeln!(io::stderr(), "left out, REGISTRY_URL is set: {what}");
        }
        !self.is_ours()
    }
}

/// Asserts the response of a committed upload.
#[track_caller]
pub fn created(reply: Reply, repository: &str, digest: &str) {
    reply
        .expect(201)
        .has("location", format!("/v2/{repository}/blobs/{digest}"))
        .has("docker-content-digest", digest)
        .has("content-length", "0")
        .has("docker-distribution-api-version", "registry/2.0")
        .says(b"");
}
