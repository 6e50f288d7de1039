//! The collector: its phases, each with a time T0 of its own.
//!
//! A record is *old* if it was written more than the grace before T0, the store's time at the first
//! listing of the phase.

use crate::manifests::bits;
use crate::process::{Answer, Found, Process, Request, Row, Step};
use crate::records::{Base, Written};
use crate::store::{Body, Condition, Key, Location, Prefix, Record, Tick};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Sessions,
    /// Untagged manifests, where a policy gives them an age.
    Untagged,
    Links,
    TagIndexes,
    Pointers,
    Quarantine,
    Leaks,
    Tombstones,
}

impl Phase {
    /// Every phase without a policy, in the order of a run.
    pub(crate) const ALL: [Self; 7] = [
        Self::Sessions,
        Self::Links,
        Self::TagIndexes,
        Self::Quarantine,
        Self::Pointers,
        Self::Leaks,
        Self::Tombstones,
    ];
}

impl Process<'_> {
    pub(crate) fn collect(&mut self, phases: &[Phase]) -> Step<()> {
        for phase in phases {
            self.part(|p| match phase {
                Phase::Sessions => p.collect_sessions(),
                Phase::Untagged => p.collect_untagged(),
                Phase::Links => p.collect_links(),
                Phase::TagIndexes => p.collect_tag_indexes(),
                Phase::Pointers => p.collect_pointers(),
                Phase::Quarantine => p.empty_quarantine(),
                Phase::Leaks => p.collect_leaks(),
                Phase::Tombstones => p.remove_tombstones(),
            })?;
        }
        Ok(())
    }

    fn is_old(&self, record: &Record, begun: Tick) -> bool {
        record.is_live() && record.written + self.times.grace < begun
    }

    /// Replaces the version that a listing showed with a tombstone. False if it has another one.
    fn kill(&mut self, key: Key, record: &Record) -> Step<bool> {
        let version = record.version(self.rules);
        let base = Base { version, lineage: record.lineage() };
        let condition = if self.rules.conditional_removal {
            Condition::Version(version)
        } else {
            Condition::None
        };
        let killed = self.write_if(key, condition, Some(base), Body::Tombstone, None)?;
        Ok(matches!(killed, Written::Ours(_) | Written::Replaced(_)))
    }

    /// The old records of a listing, in a phase that began then; else when the listing did.
    fn candidates(&mut self, prefix: Prefix, begun: Option<Tick>) -> Step<Vec<Row>> {
        let page = self.list(prefix)?;
        let begun = begun.filter(|_| self.rules.first_listing_is_begin).unwrap_or(page.begun);
        Ok(page.rows.into_iter().filter(|row| self.is_old(&row.record, begun)).collect())
    }

    /// Ends old sessions, then frees what they name.
    fn collect_sessions(&mut self) -> Step<()> {
        for Row { key, record } in self.candidates(Prefix::Sessions, None)? {
            self.part(|p| {
                let Body::Session { location, multipart, .. } = record.body else {
                    return Ok(());
                };
                if !p.kill(key, &record)? {
                    return Ok(());
                }
                let Some(location) = location else { return Ok(()) };
                if multipart {
                    p.data(Request::Abort(location))?;
                }
                // A session of the model is committed under digest 0.
                if p.pointer_names(0, location)? {
                    return Ok(());
                }
                p.quarantine(location, Some(0)).map(|_| ())
            })?;
        }
        Ok(())
    }

    fn pointer_names(&mut self, digest: u8, location: Location) -> Step<bool> {
        let pointer = self.load(Key::Pointer(digest))?;
        let body = pointer.map(|found| found.record.body);
        Ok(body == Some(Body::Pointer { location: Some(location) }))
    }

    /// Puts data into the quarantine, and returns the version of its record: `Run::quarantine`. If
    /// it was there, the quarantine begins anew, except that of a leak.
    fn quarantine(&mut self, location: Location, digest: Option<u8>) -> Step<Option<Base>> {
        let (key, body) = (Key::Quarantined(location), Body::Quarantined { digest });
        let mut current: Option<Found> = None;
        loop {
            match self.upsert(key, current.as_ref(), body, None)? {
                Written::Ours(base) => return Ok(Some(base)),
                Written::Replaced(now) | Written::Lost(now) => current = now,
            }
            let live = current.as_ref().is_some_and(|found| found.record.is_live());
            if live && digest.is_none() {
                return Ok(None);
            }
        }
    }

    /// Deletes manifests that no tag and no index names, by the path of a user's DELETE.
    fn collect_untagged(&mut self) -> Step<()> {
        let old = self.candidates(Prefix::Manifests, None)?;
        let (mut named, mut children) = (0u8, 0u8);
        for row in self.list(Prefix::Tags)?.rows {
            if let Body::Tag { manifest, .. } = row.record.body {
                named |= 1 << manifest;
            }
        }
        for row in self.list(Prefix::Manifests)?.rows {
            if let Body::Manifest { children: of_index, .. } = row.record.body {
                children |= of_index;
            }
        }
        for Row { key, record } in old {
            let Key::Manifest(manifest) = key else { continue };
            if (named | children) & (1 << manifest) == 0 {
                self.part(|p| {
                    let listed = p.rules.conditional_removal.then_some(record.nonce);
                    p.delete_manifest(manifest, listed).map(|_| ())
                })?;
            }
        }
        Ok(())
    }

    /// Links that no manifest names, in two runs with the same version.
    fn collect_links(&mut self) -> Step<()> {
        let seen = self.read(Key::Seen)?;
        let before = match seen.as_ref().map(|found| found.record.body) {
            Some(Body::Seen { links }) => links,
            _ => [0; 2],
        };
        let mut referenced = 0u8;
        let manifests = self.list(Prefix::Manifests)?;
        for row in manifests.rows {
            if let Body::Manifest { blobs, external, .. } = row.record.body {
                referenced |= blobs | external;
            }
        }
        let mut now_seen = [0; 2];
        for Row { key, record } in self.candidates(Prefix::Links, Some(manifests.begun))? {
            let Key::Link(repository, digest) = key else { continue };
            // Manifests of the model are in repository 0.
            if repository == 0 && bits(referenced).any(|named| named == digest) {
                continue;
            }
            let place = usize::from(repository);
            if before[place] == record.nonce || !self.rules.second_sighting {
                self.part(|p| p.kill(key, &record).map(|_| ()))?;
            } else {
                now_seen[place] = record.nonce;
            }
        }
        if now_seen != before {
            let seen = seen.as_ref();
            self.part(|p| {
                p.upsert(Key::Seen, seen, Body::Seen { links: now_seen }, None).map(|_| ())
            })?;
        }
        Ok(())
    }

    /// Rows of the tag index whose tag is gone or points elsewhere.
    fn collect_tag_indexes(&mut self) -> Step<()> {
        let tags = self.list(Prefix::Tags)?;
        let old = self.candidates(Prefix::TagIndexes, Some(tags.begun))?;
        for Row { key, record } in old {
            let Key::TagIndex(manifest, tag) = key else { continue };
            let points = |row: &Row| {
                let here =
                    matches!(row.record.body, Body::Tag { manifest: m, .. } if m == manifest);
                row.key == Key::Tag(tag) && here
            };
            if !tags.rows.iter().any(points) {
                self.part(|p| p.kill(key, &record).map(|_| ()))?;
            }
        }
        Ok(())
    }

    /// Pointers whose content no repository links.
    fn collect_pointers(&mut self) -> Step<()> {
        let mut linked = 0u8;
        let links = self.list(Prefix::Links)?;
        for row in links.rows {
            if let (Key::Link(_, digest), true) = (row.key, row.record.is_live()) {
                linked |= 1 << digest;
            }
        }
        for Row { key, record } in self.candidates(Prefix::Pointers, Some(links.begun))? {
            let Key::Pointer(digest) = key else { continue };
            if bits(linked).any(|found| found == digest) {
                continue;
            }
            self.part(|p| {
                let Body::Pointer { location: Some(location) } = record.body else {
                    return p.kill(key, &record).map(|_| ());
                };
                let row = p.quarantine(location, Some(digest))?;
                if !p.kill(key, &record)?
                    && let Some(base) = row
                {
                    p.delete_version(Key::Quarantined(location), base)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Deletes data that has been in the quarantine long enough and that nothing names. Names move
    /// from the session to the pointer to the link, so they are read in that order.
    fn empty_quarantine(&mut self) -> Step<()> {
        let page = self.list(Prefix::Quarantined)?;
        let is_due = |row: &Row| {
            row.record.is_live() && row.record.written + self.times.quarantine < page.begun
        };
        let due: Vec<Row> = page.rows.into_iter().filter(is_due).collect();
        if due.is_empty() {
            return Ok(());
        }
        let mut named = Vec::new();
        if self.rules.quarantine_reads_sessions {
            named.extend(self.locations(Prefix::Sessions)?);
        }
        // Links of content whose digest is known; else `find_leaks` has read all of them.
        let known = |row: &Row| row.record.body == Body::Quarantined { digest: Some(0) };
        if due.iter().any(known) {
            named.extend(self.locations(Prefix::Links)?);
        }
        for Row { key, record } in due {
            let (Key::Quarantined(location), Body::Quarantined { digest }) = (key, record.body)
            else {
                continue;
            };
            self.part(|p| {
                let mut keep = named.contains(&location);
                if let Some(digest) = digest {
                    keep |= p.pointer_names(digest, location)?;
                }
                if !keep {
                    // Another collector may have put it here again.
                    let now = p.load(key)?;
                    if now.is_none_or(|now| now.record.nonce != record.nonce) {
                        return Ok(());
                    }
                    p.data(Request::Delete(location))?;
                }
                p.kill(key, &record).map(|_| ())
            })?;
        }
        Ok(())
    }

    /// The data that the records of a listing name.
    fn locations(&mut self, prefix: Prefix) -> Step<Vec<Location>> {
        let rows = self.list(prefix)?.rows;
        Ok(rows.iter().filter_map(|row| row.record.body.location()).collect())
    }

    /// `find_leaks`: old data that no session, pointer or link names.
    fn collect_leaks(&mut self) -> Step<()> {
        let Answer::Data(old) = self.ask(Request::ListData { begun: None })? else {
            unreachable!("a listing of data was answered otherwise")
        };
        if old.is_empty() {
            return Ok(());
        }
        let mut order = [Prefix::Sessions, Prefix::Pointers, Prefix::Links];
        if !self.rules.names_read_forward {
            order.reverse();
        }
        let mut named: Vec<Location> = Vec::new();
        for prefix in order {
            named.extend(self.locations(prefix)?);
        }
        for location in old {
            if !named.contains(&location) {
                self.part(|p| p.quarantine(location, None).map(|_| ()))?;
            }
        }
        Ok(())
    }

    /// Tombstones that no writer can know any more.
    fn remove_tombstones(&mut self) -> Step<()> {
        for prefix in [Prefix::Sessions, Prefix::Tags] {
            let page = self.list(prefix)?;
            for Row { key, record } in page.rows {
                if !record.is_live() && record.written + 2 * self.times.grace < page.begun {
                    let version = record.version(self.rules);
                    self.part(|p| p.data(Request::Remove(key, version)).map(|_| ()))?;
                }
            }
        }
        Ok(())
    }
}
