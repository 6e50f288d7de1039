//! Explains every byte of the bucket: to which class each object belongs.
//!
//! First it reads what names data objects, in the order in which names move: upload sessions,
//! pointers, links. Then it lists the whole bucket, and every object that the list shows belongs to
//! exactly one class, so the classes add up to the bucket.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{TryStreamExt as _, stream};
use serde::Serialize;

use crate::layout::encoding::{decode, is_tombstone};
use crate::layout::records::{Link, Manifest, Pointer, Session};
use crate::oci::{Digest, RepositoryName};
use crate::store::{
    Kind, Listed, Location, MultipartId, ObjectPages, Prefix, RecordKey, RecordPages,
};
use crate::walk::{Error, RepositoryLists, RepositoryRows, Walk};

/// Data objects whose names are remembered, with 16 bytes each: 20 million take about 800 MB.
pub const OBJECTS_MAX: usize = 20_000_000;
/// Repositories that are told apart.
pub const REPOSITORIES_MAX: usize = 1_000_000;
/// Repositories that are read at once.
const REPOSITORIES_AT_ONCE: usize = 8;
/// Multipart uploads in progress that are counted.
const MULTIPARTS_MAX: usize = 1_000_000;

/// By what the bytes are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    Bucket,
    Namespace,
    Repository,
}

/// The class of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Data that a manifest of one repository names.
    Live,
    /// The same, and several repositories have the blob.
    Shared,
    /// Data that no manifest names, and that is younger than the grace.
    Grace,
    /// Data that has a name, but no manifest names it: garbage collection takes it.
    Unreferenced,
    /// Data of an upload that has not ended.
    Uploads,
    /// Data that garbage collection will delete.
    Quarantine,
    /// Data that nothing names.
    Unnamed,
    /// Links, with the small blobs in them.
    Links,
    Manifests,
    Tags,
    TagIndexes,
    Referrers,
    Repositories,
    Pointers,
    /// Upload sessions, with the bytes that are in no part yet.
    Sessions,
    TagHistory,
    Events,
    /// Settings, leases, and the state of the collector.
    OtherRecords,
    /// What deleted records leave.
    Tombstones,
    /// Objects that Longshore has not written.
    Foreign,
}

/// Some objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    pub objects: u64,
    pub bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// All bytes of a bucket.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Explained {
    /// All objects, by class.
    pub classes: BTreeMap<Class, Sum>,
    /// The same for each group. What belongs to several is under `several`, what belongs to none
    /// under the empty name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, BTreeMap<Class, Sum>>,
    /// All objects of the bucket.
    pub total: Sum,
    /// Multipart uploads in progress, which are no objects yet: those of upload sessions, with the
    /// parts that were acknowledged.
    pub multiparts: Sum,
    /// Those that no session names, as far as the store lists them. Their bytes are not known.
    pub unknown_multiparts: u64,
}

/// What belongs to several groups.
pub const SEVERAL: &str = "_several";

/// What is known of a data object: flags, and the number of a repository.
#[derive(Clone, Copy, Debug, Default)]
struct Fact(u64);

impl Fact {
    const LIVE: u64 = 1;
    const YOUNG: u64 = 2;
    const NAMED: u64 = 4;
    const UPLOAD: u64 = 8;
    const QUARANTINE: u64 = 16;
    const SHARED: u64 = 32;
    /// Shared by several groups.
    const SEVERAL: u64 = 64;
    const FLAGS: u32 = 8;

    fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    /// The repository that has it, if one has.
    fn repository(self) -> Option<usize> {
        usize::try_from(self.0 >> Self::FLAGS).ok()?.checked_sub(1)
    }

    fn of_repository(number: usize) -> u64 {
        (number as u64 + 1) << Self::FLAGS
    }

    fn class(self, young: bool) -> Class {
        if self.has(Self::LIVE) {
            if self.has(Self::SHARED) { Class::Shared } else { Class::Live }
        } else if self.has(Self::UPLOAD) {
            Class::Uploads
        } else if self.has(Self::NAMED) {
            if young || self.has(Self::YOUNG) { Class::Grace } else { Class::Unreferenced }
        } else if self.has(Self::QUARANTINE) {
            Class::Quarantine
        } else if young {
            Class::Grace
        } else {
            Class::Unnamed
        }
    }
}

/// Explains a bucket.
#[derive(Debug)]
pub struct Explanation {
    walk: Arc<Walk>,
    grace: Duration,
    grouping: Grouping,
    hashes: RandomState,
    facts: HashMap<u64, Fact>,
    repositories: Vec<RepositoryName>,
    /// Multipart uploads of sessions by the location that they will have, and their bytes.
    uploads: HashMap<u64, u64>,
    explained: Explained,
}

