//! What reaches the store: each request takes effect at once, and the bucket is checked after it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt as _;
use longshore::store::{
    BlobStore as _, Day, Deadline, Error, Kind, Listing, Location, MultipartId, OpenMultiparts,
    Part, Prefix, Record, RecordKey, RecordStore as _, Removal, Version,
};

use crate::bucket::Role;
use crate::content::REPOSITORIES;
use crate::planted::{self, Bug};
use crate::world::World;

/// The store as one process sees it.
pub(crate) struct Effects {
    pub(crate) world: Arc<World>,
    pub(crate) role: Role,
    /// The name of the process, for the trace.
    pub(crate) process: String,
    /// Keys of which the process will read that another one has written them.
    lies: Mutex<BTreeMap<String, u64>>,
    /// The pointers and links as a collector lists them, by key.
    snapshot: Mutex<Option<BTreeSet<String>>>,
}

/// A write of a record.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) key: RecordKey,
    /// The version that it replaces. Without one the record must not exist.
    pub(crate) expected: Option<Version>,
    pub(crate) body: Bytes,
    pub(crate) deadline: Option<Deadline>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As on S3, times are in whole seconds.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

impl Effects {
    pub(crate) fn new(world: Arc<World>, role: Role, process: String) -> Self {
        let (lies, snapshot) = (Mutex::default(), Mutex::default());
        Self { world, role, process, lies, snapshot }
    }

    fn has(&self, bug: Bug, role: Role) -> bool {
        self.world.bug == Some(bug) && self.role == role
    }

    fn note(&self, what: &str, key: &str, outcome: &str) {
        self.world.note(format_args!("{} {what} {key} {outcome}", self.process));
    }

    /// Whether a deadline has passed when a request arrives.
    pub(crate) fn is_late(&self, deadline: Option<Deadline>) -> bool {
        let now = self.world.memory.now();
        let late = |deadline: Deadline| {
            now.duration_since(deadline.leased_at).is_ok_and(|age| age > deadline.valid_for)
        };
        !self.has(Bug::NoDeadline, Role::Frontend) && deadline.is_some_and(late)
    }

    pub(crate) async fn read(&self, key: &RecordKey) -> Result<Record, Error> {
        if let RecordKey::Seen(name) = key
            && self.has(Bug::NoSecondSighting, Role::Collector)
        {
            let links = self.world.memory.list(&Prefix::Links(name.clone()), None, 1_000).await?;
            let version = Version("seen".to_owned());
            let body = planted::seen(&links.rows);
            return Ok(Record { body, version, age: Duration::ZERO });
        }
        let mut record = self.world.memory.read(key).await?;
        if self.has(Bug::NoLease, Role::Frontend) {
            record.age = Duration::ZERO;
        }
        if let Some(lie) = locked(&self.lies).remove(&key.to_string()) {
            record.version = Version(format!("another write {lie}"));
        }
        if self.world.bug == Some(Bug::EqualTombstones) {
            record.version = planted::equal_version(record.body.len() as u64, record.version);
        }
        Ok(record)
    }

    /// Lets the process believe that another one has written a record.
    pub(crate) fn lie_about(&self, key: &RecordKey, lie: u64) {
        locked(&self.lies).insert(key.to_string(), lie);
    }

    /// The version with which the store compares, where a bug makes it compare with less.
    fn compared(&self, key: &RecordKey, expected: Version, tombstone: bool) -> Version {
        let Some(record) = self.world.memory.record(key) else { return expected };
        let size = record.body.len() as u64;
        let equal = self.world.bug == Some(Bug::EqualTombstones)
            && planted::equal_version(size, record.version.clone()) == expected;
        let removal = tombstone && self.has(Bug::UnconditionalRemoval, Role::Collector);
        if equal || removal { record.version } else { expected }
    }

    pub(crate) async fn write(&self, write: &Write) -> Result<Version, Error> {
        let Write { key, expected, body, deadline } = write;
        if self.is_late(*deadline) {
            self.note("writes", &key.to_string(), "late");
            return Err(Error::Expired);
        }
        let memory = &self.world.memory;
        let mut body = body.clone();
        if self.has(Bug::UnlistedForeignLayers, Role::Frontend)
            && let RecordKey::Manifest(..) = key
        {
            body = planted::without_foreign_layers(&body);
        }
        let tombstone = body.len() <= 36;
        let written = match expected {
            None => memory.create(key, body.clone(), None).await,
            Some(expected) => {
                let expected = self.compared(key, expected.clone(), tombstone);
                if self.has(Bug::UntouchedCommit, Role::Frontend)
                    && let (RecordKey::Upload(_), Some(before)) = (key, memory.record(key))
                    && before.version == expected
                    && planted::touches_commit(&before.body, &body)
                {
                    return Ok(expected);
                }
                memory.replace(key, &expected, body.clone(), None).await
            }
        };
        let key = key.to_string();
        let outcome = match &written {
            Ok(_) if tombstone => "tombstone",
            Ok(_) => "ok",
            Err(_) => "conflict",
        };
        self.note(if expected.is_some() { "replaces" } else { "creates" }, &key, outcome);
        let version = written?;
        let at = self.world.at();
        let faults = self.world.bucket().wrote(at, self.role, &key, &body);
        self.world.faults(faults);
        let unexplained = {
            let (ledger, mut bucket) = (self.world.ledger(), self.world.bucket());
            let untagged_after = self.world.profile.untagged_after;
            ledger.explains(at, self.role, &key, &mut bucket, untagged_after)
        };
        self.world.faults(unexplained.err());
        if self.world.bug == Some(Bug::EqualTombstones) {
            return Ok(planted::equal_version(body.len() as u64, version));
        }
        Ok(version)
    }

