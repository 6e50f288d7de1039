//! `longshore audit` and `longshore scrub`: is what the bucket says true?
//!
//! An [`Audit`] compares what records name with what the lists of the bucket show, and reads no
//! blob data. A [`Scrub`] hashes data again.
//!
//! Clients push and delete meanwhile, and a name moves from the upload session to the pointer to
//! the link. So an audit reads names in that order, after it has listed the data. What looks wrong
//! may have been read before it became right, so it is read again, past the lists, and the record
//! that names it once more after that: only what is still wrong then is a finding. What a push may
//! still be about to write counts only when the write deadline of that push has passed.

mod facts;
mod finding;
mod repository;
mod scrub;

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use facts::OBJECTS_MAX;
pub use finding::{Class, Finding, Level, Repair, Sink};
pub use scrub::{Scrub, ScrubSettings, Scrubbed};

use self::facts::{DataFacts, Hashes, PointerFacts};
use crate::layout::encoding::{DecodeError, decode};
use crate::layout::key::{Kind, Prefix, data_prefix};
use crate::layout::records::{self, Pointer, Session};
use crate::registry::{self, LeaseSettings, Registry, Sparse};
use crate::store::{Listed, Listing, Location, ObjectPages, Record, RecordKey, RecordPages};
use crate::walk::{Error, Found, Page, RepositoryLists, Walk};

/// Repositories that are checked at once.
const REPOSITORIES_AT_ONCE: usize = 8;
/// By how much the age of a record may be too large: both of its times are in whole seconds.
const AGE_RESOLUTION: Duration = Duration::from_secs(2);

/// What an audit needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// What is younger may have no name yet.
    pub grace: Duration,
    /// The age from which on no push can still write what belongs to a record.
    pub settled_after: Duration,
    /// What manifests may name although it is missing.
    pub sparse: Sparse,
}

impl AuditSettings {
    pub fn new(leases: &LeaseSettings, sparse: Sparse) -> Self {
        let settled_after = leases.write_deadline + leases.clock_skew + AGE_RESOLUTION;
        Self { grace: leases.grace, settled_after, sparse }
    }
}

/// What an audit or a scrub has looked at and found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Objects that were checked, by kind.
    pub checked: BTreeMap<&'static str, u64>,
    /// Findings, by class.
    pub found: BTreeMap<Class, u64>,
    /// Damage that was repaired.
    pub repaired: u64,
    /// Bytes of data objects that nothing names.
    pub unnamed_bytes: u64,
}

impl Summary {
    /// Findings that are damage, also those that were repaired.
    pub fn damaged(&self) -> u64 {
        let damage = self.found.iter().filter(|(class, _)| class.level() == Level::Damage);
        damage.map(|(_, count)| count).sum()
    }

    fn add(&mut self, finding: &Finding) {
        *self.found.entry(finding.class).or_default() += 1;
        self.repaired += u64::from(finding.repair == Some(Repair::Done));
    }
}

/// A check of the whole bucket.
#[derive(Debug)]
pub struct Audit {
    walk: Arc<Walk>,
    settings: AuditSettings,
    /// Repairs, if they are wanted.
    registry: Option<Arc<Registry>>,
    hashes: Hashes,
    data: Mutex<DataFacts>,
    pointers: PointerFacts,
    /// The repositories in the catalog.
    markers: HashSet<u64>,
    checked: Mutex<BTreeMap<&'static str, u64>>,
}

/// The data object that a record names.
#[derive(Clone, Copy, Debug)]
struct Named<'a> {
    location: &'a Location,
    size: u64,
    etag: Option<&'a str>,
    /// What it is if there is no such object.
    absent: Class,
}

impl Audit {
    /// An audit that repairs through `registry`, if there is one.
    pub fn new(walk: Arc<Walk>, settings: AuditSettings, registry: Option<Arc<Registry>>) -> Self {
        Self {
            walk,
            settings,
            registry,
            hashes: Hashes::default(),
            data: Mutex::default(),
            pointers: PointerFacts::default(),
            markers: HashSet::new(),
            checked: Mutex::default(),
        }
    }

    /// Checks the bucket. Every finding goes to the sink when it is found.
    pub async fn run(mut self, sink: &mut Sink<'_>) -> Result<Summary, Error> {
        let mut summary = Summary::default();
        let mut noting = |finding: Finding| {
            summary.add(&finding);
            sink(finding);
        };
        let sink: &mut Sink<'_> = &mut noting;
        self.list_objects(sink).await?;
        self.read_sessions(sink).await?;
        self.read_pointers(sink).await?;
        self.read_markers(sink).await?;
        self.check_repositories(sink).await?;
        let unnamed_bytes = self.find_unnamed(sink).await?;
        summary.unnamed_bytes = unnamed_bytes;
        summary.checked = self.checked.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(summary)
    }

