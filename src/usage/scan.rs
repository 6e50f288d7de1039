//! The usage scan: counts what the whole bucket holds, for the metrics and for quotas.
//!
//! A scan lists the links, the manifests, the tags and the upload sessions. It also reads what the
//! lists do not say: the size of each digest once per process, because it never changes, and the
//! upload sessions that have not ended. It bypasses the read cache, which is for requests of
//! clients. No request waits for a scan. A scan that fails leaves the metrics as they were.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Map, Value};
use tracing::Instrument as _;

use crate::entropy;
use crate::layout::encoding::decode;
use crate::layout::records::{Link, Session};
use crate::oci::{Digest, RepositoryName, UploadId};
use crate::store::{self, Kind, MultipartId, ObjectStore, Prefix, RecordKey, RecordPages};
use crate::telemetry::metrics::{self, Metrics};
use crate::walk::Walk;

/// Namespaces with metrics of their own: those with the most bytes.
pub const NAMESPACES_SHOWN: usize = 20;
/// The namespace under which the metrics add up all others. No repository can have this name.
pub const REST: &str = "_rest";
/// Namespaces that a scan counts.
const NAMESPACES_MAX: usize = 100_000;
/// Digests whose sizes the process remembers: 50 MiB, in a bucket with so many digests.
const DIGESTS_MAX: usize = 1_800_000;
/// Sessions that the process remembers to have no multipart upload any more.
const ENDED_MAX: usize = 100_000;
/// Records that are read at once. A session can hold 64 MiB.
const READS_AT_ONCE: usize = 8;
/// The first scan begins within this part of the interval, so that processes which start together
/// do not scan together.
const START_WITHIN: f64 = 0.1;

/// Scans a bucket for the metrics, or for quotas.
#[derive(Debug)]
pub struct UsageScan {
    walk: Walk,
    metrics: Metrics,
    /// The age from which an upload session counts as abandoned.
    abandoned_after: Duration,
    /// By the first eight bytes of each digest: two digests that share them count as one.
    sizes: HashMap<u64, Size>,
    /// Abandoned sessions whose multipart upload the store has ended.
    ended: HashSet<UploadId>,
    /// The number of the namespace that is being counted. No number is used twice.
    namespace: u64,
}

/// The size of the content of a digest.
#[derive(Debug)]
struct Size {
    bytes: u64,
    /// The number of the namespace in which the digest was last counted.
    counted_in: u64,
}

/// What a namespace has.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    tags: u64,
    bytes: u64,
}

type Namespaces = BTreeMap<Box<str>, Totals>;

/// Why a scan is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("there are more than {0} {1}, and a usage scan keeps no more in memory")]
    TooMany(usize, &'static str),
}

impl UsageScan {
    pub fn new(store: Arc<dyn ObjectStore>, metrics: Metrics, abandoned_after: Duration) -> Self {
        let (sizes, ended) = (HashMap::new(), HashSet::new());
        let walk = Walk::new(store, None);
        Self { walk, metrics, abandoned_after, sizes, ended, namespace: 0 }
    }

    /// Scans at this interval until the future is dropped. Scans never overlap.
    pub async fn repeat(mut self, interval: Duration) {
        tokio::time::sleep(interval.mul_f64(entropy::fraction() * START_WITHIN)).await;
        loop {
            let span = tracing::info_span!(target: "traces", "usage.scan");
            self.run().instrument(span).await;
            tokio::time::sleep(interval).await;
        }
    }

    /// Scans the bucket, and sets the metrics if the scan is complete.
    pub async fn run(&mut self) {
        let scanned = self.scan().await;
        let metrics = &self.metrics;
        match scanned {
            Ok((namespaces, orphans)) => {
                let largest = largest(namespaces);
                let values = |of: fn(&Totals) -> u64| {
                    let value = move |(name, totals): &(Box<str>, Totals)| {
                        (name.clone(), i64::try_from(of(totals)).unwrap_or(i64::MAX))
                    };
                    largest.iter().map(value).collect::<Vec<_>>()
                };
                metrics.namespace_tags.replace(values(|totals| totals.tags));
                metrics.namespace_bytes.replace(values(|totals| totals.bytes));
                metrics.orphan_multiparts.set((), orphans);
                metrics.usage_scanned(metrics::UsageScan::Done);
            }
            Err(error) => {
                tracing::error!(%error, "usage scan failed");
                metrics.usage_scanned(metrics::UsageScan::Failed);
            }
        }
    }

