//! Upload sessions that their clients have left, and their bytes.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::removals::Again;
use super::rows::Row;
use super::{Class, Error, Fate, READS_AT_ONCE, Run};
use crate::layout::encoding::{decode, is_tombstone};
use crate::layout::records::{Pointer, Session};
use crate::registry::record::Current;
use crate::store::{Kind, Location, MultipartId, OpenMultipart, Prefix, RecordKey, RecordPages};

/// Open multipart uploads that one run looks at.
const MULTIPARTS_MAX: usize = 1_000;

/// The data objects that a session names, and where its parts go.
pub(super) fn locations(session: &Session) -> impl Iterator<Item = &Location> {
    let multipart = session.multipart.as_ref().map(|multipart| &multipart.location);
    session.single_object.iter().chain(&session.former_object).chain(multipart)
}

impl Run {
    /// Ends sessions that are old, and frees their bytes. Removes the tombstones of those that
    /// ended before.
    pub(super) async fn collect_sessions(&self) -> Result<(), Error> {
        // Before the sessions: what is started later, and named by none of them, is not old.
        let mut unnamed = self.old_multiparts().await?;
        let reads_all = !unnamed.is_empty();
        let mut pages = RecordPages::of(Prefix::All(Kind::Uploads));
        while let Some(page) = pages.next(self.paced.as_ref()).await? {
            let cutoff = self.cutoff(pages.began());
            let (mut old, mut young, mut ended) = (Vec::new(), Vec::new(), Vec::new());
            for listed in page.rows {
                let Ok(key @ RecordKey::Upload(_)) = listed.key.parse() else { continue };
                let (is_old, is_live) = (cutoff.is_old(&listed), !is_tombstone(listed.size));
                match (is_live, is_old) {
                    (true, true) => old.push(Row { key, listed }),
                    (true, false) => young.push(Row { key, listed }),
                    (false, true) => ended.push(Row { key, listed }),
                    (false, false) => self.count(Class::Tombstone, Fate::Grace),
                }
            }
            self.count_all(Class::Tombstone, Fate::Removed, ended.len());
            self.discard_rows(ended).await?;
            self.count_all(Class::Session, Fate::Grace, young.len());
            if reads_all {
                let Some(sessions) = self.read_sessions(young).await? else {
                    unnamed.clear();
                    continue;
                };
                unnamed.retain(|open| !sessions.iter().any(|session| names(session, open)));
            }
            for row in old {
                if let Some(session) = self.end_session(&row).await? {
                    unnamed.retain(|open| !names(&session, open));
                }
            }
        }
        for open in unnamed {
            self.abort(&open.location, &open.id).await?;
        }
        Ok(())
    }

    /// Multipart uploads that began so long ago that their session was written, if it ever was.
    async fn old_multiparts(&self) -> Result<Vec<OpenMultipart>, Error> {
        self.paced.requests_sent(1).await;
        let open = self.store.list_multiparts(MULTIPARTS_MAX).await?;
        let (now, grace) = (open.now, self.settings.grace);
        Ok(open.rows.into_iter().filter(|open| open.started + grace < now).collect())
    }

    /// Ends one session and then frees its bytes: in this order, because a request that continues
    /// the session may win. Returns the session if it could be read.
    async fn end_session(&self, row: &Row) -> Result<Option<Session>, Error> {
        let Some(record) = self.read_listed(row).await? else {
            self.count(Class::Session, Fate::Changed);
            // It was touched, or it has ended.
            return Ok(self.read_session(&row.key).await?.flatten());
        };
        let session = match Session::decode(&record.body) {
            Ok((session, _)) => session,
            Err(error) => {
                tracing::warn!(key = %row.key, %error, "an upload session cannot be read");
                self.count(Class::Session, Fate::Unreadable);
                return Ok(None);
            }
        };
        if !self.delete_read(&row.key, &record).await? {
            self.count(Class::Session, Fate::Changed);
            return Ok(Some(session));
        }
        self.count(Class::Session, Fate::Removed);
        if let Some(multipart) = &session.multipart {
            self.abort(&multipart.location, &MultipartId(multipart.id.clone())).await?;
        }
        self.quarantine_bytes(&session).await?;
        Ok(Some(session))
    }

    /// Puts the data objects of an ended session into quarantine, unless its blob was published.
    async fn quarantine_bytes(&self, session: &Session) -> Result<(), Error> {
        let digest = session.committing.first().copied();
        let published = match digest {
            Some(digest) => self.pointed_at(&RecordKey::Pointer(digest)).await?,
            None => None,
        };
        for location in locations(session) {
            let of_parts = session.multipart.as_ref().map(|multipart| &multipart.location);
            // Parts become an object only in a commit.
            let never_was = digest.is_none() && of_parts == Some(location);
            if published.as_ref() != Some(location) && !never_was {
                let size = Some(session.offset);
                self.quarantine(location, (digest, size), Again::Restart).await?;
            }
        }
        Ok(())
    }

    /// Where a pointer says that the data is.
    pub(super) async fn pointed_at(&self, key: &RecordKey) -> Result<Option<Location>, Error> {
        match self.records.read(key).await? {
            Current::Absent | Current::Tombstone(_) => Ok(None),
            Current::Live(record) => Ok(decode::<Pointer>(&record.body)?.0.location),
        }
    }

    async fn abort(&self, location: &Location, id: &MultipartId) -> Result<(), Error> {
        self.count(Class::Multipart, Fate::Removed);
        if self.writes() {
            self.paced.requests_sent(1).await;
            self.store.abort(location, id).await?;
        }
        Ok(())
    }

    /// Reads a session: `Some(None)` if it has ended, `None` if it cannot be read.
    async fn read_session(&self, key: &RecordKey) -> Result<Option<Option<Session>>, Error> {
        let Current::Live(record) = self.records.read(key).await? else { return Ok(Some(None)) };
        Ok(Session::decode(&record.body).ok().map(|(session, _)| Some(session)))
    }

    /// Reads sessions, without those that have ended. `None` if one cannot be read: nothing says
    /// then which bytes it names.
    pub(super) async fn read_sessions(
        &self,
        rows: Vec<Row>,
    ) -> Result<Option<Vec<Session>>, Error> {
        let read = |row: Row| async move { self.read_session(&row.key).await };
        let read = stream::iter(rows.into_iter().map(read)).buffer_unordered(READS_AT_ONCE);
        let read: Vec<Option<Option<Session>>> = read.try_collect().await?;
        let all: Option<Vec<Option<Session>>> = read.into_iter().collect();
        Ok(all.map(|all| all.into_iter().flatten().collect()))
    }
}

fn names(session: &Session, open: &OpenMultipart) -> bool {
    session.multipart.as_ref().is_some_and(|multipart| multipart.id == open.id.0)
}
