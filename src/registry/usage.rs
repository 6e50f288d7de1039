//! The inventory: what there is in the whole bucket, counted now and then for the metrics.
//!
//! A survey lists the links, the manifests, the tags and the upload sessions, and reads what their
//! rows do not tell: the size of each digest once in the life of a process, because it never
//! changes, and the sessions that have not ended. It reads past the cache, which is for what
//! clients ask. No request waits for it, and what it could not see leaves the numbers as they were.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tracing::Instrument as _;

use super::blobs::Link;
use super::record::{self, Record, Seen};
use super::uploads::Session;
use super::{Error, LIST_ROWS_MAX, Registry};
use crate::oci::{Digest, RepositoryName, UploadId};
use crate::store::{self, Kind, Prefix, RecordKey, RecordStore};
use crate::telemetry::metrics::UsageScan;

/// Namespaces that are shown by their names, those with the most bytes.
pub const NAMESPACES_SHOWN: usize = 20;
/// What the others are shown as together. It cannot be the name of one.
pub const REST: &str = "_rest";
/// Namespaces that are told apart.
const NAMESPACES_MAX: usize = 100_000;
/// Digests whose sizes are remembered: 50 MiB, for those who have so many.
const DIGESTS_MAX: usize = 1_800_000;
/// Sessions that are remembered to have no multipart upload any more.
const ENDED_MAX: usize = 100_000;
/// Entries that are read at once. A session can hold 5 MiB.
const READS_AT_ONCE: usize = 8;
/// The first survey begins within this part of the time between two, so that processes which start
/// together do not survey together.
const START_WITHIN: f64 = 0.1;

/// Surveys a bucket for the metrics.
#[derive(Debug)]
pub struct Inventory {
    registry: Arc<Registry>,
    /// How long nobody has gone on with an upload that is given up.
    abandoned_after: Duration,
    /// By the first eight bytes of the digests: two that agree in those are taken for one.
    digests: HashMap<u64, Weight>,
    /// Sessions that nobody can go on with: what they name has ended.
    ended: HashSet<UploadId>,
    /// The number of the namespace that is being counted. No number is used twice.
    round: u64,
}

/// What is known of a digest.
#[derive(Debug)]
struct Weight {
    bytes: u64,
    /// The round in which it was last counted.
    round: u64,
}

/// What a namespace has.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    tags: u64,
    bytes: u64,
}

type Namespaces = BTreeMap<Box<str>, Totals>;

