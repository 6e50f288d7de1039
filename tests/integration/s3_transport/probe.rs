//! The start-up probe over servers that lack something, or spell it differently.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use longshore::oci::UploadId;
use longshore::store::s3::S3;
use longshore::store::{
    Error, ObjectStore, ProbeLimits, ProbeReport, RecordKey, RecordStore, Removal, Version, probe,
};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use super::{Fake, date, error, now, request, send};

const LIMITS: ProbeLimits =
    ProbeLimits { clock_skew: Duration::from_mins(5), write_deadline: Duration::from_mins(5) };
/// Writers that the probe has at once.
const RACERS: usize = 16;

/// How a server differs from S3.
#[derive(Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent quirks")]
struct Quirks {
    /// By how much its clock is ahead of ours, and behind.
    ahead: Duration,
    behind: Duration,
    /// It never matches an `ETag` in quotes.
    bare_etags: bool,
    /// It decides whether a key is absent before it waits for the other writers.
    races: bool,
    /// It deletes whatever the condition says.
    blind_delete: bool,
    /// It accepts presigned requests for ever.
    no_expiry: bool,
}

/// The objects of a server: for each path the number of its last write.
#[derive(Default)]
struct Bucket {
    quirks: Quirks,
    objects: Mutex<HashMap<String, u64>>,
    writes: AtomicUsize,
    requests: AtomicUsize,
    /// Lets creations pass only when so many are waiting, each on its own connection.
    together: Option<Barrier>,
}

impl Bucket {
    fn new(quirks: Quirks) -> Arc<Self> {
        Arc::new(Self { quirks, together: Some(Barrier::new(RACERS)), ..Self::default() })
    }

    async fn serve(self: Arc<Self>) -> Fake {
        Fake::start(move |_, mut socket| {
            let bucket = Arc::clone(&self);
            async move {
                while let Some(head) = request(&mut socket).await {
                    bucket.requests.fetch_add(1, Ordering::SeqCst);
                    let (status, headers, body) = bucket.answer(&head).await;
                    bucket.send(&mut socket, status, &headers, &body).await;
                }
            }
        })
        .await
    }

    fn now(&self) -> SystemTime {
        now() + self.quirks.ahead - self.quirks.behind
    }

    async fn send(&self, socket: &mut TcpStream, status: &str, headers: &str, body: &str) {
        let (date, length) = (date(self.now()), body.len());
        // 204 has no length.
        let length = if status.starts_with("204") {
            String::new()
        } else {
            format!("Content-Length: {length}\r\n")
        };
        send(socket, &format!("HTTP/1.1 {status}\r\nDate: {date}\r\n{length}{headers}\r\n{body}"))
            .await;
    }

    async fn answer(&self, head: &str) -> (&'static str, String, String) {
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let header = |name: &str| {
            let line = |line: &str| {
                let (key, value) = line.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then(|| value.to_owned())
            };
            head.lines().find_map(line)
        };
        let refused = |status, code| (status, String::new(), error(code));
        let unmet = || refused("412 Precondition Failed", "PreconditionFailed");
        match head.split(' ').next().unwrap_or_default() {
            "GET" if query.contains("list-type=2") => {
                let list = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
                ("200 OK", String::new(), list.to_owned())
            }
            "GET" => match self.tag(path) {
                None => refused("404 Not Found", "NoSuchKey"),
                Some(tag) => {
                    let written = date(self.now());
                    let headers = format!("ETag: \"{tag}\"\r\nLast-Modified: {written}\r\n");
                    ("200 OK", headers, "x".to_owned())
                }
            },
            "PUT" if self.is_late(query) => refused("403 Forbidden", "ExpiredRequest"),
            "PUT" if header("x-amz-checksum-sha256").is_some() => {
                refused("400 Bad Request", "BadDigest")
            }
            "PUT" => match (header("if-none-match"), header("if-match")) {
                (Some(_), _) => {
                    let absent_before = self.tag(path).is_none();
                    if let Some(together) = &self.together {
                        together.wait().await;
                    }
                    let decided_early = self.quirks.races && absent_before;
                    self.write(path, |found| found.is_none() || decided_early)
                        .map_or_else(unmet, written)
                }
                (None, Some(expected)) => {
                    let matches = |found: Option<u64>| self.matches(found, &expected);
                    self.write(path, matches).map_or_else(unmet, written)
                }
                (None, None) => refused("501 Not Implemented", "NotImplemented"),
            },
            "DELETE" => {
                let mut objects = self.objects.lock().expect("no panic");
                let expected = header("if-match").unwrap_or_default();
                let found = objects.get(path).copied();
                if !self.quirks.blind_delete && !self.matches(found, &expected) {
                    return unmet();
                }
                objects.remove(path);
                ("204 No Content", String::new(), String::new())
            }
            _ => refused("501 Not Implemented", "NotImplemented"),
        }
    }

    fn tag(&self, path: &str) -> Option<u64> {
        self.objects.lock().expect("no panic").get(path).copied()
    }

    /// Writes if the last write allows it, and returns the number of the new one.
    fn write(&self, path: &str, allows: impl Fn(Option<u64>) -> bool) -> Option<u64> {
        let mut objects = self.objects.lock().expect("no panic");
        allows(objects.get(path).copied()).then(|| {
            let number = self.writes.fetch_add(1, Ordering::SeqCst) as u64;
            objects.insert(path.to_owned(), number);
            number
        })
    }

    fn matches(&self, found: Option<u64>, expected: &str) -> bool {
        found.is_some_and(|tag| {
            let tag = if self.quirks.bare_etags { tag.to_string() } else { format!("\"{tag}\"") };
            tag == expected
        })
    }

