//! Ranges of blobs: distribution-spec "Pulling blobs" (`Range`), RFC 9110 section 14, and
//! `If-Range` of its section 13.1.5.

use std::sync::Arc;

use longshore::config::Settings;
use longshore::store::memory::Memory;

use crate::support::{App, Reply, bytes, sha256};

const MIB: usize = 1024 * 1024;

/// The expected response to a `Range`.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// 206 with the bytes from the first to the last.
    Part(usize, usize),
    /// 200 with the whole blob.
    Whole,
    Nothing,
}
use Answer::{Nothing, Part, Whole};

/// A pushed blob and its content.
struct Pushed {
    app: App,
    path: String,
    digest: String,
    content: Vec<u8>,
}

impl Pushed {
    async fn of(size: usize) -> Self {
        let app = App::start().await;
        let repository = app.repository("ranges");
        let content = bytes(size as u64, size);
        let digest = app.push_blob(&repository, &content).await;
        Self { path: format!("/v2/{repository}/blobs/{digest}"), app, digest, content }
    }

    async fn check(&self, range: &str, answer: Answer) {
        self.check_with(range, &[], answer).await;
    }

    async fn check_with(&self, range: &str, headers: &[(&'static str, &str)], answer: Answer) {
        let mut request = self.app.get(&self.path).header("range", range);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let reply = request.send().await;
        let size = self.content.len();
        assert_eq!(
            reply.status.as_u16(),
            match answer {
                Part(..) => 206,
                Whole => 200,
                Nothing => 416,
            },
            "{range} of {size} with {headers:?}: {reply:?}"
        );
        match answer {
            Part(first, last) => reply
                .has("content-range", format!("bytes {first}-{last}/{size}"))
                .has("content-length", (last - first + 1).to_string())
                .has("content-type", "application/octet-stream")
                .has("docker-content-digest", &self.digest)
                .has("etag", format!("\"{}\"", self.digest))
                .has("accept-ranges", "bytes")
                .says(&self.content[first..=last]),
            Whole => reply
                .lacks("content-range")
                .has("content-length", size.to_string())
                .has("docker-content-digest", &self.digest)
                .says(&self.content),
            Nothing => reply
                .expect_error(416, "SIZE_INVALID")
                .has("content-range", format!("bytes */{size}"))
                .lacks("etag"),
        };
    }

    /// All cases that do not depend on where the blob is stored.
    async fn check_all_forms(&self) {
        let size = self.content.len();
        let last = size - 1;
        let huge = "99999999999999999999999999";
        let max = u64::MAX;
        let cases = [
            ("bytes=0-0".to_owned(), Part(0, 0)),
            ("bytes=0-499".to_owned(), Part(0, 499)),
            ("bytes=500-600".to_owned(), Part(500, 600)),
            (format!("bytes=0-{last}"), Part(0, last)),
            (format!("bytes={last}-{last}"), Part(last, last)),
            (format!("bytes={last}-"), Part(last, last)),
            ("bytes=0-".to_owned(), Part(0, last)),
            ("bytes=7-".to_owned(), Part(7, last)),
            ("bytes=-1".to_owned(), Part(last, last)),
            ("bytes=-100".to_owned(), Part(size - 100, last)),
            (format!("bytes=-{size}"), Part(0, last)),
            // A range that ends after the end is shortened.
            (format!("bytes=10-{size}"), Part(10, last)),
            (format!("bytes=10-{huge}"), Part(10, last)),
            (format!("bytes=10-{max}"), Part(10, last)),
            (format!("bytes=-{}", size + 1), Part(0, last)),
            (format!("bytes=-{huge}"), Part(0, last)),
            ("bytes=000-001".to_owned(), Part(0, 1)),
            // A range that begins after the end.
            (format!("bytes={size}-"), Nothing),
            (format!("bytes={size}-{size}"), Nothing),
            (format!("bytes={}-{}", size + 10, size + 20), Nothing),
            (format!("bytes={huge}-"), Nothing),
            (format!("bytes={huge}-{huge}"), Nothing),
            (format!("bytes={max}-{max}"), Nothing),
            ("bytes=-0".to_owned(), Nothing),
            // The conformance suite counts a 200 here as not supported.
            ("bytes=500-0".to_owned(), Nothing),
            ("bytes=1-0".to_owned(), Nothing),
        ];
        for (range, answer) in cases {
            self.check(&range, answer).await;
        }
    }
}

#[tokio::test]
async fn ranges_of_an_inline_blob() {
    Pushed::of(1_000).await.check_all_forms().await;
}

#[tokio::test]
async fn ranges_of_a_stored_blob() {
    Pushed::of(100_000).await.check_all_forms().await;
}

#[tokio::test]
async fn ranges_of_a_blob_of_several_parts() {
    let blob = Pushed::of(17 * MIB + 3).await;
    for (first, last) in [
        (16 * MIB - 1, 16 * MIB - 1),
        (16 * MIB, 16 * MIB),
        (16 * MIB - 10, 16 * MIB + 9),
        (3 * MIB, 17 * MIB),
        (65_535, 65_536),
    ] {
        blob.check(&format!("bytes={first}-{last}"), Part(first, last)).await;
    }
    let size = blob.content.len();
    blob.check("bytes=-2000000", Part(size - 2_000_000, size - 1)).await;
    blob.check(&format!("bytes={}-", 17 * MIB), Part(17 * MIB, size - 1)).await;
    blob.check(&format!("bytes=5-{}", u64::MAX), Part(5, size - 1)).await;
    blob.check(&format!("bytes={size}-"), Nothing).await;
    blob.check("bytes=500-0", Nothing).await;
}

/// RFC 9110 14.2: an unknown unit or an invalid range is ignored.
#[tokio::test]
async fn an_invalid_range_is_ignored() {
    let blob = Pushed::of(1_000).await;
    // The unit has no case.
    blob.check("BYTES=0-9", Part(0, 9)).await;
    for range in [
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=abc",
        "bytes=a-b",
        "bytes=1-b",
        "bytes=+1-2",
        "bytes=1.0-2",
        "bytes=0x1-0x2",
        "bytes=--1",
        "bytes=1-2-3",
        "0-499",
        "items=0-4",
        "none",
    ] {
        blob.check(range, Whole).await;
    }
}

/// The parts of a `multipart/byteranges`: the first byte of each, and its content.
#[track_caller]
fn parts(reply: &Reply, size: usize) -> Vec<(usize, Vec<u8>)> {
    let boundary = reply.header("content-type").expect("a type");
    let boundary = boundary.strip_prefix("multipart/byteranges; boundary=").expect("a boundary");
    let mut rest = &reply.body[..];
    let mut parts = Vec::new();
    let delimiter = format!("\r\n--{boundary}");
    loop {
        rest = rest.strip_prefix(delimiter.as_bytes()).expect("a delimiter");
        if rest == b"--\r\n" {
            return parts;
        }
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("headers") + 4;
        let head = std::str::from_utf8(&rest[..end]).expect("text");
        let range = head
            .strip_prefix("\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes ")
            .and_then(|head| head.strip_suffix(&format!("/{size}\r\n\r\n")))
            .unwrap_or_else(|| panic!("{head:?}"));
        let (first, last) = range.split_once('-').expect("a range");
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let length = last + 1 - first;
        parts.push((first, rest[end..end + length].to_vec()));
        rest = &rest[end + length..];
    }
}

impl Pushed {
    /// Asks for these ranges, each a first and a last byte, and asserts one part for each.
    async fn check_several(&self, ranges: &[(usize, usize)]) {
        let size = self.content.len();
        let spelled: Vec<String> =
            ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        let range = format!("bytes={}", spelled.join(", "));
        let reply = self.app.get(&self.path).header("range", &range).send().await.expect(206);
        let length = reply.body.len().to_string();
        let reply = reply
            .has("content-length", length)
            .has("docker-content-digest", &self.digest)
            .has("etag", format!("\"{}\"", self.digest))
            .has("accept-ranges", "bytes")
            .lacks("content-range");
        let expected: Vec<(usize, Vec<u8>)> = ranges
            .iter()
            .map(|&(first, last)| (first, self.content[first..=last.min(size - 1)].to_vec()))
            .collect();
        assert!(parts(&reply, size) == expected, "{range}: {reply:?}");
    }
}

/// Clients that pull parts of layers ask for hundreds of ranges in one request, and count the
/// parts of the answer.
#[tokio::test]
async fn several_ranges_are_answered_as_parts() {
    for size in [1_000, 100_000] {
        let blob = Pushed::of(size).await;
        for ranges in [
            &[(0, 1), (3, 4)][..],
            &[(0, 0), (size - 1, size - 1)],
            // Adjacent ones, overlapping ones, and in another order.
            &[(0, 9), (10, 19), (20, 29)],
            &[(100, 199), (150, 160), (0, 9)],
            &[(10, 19), (size - 10, size + 10)],
        ] {
            blob.check_several(ranges).await;
        }
        let many: Vec<(usize, usize)> = (0..400).map(|at| (2 * at, 2 * at)).collect();
        blob.check_several(&many).await;
        // Only one of them lies in the blob.
        blob.check("bytes=0-1,5000000-", Part(0, 1)).await;
        blob.check("bytes=5000000-,6000000-6000001", Nothing).await;
        // Together they are longer than the blob.
        blob.check("bytes=-5,0-", Whole).await;
        blob.check("bytes=0-1,x", Whole).await;
        // A condition is decided before.
        let other = format!("\"{}\"", sha256(b"other"));
        blob.check_with("bytes=0-1,3-4", &[("if-range", &other)], Whole).await;
        let range = blob.app.request("HEAD", &blob.path).header("range", "bytes=0-1,3-4");
        let length = size.to_string();
        range.send().await.expect(200).has("content-length", length).says(b"");
    }
}

#[tokio::test]
async fn several_ranges_of_a_blob_of_several_parts() {
    let blob = Pushed::of(17 * MIB + 3).await;
    let size = blob.content.len();
    blob.check_several(&[(0, 16 * MIB), (16 * MIB + 1, size - 1)]).await;
    blob.check_several(&[(16 * MIB - 10, 16 * MIB + 9), (65_535, 65_536), (size - 1, size)]).await;
}

/// One request to the store reads ranges that lie close together.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_close_together_cost_one_read_of_the_store() {
    let memory = Arc::new(Memory::new());
    let app = App::over_memory(memory.clone(), Settings::default()).await;
    let content = bytes(1, 1_000_000);
    let path = format!("/v2/a/blobs/{}", app.push_blob("a", &content).await);
    for (range, gets) in [
        ("bytes=0-9,10-19,30-39", 1),
        ("bytes=0-9,10000-10009,20000-20009", 1),
        ("bytes=0-9,100000-100009,100020-100029,500000-500009", 3),
        // Backwards and overlapping.
        ("bytes=500-599,0-9", 2),
        ("bytes=0-9,5-14", 2),
    ] {
        let before = memory.calls();
        let reply = app.get(&path).header("range", range).send().await.expect(206);
        assert_eq!(memory.calls().since(&before).get, gets, "{range}");
        let ranges = parts(&reply, content.len());
        assert!(ranges.iter().all(|(at, part)| content[*at..].starts_with(part)), "{range}");
    }
}

#[tokio::test]
async fn any_range_of_the_empty_blob_is_416() {
    let blob = Pushed::of(0).await;
    for range in ["bytes=0-", "bytes=0-0", "bytes=0-499", "bytes=-1", "bytes=-0", "bytes=500-0"] {
        blob.check(range, Nothing).await;
    }
    blob.check("bytes=0-0,1-1", Nothing).await;
}

#[tokio::test]
async fn if_range_with_another_digest_returns_the_whole_blob() {
    for size in [1_000, 100_000] {
        let blob = Pushed::of(size).await;
        let same = format!("\"{}\"", blob.digest);
        let other = format!("\"{}\"", sha256(b"other"));
        let date = "Wed, 21 Oct 2015 07:28:00 GMT";
        blob.check_with("bytes=10-19", &[("if-range", &same)], Part(10, 19)).await;
        blob.check_with("bytes=10-19", &[("if-range", &other)], Whole).await;
        blob.check_with("bytes=10-19", &[("if-range", date)], Whole).await;
        // An ignored range cannot be out of bounds.
        blob.check_with("bytes=500000-", &[("if-range", &other)], Whole).await;
        blob.check_with("bytes=500000-", &[("if-range", &same)], Nothing).await;
        let whole = blob.app.get(&blob.path).header("if-range", &same).send().await;
        whole.expect(200).says(&blob.content);
    }
}

#[tokio::test]
async fn preconditions_are_evaluated_before_ranges() {
    let blob = Pushed::of(1_000).await;
    let same = format!("\"{}\"", blob.digest);
    let other = format!("\"{}\"", sha256(b"other"));
    for range in ["bytes=0-9", "bytes=5000-"] {
        let get = || blob.app.get(&blob.path).header("range", range);
        get().header("if-none-match", &same).send().await.expect(304).says(b"");
        get().header("if-match", &other).send().await.expect(412);
    }
    blob.check_with("bytes=0-9", &[("if-match", &same)], Part(0, 9)).await;
    blob.check_with("bytes=0-9", &[("if-none-match", &other)], Part(0, 9)).await;
}

/// RFC 9110 14.2: only GET has ranges.
#[tokio::test]
async fn head_ignores_ranges() {
    let blob = Pushed::of(1_000).await;
    for range in ["bytes=0-9", "bytes=5000-"] {
        let head = blob.app.request("HEAD", &blob.path).header("range", range).send().await;
        head.expect(200).has("content-length", "1000").lacks("content-range").says(b"");
    }
}

#[tokio::test]
async fn a_range_of_a_missing_blob_is_404() {
    let app = App::start().await;
    let repository = app.repository("no-range");
    let path = format!("/v2/{repository}/blobs/{}", sha256(b"never pushed"));
    app.get(&path).header("range", "bytes=0-0").send().await.expect_error(404, "BLOB_UNKNOWN");
}
