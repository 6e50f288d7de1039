//! `src/registry/blobs.rs`: publishing data, adopting a pointer, mounts, inline links.

use crate::process::{End, Found, Process, Request, Step};
use crate::records::{CreatedOrLeased, Written};
use crate::store::{Body, Key, Location, Tick};

enum Leased {
    There,
    Missing(Found),
    Moved(Found),
    Deleted,
}

fn location_of(found: &Found) -> Option<Location> {
    match found.record.body {
        Body::Pointer { location } | Body::Link { location } => location,
        _ => None,
    }
}

impl Process<'_> {
    /// `Blobs::publish`. Returns the data object of this process if it is not needed.
    pub(crate) fn publish(
        &mut self,
        (repository, digest): (u8, u8),
        location: Location,
        dated: Tick,
    ) -> Step<Option<Location>> {
        let pointer_dated = self.rules.pointer_dated.then_some(dated);
        let claimed = self.part(|p| p.claim_pointer(digest, location, pointer_dated))?;
        self.part(|p| p.link_stored((repository, digest), claimed, dated))?;
        Ok((claimed != location).then_some(location))
    }

    /// `Blobs::claim_pointer`.
    fn claim_pointer(
        &mut self,
        digest: u8,
        written: Location,
        dated: Option<Tick>,
    ) -> Step<Location> {
        let (key, body) = (Key::Pointer(digest), Body::Pointer { location: Some(written) });
        let mut current: Option<Found> = None;
        loop {
            if let Some(found) = current.filter(|found| found.record.is_live())
                && let Some(other) = location_of(&found).filter(|other| *other != written)
            {
                match self.lease_pointer(key, found, other)? {
                    Leased::There => return Ok(other),
                    Leased::Missing(leased) => current = Some(leased),
                    Leased::Moved(now) => {
                        current = Some(now);
                        continue;
                    }
                    Leased::Deleted => {
                        current = self.read(key)?;
                        continue;
                    }
                }
            }
            match self.upsert(key, current.as_ref(), body, dated)? {
                Written::Ours(_) => return Ok(written),
                Written::Replaced(now) | Written::Lost(now) => current = now,
            }
        }
    }

    /// `Blobs::lease_pointer`. The code looks and leases at the same time; the model takes the
    /// weaker order, in which the data was there before the lease.
    fn lease_pointer(&mut self, key: Key, found: Found, location: Location) -> Step<Leased> {
        let exists = !self.rules.head_on_adopt || self.data(Request::Head(location))?;
        let Some(leased) = self.lease(key, found)? else { return Ok(Leased::Deleted) };
        Ok(match (location_of(&leased) == Some(location), exists) {
            (false, _) => Leased::Moved(leased),
            (true, true) => Leased::There,
            (true, false) => Leased::Missing(leased),
        })
    }

    /// `Blobs::link_stored`.
    fn link_stored(
        &mut self,
        (repository, digest): (u8, u8),
        location: Location,
        dated: Tick,
    ) -> Step<()> {
        let key = Key::Link(repository, digest);
        let body = Body::Link { location: Some(location) };
        loop {
            let CreatedOrLeased::Leased(found) = self.create_or_lease(key, body, Some(dated))?
            else {
                return Ok(());
            };
            if location_of(&found).is_none_or(|other| other == location) {
                return Ok(());
            }
            if let Written::Ours(_) = self.upsert(key, Some(&found), body, Some(dated))? {
                return Ok(());
            }
        }
    }

    /// `Blobs::mount` from a named repository.
    pub(crate) fn mount(&mut self, source: u8, target: u8, digest: u8) -> Step<End> {
        let dated = self.now()?;
        let Some(link) = self.load(Key::Link(source, digest))? else { return Ok(End::Refused) };
        if location_of(&link).is_none() {
            self.link_inline((target, digest), dated)?;
            return Ok(End::Acknowledged);
        }
        let key = Key::Pointer(digest);
        let Some(pointer) = self.load(key)? else { return Ok(End::Refused) };
        let Some(location) = location_of(&pointer) else { return Ok(End::Refused) };
        match self.lease_pointer(key, pointer, location)? {
            Leased::There => {
                self.part(|p| p.link_stored((target, digest), location, dated))?;
                Ok(End::Acknowledged)
            }
            Leased::Missing(_) | Leased::Moved(_) | Leased::Deleted => Ok(End::Refused),
        }
    }

    /// `Blobs::link_inline`. The hint is undated, as in `write_hint`: nothing relies on it.
    pub(crate) fn link_inline(&mut self, (repository, digest): (u8, u8), dated: Tick) -> Step<()> {
        self.part(|p| {
            let (key, hint) = (Key::Pointer(digest), Body::Pointer { location: None });
            if let Written::Lost(Some(found)) = p.write(key, None, hint, None)?
                && !found.record.is_live()
            {
                p.upsert(key, Some(&found), hint, None)?;
            }
            Ok(())
        })?;
        self.part(|p| {
            let (key, body) = (Key::Link(repository, digest), Body::Link { location: None });
            let linked = p.create_or_lease(key, body, Some(dated))?;
            // `repair_inline`.
            if let CreatedOrLeased::Leased(found) = linked
                && let Some(location) = location_of(&found)
                && !p.data(Request::Head(location))?
            {
                p.upsert(key, Some(&found), body, Some(dated))?;
            }
            Ok(())
        })
    }

    /// `Blobs::get_for_push`, which `Uploads::finished_before` calls.
    pub(crate) fn get_for_push(&mut self, repository: u8, digest: u8) -> Step<End> {
        let key = Key::Link(repository, digest);
        let Some(link) = self.load(key)? else { return Ok(End::Refused) };
        let leased = self.lease(key, link)?.is_some();
        Ok(if leased { End::Acknowledged } else { End::Refused })
    }

    /// `Blobs::delete`.
    pub(crate) fn delete_blob(&mut self, repository: u8, digest: u8) -> Step<End> {
        self.delete_record(Key::Link(repository, digest))
    }

    /// `Records::delete` without a condition on the content.
    pub(crate) fn delete_record(&mut self, key: Key) -> Step<End> {
        let mut current = self.read(key)?;
        loop {
            let Some(found) = current.filter(|found| found.record.is_live()) else {
                return Ok(End::Refused);
            };
            let base = self.base(&found);
            match self.write(key, Some(base), Body::Tombstone, None)? {
                Written::Ours(_) | Written::Replaced(_) => return Ok(End::Acknowledged),
                Written::Lost(Some(now)) if !now.record.is_live() => return Ok(End::Acknowledged),
                Written::Lost(now) => current = now,
            }
        }
    }
}