    /// The bytes of each namespace: those of its distinct blobs and manifests.
    pub async fn namespace_bytes(&mut self) -> Result<Vec<(Box<str>, u64)>, ScanError> {
        let counted = self.count_contents().await?;
        Ok(counted.into_iter().map(|(name, totals)| (name, totals.bytes)).collect())
    }

    async fn scan(&mut self) -> Result<(Namespaces, i64), ScanError> {
        let mut namespaces = self.count_contents().await?;
        self.count_tags(&mut namespaces).await?;
        Ok((namespaces, self.count_orphans().await?))
    }

    async fn count_contents(&mut self) -> Result<Namespaces, ScanError> {
        let (before, mut namespaces) = (self.namespace, Namespaces::new());
        let mut counted = self.count_bytes(Kind::Links, &mut namespaces).await;
        if counted.is_ok() {
            counted = self.count_bytes(Kind::Manifests, &mut namespaces).await;
        }
        if matches!(counted, Ok(()) | Err(ScanError::TooMany(..))) {
            // Forgets the digests that the bucket does not hold any more.
            self.sizes.retain(|_, size| size.counted_in > before);
        }
        counted.map(|()| namespaces)
    }

    async fn count_tags(&mut self, namespaces: &mut Namespaces) -> Result<(), ScanError> {
        let mut tags = RecordPages::of(Prefix::All(Kind::Tags));
        while let Some(keys) = next_keys(&self.walk, &mut tags).await? {
            for key in keys {
                if let RecordKey::Tag(name, _) = key {
                    totals(namespaces, &name)?.tags += 1;
                }
            }
        }
        Ok(())
    }

    /// Adds up the sizes of different digests. The keys of a namespace are adjacent in the list, so
    /// the number of the namespace in each size tells whether the digest was counted before.
    async fn count_bytes(
        &mut self,
        kind: Kind,
        namespaces: &mut Namespaces,
    ) -> Result<(), ScanError> {
        let mut current: Option<RepositoryName> = None;
        let mut records = RecordPages::of(Prefix::All(kind));
        while let Some(keys) = next_keys(&self.walk, &mut records).await? {
            self.read_sizes(&keys).await?;
            for key in keys {
                let (RecordKey::Link(name, digest) | RecordKey::Manifest(name, digest)) = key
                else {
                    continue;
                };
                if current.as_ref().is_none_or(|last| last.namespace() != name.namespace()) {
                    self.namespace += 1;
                    current = Some(name.clone());
                }
                // There is no size if the record was deleted after it was listed.
                let Some(size) = self.sizes.get_mut(&prefix(&digest)) else { continue };
                if size.counted_in != self.namespace {
                    size.counted_in = self.namespace;
                    totals(namespaces, &name)?.bytes += size.bytes;
                }
            }
        }
        Ok(())
    }

    /// Reads the sizes that are not known yet.
    async fn read_sizes(&mut self, keys: &[RecordKey]) -> Result<(), ScanError> {
        // In the order of the digests, so that a simulation repeats from its seed.
        let mut unknown = BTreeMap::new();
        for key in keys {
            if let RecordKey::Link(_, digest) | RecordKey::Manifest(_, digest) = key
                && !self.sizes.contains_key(&prefix(digest))
            {
                unknown.entry(prefix(digest)).or_insert_with(|| key.clone());
            }
        }
        let walk = &self.walk;
        let read = |(prefix, key): (u64, RecordKey)| async move {
            Ok::<_, store::Error>((prefix, content_bytes(walk, &key).await?))
        };
        let mut reads = stream::iter(unknown).map(read).buffer_unordered(READS_AT_ONCE);
        while let Some((prefix, bytes)) = reads.try_next().await? {
            if self.sizes.len() >= DIGESTS_MAX {
                return Err(ScanError::TooMany(DIGESTS_MAX, "blobs and manifests"));
            }
            if let Some(bytes) = bytes {
                self.sizes.insert(prefix, Size { bytes, counted_in: 0 });
            }
        }
        Ok(())
    }

