//! Hashes content again: what links and manifests hold, and the data that pointers name.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Class, Finding, Sink, Summary, decoded};
use crate::docker_schema1::identity;
use crate::layout::key::{Kind, Prefix};
use crate::layout::records::{self, Link, Pointer};
use crate::oci::{Digest, Hasher};
use crate::store::{self, Location, Record, RecordKey, RecordPages};
use crate::walk::{Error, Rate, Row, Walk};

/// Objects that are hashed at once.
const OBJECTS_AT_ONCE: usize = 8;
/// How often data is read before a scrub says that it is wrong: a transfer may have failed.
const READS_MAX: u32 = 2;
/// What is scrubbed, in the order of the keys.
const KINDS: [Kind; 3] = [Kind::Links, Kind::Manifests, Kind::Pointers];

/// What to scrub, and how fast.
#[derive(Clone, Debug, Default)]
pub struct ScrubSettings {
    /// No faster than this, in bytes a second.
    pub bytes_per_second: Option<u64>,
    /// Only content whose record was written or touched within this time.
    pub since: Option<Duration>,
    /// Continue after this key.
    pub after: Option<RecordKey>,
}

/// A check of the content of the whole bucket.
#[derive(Debug)]
pub struct Scrub {
    walk: Arc<Walk>,
    rate: Rate,
    settings: ScrubSettings,
    /// The last key of which everything before it was checked.
    cursor: Mutex<Option<RecordKey>>,
    bytes: Mutex<u64>,
}

/// How a scrub ended.
#[derive(Clone, Debug, Serialize)]
pub struct Scrubbed {
    #[serde(flatten)]
    pub summary: Summary,
    /// Bytes that were hashed.
    pub bytes: u64,
    /// Where to continue, if it was stopped.
    pub stopped_after: Option<String>,
}

/// What reading some data has shown.
enum Hashed {
    /// The digest, and how many bytes there are.
    As(Digest, u64),
    Absent,
}

/// The check of a record.
enum Checked {
    Done(Option<Finding>),
    Stopped,
}

impl Scrub {
    pub fn new(walk: Arc<Walk>, settings: ScrubSettings) -> Self {
        let rate = Rate::new(settings.bytes_per_second);
        let cursor = Mutex::new(settings.after.clone());
        Self { walk, rate, settings, cursor, bytes: Mutex::default() }
    }

    /// The key after which a scrub that has stopped or failed continues.
    pub fn cursor(&self) -> Option<String> {
        let cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        cursor.as_ref().map(ToString::to_string)
    }

    /// Checks everything after the cursor, until `stop` is cancelled.
    pub async fn run(
        &self,
        stop: &CancellationToken,
        sink: &mut Sink<'_>,
    ) -> Result<Scrubbed, Error> {
        let mut summary = Summary::default();
        let mut whole = true;
        for kind in KINDS {
            let Some(mut pages) = self.pages(kind) else { continue };
            while let Some((rows, now)) = self.rows(&mut pages).await? {
                let young = |row: &Row| {
                    let age = now.duration_since(row.written).unwrap_or_default();
                    self.settings.since.is_none_or(|since| age <= since)
                };
                let check = |row: Row| async move {
                    let checked = tokio::select! {
                        biased;
                        () = stop.cancelled() => Checked::Stopped,
                        finding = Box::pin(self.check(&row.key)) => Checked::Done(finding?),
                    };
                    Ok::<_, Error>((row.key, checked))
                };
                let rows = rows.into_iter().filter(young);
                let mut checks = pin!(stream::iter(rows).map(check).buffered(OBJECTS_AT_ONCE));
                while let Some((key, checked)) = checks.try_next().await? {
                    let Checked::Done(finding) = checked else {
                        whole = false;
                        break;
                    };
                    *summary.checked.entry(name_of(kind)).or_default() += 1;
                    if let Some(finding) = finding {
                        summary.add(&finding);
                        sink(finding);
                    }
                    *self.cursor.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
                }
                if !whole || stop.is_cancelled() {
                    return Ok(self.ended(summary, true));
                }
            }
        }
        Ok(self.ended(summary, false))
    }

    fn ended(&self, summary: Summary, stopped: bool) -> Scrubbed {
        let bytes = *self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = || Prefix::All(Kind::Links).to_string();
        let stopped_after = stopped.then(|| self.cursor().unwrap_or_else(begin));
        Scrubbed { summary, bytes, stopped_after }
    }

    /// The list of a kind after the cursor, `None` if all of it is before the cursor.
    fn pages(&self, kind: Kind) -> Option<RecordPages> {
        let below = Prefix::All(kind);
        let pages = RecordPages::of(below.clone());
        let Some(after) = self.cursor() else { return Some(pages) };
        match after.strip_prefix(&below.to_string()) {
            Some(rest) => Some(pages.after(rest)),
            None => (below.to_string() > after).then_some(pages),
        }
    }

