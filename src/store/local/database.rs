//! The database of the entries: what is read from it, what a commit does, and the way back to it
//! after the disk has failed.

use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use redb::{
    Builder, Database, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition,
    TableError,
};

use super::{io_error, told_time};
use crate::store::{Deadline, Error, ListedKey, Listing, Record, Version};

/// Key to version, milliseconds since 1970 at which it was written, and body.
const ENTRIES: TableDefinition<'_, &str, (u64, u64, &[u8])> = TableDefinition::new("entries");

/// The last version that was given out, under the one key of this table.
const VERSIONS: TableDefinition<'_, (), u64> = TableDefinition::new("versions");

/// Pages of the database that are kept in memory.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// One write of an entry.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) key: String,
    pub(super) condition: Condition,
    pub(super) body: Bytes,
    pub(super) deadline: Option<Deadline>,
}

/// What must hold for a write to take effect.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition {
    Absent,
    Version(u64),
}

/// The database of the entries.
pub(super) struct Ledger {
    path: PathBuf,
    database: RwLock<Held>,
}

/// What there is of the database.
enum Held {
    Open(Database),
    /// It could not be opened again after the disk had failed. The next call tries once more.
    Failed,
    /// The folder was closed.
    Closed,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens the database, which locks it against every other process.
    pub(super) fn open(path: PathBuf) -> Result<Self, redb::Error> {
        let database = RwLock::new(Held::Open(open(&path)?));
        Ok(Self { path, database })
    }

    /// Gives the database back, after the reads that are under way.
    pub(super) fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Held::Closed;
    }

    pub(super) fn read(&self, key: &str) -> Result<Record, Error> {
        self.with(|database| {
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            let Some(row) = entries.get(key)? else { return Ok(None) };
            let (version, written_at, body) = row.value();
            // A clock that was set back must not make an entry older than it is.
            let age = milliseconds(told_time()).saturating_sub(written_at);
            Ok(Some(Record {
                body: Bytes::copy_from_slice(body),
                version: Version(version.to_string()),
                age: Duration::from_secs(age / 1_000),
            }))
        })?
        .ok_or(Error::NotFound)
    }

    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        let cursor = format!("{prefix}{}", after.unwrap_or_default());
        let from = match after {
            Some(_) => Bound::Excluded(cursor.as_str()),
            None => Bound::Included(cursor.as_str()),
        };
        self.with(|database| {
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            let mut listing = Listing::default();
            for row in entries.range::<&str>((from, Bound::Unbounded))? {
                let (key, value) = row?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                if listing.rows.len() == limit.clamp(1, 1_000) {
                    listing.more = true;
                    break;
                }
                let size = value.value().2.len() as u64;
                listing.rows.push(ListedKey { key: key.value().to_owned(), size });
            }
            Ok(listing)
        })
    }

    /// Applies the writes in their order and waits until all of them are on the disk. On failure
    /// none of them may have been applied, or all.
    pub(super) fn commit(&self, writes: &[Write]) -> Result<Vec<Result<Version, Error>>, Error> {
        self.with(|database| {
            let mut transaction = database.begin_write()?;
            // The second sync rules out that a commit is half applied after a loss of power, where
            // otherwise a checksum that clients might know how to forge would have to tell.
            transaction.set_two_phase_commit(true);
            let mut outcomes = Vec::with_capacity(writes.len());
            {
                let mut entries = transaction.open_table(ENTRIES)?;
                let mut versions = transaction.open_table(VERSIONS)?;
                let mut last = versions.get(())?.map_or(0, |row| row.value());
                for write in writes {
                    outcomes.push(apply(&mut entries, &mut last, write)?);
                }
                versions.insert((), last)?;
            }
            if outcomes.iter().any(Result::is_ok) {
                transaction.commit()?;
            } else {
                transaction.abort()?;
            }
            Ok(outcomes)
        })
    }

    /// Acts on the database. One failed access to the disk makes redb refuse everything until it
    /// is opened again, so that is done here: what failed may have been a full disk.
    fn with<T>(&self, act: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, Error> {
        let attempt = || match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Held::Open(database) => act(database),
            Held::Failed => Err(redb::Error::PreviousIo),
            Held::Closed => Err(redb::Error::DatabaseClosed),
        };
        let mut outcome = attempt();
        if let Err(redb::Error::Io(_) | redb::Error::PreviousIo) = outcome {
            let reopened = self.reopen();
            // Nothing was tried if it was someone else's access that had failed.
            if matches!(outcome, Err(redb::Error::PreviousIo)) {
                outcome = reopened.and_then(|()| attempt());
            }
        }
        outcome.map_err(|error| self.explain(error))
    }

    fn reopen(&self) -> Result<(), redb::Error> {
        let mut held = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let usable = match &*held {
            // With the lock held nobody writes: this fails only if the disk had failed.
            Held::Open(database) => database.try_begin_write().is_ok(),
            Held::Failed => false,
            Held::Closed => true,
        };
        if !usable {
            // It is locked against a second opening until it is dropped.
            *held = Held::Failed;
            *held = Held::Open(open(&self.path)?);
            tracing::warn!(path = %self.path.display(), "opened again after the disk had failed");
        }
        Ok(())
    }

    fn explain(&self, error: redb::Error) -> Error {
        match error {
            redb::Error::Io(error) => io_error("use", &self.path, &error),
            redb::Error::PreviousIo => {
                Error::Unavailable(format!("the disk below {} has failed", self.path.display()))
            }
            redb::Error::DatabaseClosed => {
                Error::Unavailable("the local folder was closed".to_owned())
            }
            redb::Error::ValueTooLarge(size) => {
                Error::Refused(format!("an entry of {size} bytes is too large"))
            }
            other @ (redb::Error::Corrupted(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableDoesNotExist(_)) => {
                Error::Damaged(format!("{}: {other}", self.path.display()))
            }
            other => Error::Unavailable(format!("{}: {other}", self.path.display())),
        }
    }
}

