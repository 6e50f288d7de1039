//! Authenticates the values of the shared cache: each carries a MAC over itself, its key and the
//! end of its time to live, with a key that only the processes on the bucket have.
//!
//! A process takes a value from the cache only if a process of the same registry has put it there,
//! under this key, and its time to live has not ended. Otherwise a program that can write to the
//! cache could point a tag anywhere, or give a repository the link of another one. Such a program
//! can still delete values, and can put back a value that was deleted until its time to live ends.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Key, VALUE_BYTES_MAX};
use crate::layout::records::MacKey;
use crate::telemetry::metrics::CacheRefusal;

/// The first byte of a sealed value. No value of a release without seals begins with it, so that
/// such a release does not take a sealed value for one of its own.
const FORMAT: u8 = b's';
/// Bytes of the MAC: HMAC-SHA-256, of which a forger has to guess 128 bits.
const MAC_BYTES: usize = 16;
/// Bytes of the end of the time to live: milliseconds since 1970.
const UNTIL_BYTES: usize = 8;
/// Bytes before the value.
const HEADER_BYTES: usize = 1 + MAC_BYTES + UNTIL_BYTES;

/// Authenticates values with one key. Nothing prints it.
#[derive(Clone)]
pub struct Seal(Hmac<Sha256>);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// # Panics
    ///
    /// Never: HMAC takes a key of any length.
    pub fn new(key: &MacKey) -> Self {
        Self(Hmac::new_from_slice(key.expose()).expect("a key of any length fits"))
    }

    fn mac(&self, key: &Key, until: [u8; UNTIL_BYTES], value: &[u8]) -> Hmac<Sha256> {
        let (mut mac, key) = (self.0.clone(), key.to_string());
        mac.update(&(key.len() as u64).to_le_bytes());
        mac.update(key.as_bytes());
        mac.update(&until);
        mac.update(value);
        mac
    }

    /// What the cache holds for a value until `until`.
    pub(super) fn seal(&self, key: &Key, value: &[u8], until: SystemTime) -> Vec<u8> {
        let until = milliseconds(until).to_le_bytes();
        let mac = self.mac(key, until, value).finalize().into_bytes();
        let mut sealed = Vec::with_capacity(HEADER_BYTES + value.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&mac[..MAC_BYTES]);
        sealed.extend_from_slice(&until);
        sealed.extend_from_slice(value);
        sealed
    }

    /// The value that was sealed under this key.
    pub(super) fn open(
        &self,
        key: &Key,
        sealed: &Bytes,
        now: SystemTime,
    ) -> Result<Bytes, CacheRefusal> {
        let parts = sealed.split_first_chunk::<HEADER_BYTES>();
        // Hashing what is too large to be ours would only take time.
        let parts = parts.filter(|(_, value)| value.len() <= VALUE_BYTES_MAX);
        let (header, value) = parts.ok_or(CacheRefusal::Forged)?;
        let (mac, until) = header[1..].split_at(MAC_BYTES);
        let until = until.try_into().map_err(|_| CacheRefusal::Forged)?;
        if header[0] != FORMAT || self.mac(key, until, value).verify_truncated_left(mac).is_err() {
            return Err(CacheRefusal::Forged);
        }
        if u64::from_le_bytes(until) <= milliseconds(now) {
            return Err(CacheRefusal::Expired);
        }
        Ok(sealed.slice(HEADER_BYTES..))
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Prefix, RecordKey};

    const TTL: Duration = Duration::from_secs(30);

    fn key(tag: &str) -> Key {
        let (name, tag) = ("a".parse().expect("a name"), tag.parse().expect("a tag"));
        Key::Record(RecordKey::Tag(name, tag))
    }

    #[test]
    fn a_value_opens_under_its_key_until_its_time_to_live_ends() {
        let (seal, now) = (Seal::new(&MacKey::random()), SystemTime::UNIX_EPOCH + TTL);
        let page = Key::Page { list: Prefix::Repositories, epoch: "e".into(), count: 1 };
        for key in [key("v1"), Key::Epoch(Prefix::Repositories), page] {
            for value in ["", "x", "a longer value"] {
                let sealed = Bytes::from(seal.seal(&key, value.as_bytes(), now + TTL));
                let last = now + TTL - Duration::from_millis(1);
                assert_eq!(seal.open(&key, &sealed, last).as_deref(), Ok(value.as_bytes()));
                let late = seal.open(&key, &sealed, now + TTL);
                assert_eq!(late, Err(CacheRefusal::Expired));
            }
        }
    }

    #[test]
    fn a_value_that_was_changed_or_moved_or_comes_from_another_registry_is_refused() {
        let (seal, now) = (Seal::new(&MacKey::random()), SystemTime::UNIX_EPOCH);
        let sealed = seal.seal(&key("v1"), b"value", now + TTL);
        let refused = |seal: &Seal, key: &Key, sealed: Vec<u8>| {
            seal.open(key, &sealed.into(), now) == Err(CacheRefusal::Forged)
        };
        for index in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[index] ^= 1 << bit;
                assert!(refused(&seal, &key("v1"), changed), "bit {bit} of byte {index}");
            }
            assert!(refused(&seal, &key("v1"), sealed[..index].to_vec()), "{index} bytes of it");
        }
        assert!(refused(&seal, &key("v1"), [&sealed[..], b"x"].concat()), "longer");
        assert!(refused(&seal, &key("v2"), sealed.clone()), "another key");
        assert!(refused(&Seal::new(&MacKey::random()), &key("v1"), sealed), "another registry");
    }

    /// The border between key and value belongs to what is authenticated.
    #[test]
    fn a_value_does_not_open_under_a_longer_key() {
        let (seal, now) = (Seal::new(&MacKey::random()), SystemTime::UNIX_EPOCH);
        let mut sealed = seal.seal(&key("v1"), b"1value", now + TTL);
        sealed.remove(HEADER_BYTES);
        assert_eq!(seal.open(&key("v11"), &sealed.into(), now), Err(CacheRefusal::Forged));
    }
}