    /// Lists the data objects, and everything else that no other list shows.
    async fn list_objects(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        self.walk.begin("data objects");
        let kinds = [
            Kind::Pointers,
            Kind::Links,
            Kind::Manifests,
            Kind::Tags,
            Kind::TagIndexes,
            Kind::Referrers,
            Kind::Uploads,
        ];
        let mut elsewhere: Vec<String> =
            kinds.iter().map(|kind| Prefix::All(*kind).to_string()).collect();
        elsewhere.push(Prefix::Repositories.to_string());
        let data = data_prefix(None);
        let (mut pages, walk) = (ObjectPages::all(), self.walk.clone());
        while let Some(page) = walk.objects(&mut pages).await? {
            let listed = |key: &str| elsewhere.iter().find(|below| key.starts_with(*below));
            if let Some(below) = page.rows.last().and_then(|row| listed(&row.key)) {
                pages.skip_to(&format!("{below}~"));
            }
            let mut others = Vec::new();
            for row in page.rows.into_iter().filter(|row| listed(&row.key).is_none()) {
                if !row.key.starts_with(&data) {
                    others.push(row);
                } else if row.key.parse::<Location>().is_ok() {
                    self.data().add(&row)?;
                    self.count("data objects", 1);
                } else {
                    sink(foreign(&row.key));
                }
            }
            let page = Page::of(Listing { rows: others, ..page });
            self.check_others(page, sink).await?;
        }
        Ok(())
    }

    /// Checks objects that belong to no blob, no repository and no upload.
    async fn check_others(&self, page: Page, sink: &mut Sink<'_>) -> Result<(), Error> {
        page.foreign.iter().for_each(|key| sink(foreign(key)));
        let mut reads = pin!(self.walk.read_all(page.rows));
        while let Some((row, record)) = reads.try_next().await? {
            self.count("other records", 1);
            if let Err(finding) = decoded::<Map<String, Value>>(&row.key, &record) {
                sink(finding);
            }
        }
        Ok(())
    }

