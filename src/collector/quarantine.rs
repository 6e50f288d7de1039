//! Data objects that are to be deleted, and wait until no presigned URL and no cache names them.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::rows::Row;
use super::{Class, Error, Fate, REMOVALS_AT_ONCE, Run};
use crate::layout::encoding::{decode, is_tombstone};
use crate::layout::records::Quarantined;
use crate::oci::Digest;
use crate::registry::record::Current;
use crate::store::{self, Location, Prefix, Record, RecordKey, RecordPages};

/// Data objects that one run deletes.
const DUE_MAX: usize = 200_000;

/// Data whose quarantine has ended.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) location: Location,
    /// The digest of its content, if it is known.
    pub(super) digest: Option<Digest>,
    size: Option<u64>,
    key: RecordKey,
    record: Record,
}

impl Run {
    /// Reads the quarantine, and returns what has been there long enough.
    pub(super) async fn read_quarantine(&self) -> Result<Vec<Due>, Error> {
        let mut due = Vec::new();
        let mut pages = RecordPages::of(Prefix::Quarantined);
        while let Some(page) = pages.next(self.paced.as_ref()).await? {
            let cutoff = self.cutoff(pages.began());
            let (mut read, mut tombstones) = (Vec::new(), Vec::new());
            for listed in page.rows {
                let Ok(key @ RecordKey::Quarantined(..)) = listed.key.parse() else { continue };
                if !is_tombstone(listed.size) {
                    read.push(Row { key, listed });
                } else if cutoff.is_old(&listed) {
                    tombstones.push(Row { key, listed });
                }
            }
            self.discard_rows(tombstones).await?;
            let read = read.into_iter().map(|row| async move {
                let found = self.read_quarantined(&row).await?;
                Ok::<_, Error>((row, found))
            });
            let mut read = stream::iter(read).buffer_unordered(REMOVALS_AT_ONCE);
            while let Some((row, found)) = read.try_next().await? {
                let Some(found) = found else { continue };
                self.report().quarantined(found.size.unwrap_or_default());
                let long_enough = cutoff.is_older_than(&row.listed, self.settings.quarantine);
                if long_enough && due.len() < DUE_MAX {
                    due.push(found);
                }
            }
        }
        Ok(due)
    }

    async fn read_quarantined(&self, row: &Row) -> Result<Option<Due>, Error> {
        let Some(record) = self.read_listed(row).await? else { return Ok(None) };
        let RecordKey::Quarantined(day, id) = &row.key else { return Ok(None) };
        let location = Location::of_parts(day, *id);
        Ok(match decode::<Quarantined>(&record.body) {
            Ok((Quarantined { digest, size, .. }, _)) => {
                Some(Due { location, digest, size, key: row.key.clone(), record })
            }
            Err(error) => {
                tracing::warn!(key = %row.key, %error, "a record of the quarantine cannot be read");
                self.count(Class::Data, Fate::Unreadable);
                None
            }
        })
    }

    /// Deletes data whose quarantine has ended, unless a link or the pointer names it.
    pub(super) async fn end_quarantine(&self, due: Due, linked: bool) -> Result<(), Error> {
        let Due { location, digest, size, key, record } = due;
        let pointed_at = match digest {
            Some(digest) => match self.pointed_at(&RecordKey::Pointer(digest)).await {
                Err(Error::Store(store::Error::Damaged(_))) => {
                    self.count(Class::Data, Fate::Unreadable);
                    return Ok(());
                }
                pointed_at => pointed_at?,
            },
            None => None,
        };
        if linked || pointed_at.as_ref() == Some(&location) {
            self.count(Class::Data, Fate::Named);
            return self.discard(&key, &record).await;
        }
        // Another collector may have put it here again, before it deleted the pointer.
        match self.records.read(&key).await? {
            Current::Live(now) if now.version == record.version => {}
            Current::Live(_) | Current::Tombstone(_) | Current::Absent => {
                self.count(Class::Data, Fate::Changed);
                return Ok(());
            }
        }
        self.delete_data(&location).await?;
        self.count(Class::Data, Fate::Removed);
        self.report().freed(size.unwrap_or_default());
        self.discard(&key, &record).await
    }
}
