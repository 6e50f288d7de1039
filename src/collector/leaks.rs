//! Data objects that nothing names: their process died between writing them and naming them.
//!
//! They are found by the listing of `d/`. An object of a day is compared when the day is a week
//! older than the grace, because on S3 data that was sent in parts is as old as the start of its
//! upload. Names are read in the direction in which they move: sessions, pointers, links.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use uuid::Uuid;

use super::removals::Again;
use super::rows::Row;
use super::sessions::locations;
use super::state::State;
use super::{Class, Error, Fate, READS_AT_ONCE, REMOVALS_AT_ONCE, Run};
use crate::layout::encoding::{decode, is_tombstone};
use crate::layout::records::{Pointer, seconds};
use crate::registry::record::Current;
use crate::store::{
    DataPages, Day, Kind, Location, Prefix, RecordKey, RecordPages, RecordStore as _,
};

/// How much older than the grace a day has to be: longer than any upload takes.
const AFTER_GRACE: Duration = Duration::from_hours(7 * 24);
/// By how much the day in a key may be later than the day on which a pointer to it was written.
const DAY_MARGIN: Duration = Duration::from_hours(24);
/// How often the comparison begins anew with the oldest day. It reads every pointer then.
const FROM_START_EVERY: Duration = Duration::from_hours(30 * 24);
/// Data objects that are compared at once: those of whole days, until there are so many.
const OBJECTS_MAX: usize = 250_000;

/// Data objects without a name so far, with their bytes.
type Unnamed = BTreeMap<(Day, Uuid), u64>;

fn remove(unnamed: &mut Unnamed, location: &Location) {
    if let Some(parts) = location.parts() {
        unnamed.remove(&parts);
    }
}

impl Run {
    /// Compares the data objects of the next days with all that may name them.
    pub(super) async fn find_leaks(&self, state: &mut State) -> Result<(), Error> {
        let days = self.next_days(state).await?;
        let (mut unnamed, last) = self.list_data(days).await?;
        let Some(((first, _), _)) = unnamed.first_key_value() else {
            state.leaks_end(last);
            return Ok(());
        };
        let since = first.clone();
        let forget = |named: &_| {
            unnamed.remove(named);
        };
        let readable = self.named_by_sessions(forget).await?;
        let unnamed = if readable {
            self.without_named_by_records(unnamed, &since).await?
        } else {
            Unnamed::new()
        };
        let quarantine = |((day, id), size)| async move {
            let location = Location::of_parts(&day, id);
            tracing::info!(%location, size, "nothing names this data object");
            self.quarantine(&location, (None, Some(size)), Again::Keep).await.map(|_| ())
        };
        let quarantined = stream::iter(unnamed.into_iter().map(quarantine));
        quarantined.buffer_unordered(REMOVALS_AT_ONCE).try_collect::<()>().await?;
        state.leaks_end(last);
        Ok(())
    }

    /// The days that are old enough, after the last one that was compared. All of them if that is
    /// none, or if they were compared long ago.
    async fn next_days(&self, state: &mut State) -> Result<Vec<Day>, Error> {
        // The store's clock.
        let now = self.paced.list(&Prefix::Quarantined, None, 1).await?.now;
        let age = self.settings.grace + AFTER_GRACE;
        let end = Day::of(now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH));
        self.paced.requests_sent(1).await;
        let mut days = self.store.list_days().await?;
        days.retain(|day| *day < end);
        let now = seconds(now);
        match state.leaks_to() {
            Some(last) if days.iter().any(|day| *day > last) => days.retain(|day| *day > last),
            Some(_) if state.leaks_age(now) < FROM_START_EVERY => days.clear(),
            Some(_) | None => state.leaks_begin(now),
        }
        Ok(days)
    }

    /// The data objects of whole days, and the last of these days.
    async fn list_data(&self, days: Vec<Day>) -> Result<(Unnamed, Option<Day>), Error> {
        let (mut found, mut last) = (Unnamed::new(), None);
        for day in days {
            let mut pages = DataPages::of(day.clone());
            loop {
                self.paced.requests_sent(1).await;
                let Some(page) = pages.next(self.store.as_ref()).await? else { break };
                let cutoff = self.cutoff(pages.began());
                let old = page.rows.iter().filter(|row| cutoff.is_old(row));
                let located = old.filter_map(|row| {
                    let location: Location = row.key.parse().ok()?;
                    Some((location.parts()?, row.size))
                });
                found.extend(located);
            }
            last = Some(day);
            if found.len() >= OBJECTS_MAX {
                break;
            }
        }
        Ok((found, last))
    }

    /// Calls `named` with each data object that a live session names. False if a session cannot be
    /// read: it may name any of them.
    pub(super) async fn named_by_sessions(
        &self,
        mut named: impl FnMut(&(Day, Uuid)) + Send,
    ) -> Result<bool, Error> {
        let mut pages = RecordPages::of(Prefix::All(Kind::Uploads));
        while let Some(page) = pages.next(self.paced.as_ref()).await? {
            let live = page.rows.into_iter().filter(|row| !is_tombstone(row.size));
            let rows = live.filter_map(|listed| {
                let key @ RecordKey::Upload(_) = listed.key.parse().ok()? else { return None };
                Some(Row { key, listed })
            });
            let Some(sessions) = self.read_sessions(rows.collect()).await? else {
                self.count(Class::Data, Fate::Unreadable);
                return Ok(false);
            };
            sessions
                .iter()
                .flat_map(locations)
                .filter_map(Location::parts)
                .for_each(|it| named(&it));
        }
        Ok(true)
    }

    /// Takes away what pointers and links name. Those that name data of a day were written on that
    /// day or later.
    async fn without_named_by_records(
        &self,
        mut unnamed: Unnamed,
        since: &Day,
    ) -> Result<Unnamed, Error> {
        for kind in [Kind::Pointers, Kind::Links] {
            let mut pages = RecordPages::of(Prefix::All(kind));
            while !unnamed.is_empty()
                && let Some(page) = pages.next(self.paced.as_ref()).await?
            {
                let late = page.rows.into_iter().filter(|row| {
                    !is_tombstone(row.size) && Day::of(row.written + DAY_MARGIN) >= *since
                });
                let rows = late.filter_map(|listed| {
                    let key = listed.key.parse().ok()?;
                    Some(Row { key, listed })
                });
                let Some(named) = self.named_by(kind, rows.collect()).await? else {
                    self.count(Class::Data, Fate::Unreadable);
                    return Ok(Unnamed::new());
                };
                for location in named {
                    remove(&mut unnamed, &location);
                }
            }
        }
        Ok(unnamed)
    }

    /// `None` if one cannot be read.
    async fn named_by(&self, kind: Kind, rows: Vec<Row>) -> Result<Option<Vec<Location>>, Error> {
        if kind == Kind::Links {
            let linked = self.linked_locations(rows).await?;
            return Ok(linked.into_iter().map(|(_, location)| location).collect());
        }
        let read = |row: Row| async move {
            let Current::Live(record) = self.records.read(&row.key).await? else {
                return Ok(Some(None));
            };
            let pointer = decode::<Pointer>(&record.body).ok();
            Ok::<_, Error>(pointer.map(|(pointer, _)| pointer.location))
        };
        let read = stream::iter(rows.into_iter().map(read)).buffer_unordered(READS_AT_ONCE);
        let read: Vec<Option<Option<Location>>> = read.try_collect().await?;
        let all: Option<Vec<Option<Location>>> = read.into_iter().collect();
        Ok(all.map(|all| all.into_iter().flatten().collect()))
    }
}
