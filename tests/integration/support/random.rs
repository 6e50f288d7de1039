//! Random choices that follow from a seed.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use super::app::variable;

/// The generator `SplitMix64`.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that no other run has, or the one of `LONGSHORE_TEST_SEED`.
    pub(crate) fn seed() -> u64 {
        let given = variable("LONGSHORE_TEST_SEED").and_then(|seed| seed.parse().ok());
        given.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()) % 1_000_000)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
