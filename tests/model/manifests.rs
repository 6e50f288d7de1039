//! `src/registry/manifests` and `src/registry/tags.rs`: one manifest with one tag.

use crate::process::{ATTEMPTS_MAX, End, Found, Process, Step};
use crate::records::{Base, Written};
use crate::store::{Body, Key, Nonce, Prefix, Tick};

/// What a push of a manifest names. Blobs and children are bits of their numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Push {
    pub(crate) manifest: u8,
    pub(crate) blobs: u8,
    pub(crate) external: u8,
    pub(crate) children: u8,
    pub(crate) tag: Option<u8>,
}

/// What the repository holds of the references of a manifest.
const WHOLE: u8 = 0;
const SPARSE: u8 = 1;

/// The condition of a change of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TagCondition {
    None,
    Absent,
    PointsAt(u8),
}

impl TagCondition {
    fn holds(self, current: Option<u8>) -> bool {
        match self {
            Self::None => true,
            Self::Absent => current.is_none(),
            Self::PointsAt(manifest) => current == Some(manifest),
        }
    }
}

pub(crate) fn bits(set: u8) -> impl Iterator<Item = u8> {
    (0..u8::try_from(u8::BITS).expect("8")).filter(move |bit| set & (1 << bit) != 0)
}

fn target_of(current: Option<&Found>) -> Option<u8> {
    match current?.record.body {
        Body::Tag { manifest, .. } => Some(manifest),
        _ => None,
    }
}

/// `push::live`: the generation of a manifest that is not being deleted.
fn generation_of(current: Option<&Found>) -> Option<Nonce> {
    match current?.record.body {
        Body::Manifest { doomed: false, generation, .. } => Some(generation),
        _ => None,
    }
}

impl Push {
    fn body(self, listed: bool, generation: Nonce) -> Body {
        let Self { blobs, external, children, .. } = self;
        let external = if listed { external } else { 0 };
        Body::Manifest { blobs, external, children, doomed: false, generation }
    }
}

