//! `src/registry/uploads`: one blob of repository and digest, sent in the ways that differ in what
//! names its data until the pointer does.

use crate::process::{End, Found, Process, Request, Step, Stop};
use crate::records::{Base, Written};
use crate::store::{Body, Key, Location, Tick};

/// The fields of a session record.
#[derive(Clone, Copy)]
struct Session {
    location: Option<Location>,
    multipart: bool,
    offset: u8,
    committing: bool,
}

impl Session {
    fn body(self) -> Body {
        let Self { location, multipart, offset, committing } = self;
        Body::Session { location, multipart, offset, committing }
    }

    fn of(found: &Found) -> Self {
        let Body::Session { location, multipart, offset, committing } = found.record.body else {
            unreachable!("a record of another kind under the key of a session")
        };
        Self { location, multipart, offset, committing }
    }
}

impl Process<'_> {
    /// `Uploads::put_blob`, then `commit_buffer`: a blob that fits into one part.
    pub(crate) fn push_small(&mut self, blob: (u8, u8)) -> Step<End> {
        let before = if self.rules.dated_before_data { Some(self.now()?) } else { None };
        let location = self.location();
        self.data(Request::Put(location))?;
        let dated = match before {
            Some(before) => before,
            None => self.now()?,
        };
        let duplicate = self.publish(blob, location, dated)?;
        self.free(duplicate)?;
        Ok(End::Acknowledged)
    }

    /// The same for a blob that its link holds.
    pub(crate) fn push_inline(&mut self, blob: (u8, u8)) -> Step<End> {
        let dated = self.now()?;
        self.link_inline(blob, dated)?;
        Ok(End::Acknowledged)
    }

    /// `Uploads::append`, then `save_single_object`: the PATCH of a client that sends all at once.
    pub(crate) fn stage(&mut self, id: u8) -> Step<End> {
        let before = self.now()?;
        let location = self.location();
        self.data(Request::Put(location))?;
        let session =
            Session { location: Some(location), multipart: false, offset: 1, committing: false };
        let dated = self.rules.staged_dated.then_some(before);
        match self.write(Key::Session(id), None, session.body(), dated)? {
            Written::Ours(_) => Ok(End::Acknowledged),
            Written::Replaced(_) => Ok(End::Refused),
            Written::Lost(_) => {
                self.free(Some(location))?;
                Ok(End::Refused)
            }
        }
    }

    /// `Uploads::append` to a session with parts: a chunk that becomes another part.
    pub(crate) fn append(&mut self, id: u8) -> Step<End> {
        let key = Key::Session(id);
        let Some(found) = self.load(key)? else { return Ok(End::Refused) };
        let session = Session::of(&found);
        if session.committing {
            return Ok(End::Refused);
        }
        let longer = Session { offset: session.offset + 1, ..session };
        let base = self.base(&found);
        Ok(match self.write(key, Some(base), longer.body(), None)? {
            Written::Ours(_) => End::Acknowledged,
            Written::Replaced(_) | Written::Lost(_) => End::Refused,
        })
    }

    /// `Uploads::finish`: the PUT that ends a session, or repeats one that did.
    pub(crate) fn finish(&mut self, id: u8, blob: (u8, u8)) -> Step<End> {
        let key = Key::Session(id);
        let Some(found) = self.read(key)? else { return Ok(End::Refused) };
        if !found.record.is_live() {
            return self.get_for_push(blob.0, blob.1);
        }
        let session = Session::of(&found);
        let base = self.base(&found);
        if session.committing {
            return self.resume(id, blob, (session, base));
        }
        let Some(location) = session.location else { return Ok(End::Refused) };
        // `commit_parts`, `commit_single_object`.
        let dated = self.now()?;
        let committing = Session { committing: true, ..session };
        let Written::Ours(base) = self.write(key, Some(base), committing.body(), None)? else {
            return Ok(End::Refused);
        };
        self.complete(id, blob, (committing, base, location), dated)
    }

    /// `resume_commit`.
    fn resume(&mut self, id: u8, blob: (u8, u8), (session, base): (Session, Base)) -> Step<End> {
        let Some(location) = session.location else { return Ok(End::Refused) };
        let (dated, base) = if self.rules.resumed_touches {
            match self.touch_committing(id, session, base)? {
                Some(touched) => touched,
                None => return self.get_for_push(blob.0, blob.1),
            }
        } else {
            (self.now()?, base)
        };
        // `resume_single_object` asks for the object, because another request may have freed it.
        if !session.multipart && !self.data(Request::Head(location))? {
            return self.get_for_push(blob.0, blob.1);
        }
        self.complete(id, blob, (session, base, location), dated)
    }

    /// `touch_committing`: the time from which what follows is dated. `None` if the session has
    /// ended.
    fn touch_committing(
        &mut self,
        id: u8,
        session: Session,
        mut base: Base,
    ) -> Step<Option<(Tick, Base)>> {
        loop {
            let dated = self.now()?;
            let current = match self.write(Key::Session(id), Some(base), session.body(), None)? {
                Written::Ours(base) => return Ok(Some((dated, base))),
                Written::Replaced(current) | Written::Lost(current) => current,
            };
            let Some(found) = current.filter(|found| found.record.is_live()) else {
                return Ok(None);
            };
            if !Session::of(&found).committing {
                return Err(Stop::End(End::Refused));
            }
            base = self.base(&found);
        }
    }

    /// `complete`, `publish_single_object`, `end_later`.
    fn complete(
        &mut self,
        id: u8,
        blob: (u8, u8),
        (session, mut base, location): (Session, Base, Location),
        mut dated: Tick,
    ) -> Step<End> {
        if session.multipart {
            if !self.data(Request::Complete(location))? {
                return self.get_for_push(blob.0, blob.1);
            }
            let taken = self.now()? - dated;
            if taken > self.times.deadline / 2 && self.rules.completion_touches {
                match self.touch_committing(id, session, base)? {
                    Some(touched) => (dated, base) = touched,
                    None => return self.get_for_push(blob.0, blob.1),
                }
            }
        }
        let duplicate = self.publish(blob, location, dated)?;
        // The client is answered here: what follows is cleaning, which a crash may leave undone.
        self.part(|p| p.delete_version(Key::Session(id), base).map(|_| ()))?;
        self.free(duplicate)?;
        Ok(End::Acknowledged)
    }

    /// `Uploads::cancel`, and `discard` after a wrong digest.
    pub(crate) fn cancel(&mut self, id: u8) -> Step<End> {
        let key = Key::Session(id);
        let Some(found) = self.load(key)? else { return Ok(End::Refused) };
        let session = Session::of(&found);
        if session.committing {
            return Ok(End::Refused);
        }
        let base = self.base(&found);
        if !self.rules.free_after_end {
            self.free_session(session)?;
        }
        match self.delete_version(key, base)? {
            Some(true) if self.rules.free_after_end => self.free_session(session)?,
            Some(_) => {}
            None => return Err(Stop::End(End::Unknown)),
        }
        Ok(End::Acknowledged)
    }

    /// `free_later`.
    fn free_session(&mut self, session: Session) -> Step<()> {
        match session.location {
            Some(location) if session.multipart => {
                self.data(Request::Abort(location))?;
                Ok(())
            }
            location => self.free(location),
        }
    }

    fn free(&mut self, location: Option<Location>) -> Step<()> {
        if let Some(location) = location {
            self.data(Request::Delete(location))?;
        }
        Ok(())
    }
}