impl Explanation {
    pub fn new(walk: Arc<Walk>, grace: Duration, grouping: Grouping) -> Self {
        Self {
            walk,
            grace,
            grouping,
            hashes: RandomState::new(),
            facts: HashMap::new(),
            repositories: Vec::new(),
            uploads: HashMap::new(),
            explained: Explained::default(),
        }
    }

    /// Reads the bucket.
    pub async fn run(mut self) -> Result<Explained, Error> {
        self.read_sessions().await?;
        self.read_pointers().await?;
        self.read_repositories().await?;
        // A collector writes the row before it deletes the pointer.
        self.read_quarantine().await?;
        self.list_objects().await?;
        self.count_multiparts().await?;
        Ok(self.explained)
    }

    fn hash(&self, value: impl Hash) -> u64 {
        self.hashes.hash_one(value)
    }

    fn note(&mut self, location: u64, flags: u64) -> Result<(), Error> {
        if self.facts.len() >= OBJECTS_MAX {
            return Err(Error::TooMany(OBJECTS_MAX, "data objects"));
        }
        self.facts.entry(location).or_default().0 |= flags;
        Ok(())
    }

    fn is_young(&self, now: SystemTime, written: SystemTime) -> bool {
        now.duration_since(written).is_ok_and(|age| age < self.grace)
    }

    async fn read_sessions(&mut self) -> Result<(), Error> {
        self.walk.begin("upload sessions");
        let (walk, mut pages) = (self.walk.clone(), RecordPages::of(Prefix::All(Kind::Uploads)));
        while let Some(page) = walk.records(&mut pages).await? {
            for row in page.rows {
                // One at a time: a session can hold 64 MiB.
                let Some(record) = walk.read(&row.key).await?.live() else { continue };
                let Ok((session, _)) = Session::decode(&record.body) else { continue };
                for location in [session.single_object, session.former_object].iter().flatten() {
                    self.note(self.hash(location), Fact::UPLOAD)?;
                }
                if let Some(upload) = session.multipart {
                    let location = self.hash(&upload.location);
                    self.note(location, Fact::UPLOAD)?;
                    if walk.is_open(&upload.location, &MultipartId(upload.id)).await? {
                        let bytes = session.parts.iter().map(|part| part.size).sum();
                        self.uploads.insert(location, bytes);
                    }
                }
            }
        }
        Ok(())
    }

    async fn read_quarantine(&mut self) -> Result<(), Error> {
        self.walk.begin("quarantine");
        let (walk, mut pages) = (self.walk.clone(), RecordPages::of(Prefix::Quarantined));
        while let Some(page) = walk.records(&mut pages).await? {
            for row in page.rows {
                if let RecordKey::Quarantined(day, id) = &row.key {
                    let location = Location::of_parts(day, *id);
                    self.note(self.hash(&location), Fact::QUARANTINE)?;
                }
            }
        }
        Ok(())
    }

    async fn read_pointers(&mut self) -> Result<(), Error> {
        self.walk.begin("pointers");
        let (walk, mut pages) = (self.walk.clone(), RecordPages::of(Prefix::All(Kind::Pointers)));
        while let Some(page) = walk.records(&mut pages).await? {
            let now = page.now;
            let mut reads = pin!(walk.read_all(page.rows));
            while let Some((row, record)) = reads.try_next().await? {
                let Ok((pointer, _)) = decode::<Pointer>(&record.body) else { continue };
                let Some(location) = pointer.location else { continue };
                let young = if self.is_young(now, row.written) { Fact::YOUNG } else { 0 };
                self.note(self.hash(&location), Fact::NAMED | young)?;
            }
        }
        Ok(())
    }

    async fn read_repositories(&mut self) -> Result<(), Error> {
        let (walk, hashes, grace) = (self.walk.clone(), self.hashes.clone(), self.grace);
        let lists = RepositoryLists::of(&[Kind::Links, Kind::Manifests]);
        let rows = stream::try_unfold(lists, |mut lists| async {
            let next = lists.next(&walk).await?;
            Ok::<_, Error>(next.map(|rows| (rows, lists)))
        });
        let read = rows.map_ok(|rows| Box::pin(read_repository(&walk, &hashes, grace, rows)));
        let mut read = pin!(read.try_buffered(REPOSITORIES_AT_ONCE));
        while let Some((name, named)) = read.try_next().await? {
            if self.repositories.len() >= REPOSITORIES_MAX {
                return Err(Error::TooMany(REPOSITORIES_MAX, "repositories"));
            }
            let number = self.repositories.len();
            self.repositories.push(name);
            for (location, flags) in named {
                self.note(location, flags)?;
                self.note_repository(location, number);
            }
        }
        Ok(())
    }

    /// Notes that a repository has a data object.
    fn note_repository(&mut self, location: u64, number: usize) {
        let Some(fact) = self.facts.get_mut(&location) else { return };
        match fact.repository() {
            None => fact.0 |= Fact::of_repository(number),
            Some(other) if other != number => {
                fact.0 |= Fact::SHARED;
                let both = [other, number].map(|one| self.repositories.get(one));
                let groups = both.map(|name| name.map(|name| group(self.grouping, name)));
                if groups[0] != groups[1] {
                    fact.0 |= Fact::SEVERAL;
                }
            }
            Some(_) => {}
        }
    }

