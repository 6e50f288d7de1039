//! What the audit remembers of the bucket: 16 bytes for each object that others name.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};

use crate::store::{Listed, Location};
use crate::walk::Error;

/// Data objects and pointers that an audit remembers, each: 20 million take about 800 MB.
pub const OBJECTS_MAX: usize = 20_000_000;

/// A hash that no text can be made to collide with, because it has a random key.
#[derive(Clone, Debug, Default)]
pub(super) struct Hashes(RandomState);

impl Hashes {
    pub(super) fn of(&self, value: impl Hash) -> u64 {
        self.0.hash_one(value)
    }
}

/// Set in a fact of a data object that a record names. The other bits are the hash of its size and
/// of its version.
const NAMED: u64 = 1;

/// The data objects of the bucket.
#[derive(Debug, Default)]
pub(super) struct DataFacts {
    hashes: Hashes,
    facts: HashMap<u64, u64>,
}

impl DataFacts {
    fn key(&self, location: &str) -> u64 {
        self.hashes.of(location)
    }

    fn content(&self, size: u64, version: &str) -> u64 {
        self.hashes.of((size, version)) & !NAMED
    }

    /// Remembers an object of a list.
    pub(super) fn add(&mut self, row: &Listed) -> Result<(), Error> {
        if self.facts.len() >= OBJECTS_MAX {
            return Err(Error::TooMany(OBJECTS_MAX, "data objects"));
        }
        let content = self.content(row.size, &row.version.0);
        self.facts.insert(self.key(&row.key), content);
        Ok(())
    }

    /// Notes that a record names a location.
    pub(super) fn name(&mut self, location: &Location) {
        let key = self.key(&location.to_string());
        *self.facts.entry(key).or_default() |= NAMED;
    }

    /// Whether a list has shown this location, and no record named it.
    pub(super) fn is_unnamed(&self, location: &str) -> bool {
        self.facts.get(&self.key(location)).is_some_and(|fact| fact & NAMED == 0)
    }

    /// Whether a list has shown this location with this size and version.
    pub(super) fn has(&self, location: &Location, size: u64, etag: Option<&str>) -> bool {
        let fact = self.facts.get(&self.key(&location.to_string()));
        let Some((fact, etag)) = fact.zip(etag) else { return false };
        fact & !NAMED == self.content(size, etag)
    }
}

/// Where the pointers of all contents point.
#[derive(Debug, Default)]
pub(super) struct PointerFacts {
    hashes: Hashes,
    locations: HashMap<u64, u64>,
}

impl PointerFacts {
    pub(super) fn add(&mut self, digest: impl Hash, location: &Location) -> Result<(), Error> {
        if self.locations.len() >= OBJECTS_MAX {
            return Err(Error::TooMany(OBJECTS_MAX, "pointers"));
        }
        self.locations.insert(self.hashes.of(digest), self.hashes.of(location));
        Ok(())
    }

    /// Whether the pointer of this content points there.
    pub(super) fn has(&self, digest: impl Hash, location: &Location) -> bool {
        self.locations.get(&self.hashes.of(digest)) == Some(&self.hashes.of(location))
    }
}