    async fn rows(
        &self,
        pages: &mut RecordPages,
    ) -> Result<Option<(Vec<Row>, std::time::SystemTime)>, store::Error> {
        self.walk.begin("hashing");
        let page = self.walk.records(pages).await?;
        Ok(page.map(|page| (page.rows, page.now)))
    }

    async fn check(&self, key: &RecordKey) -> Result<Option<Finding>, Error> {
        let Some(record) = self.walk.read(key).await?.live() else { return Ok(None) };
        Ok(match key {
            RecordKey::Link(_, digest) => self.check_link(key, &record, digest).await,
            RecordKey::Manifest(_, digest) => self.check_manifest(key, &record, digest).await,
            RecordKey::Pointer(digest) => self.check_pointer(key, &record, digest).await?,
            _ => None,
        })
    }

    /// Checks the content of a small blob. That of others is checked with the pointer.
    async fn check_link(
        &self,
        key: &RecordKey,
        record: &Record,
        digest: &Digest,
    ) -> Option<Finding> {
        match decoded::<Link>(key, record) {
            Err(finding) => Some(finding),
            Ok((link, _)) if link.location.is_some() => None,
            Ok((_, payload)) => self.compare(key, digest, &payload).await,
        }
    }

    async fn check_manifest(
        &self,
        key: &RecordKey,
        record: &Record,
        digest: &Digest,
    ) -> Option<Finding> {
        let (manifest, bytes) = match decoded::<records::Manifest>(key, record) {
            Err(finding) => return Some(finding),
            Ok(decoded) => decoded,
        };
        let Ok(media_type) = manifest.media_type.parse();
        let Some(identity) = identity(&media_type, &bytes) else {
            let what = "the manifest is no document of Docker schema 1";
            return Some(Finding::new(Class::WrongContent, key, what));
        };
        self.compare(key, digest, &identity).await
    }

    async fn compare(&self, key: &RecordKey, digest: &Digest, bytes: &Bytes) -> Option<Finding> {
        self.hashed(bytes.len()).await;
        let actual = Digest::of(digest.algorithm(), bytes);
        (actual != *digest).then(|| wrong(key, "the record", &actual))
    }

    /// Checks the data that a pointer names.
    async fn check_pointer(
        &self,
        key: &RecordKey,
        record: &Record,
        digest: &Digest,
    ) -> Result<Option<Finding>, Error> {
        let pointer = match decoded::<Pointer>(key, record) {
            Err(finding) => return Ok(Some(finding)),
            Ok((pointer, _)) => pointer,
        };
        let Some(location) = pointer.location.filter(|location| location.key().is_ok()) else {
            return Ok(None);
        };
        for read in 1..=READS_MAX {
            let finding = match self.hash(&location, digest).await? {
                Hashed::As(actual, _) if actual == *digest => break,
                Hashed::As(actual, bytes) if bytes == pointer.size => {
                    wrong(key, &location.to_string(), &actual)
                }
                Hashed::As(_, bytes) => {
                    let what = format!("{location} has {bytes} bytes instead of {}", pointer.size);
                    Finding::new(Class::WrongSize, key, what)
                }
                Hashed::Absent => {
                    let what = format!("there is no data object {location}");
                    Finding::new(Class::DanglingPointer, key, what)
                }
            };
            if read == READS_MAX {
                // An upload may have repaired the pointer, and a collector deleted it.
                let now = self.walk.read(key).await?.live();
                let same = now.is_some_and(|now| now.version == record.version);
                return Ok(same.then_some(finding));
            }
        }
        Ok(None)
    }

    async fn hash(&self, location: &Location, digest: &Digest) -> Result<Hashed, Error> {
        let mut data = match self.walk.get(location).await {
            Err(store::Error::NotFound) => return Ok(Hashed::Absent),
            opened => opened?,
        };
        let (mut hasher, mut size) = (Hasher::new(digest.algorithm()), 0);
        while let Some(chunk) = data.try_next().await? {
            self.hashed(chunk.len()).await;
            size += chunk.len() as u64;
            hasher.update(&chunk);
        }
        Ok(Hashed::As(hasher.finish(), size))
    }

    /// Waits until so many more bytes may be hashed.
    async fn hashed(&self, bytes: usize) {
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) += bytes as u64;
        self.rate.take(bytes as u64).await;
    }
}

fn wrong(key: &RecordKey, of: &str, actual: &Digest) -> Finding {
    Finding::new(Class::WrongContent, key, format!("the content of {of} has the digest {actual}"))
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Links => "links",
        Kind::Manifests => "manifests",
        _ => "pointers",
    }
}