/// Opens the database and creates its table, so that no reader finds it without.
fn open(path: &Path) -> Result<Database, redb::Error> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    // Only after a crash. To save what it takes for an immediate start with every commit (redb's
    // quick repair) makes each of them ten times slower; to read a gigabyte takes seconds.
    let told = AtomicBool::new(false);
    let shown = path.to_owned();
    builder.set_repair_callback(move |_| {
        if !told.swap(true, Ordering::Relaxed) {
            tracing::warn!(path = %shown.display(), "not closed properly; reading all of it");
        }
    });
    let database = builder.create(path)?;
    let table = database.begin_read()?.open_table(ENTRIES);
    match table {
        Ok(_) => {}
        Err(TableError::TableDoesNotExist(_)) => {
            let transaction = database.begin_write()?;
            transaction.open_table(ENTRIES)?;
            transaction.commit()?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(database)
}

/// Applies one write if its condition holds after those before it.
fn apply(
    entries: &mut Table<'_, &str, (u64, u64, &[u8])>,
    last_version: &mut u64,
    write: &Write,
) -> Result<Result<Version, Error>, redb::Error> {
    let now = told_time();
    let late = |deadline: Deadline| {
        now.duration_since(deadline.leased_at).is_ok_and(|age| age > deadline.valid_for)
    };
    if write.deadline.is_some_and(late) {
        return Ok(Err(Error::Expired));
    }
    let present = entries.get(write.key.as_str())?.map(|row| row.value().0);
    let holds = match write.condition {
        Condition::Absent => present.is_none(),
        Condition::Version(expected) => present == Some(expected),
    };
    if !holds {
        return Ok(Err(Error::Conflict));
    }
    *last_version += 1;
    let row = (*last_version, milliseconds(now), write.body.as_ref());
    entries.insert(write.key.as_str(), row)?;
    Ok(Ok(Version(last_version.to_string())))
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
