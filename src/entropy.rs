//! Random bytes, for all identifiers, tokens and nonces, and for the jitter of pauses.
//!
//! They come from the operating system. A test that has to repeat from a seed makes those of its
//! own thread predictable; nothing else in the program does, which
//! `tests/integration/tidy/directions.rs` checks.

use std::cell::Cell;
use std::marker::PhantomData;

thread_local! {
    /// The state of the generator of a test on this thread. Always `None` in production.
    static SEEDED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Fills `bytes` with random bytes.
///
/// # Panics
///
/// The operating system provides no randomness. Nothing here can work without it, and it always
/// has some.
pub fn fill(bytes: &mut [u8]) {
    if let Some(state) = SEEDED.get() {
        SEEDED.set(Some(fill_predictably(bytes, state)));
        return;
    }
    getrandom::fill(bytes).expect("the operating system provides randomness");
}

/// Some random bytes.
pub fn bytes<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    fill(&mut bytes);
    bytes
}

/// A random number from 0 to 1, both included.
pub fn fraction() -> f64 {
    f64::from(u32::from_le_bytes(bytes())) / f64::from(u32::MAX)
}

/// While this lives, the random bytes of its thread follow from a seed.
#[doc(hidden)]
#[derive(Debug)]
#[must_use = "dropping it ends the predictable bytes"]
pub struct Seeded {
    before: Option<u64>,
    /// Not `Send`: it ends on the thread on which it began.
    thread: PhantomData<*const ()>,
}

/// Makes the random bytes of this thread predictable. Only for tests on a runtime of one thread.
#[doc(hidden)]
pub fn seed_this_thread(seed: u64) -> Seeded {
    Seeded { before: SEEDED.replace(Some(seed)), thread: PhantomData }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        SEEDED.set(self.before);
    }
}

/// Fills `bytes` with the next words of `SplitMix64`, and returns its state.
fn fill_predictably(bytes: &mut [u8], mut state: u64) -> u64 {
    for word in bytes.chunks_mut(size_of::<u64>()) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        word.copy_from_slice(&mixed.to_le_bytes()[..word.len()]);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_on_its_thread_until_it_is_dropped() {
        let drawn = |seed| {
            let _seeded = seed_this_thread(seed);
            (bytes::<12>(), bytes::<16>(), fraction().to_bits())
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert_ne!(bytes::<16>(), bytes::<16>());
        let _seeded = seed_this_thread(1);
        let other = std::thread::spawn(bytes::<16>).join().expect("no panic");
        assert_ne!(other, bytes::<16>());
    }
}