impl Process<'_> {
    /// `Manifests::put`.
    pub(crate) fn put_manifest(&mut self, push: Push) -> Step<End> {
        let dated = self.now()?;
        let done = match self.part(|p| p.lease_references(push))? {
            None => return Ok(End::Refused),
            Some(SPARSE) => End::AcknowledgedSparse,
            Some(_) => End::Acknowledged,
        };
        for attempt in 0..ATTEMPTS_MAX {
            let repeated = attempt > 0;
            let written_at = self.now()?;
            if let Some(tag) = push.tag {
                self.part(|p| {
                    let key = Key::TagIndex(push.manifest, tag);
                    p.create_or_lease(key, Body::TagIndex, Some(dated)).map(|_| ())
                })?;
            }
            let (generation, base) = match self.create_manifest(push, dated, repeated)? {
                Some(written) => written,
                None => return Ok(done),
            };
            let Some(tag) = push.tag else { return Ok(done) };
            let condition = if repeated { TagCondition::Absent } else { TagCondition::None };
            self.part(|p| p.set_tag(tag, push.manifest, condition, written_at).map(|_| ()))?;
            if !self.rules.push_touches_last
                || self.still_current(push, generation, base)?
                || target_of(self.load(Key::Tag(tag))?.as_ref()) != Some(push.manifest)
            {
                return Ok(done);
            }
        }
        Ok(End::Unknown)
    }

    /// `lease_references`. `None` if one is missing, [`SPARSE`] if an external layer is.
    fn lease_references(&mut self, push: Push) -> Step<Option<u8>> {
        for digest in bits(push.blobs) {
            if !self.lease_live(Key::Link(0, digest))? {
                return Ok(None);
            }
        }
        for child in bits(push.children) {
            if !self.lease_live(Key::Manifest(child))? {
                return Ok(None);
            }
        }
        let mut held = WHOLE;
        for digest in bits(push.external) {
            let key = Key::Link(0, digest);
            // Where the code did not lease the layer, its client had seen that it is there.
            let found = if self.rules.external_listed {
                self.lease_live(key)?
            } else {
                self.load(key)?.is_some()
            };
            if !found {
                held = SPARSE;
            }
        }
        Ok(Some(held))
    }

    fn lease_live(&mut self, key: Key) -> Step<bool> {
        self.part(|p| {
            let Some(found) = p.load(key)? else { return Ok(false) };
            let is_doomed =
                |found: &Found| matches!(found.record.body, Body::Manifest { doomed: true, .. });
            if is_doomed(&found) {
                return Ok(false);
            }
            let leased = p.lease(key, found)?;
            Ok(leased.is_some_and(|leased| !p.rules.lease_is_checked || !is_doomed(&leased)))
        })
    }

    /// `create_manifest`, and `write_manifest` if there is one. `None` if the push would change
    /// nothing.
    fn create_manifest(
        &mut self,
        push: Push,
        dated: Tick,
        repeated: bool,
    ) -> Step<Option<(Nonce, Base)>> {
        let key = Key::Manifest(push.manifest);
        let listed = self.rules.external_listed;
        let generation = self.nonce();
        let mut current = match self.write(key, None, push.body(listed, generation), Some(dated))? {
            Written::Ours(base) => return Ok(Some((generation, base))),
            Written::Replaced(now) | Written::Lost(now) => now,
        };
        // `is_there`, `is_unchanged`.
        if let Some(read) = generation_of(current.as_ref())
            && !repeated
            && current.as_ref().is_some_and(|found| found.young)
            && let Some(tag) = push.tag
            && target_of(self.load(Key::Tag(tag))?.as_ref()) == Some(push.manifest)
            && generation_of(self.read(key)?.as_ref()) == Some(read)
        {
            return Ok(None);
        }
        let mut read_by = None;
        loop {
            let generation = match (generation_of(current.as_ref()), current.as_ref()) {
                (Some(generation), Some(found)) => {
                    if read_by == Some(generation) {
                        return Ok(Some((generation, self.base(found))));
                    }
                    read_by = Some(generation);
                    generation
                }
                _ => self.nonce(),
            };
            let body = push.body(listed, generation);
            match self.upsert(key, current.as_ref(), body, Some(dated))? {
                Written::Ours(base) => return Ok(Some((generation, base))),
                Written::Replaced(now) | Written::Lost(now) => current = now,
            }
        }
    }

    /// `still_current`.
    fn still_current(&mut self, push: Push, generation: Nonce, mut base: Base) -> Step<bool> {
        let key = Key::Manifest(push.manifest);
        let body = push.body(self.rules.external_listed, generation);
        for touched_by_another in [false, true] {
            let now = match self.write(key, Some(base), body, None)? {
                Written::Ours(_) => return Ok(true),
                Written::Replaced(now) | Written::Lost(now) => now,
            };
            let Some(found) = now.filter(|now| generation_of(Some(now)) == Some(generation)) else {
                return Ok(false);
            };
            if touched_by_another {
                return Ok(true);
            }
            base = self.base(&found);
        }
        Ok(true)
    }

    /// `Tags::set`.
    pub(crate) fn set_tag(
        &mut self,
        tag: u8,
        manifest: u8,
        condition: TagCondition,
        dated: Tick,
    ) -> Step<End> {
        let key = Key::Tag(tag);
        let unconditional = condition == TagCondition::None;
        let body = Body::Tag { manifest, unconditional };
        let mut was_read = !unconditional;
        let mut current = if was_read { self.read(key)? } else { None };
        loop {
            if !condition.holds(target_of(current.as_ref())) {
                return Ok(End::Refused);
            }
            match self.upsert(key, current.as_ref(), body, Some(dated))? {
                Written::Ours(_) | Written::Replaced(_) => return Ok(End::Acknowledged),
                Written::Lost(now) => current = now,
            }
            let winner = current.as_ref().map(|found| found.record.body);
            let overwrote = matches!(winner, Some(Body::Tag { unconditional: true, .. }));
            if was_read && unconditional && overwrote {
                return Ok(End::Acknowledged);
            }
            was_read = true;
        }
    }

    /// A push of a tag whose manifest is out of question.
    pub(crate) fn push_tag(&mut self, tag: u8, manifest: u8, only: TagCondition) -> Step<End> {
        let dated = self.now()?;
        self.set_tag(tag, manifest, only, dated)
    }

    /// `Manifests::delete`; `delete_version` for the collector, with the version that it has
    /// listed.
    pub(crate) fn delete_manifest(&mut self, manifest: u8, listed: Option<Nonce>) -> Step<End> {
        let key = Key::Manifest(manifest);
        let mut begun = false;
        for _ in 0..ATTEMPTS_MAX {
            let Some(found) = self.load(key)? else {
                return Ok(if begun { End::Acknowledged } else { End::Refused });
            };
            let Body::Manifest { doomed, .. } = found.record.body else { unreachable!() };
            if !doomed && listed.is_some_and(|listed| found.record.nonce != listed) {
                return Ok(End::Refused);
            }
            let mut base = self.base(&found);
            if !doomed {
                let mut body = found.record.body;
                if let Body::Manifest { doomed, .. } = &mut body {
                    *doomed = true;
                }
                match self.write(key, Some(base), body, None)? {
                    Written::Ours(doomed) => base = doomed,
                    Written::Replaced(_) => {
                        begun = true;
                        continue;
                    }
                    Written::Lost(_) => continue,
                }
            }
            begun = true;
            let named_by = self.named_by(manifest)?;
            if self.read(key)?.map(|now| self.base(&now).version) != Some(base.version) {
                continue;
            }
            let mut again = false;
            for (tag, found) in named_by {
                let base = self.base(&found);
                again |= self.delete_version(Key::Tag(tag), base)?.is_none();
            }
            if again {
                continue;
            }
            match self.write(key, Some(base), Body::Tombstone, None)? {
                Written::Ours(_) | Written::Replaced(_) => return Ok(End::Acknowledged),
                Written::Lost(_) => {}
            }
        }
        Ok(End::Unknown)
    }

    /// `named_by`: the tags that point at a manifest.
    fn named_by(&mut self, manifest: u8) -> Step<Vec<(u8, Found)>> {
        let mut found = Vec::new();
        for row in self.list(Prefix::TagIndexes)?.rows {
            if let Key::TagIndex(of, tag) = row.key
                && of == manifest
                && row.record.is_live()
                && let Some(record) = self.load(Key::Tag(tag))?
                && target_of(Some(&record)) == Some(manifest)
            {
                found.push((tag, record));
            }
        }
        Ok(found)
    }
}
