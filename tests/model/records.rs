//! `src/registry/record/mod.rs`: conditional writes whose outcome may be unknown, leases, deletion.

use crate::process::{Answer, End, Found, Process, Request, Step, Stop};
use crate::store::{Body, Condition, Key, Nonce, PAST_MAX, Tick, Write};

/// The version that a write replaces, and what it takes over from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    pub(crate) version: Nonce,
    pub(crate) lineage: [Nonce; PAST_MAX],
}

pub(crate) enum Written {
    Ours(Base),
    Replaced(Option<Found>),
    Lost(Option<Found>),
}

pub(crate) enum CreatedOrLeased {
    Created,
    Leased(Found),
}

impl Process<'_> {
    pub(crate) fn base(&self, found: &Found) -> Base {
        Base { version: found.record.version(self.rules), lineage: found.record.lineage() }
    }

    /// `Records::load`: a live record.
    pub(crate) fn load(&mut self, key: Key) -> Step<Option<Found>> {
        Ok(self.read(key)?.filter(|found| found.record.is_live()))
    }

    /// `Records::upsert`, `create` and `replace`.
    pub(crate) fn upsert(
        &mut self,
        key: Key,
        current: Option<&Found>,
        body: Body,
        dated: Option<Tick>,
    ) -> Step<Written> {
        let base = current.map(|found| self.base(found));
        self.write(key, base, body, dated)
    }

    /// `Records::write_once`.
    pub(crate) fn write(
        &mut self,
        key: Key,
        base: Option<Base>,
        body: Body,
        dated: Option<Tick>,
    ) -> Step<Written> {
        let condition = base.map_or(Condition::Absent, |base| Condition::Version(base.version));
        self.write_if(key, condition, base, body, dated)
    }

    pub(crate) fn write_if(
        &mut self,
        key: Key,
        condition: Condition,
        base: Option<Base>,
        body: Body,
        dated: Option<Tick>,
    ) -> Step<Written> {
        let nonce = self.nonce();
        let past = base.map(|base| base.lineage).unwrap_or_default();
        let write = Write { key, condition, nonce, past, body, dated };
        let mut may_have_happened = false;
        loop {
            let busy = match self.ask(Request::Write(write))? {
                Answer::Written => return Ok(Written::Ours(written(base, nonce))),
                Answer::Conflict { after_retry } => {
                    may_have_happened |= after_retry;
                    false
                }
                Answer::TryAgain => {
                    may_have_happened |= self.rules.busy_is_retried;
                    true
                }
                Answer::Expired => return Err(Stop::End(End::Unknown)),
                other => unreachable!("{other:?}"),
            };
            let current = self.read(key)?;
            let version = current.as_ref().map(|found| found.record.version(self.rules));
            if version == base.map(|base| base.version) && (self.rules.busy_is_retried || !busy) {
                continue;
            }
            let older = current.as_ref().is_some_and(|found| found.older);
            return self.after_conflict(current, base, nonce, may_have_happened && !older);
        }
    }

    /// What a conflict means for the write with this nonce.
    fn after_conflict(
        &self,
        current: Option<Found>,
        base: Option<Base>,
        nonce: Nonce,
        may_have_happened: bool,
    ) -> Step<Written> {
        let unknown = Err(Stop::End(End::Unknown));
        let Some(found) = current else {
            return if may_have_happened { unknown } else { Ok(Written::Lost(current)) };
        };
        if found.record.nonce == nonce {
            return Ok(Written::Ours(written(base, nonce)));
        }
        if !self.rules.past {
            return Ok(Written::Lost(current));
        }
        if found.record.names(nonce) {
            return Ok(Written::Replaced(current));
        }
        // `History::reaches`.
        let reaches = match base {
            Some(base) => found.record.names(base.lineage[0]),
            None => found.record.past[1] == 0,
        };
        if may_have_happened && !reaches { unknown } else { Ok(Written::Lost(current)) }
    }

    /// `Records::lease`. `None` if the record was deleted meanwhile.
    pub(crate) fn lease(&mut self, key: Key, mut found: Found) -> Step<Option<Found>> {
        while !found.young && self.rules.lease {
            let base = self.base(&found);
            let now = match self.write(key, Some(base), found.record.body, None)? {
                Written::Ours(base) => {
                    found.record.nonce = base.version;
                    found.record.past = shifted(&base);
                    found.young = true;
                    return Ok(Some(found));
                }
                Written::Replaced(now) | Written::Lost(now) => now,
            };
            match now.filter(|now| now.record.is_live()) {
                Some(now) => found = now,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// `Records::create_or_lease`.
    pub(crate) fn create_or_lease(
        &mut self,
        key: Key,
        body: Body,
        dated: Option<Tick>,
    ) -> Step<CreatedOrLeased> {
        let mut current: Option<Found> = None;
        loop {
            if let Some(found) = current.filter(|found| found.record.is_live()) {
                match self.lease(key, found)? {
                    Some(found) => return Ok(CreatedOrLeased::Leased(found)),
                    None => current = self.read(key)?,
                }
                continue;
            }
            match self.upsert(key, current.as_ref(), body, dated)? {
                Written::Ours(_) | Written::Replaced(_) => return Ok(CreatedOrLeased::Created),
                Written::Lost(now) => current = now,
            }
        }
    }

    /// `Records::delete_version`: true if this call deleted that version, `None` if the record is
    /// live in another one.
    pub(crate) fn delete_version(&mut self, key: Key, base: Base) -> Step<Option<bool>> {
        Ok(match self.write(key, Some(base), Body::Tombstone, None)? {
            Written::Ours(_) | Written::Replaced(_) => Some(true),
            Written::Lost(Some(found)) if !found.record.is_live() => Some(false),
            Written::Lost(_) => None,
        })
    }
}

fn written(base: Option<Base>, nonce: Nonce) -> Base {
    let mut lineage = base.map(|base| base.lineage).unwrap_or_default();
    lineage.rotate_right(1);
    lineage[0] = nonce;
    Base { version: nonce, lineage }
}

/// The `past` of the version that a write has made.
fn shifted(base: &Base) -> [Nonce; PAST_MAX] {
    let mut past = base.lineage;
    past.rotate_left(1);
    past[PAST_MAX - 1] = 0;
    past
}
