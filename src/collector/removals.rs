//! The writes of the collector. In a dry run they read and decide, and write nothing.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::rows::{Row, class};
use super::{Class, Cutoff, Error, Fate, Mode, REMOVALS_AT_ONCE, Run};
use crate::layout::encoding::{DecodeError, Draft, Known};
use crate::layout::records;
use crate::layout::records::seconds;
use crate::oci::Digest;
use crate::registry;
use crate::registry::record::{ATTEMPTS_MAX, Base, Current, Ended, Written, contended};
use crate::store::{Location, Record, RecordKey, RecordStore as _, Removal};

/// Tombstones are removed after so many times the grace: a late writer may still compare its
/// version with that of the tombstone.
const TOMBSTONE_GRACES: u32 = 2;

/// What is in quarantine already, when data comes there again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// The quarantine begins anew: something may have named the data meanwhile.
    Restart,
    /// Nothing has.
    Keep,
}

impl Run {
    pub(super) fn writes(&self) -> bool {
        self.mode == Mode::Collect
    }

    /// Reads a record if it is live and still has the version of the listing.
    pub(super) async fn read_listed(&self, row: &Row) -> Result<Option<Record>, Error> {
        let Current::Live(record) = self.records.read(&row.key).await? else { return Ok(None) };
        Ok(Some(record).filter(|record| record.version == row.listed.version))
    }

    /// Deletes records in the versions of the listing, and counts them.
    pub(super) async fn delete_rows(&self, rows: Vec<Row>) -> Result<(), Error> {
        let delete = |row: Row| async move {
            let deleted = match self.read_listed(&row).await? {
                Some(record) => self.delete_read(&row.key, &record).await?,
                None => false,
            };
            let fate = if deleted { Fate::Removed } else { Fate::Changed };
            self.count(class(&row.key), fate);
            Ok::<_, Error>(())
        };
        stream::iter(rows.into_iter().map(delete))
            .buffer_unordered(REMOVALS_AT_ONCE)
            .try_collect::<()>()
            .await
    }

    /// Deletes a record in the version that was read. Returns whether this call did it.
    pub(super) async fn delete_read(
        &self,
        key: &RecordKey,
        record: &Record,
    ) -> Result<bool, Error> {
        let base = match Base::of(record, Known::All) {
            Ok(base) => base,
            // A later release keeps it for a reason that this one does not know.
            Err(DecodeError::Newer(_)) => return Ok(false),
            Err(error @ DecodeError::Damaged(_)) => {
                tracing::warn!(%key, %error, "a record cannot be read: it stays");
                return Ok(false);
            }
        };
        if !self.writes() {
            return Ok(true);
        }
        match self.records.delete_version(key, &base).await {
            Ok(ended) => Ok(ended == Ended::Here),
            // The next run sees what happened.
            Err(registry::Error::OutcomeUnknown | registry::Error::Busy(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes tombstones that are so old that no writer compares itself with them. On a store
    /// without conditional deletion they stay.
    pub(super) async fn remove_tombstones(
        &self,
        rows: Vec<Row>,
        cutoff: Cutoff,
    ) -> Result<(), Error> {
        let age = cutoff.grace * TOMBSTONE_GRACES;
        let (old, young): (Vec<Row>, Vec<Row>) =
            rows.into_iter().partition(|row| cutoff.is_older_than(&row.listed, age));
        self.count_all(Class::Tombstone, Fate::Grace, young.len());
        if !self.writes() {
            self.count_all(Class::Tombstone, Fate::Removed, old.len());
            return Ok(());
        }
        if !self.removes.load(Ordering::Relaxed) {
            self.count_all(Class::Tombstone, Fate::Unsupported, old.len());
            return Ok(());
        }
        let mut removals = stream::iter(old.into_iter().map(|row| async move {
            Ok::<_, Error>(self.paced.remove(&row.key, &row.listed.version).await?)
        }))
        .buffer_unordered(REMOVALS_AT_ONCE);
        while let Some(removal) = removals.try_next().await? {
            self.removes.fetch_and(removal != Removal::Unsupported, Ordering::Relaxed);
            let fate = match removal {
                Removal::Removed => Fate::Removed,
                Removal::Conflict => Fate::Changed,
                Removal::Unsupported => Fate::Unsupported,
            };
            self.count(Class::Tombstone, fate);
        }
        Ok(())
    }

    /// Removes a record that no request writes.
    pub(super) async fn discard(&self, key: &RecordKey, record: &Record) -> Result<(), Error> {
        if self.writes() {
            self.paced.discard(key, &record.version).await?;
        }
        Ok(())
    }

    /// Removes records that no request writes or makes live again, so a store without conditional
    /// deletion may do it, too.
    pub(super) async fn discard_rows(&self, rows: Vec<Row>) -> Result<(), Error> {
        if !self.writes() {
            return Ok(());
        }
        let discard = |row: Row| async move {
            Ok::<_, Error>(self.paced.discard(&row.key, &row.listed.version).await?)
        };
        let discarded = stream::iter(rows.into_iter().map(discard));
        discarded.buffer_unordered(REMOVALS_AT_ONCE).try_collect::<()>().await
    }

    /// Puts data into quarantine. Returns the record, which is there when this returns; `None` if
    /// the data is in another bucket, and in a dry run.
    pub(super) async fn quarantine(
        &self,
        location: &Location,
        (digest, size): (Option<Digest>, Option<u64>),
        again: Again,
    ) -> Result<Option<(RecordKey, Base)>, Error> {
        let Some((day, id)) = location.parts() else { return Ok(None) };
        self.count(Class::Data, Fate::Quarantine);
        if !self.writes() {
            return Ok(None);
        }
        let key = RecordKey::Quarantined(day, id);
        let since = seconds(self.paced.now());
        let header = records::Quarantined { digest, size, since };
        let draft = Draft::new(&header, Bytes::new());
        let mut current = Current::Absent;
        for _ in 0..ATTEMPTS_MAX {
            match self.records.upsert(&key, &current, &draft, None).await? {
                Written::Ours(base) => return Ok(Some((key, base))),
                Written::Replaced(Current::Live(found)) | Written::Lost(Current::Live(found))
                    if again == Again::Keep =>
                {
                    return Ok(Some((key, Base::of(&found, Known::All)?)));
                }
                Written::Replaced(now) | Written::Lost(now) => current = now,
            }
        }
        Err(contended().into())
    }

    /// Takes data out of quarantine, unless it was put there again.
    pub(super) async fn release(&self, row: Option<(RecordKey, Base)>) -> Result<(), Error> {
        if let Some((key, base)) = row {
            self.records.delete_version(&key, &base).await?;
        }
        Ok(())
    }

    /// Deletes a data object that nothing names.
    pub(super) async fn delete_data(&self, location: &Location) -> Result<(), Error> {
        if self.writes() {
            self.paced.requests_sent(1).await;
            self.store.delete(location).await?;
        }
        Ok(())
    }
}