/// Why a survey has not seen everything.
#[derive(Debug, thiserror::Error)]
enum Unseen {
    #[error(transparent)]
    Registry(#[from] Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("there are more than {0} {1}, and a survey keeps no more in memory")]
    TooMany(usize, &'static str),
}

impl Inventory {
    /// Nothing is known yet.
    pub fn new(registry: Arc<Registry>, abandoned_after: Duration) -> Self {
        let (digests, ended) = (HashMap::new(), HashSet::new());
        Self { registry, abandoned_after, digests, ended, round: 0 }
    }

    /// Surveys again and again, never twice at once, until it is dropped.
    pub async fn repeat(mut self, every: Duration) {
        let part = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
        tokio::time::sleep(every.mul_f64(part * START_WITHIN)).await;
        loop {
            let survey = tracing::info_span!(target: "traces", "inventory.survey");
            self.take().instrument(survey).await;
            tokio::time::sleep(every).await;
        }
    }

    /// Surveys the bucket, and shows what it has found unless something was in the way.
    pub async fn take(&mut self) {
        let found = self.survey().await;
        let metrics = &self.registry.metrics;
        match found {
            Ok((namespaces, orphans)) => {
                let shown = largest(namespaces);
                let shown = |of: fn(&Totals) -> u64| {
                    let value = move |(name, totals): &(Box<str>, Totals)| {
                        (name.clone(), i64::try_from(of(totals)).unwrap_or(i64::MAX))
                    };
                    shown.iter().map(value).collect::<Vec<_>>()
                };
                metrics.namespace_tags.replace(shown(|totals| totals.tags));
                metrics.namespace_bytes.replace(shown(|totals| totals.bytes));
                metrics.orphan_multiparts.set((), orphans);
                metrics.usage_scanned(UsageScan::Done);
            }
            Err(error) => {
                tracing::error!(%error, "the bucket could not be surveyed");
                metrics.usage_scanned(UsageScan::Failed);
            }
        }
    }

    async fn survey(&mut self) -> Result<(Namespaces, i64), Unseen> {
        let before = self.round;
        let counted = self.count_contents().await;
        if matches!(counted, Ok(_) | Err(Unseen::TooMany(..))) {
            // What is not there any more makes room for what is.
            self.digests.retain(|_, weight| weight.round > before);
        }
        Ok((counted?, self.count_orphans().await?))
    }

    async fn count_contents(&mut self) -> Result<Namespaces, Unseen> {
        let mut namespaces = Namespaces::new();
        self.weigh(Kind::Links, &mut namespaces).await?;
        self.weigh(Kind::Manifests, &mut namespaces).await?;
        let mut tags = Walk::over(Kind::Tags);
        while let Some(keys) = tags.next(self.registry.store()).await? {
            for key in keys {
                if let RecordKey::Tag(name, _) = key {
                    totals(&mut namespaces, &name)?.tags += 1;
                }
            }
        }
        Ok(namespaces)
    }

    /// Adds up the sizes of different digests. Those of one namespace are listed in one piece, so
    /// that a number with each digest tells whether it was counted already.
    async fn weigh(&mut self, kind: Kind, namespaces: &mut Namespaces) -> Result<(), Unseen> {
        let mut counting: Option<RepositoryName> = None;
        let mut walk = Walk::over(kind);
        while let Some(keys) = walk.next(self.registry.store()).await? {
            self.learn(&keys).await?;
            for key in keys {
                let (RecordKey::Link(name, digest) | RecordKey::Manifest(name, digest)) = key
                else {
                    continue;
                };
                if counting.as_ref().is_none_or(|last| last.namespace() != name.namespace()) {
                    self.round += 1;
                    counting = Some(name.clone());
                }
                // It is not known if it was deleted after it was listed.
                let Some(weight) = self.digests.get_mut(&short(&digest)) else { continue };
                if weight.round != self.round {
                    weight.round = self.round;
                    totals(namespaces, &name)?.bytes += weight.bytes;
                }
            }
        }
        Ok(())
    }

    /// Reads the sizes that are not known yet.
    async fn learn(&mut self, keys: &[RecordKey]) -> Result<(), Unseen> {
        let mut unknown = HashMap::new();
        for key in keys {
            if let RecordKey::Link(_, digest) | RecordKey::Manifest(_, digest) = key
                && !self.digests.contains_key(&short(digest))
            {
                unknown.entry(short(digest)).or_insert_with(|| key.clone());
            }
        }
        let store = self.registry.store();
        let read = |(short, key): (u64, RecordKey)| async move {
            Ok::<_, Error>((short, bytes_of(store, &key).await?))
        };
        let mut reads = stream::iter(unknown).map(read).buffer_unordered(READS_AT_ONCE);
        while let Some((short, bytes)) = reads.try_next().await? {
            if self.digests.len() >= DIGESTS_MAX {
                return Err(Unseen::TooMany(DIGESTS_MAX, "blobs and manifests"));
            }
            if let Some(bytes) = bytes {
                self.digests.insert(short, Weight { bytes, round: 0 });
            }
        }
        Ok(())
    }

    /// The multipart uploads of sessions that nobody goes on with.
    async fn count_orphans(&mut self) -> Result<i64, Unseen> {
        let (mut orphans, mut ended) = (0, HashSet::new());
        let mut walk = Walk::over(Kind::Uploads);
        while let Some(keys) = walk.next(self.registry.store()).await? {
            let mut ids = Vec::new();
            for key in keys {
                match key {
                    RecordKey::Upload(id) if self.ended.contains(&id) => {
                        ended.insert(id);
                    }
                    RecordKey::Upload(id) => ids.push(id),
                    _ => {}
                }
            }
            let look = |id| {
                let (registry, age) = (&self.registry, self.abandoned_after);
                async move { Ok::<_, Error>((id, standing(registry, id, age).await?)) }
            };
            let mut looks = stream::iter(ids).map(look).buffer_unordered(READS_AT_ONCE);
            while let Some((id, standing)) = looks.try_next().await? {
                match standing {
                    Standing::Orphan => orphans += 1,
                    Standing::Ended if ended.len() < ENDED_MAX => {
                        ended.insert(id);
                    }
                    Standing::Ended | Standing::Other => {}
                }
            }
        }
        self.ended = ended;
        Ok(orphans)
    }
}

/// How it is with an upload session.
enum Standing {
    /// Nobody has gone on with it for long, and the store keeps its parts.
    Orphan,
    /// Nobody has gone on with it for long, and the store has ended its multipart upload.
    Ended,
    /// Somebody goes on with it, it is no more, or it never had parts.
    Other,
}

async fn standing(
    registry: &Registry,
    id: UploadId,
    abandoned_after: Duration,
) -> Result<Standing, Error> {
    let Seen::Alive(entry) = record::look(registry.store(), &RecordKey::Upload(id)).await? else {
        return Ok(Standing::Other);
    };
    let (session, _) = Session::decode(&entry.body)?;
    match session.multipart()? {
        Some((location, multipart)) if entry.age >= abandoned_after => {
            let open = registry.blobs.is_open(&location, &multipart).await?;
            Ok(if open { Standing::Orphan } else { Standing::Ended })
        }
        Some(_) | None => Ok(Standing::Other),
    }
}

/// The bytes that a link or a manifest stands for, `None` if it was deleted meanwhile.
async fn bytes_of(store: &dyn RecordStore, key: &RecordKey) -> Result<Option<u64>, Error> {
    if let RecordKey::Link(..) = key {
        let record: Option<Record<Link>> = record::read(store, key).await?;
        return Ok(record.map(|record| record.header.size));
    }
    let record: Option<Record<serde_json::Map<_, _>>> = record::read(store, key).await?;
    Ok(record.map(|record| record.payload.len() as u64))
}

/// The living entries of a kind in the whole bucket, a page at a time.
struct Walk {
    list: Prefix,
    after: Option<String>,
    more: bool,
}

impl Walk {
    fn over(kind: Kind) -> Self {
        Self { list: Prefix::All(kind), after: None, more: true }
    }

    async fn next(
        &mut self,
        store: &dyn RecordStore,
    ) -> Result<Option<Vec<RecordKey>>, store::Error> {
        if !self.more {
            return Ok(None);
        }
        let listing = store.list(&self.list, self.after.as_deref(), LIST_ROWS_MAX).await?;
        let below = self.list.to_string();
        let last = listing.rows.last().and_then(|row| row.key.strip_prefix(&below));
        self.after = last.map(str::to_owned);
        self.more = listing.more && self.after.is_some();
        let alive = listing.rows.iter().filter(|row| row.size > 0);
        // A key that is none of ours does not hide the others.
        Ok(Some(alive.filter_map(|row| row.key.parse().ok()).collect()))
    }
}

/// The first eight bytes of a digest.
fn short(digest: &Digest) -> u64 {
    let bytes = digest.as_bytes();
    bytes.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
}

/// What is counted of the namespace of a repository.
fn totals<'a>(
    namespaces: &'a mut Namespaces,
    name: &RepositoryName,
) -> Result<&'a mut Totals, Unseen> {
    if !namespaces.contains_key(name.namespace()) {
        if namespaces.len() >= NAMESPACES_MAX {
            return Err(Unseen::TooMany(NAMESPACES_MAX, "namespaces"));
        }
        namespaces.insert(name.namespace().into(), Totals::default());
    }
    Ok(namespaces.get_mut(name.namespace()).expect("it is there"))
}

/// The namespaces with the most bytes, and the others as one.
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
