//! The database of the records: reads, commits, and reopening it after the disk has failed.

use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{
    Builder, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition, TableError,
};

use super::error::io_error;
use super::files::private_file;
use crate::store::{Deadline, Error, LIST_ROWS_MAX, Listed, Listing, Record, Version};

/// Key to version, milliseconds since 1970 at which it was written, and body.
const RECORDS: TableDefinition<'_, &str, (u64, u64, &[u8])> = TableDefinition::new("entries");

/// The version of the last write, under the one key of this table.
const VERSIONS: TableDefinition<'_, (), u64> = TableDefinition::new("versions");

/// Bytes of database pages that are kept in memory.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// One write of a record.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) key: String,
    pub(super) condition: Condition,
    /// What the record holds afterwards; `None` removes it.
    pub(super) body: Option<Bytes>,
    pub(super) deadline: Option<Deadline>,
}

/// What must hold for a write to take effect.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition {
    Absent,
    Version(u64),
}

/// The database of the records.
pub(super) struct Database {
    path: PathBuf,
    state: RwLock<State>,
}

enum State {
    Open(redb::Database),
    /// It could not be reopened after the disk had failed. The next call tries again.
    Failed,
    /// The folder was closed.
    Closed,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Database {
    /// Opens the database, which locks it against every other process.
    pub(super) fn open(path: PathBuf) -> Result<Self, redb::Error> {
        let state = RwLock::new(State::Open(open(&path)?));
        Ok(Self { path, state })
    }

    /// Closes the database, after the reads in progress.
    pub(super) fn close(&self) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::Closed;
    }

    pub(super) fn read(&self, key: &str) -> Result<Record, Error> {
        self.with(|database| {
            let records = database.begin_read()?.open_table(RECORDS)?;
            let Some(row) = records.get(key)? else { return Ok(None) };
            let (version, written_at, body) = row.value();
            // A clock that was set back must not make the age negative.
            let age = milliseconds(now()).saturating_sub(written_at);
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
            let records = database.begin_read()?.open_table(RECORDS)?;
            let mut listing = Listing { rows: Vec::new(), more: false, now: now() };
            for row in records.range::<&str>((from, Bound::Unbounded))? {
                let (key, value) = row?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                if listing.rows.len() == limit.clamp(1, LIST_ROWS_MAX) {
                    listing.more = true;
                    break;
                }
                let (version, written_at, body) = value.value();
                listing.rows.push(Listed {
                    key: key.value().to_owned(),
                    size: body.len() as u64,
                    version: Version(version.to_string()),
                    written: UNIX_EPOCH + Duration::from_millis(written_at),
                });
            }
            Ok(listing)
        })
    }

    /// Applies the writes in their order and waits until all of them are on the disk. On failure
    /// none of them may have been applied, or all.
    pub(super) fn commit(&self, writes: &[Write]) -> Result<Vec<Result<Version, Error>>, Error> {
        self.with(|database| {
            let mut transaction = database.begin_write()?;
            // The second sync rules out that a commit is half applied after a power failure.
            // Without it only a checksum would show that, which clients might be able to forge.
            transaction.set_two_phase_commit(true);
            let mut outcomes = Vec::with_capacity(writes.len());
            {
                let mut records = transaction.open_table(RECORDS)?;
                let mut versions = transaction.open_table(VERSIONS)?;
                let mut last = versions.get(())?.map_or(0, |row| row.value());
                for write in writes {
                    outcomes.push(apply(&mut records, &mut last, write)?);
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

    /// Uses the database. After one failed access to the disk redb refuses everything until it is
    /// reopened, so that is done here: the disk may only have been full.
    fn with<T>(&self, act: impl Fn(&redb::Database) -> Result<T, redb::Error>) -> Result<T, Error> {
        let attempt = || match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(database) => act(database),
            State::Failed => Err(redb::Error::PreviousIo),
            State::Closed => Err(redb::Error::DatabaseClosed),
        };
        let mut outcome = attempt();
        if let Err(redb::Error::Io(_) | redb::Error::PreviousIo) = outcome {
            let reopened = self.reopen();
            // Not this access had failed, but an earlier one, so this one was not tried yet.
            if matches!(outcome, Err(redb::Error::PreviousIo)) {
                outcome = reopened.and_then(|()| attempt());
            }
        }
        outcome.map_err(|error| self.explain(error))
    }

    fn reopen(&self) -> Result<(), redb::Error> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let usable = match &*state {
            // No other thread writes while the lock is held: this fails only after a disk error.
            State::Open(database) => database.try_begin_write().is_ok(),
            State::Failed => false,
            State::Closed => true,
        };
        if !usable {
            // The file stays locked until the database is dropped.
            *state = State::Failed;
            *state = State::Open(open(&self.path)?);
            let path = self.path.display();
            tracing::warn!(%path, "local store: database reopened after a disk error");
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
                Error::Refused(format!("a record of {size} bytes is too large"))
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
fn open(path: &Path) -> Result<redb::Database, redb::Error> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    // Called only after a crash. redb's quick repair would avoid it, but makes each commit ten
    // times slower; reading a gigabyte takes seconds.
    let logged = AtomicBool::new(false);
    let shown = path.to_owned();
    builder.set_repair_callback(move |_| {
        if !logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                path = %shown.display(),
                "local store: repairing the database after a crash, reading all of it"
            );
        }
    });
    let file = private_file().read(true).write(true).create(true).truncate(false).open(path);
    let file = FileBackend::new(file.map_err(redb::Error::Io)?)?;
    let database = builder.create_with_backend(file)?;
    let table = database.begin_read()?.open_table(RECORDS);
    match table {
        Ok(_) => {}
        Err(TableError::TableDoesNotExist(_)) => {
            let transaction = database.begin_write()?;
            transaction.open_table(RECORDS)?;
            transaction.commit()?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(database)
}

/// Applies one write if its condition holds after those before it.
fn apply(
    records: &mut Table<'_, &str, (u64, u64, &[u8])>,
    last_version: &mut u64,
    write: &Write,
) -> Result<Result<Version, Error>, redb::Error> {
    let now = now();
    let late = |deadline: Deadline| {
        now.duration_since(deadline.leased_at).is_ok_and(|age| age > deadline.valid_for)
    };
    if write.deadline.is_some_and(late) {
        return Ok(Err(Error::Expired));
    }
    let present = records.get(write.key.as_str())?.map(|row| row.value().0);
    let holds = match write.condition {
        Condition::Absent => present.is_none(),
        Condition::Version(expected) => present == Some(expected),
    };
    if !holds {
        return Ok(Err(Error::Conflict));
    }
    *last_version += 1;
    match &write.body {
        Some(body) => {
            let row = (*last_version, milliseconds(now), body.as_ref());
            records.insert(write.key.as_str(), row)?;
        }
        None => {
            records.remove(write.key.as_str())?;
        }
    }
    Ok(Ok(Version(last_version.to_string())))
}

/// The clock of this store, for ages and deadlines.
#[expect(clippy::disallowed_methods, reason = "a store has its own clock")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