    fn is_late(&self, query: &str) -> bool {
        let value = |name: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(name));
            pair.and_then(|pair| pair.strip_prefix('=')).map(str::to_owned)
        };
        let (Some(dated), Some(valid)) = (value("X-Amz-Date"), value("X-Amz-Expires")) else {
            return false;
        };
        let format =
            time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
        let dated = time::PrimitiveDateTime::parse(&dated, &format).expect("a date").assume_utc();
        let valid = Duration::from_secs(valid.parse().expect("seconds"));
        !self.quirks.no_expiry && self.now() > SystemTime::from(dated) + valid
    }
}

fn written(number: u64) -> (&'static str, String, String) {
    ("200 OK", format!("ETag: \"{number}\"\r\n"), String::new())
}

async fn probed(quirks: Quirks) -> (Result<ProbeReport, Error>, S3, Arc<Bucket>) {
    let bucket = Bucket::new(quirks);
    let store = Arc::clone(&bucket).serve().await.store().await;
    (probe(&store, LIMITS).await, store, bucket)
}

/// The writers arrive together, or not at all: the server answers none before all have come.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_everything_passes() {
    let (report, store, bucket) = probed(Quirks::default()).await;
    let report = report.expect("a store that works");
    assert!(!report.degraded() && report.capabilities.conditional_delete, "{report}");
    assert_eq!(bucket.requests.load(Ordering::SeqCst), 41);
    let key = RecordKey::Probe(UploadId::random());
    let removed = store.remove(&key, &Version("\"9\"".to_owned())).await.expect("an answer");
    assert_eq!(removed, Removal::Conflict, "it asks the store now");
    assert_eq!(bucket.requests.load(Ordering::SeqCst), 42);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_deletes_whatever_the_condition_says_is_never_asked_again() {
    let (report, store, bucket) = probed(Quirks { blind_delete: true, ..Quirks::default() }).await;
    let report = report.expect("it can be used");
    assert!(!report.degraded() && !report.capabilities.conditional_delete, "{report}");
    assert!(report.to_string().ends_with(", conditional delete missing"), "{report}");
    let before = bucket.requests.load(Ordering::SeqCst);
    let key = RecordKey::Probe(UploadId::random());
    let removed = store.remove(&key, &Version("\"9\"".to_owned())).await.expect("an answer");
    assert_eq!(removed, Removal::Unsupported);
    assert_eq!(bucket.requests.load(Ordering::SeqCst), before, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_before_the_probe() {
    let bucket = Bucket::new(Quirks::default());
    let store = Arc::clone(&bucket).serve().await.store().await;
    let key = RecordKey::Probe(UploadId::random());
    let removed = store.remove(&key, &Version("\"9\"".to_owned())).await.expect("an answer");
    assert_eq!(removed, Removal::Unsupported);
    assert_eq!(bucket.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn etags_are_sent_bare_where_quoted_ones_never_match() {
    let (report, store, bucket) = probed(Quirks { bare_etags: true, ..Quirks::default() }).await;
    let report = report.expect("a store that works");
    assert!(!report.degraded() && report.capabilities.conditional_delete, "{report}");
    assert_eq!(bucket.requests.load(Ordering::SeqCst), 41 + RACERS);
    // A version is spelled the same everywhere, however it is sent.
    let number = bucket.write("/bucket/v1/u/x", |_| true).expect("written");
    let key = RecordKey::Upload(UploadId::random());
    bucket.objects.lock().expect("no panic").insert(format!("/bucket/{key}"), number);
    let version = store.read(&key).await.expect("read").version;
    assert_eq!(version, Version(format!("\"{number}\"")));
    store.replace(&key, &version, "next".into(), None).await.expect("replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_decides_before_it_writes_loses_races() {
    let (report, _, _) = probed(Quirks { races: true, ..Quirks::default() }).await;
    let report = report.expect("an answer");
    let refused = report.refused().expect("several writers would lose tags");
    assert!(!report.capabilities.create && refused.contains("single-writer mode"), "{report}");
    let (report, _, _) = probed(Quirks { no_expiry: true, ..Quirks::default() }).await;
    let report = report.expect("an answer");
    let refused = report.refused().expect("late writes would undo others");
    assert!(!report.capabilities.deadline && refused.contains("late"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_stops_the_start() {
    let minutes = Duration::from_mins;
    for (quirks, side) in [
        (Quirks { ahead: minutes(7), ..Quirks::default() }, "behind"),
        (Quirks { behind: minutes(7), ..Quirks::default() }, "ahead of"),
    ] {
        let (report, store, _) = probed(quirks).await;
        let Err(Error::Refused(text)) = report else { panic!("{report:?}") };
        assert!(text.starts_with(&store.describe()), "{text}");
        assert!(
            text.contains("the clock of this machine is 41") || text.contains("is 7m"),
            "{text}"
        );
        assert!(text.contains(side) && text.contains("collection.clock_skew allows 5m"), "{text}");
    }
    for quirks in [
        Quirks { ahead: minutes(4), ..Quirks::default() },
        Quirks { behind: minutes(4), ..Quirks::default() },
    ] {
        let report = probed(quirks).await.0.expect("clocks that differ by less");
        assert!(!report.degraded(), "{report}");
    }
    // The clocks may differ by more than a write may take.
    let bucket = Bucket::new(Quirks { ahead: minutes(4), ..Quirks::default() });
    let store = bucket.serve().await.store().await;
    let short = ProbeLimits { write_deadline: minutes(1), ..LIMITS };
    let refused = probe(&store, short).await.expect_err("every push would be refused").to_string();
    assert!(refused.contains("raise collection.write_deadline"), "{refused}");
}