    pub(crate) async fn remove(
        &self,
        key: &RecordKey,
        expected: &Version,
    ) -> Result<Removal, Error> {
        let expected = self.compared(key, expected.clone(), true);
        let removal = self.world.memory.remove(key, &expected).await?;
        self.note("removes", &key.to_string(), &format!("{removal:?}"));
        if removal == Removal::Removed {
            let faults = self.world.bucket().removed(&key.to_string());
            self.world.faults(faults);
        }
        Ok(removal)
    }

    /// Removes a record whatever version it has.
    pub(crate) async fn remove_any(&self, key: &RecordKey) -> Result<(), Error> {
        let Some(record) = self.world.memory.record(key) else { return Ok(()) };
        self.remove(key, &record.version).await.map(drop)
    }

    pub(crate) async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        let mut listing = self.as_listed(self.world.memory.list(prefix, after, limit).await?);
        if *prefix == Prefix::Seen && self.has(Bug::NoSecondSighting, Role::Collector) {
            listing.rows = REPOSITORIES.map(|name| planted::seen_row(name, listing.now)).to_vec();
        }
        if let Some(snapshot) = &*locked(&self.snapshot)
            && let Prefix::All(Kind::Pointers | Kind::Links) = prefix
        {
            listing.rows.retain(|row| snapshot.contains(&row.key));
        }
        Ok(listing)
    }

    fn as_listed(&self, mut listing: Listing) -> Listing {
        listing.now = whole_seconds(listing.now);
        for row in &mut listing.rows {
            row.written = whole_seconds(row.written);
            if self.world.bug == Some(Bug::EqualTombstones) {
                row.version = planted::equal_version(row.size, row.version.clone());
            }
        }
        listing
    }

    pub(crate) async fn put(
        &self,
        location: &Location,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
    ) -> Result<Version, Error> {
        let version = self.world.memory.put(location, bytes, sha256).await?;
        self.note("puts", &location.to_string(), "ok");
        self.world.bucket().data_written(&location.to_string());
        Ok(version)
    }

    pub(crate) async fn get(
        &self,
        location: &Location,
        range: Option<Range<u64>>,
    ) -> Result<Vec<Bytes>, Error> {
        let stream = self.world.memory.get(location, range).await?;
        let pieces: Vec<Result<Bytes, Error>> = stream.collect().await;
        pieces.into_iter().collect()
    }

    pub(crate) async fn delete(&self, location: &Location) -> Result<(), Error> {
        self.world.memory.delete(location).await?;
        self.note("deletes", &location.to_string(), "");
        let faults = self.world.bucket().data_deleted(&location.to_string(), self.role);
        self.world.faults(faults);
        Ok(())
    }

    pub(crate) async fn complete(
        &self,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<Version, Error> {
        let version = self.world.memory.complete(location, id, parts).await?;
        self.note("completes", &location.to_string(), "ok");
        self.world.bucket().data_written(&location.to_string());
        Ok(version)
    }

    pub(crate) async fn abort(&self, location: &Location, id: &MultipartId) -> Result<(), Error> {
        self.note("aborts", &location.to_string(), "");
        self.world.memory.abort(location, id).await
    }

    pub(crate) async fn list_days(&self) -> Result<Vec<Day>, Error> {
        if self.has(Bug::PointersBeforeSessions, Role::Collector) {
            let mut keys = BTreeSet::new();
            for kind in [Kind::Pointers, Kind::Links] {
                let listing = self.world.memory.list(&Prefix::All(kind), None, 1_000).await?;
                keys.extend(listing.rows.into_iter().map(|row| row.key));
            }
            *locked(&self.snapshot) = Some(keys);
        }
        self.world.memory.list_days().await
    }

    pub(crate) async fn list_data(
        &self,
        day: &Day,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        Ok(self.as_listed(self.world.memory.list_data(day, after, limit).await?))
    }

    pub(crate) async fn list_multiparts(&self, limit: usize) -> Result<OpenMultiparts, Error> {
        let mut open = self.world.memory.list_multiparts(limit).await?;
        open.now = whole_seconds(open.now);
        for row in &mut open.rows {
            row.started = whole_seconds(row.started);
        }
        Ok(open)
    }
}