    /// Counts the multipart uploads of abandoned sessions.
    async fn count_orphans(&mut self) -> Result<i64, ScanError> {
        let (mut orphans, mut ended) = (0, HashSet::new());
        let mut sessions = RecordPages::of(Prefix::All(Kind::Uploads));
        while let Some(keys) = next_keys(&self.walk, &mut sessions).await? {
            let mut ids = Vec::new();
            for key in keys {
                let RecordKey::Upload(id) = key else { continue };
                if self.ended.contains(&id) {
                    ended.insert(id);
                } else {
                    ids.push(id);
                }
            }
            let read = |id| {
                let (walk, age) = (&self.walk, self.abandoned_after);
                async move { Ok::<_, store::Error>((id, session_state(walk, id, age).await?)) }
            };
            let mut reads = stream::iter(ids).map(read).buffer_unordered(READS_AT_ONCE);
            while let Some((id, state)) = reads.try_next().await? {
                match state {
                    SessionState::Orphan => orphans += 1,
                    SessionState::Ended if ended.len() < ENDED_MAX => {
                        ended.insert(id);
                    }
                    SessionState::Ended | SessionState::Other => {}
                }
            }
        }
        self.ended = ended;
        Ok(orphans)
    }
}

/// What a scan finds out about an upload session.
enum SessionState {
    /// Abandoned, and the store keeps its parts.
    Orphan,
    /// Abandoned, and the store has ended its multipart upload.
    Ended,
    /// In use, deleted, or without a multipart upload.
    Other,
}

async fn session_state(
    walk: &Walk,
    id: UploadId,
    abandoned_after: Duration,
) -> Result<SessionState, store::Error> {
    let Some(record) = walk.read(&RecordKey::Upload(id)).await?.live() else {
        return Ok(SessionState::Other);
    };
    let (session, _) = Session::decode(&record.body)?;
    match session.multipart {
        Some(upload) if record.age >= abandoned_after => {
            let open = walk.is_open(&upload.location, &MultipartId(upload.id)).await?;
            Ok(if open { SessionState::Orphan } else { SessionState::Ended })
        }
        Some(_) | None => Ok(SessionState::Other),
    }
}

/// The bytes of the blob or manifest of a record, `None` if it was deleted meanwhile.
async fn content_bytes(walk: &Walk, key: &RecordKey) -> Result<Option<u64>, store::Error> {
    let Some(record) = walk.read(key).await?.live() else { return Ok(None) };
    if let RecordKey::Link(..) = key {
        return Ok(Some(decode::<Link>(&record.body)?.0.size));
    }
    let (_, manifest) = decode::<Map<String, Value>>(&record.body)?;
    Ok(Some(manifest.len() as u64))
}

/// The keys of the live records on the next page, `None` after the last one.
async fn next_keys(
    walk: &Walk,
    pages: &mut RecordPages,
) -> Result<Option<Vec<RecordKey>>, store::Error> {
    let page = walk.records(pages).await?;
    Ok(page.map(|page| page.rows.into_iter().map(|row| row.key).collect()))
}

/// The first eight bytes of a digest.
fn prefix(digest: &Digest) -> u64 {
    let bytes = digest.as_bytes();
    bytes.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
}

/// The totals of the namespace of a repository.
fn totals<'a>(
    namespaces: &'a mut Namespaces,
    name: &RepositoryName,
) -> Result<&'a mut Totals, ScanError> {
    if !namespaces.contains_key(name.namespace()) {
        if namespaces.len() >= NAMESPACES_MAX {
            return Err(ScanError::TooMany(NAMESPACES_MAX, "namespaces"));
        }
        namespaces.insert(name.namespace().into(), Totals::default());
    }
    Ok(namespaces.get_mut(name.namespace()).expect("it was inserted above"))
}

/// The namespaces with the most bytes, and the sum of all others as one more.
fn largest(namespaces: Namespaces) -> Vec<(Box<str>, Totals)> {
    let mut all: Vec<(Box<str>, Totals)> = namespaces.into_iter().collect();
    all.sort_by(|(name, one), (other_name, other)| {
        other.bytes.cmp(&one.bytes).then_with(|| name.cmp(other_name))
    });
    if all.len() > NAMESPACES_SHOWN {
        let mut rest = Totals::default();
        for (_, totals) in all.drain(NAMESPACES_SHOWN..) {
            rest.tags += totals.tags;
            rest.bytes += totals.bytes;
        }
        all.push((REST.into(), rest));
    }
    all
}