    /// Reads which data the upload sessions name.
    async fn read_sessions(&self, sink: &mut Sink<'_>) -> Result<(), Error> {
        self.walk.begin("upload sessions");
        let mut pages = RecordPages::of(Prefix::All(Kind::Uploads));
        while let Some(page) = self.walk.records(&mut pages).await? {
            page.foreign.iter().for_each(|key| sink(foreign(key)));
            for row in page.rows {
                // One at a time: a session can hold 64 MiB.
                let Some(record) = self.walk.read(&row.key).await?.live() else { continue };
                self.count("upload sessions", 1);
                match Session::decode(&record.body) {
                    Err(error) => sink(undecodable(&row.key, &error)),
                    Ok((session, _)) => {
                        let multipart = session.multipart.map(|upload| upload.location);
                        let places = [session.single_object, session.former_object, multipart];
                        for location in places.iter().flatten() {
                            self.data().name(location);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks that every pointer points at data.
    async fn read_pointers(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        self.walk.begin("pointers");
        let (mut pages, walk) = (RecordPages::of(Prefix::All(Kind::Pointers)), self.walk.clone());
        while let Some(page) = walk.records(&mut pages).await? {
            page.foreign.iter().for_each(|key| sink(foreign(key)));
            let mut reads = pin!(walk.read_all(page.rows));
            while let Some((row, record)) = reads.try_next().await? {
                self.count("pointers", 1);
                let (key, RecordKey::Pointer(digest)) = (&row.key, &row.key) else { continue };
                let pointer = match decoded::<Pointer>(key, &record) {
                    Ok((pointer, _)) => pointer,
                    Err(finding) => {
                        sink(finding);
                        continue;
                    }
                };
                let Some(location) = pointer.location else { continue };
                self.pointers.add(digest, &location)?;
                let (size, etag) = (pointer.size, pointer.etag.as_deref());
                let absent = Class::DanglingPointer;
                let named = Named { location: &location, size, etag, absent };
                let Some(mut finding) = self.check_data(key, &record, named).await? else {
                    continue;
                };
                if finding.class == Class::DanglingPointer
                    && let Some(registry) = &self.registry
                {
                    let repaired = registry.blobs.drop_dangling_pointer(digest, &location).await;
                    finding.repair = Some(repair(repaired));
                }
                sink(finding);
            }
        }
        Ok(())
    }

    /// Reads which repositories are in the catalog.
    async fn read_markers(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        self.walk.begin("repositories");
        let (mut pages, walk) = (RecordPages::of(Prefix::Repositories), self.walk.clone());
        while let Some(page) = walk.records(&mut pages).await? {
            page.foreign.iter().for_each(|key| sink(foreign(key)));
            let mut reads = pin!(walk.read_all(page.rows));
            while let Some((row, record)) = reads.try_next().await? {
                self.count("repositories", 1);
                let RecordKey::Repository(name) = &row.key else { continue };
                self.markers.insert(self.hashes.of(name.as_str()));
                if let Err(finding) = decoded::<records::Repository>(&row.key, &record) {
                    sink(finding);
                }
            }
        }
        Ok(())
    }

    async fn check_repositories(&self, sink: &mut Sink<'_>) -> Result<(), Error> {
        let foreign_keys = &Mutex::new(Vec::new());
        let kinds = [Kind::Links, Kind::Manifests, Kind::Tags, Kind::TagIndexes, Kind::Referrers];
        let rows = stream::try_unfold(RepositoryLists::of(&kinds), |mut lists| async move {
            let next = lists.next(&self.walk).await?;
            let mut keys = foreign_keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.append(&mut lists.take_foreign());
            Ok::<_, Error>(next.map(|rows| (rows, lists)))
        });
        let checked = rows.map_ok(|rows| Box::pin(self.check_repository(rows)));
        let mut checked = pin!(checked.try_buffered(REPOSITORIES_AT_ONCE));
        while let Some(findings) = checked.try_next().await? {
            findings.into_iter().for_each(&mut *sink);
        }
        let mut keys = foreign_keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.drain(..).for_each(|key| sink(foreign(&key)));
        Ok(())
    }

    /// Finds data that no record names and that is no longer young. Returns its bytes.
    async fn find_unnamed(&self, sink: &mut Sink<'_>) -> Result<u64, Error> {
        self.walk.begin("data objects that nothing names");
        // A collector writes the row before it deletes the pointer, so these are read after all
        // other names.
        let mut pages = RecordPages::of(Prefix::Quarantined);
        while let Some(page) = self.walk.records(&mut pages).await? {
            for row in page.rows {
                if let RecordKey::Quarantined(day, id) = &row.key {
                    self.data().name(&Location::of_parts(day, *id));
                }
            }
        }
        let (below, mut bytes) = (data_prefix(None), 0);
        let mut pages = ObjectPages::all();
        pages.skip_to(&below);
        while let Some(page) = self.walk.objects(&mut pages).await? {
            let data = page.rows.iter().take_while(|row| row.key.starts_with(&below));
            let mut seen = 0;
            for Listed { key, size, written, .. } in data {
                seen += 1;
                let age = page.now.duration_since(*written).unwrap_or_default();
                if age > self.settings.grace && self.data().is_unnamed(key) {
                    bytes += size;
                    let what = format!("no record names this data object of {size} bytes");
                    sink(Finding::new(Class::UnnamedData, key, what));
                }
            }
            if seen < page.rows.len() {
                break;
            }
        }
        Ok(bytes)
    }

    /// Checks that the data that a record names is there and is that which was written.
    async fn check_data(
        &self,
        key: &RecordKey,
        record: &Record,
        named: Named<'_>,
    ) -> Result<Option<Finding>, Error> {
        let Named { location, size, etag, absent } = named;
        if location.key().is_err() {
            let what = format!("the data is at {location}, in another bucket");
            return Ok(Some(Finding::new(Class::OtherBucket, key, what)));
        }
        {
            let mut data = self.data();
            data.name(location);
            if data.has(location, size, etag) {
                return Ok(None);
            }
        }
        let (class, what) = match self.walk.head(location).await? {
            None => (absent, format!("there is no data object {location} of {size} bytes")),
            Some(found) if found.size != size => {
                let found = found.size;
                (Class::WrongSize, format!("{location} has {found} bytes instead of {size}"))
            }
            Some(found) => match etag {
                Some(etag) if found.version.0 != etag => {
                    let found = found.version.0;
                    let what = format!("{location} has the ETag {found} instead of {etag}");
                    (Class::OtherEtag, what)
                }
                _ => return Ok(None),
            },
        };
        Ok(self.is_unchanged(key, record).await?.then(|| Finding::new(class, key, what)))
    }

    /// Whether a record is still the one that was read.
    async fn is_unchanged(&self, key: &RecordKey, record: &Record) -> Result<bool, Error> {
        let now = self.walk.read(key).await?;
        Ok(matches!(now, Found::Live(now) if now.version == record.version))
    }

    /// Whether no push can still write what belongs to a record.
    fn is_settled(&self, record: &Record) -> bool {
        record.age > self.settings.settled_after
    }

    fn data(&self) -> std::sync::MutexGuard<'_, DataFacts> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, what: &'static str, more: u64) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        *checked.entry(what).or_default() += more;
    }
}

/// The header and the payload of a record, or why they cannot be used.
fn decoded<H: DeserializeOwned>(key: &RecordKey, record: &Record) -> Result<(H, Bytes), Finding> {
    decode(&record.body).map_err(|error| undecodable(key, &error))
}

fn undecodable(key: &RecordKey, error: &DecodeError) -> Finding {
    let class = match error {
        DecodeError::Newer(_) => Class::NewerRecord,
        DecodeError::Damaged(_) => Class::DamagedRecord,
    };
    Finding::new(class, key, error.to_string())
}

fn foreign(key: &str) -> Finding {
    Finding::new(Class::ForeignKey, key, "this is no key of Longshore")
}

/// What became of a repair.
fn repair(outcome: Result<bool, registry::Error>) -> Repair {
    match outcome {
        Ok(true) => Repair::Done,
        Ok(false) => Repair::NotNeeded,
        Err(registry::Error::Unavailable(cause)) => Repair::Failed(cause.to_string()),
        Err(error) => Repair::Failed(error.to_string()),
    }
}
