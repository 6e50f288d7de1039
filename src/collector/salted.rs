//! Sets of texts as hashes of eight bytes, each with a salt of its own.
//!
//! Two texts with one hash make the collector keep one of them too many. The next run has another
//! salt, so no client can choose content that stays.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};

use crate::entropy;

/// A random number that every hash of a set begins with.
#[derive(Clone, Copy, Debug)]
struct Salt([u8; 16]);

impl Salt {
    fn random() -> Self {
        Self(entropy::bytes())
    }

    fn hash(self, text: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.0);
        hasher.write(text.as_bytes());
        hasher.finish()
    }
}

/// A set to which texts are added while it is asked.
#[derive(Debug)]
pub(super) struct SaltedSet {
    salt: Salt,
    hashes: HashSet<u64>,
}

impl SaltedSet {
    pub(super) fn new() -> Self {
        Self { salt: Salt::random(), hashes: HashSet::new() }
    }

    pub(super) fn insert(&mut self, text: &str) {
        self.hashes.insert(self.salt.hash(text));
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        self.hashes.contains(&self.salt.hash(text))
    }
}

/// How many hashes are added to a filter before it is sorted again.
const SORT_AFTER: usize = 1 << 20;

/// A large set that is asked only after all texts were added: eight bytes for each of them.
#[derive(Debug)]
pub(super) struct Filter {
    salt: Salt,
    hashes: Vec<u64>,
    sorted: usize,
}

impl Filter {
    pub(super) fn new() -> Self {
        Self { salt: Salt::random(), hashes: Vec::new(), sorted: 0 }
    }

    pub(super) fn insert(&mut self, text: &str) {
        self.hashes.push(self.salt.hash(text));
        if self.hashes.len() >= 2 * self.sorted + SORT_AFTER {
            self.sort();
        }
    }

    /// Sorts what was added, and drops what was added twice.
    pub(super) fn sort(&mut self) {
        self.hashes.sort_unstable();
        self.hashes.dedup();
        self.sorted = self.hashes.len();
    }

    /// Whether the text was added. The filter must be sorted.
    pub(super) fn contains(&self, text: &str) -> bool {
        self.hashes.binary_search(&self.salt.hash(text)).is_ok()
    }
}