    async fn list_objects(&mut self) -> Result<(), Error> {
        self.walk.begin("all objects");
        let (walk, mut pages) = (self.walk.clone(), ObjectPages::all());
        while let Some(page) = walk.objects(&mut pages).await? {
            for row in page.rows {
                self.classify(&row, page.now);
            }
        }
        Ok(())
    }

    fn classify(&mut self, row: &Listed, now: SystemTime) {
        let (class, group) = if let Ok(location) = row.key.parse::<Location>() {
            let location = self.hash(&location);
            // What is listed is no upload in progress any more.
            self.uploads.remove(&location);
            let fact = self.facts.get(&location).copied().unwrap_or_default();
            let name = fact.repository().and_then(|number| self.repositories.get(number));
            let of = name.map_or_else(String::new, |name| group(self.grouping, name));
            let of = if fact.has(Fact::SEVERAL) { SEVERAL.to_owned() } else { of };
            (fact.class(self.is_young(now, row.written)), of)
        } else if let Ok(key) = row.key.parse::<RecordKey>() {
            let of = key.repository().map_or_else(String::new, |name| group(self.grouping, name));
            (if is_tombstone(row.size) { Class::Tombstones } else { class_of(&key) }, of)
        } else {
            (Class::Foreign, String::new())
        };
        let Explained { classes, groups, total, .. } = &mut self.explained;
        total.add(row.size);
        classes.entry(class).or_default().add(row.size);
        if self.grouping != Grouping::Bucket {
            groups.entry(group).or_default().entry(class).or_default().add(row.size);
        }
    }

    async fn count_multiparts(&mut self) -> Result<(), Error> {
        let open = self.walk.multiparts(MULTIPARTS_MAX).await?;
        let unknown = |location| !self.uploads.contains_key(&self.hash(location));
        let unknown = open.iter().filter(|upload| unknown(&upload.location)).count();
        self.explained.unknown_multiparts = unknown as u64;
        for bytes in self.uploads.values() {
            self.explained.multiparts.add(*bytes);
        }
        Ok(())
    }
}

/// The name of the group of a repository.
fn group(grouping: Grouping, name: &RepositoryName) -> String {
    match grouping {
        Grouping::Bucket => String::new(),
        Grouping::Namespace => name.namespace().to_owned(),
        Grouping::Repository => name.to_string(),
    }
}

/// Reads where the blobs of a repository are, and whether its manifests name them.
async fn read_repository(
    walk: &Walk,
    hashes: &RandomState,
    grace: Duration,
    rows: RepositoryRows,
) -> Result<(RepositoryName, Vec<(u64, u64)>), Error> {
    walk.begin(format!("repository {}", rows.name));
    let mut referenced = HashSet::new();
    let mut reads = pin!(walk.read_all(rows.manifests));
    while let Some((_, record)) = reads.try_next().await? {
        let Ok((manifest, _)) = decode::<Manifest>(&record.body) else { continue };
        if manifest.doomed {
            continue;
        }
        let named = manifest.references.iter().chain(&manifest.external);
        let digests = named.filter_map(|reference| reference.digest.parse::<Digest>().ok());
        referenced.extend(digests.map(|digest| hashes.hash_one(digest)));
    }
    let mut named = Vec::new();
    let mut reads = pin!(walk.read_all(rows.links));
    while let Some((row, record)) = reads.try_next().await? {
        let RecordKey::Link(_, digest) = &row.key else { continue };
        let Ok((link, _)) = decode::<Link>(&record.body) else { continue };
        let Some(location) = link.location else { continue };
        let live = if referenced.contains(&hashes.hash_one(digest)) { Fact::LIVE } else { 0 };
        let young = if record.age < grace { Fact::YOUNG } else { 0 };
        named.push((hashes.hash_one(&location), Fact::NAMED | live | young));
    }
    Ok((rows.name, named))
}

/// The class of a live record.
fn class_of(key: &RecordKey) -> Class {
    match key {
        RecordKey::Pointer(_) => Class::Pointers,
        RecordKey::Link(..) => Class::Links,
        RecordKey::Manifest(..) => Class::Manifests,
        RecordKey::Tag(..) => Class::Tags,
        RecordKey::TagIndex(..) => Class::TagIndexes,
        RecordKey::Referrer(..) => Class::Referrers,
        RecordKey::Repository(_) => Class::Repositories,
        RecordKey::Upload(_) => Class::Sessions,
        RecordKey::TagHistory(..) => Class::TagHistory,
        RecordKey::Event(_) => Class::Events,
        _ => Class::OtherRecords,
    }
}
