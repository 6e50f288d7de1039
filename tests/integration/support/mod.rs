//! A registry under test, an HTTP client, and content for the tests.

#![expect(unreachable_pub, reason = "in a test binary `pub` only says what the tests may use")]

pub mod app;
pub mod collection;
pub mod content;
pub mod exchange;
pub mod fault_proxy;
pub mod forward_proxy;
pub mod http;
pub mod metered;
pub mod persistent;
pub mod process;
pub mod random;
pub mod scripted_s3;
pub mod test_store;

pub use app::{App, store_from_environment};
pub use http::{Reply, Request};

use longshore::oci::{Algorithm, Digest};

/// The SHA-256 digest of some bytes, as text.
pub fn sha256(bytes: &[u8]) -> String {
    Digest::of(Algorithm::Sha256, bytes).to_string()
}

/// The SHA-512 digest of some bytes, as text.
pub fn sha512(bytes: &[u8]) -> String {
    Digest::of(Algorithm::Sha512, bytes).to_string()
}

/// Bytes that differ from seed to seed and do not repeat.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    // SplitMix64: a failure can be repeated with its seed.
    let mut state = seed;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    out.truncate(length);
    out
}
