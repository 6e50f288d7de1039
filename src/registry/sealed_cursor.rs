//! Cursors of the catalog that stand at a repository which the caller may not see.
//!
//! They are encrypted, with a key that all processes on one store can make and no client can: it
//! comes from the record of the shared settings, which has a nonce. If that record is written
//! again, a client with an older cursor has to begin its list again.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::oci::RepositoryName;

/// How a sealed cursor begins, and no name does.
const SEALED: char = '~';

pub(super) fn is_sealed(cursor: &str) -> bool {
    cursor.starts_with(SEALED)
}

/// Seals and opens the cursors of one store.
pub(super) struct CursorKey(RandomizedNonceKey);

impl CursorKey {
    pub(super) fn from_record(shared_settings: &[u8]) -> Result<Self, Unspecified> {
        let key = Sha256::new().chain_update("cursor of the catalog\n");
        let key = key.chain_update(shared_settings).finalize();
        RandomizedNonceKey::new(&AES_256_GCM, &key).map(Self)
    }

    /// The cursor of a name. Its length is always the same.
    pub(super) fn seal(&self, name: &RepositoryName) -> Result<String, Unspecified> {
        let mut text = name.as_str().as_bytes().to_vec();
        text.resize(RepositoryName::BYTES_MAX, 0);
        let nonce = self.0.seal_in_place_append_tag(Aad::empty(), &mut text)?;
        let sealed = [&nonce.as_ref()[..], &text].concat();
        Ok(format!("{SEALED}{}", URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// The name in a cursor, `None` if this key did not seal it.
    pub(super) fn open(&self, cursor: &str) -> Option<String> {
        let mut sealed = URL_SAFE_NO_PAD.decode(cursor.strip_prefix(SEALED)?).ok()?;
        let (nonce, text) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.0.open_in_place(nonce, Aad::empty(), text).ok()?;
        Some(str::from_utf8(text).ok()?.trim_end_matches('\0').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_cursor_is_opened_by_its_own_key_only() {
        let key = |record: &[u8]| CursorKey::from_record(record).expect("a key");
        let (ours, other) = (key(b"{\"nonce\":\"a\"}"), key(b"{\"nonce\":\"b\"}"));
        let long = "a".repeat(RepositoryName::BYTES_MAX);
        let lengths = ["secret/app", "a", &long].map(|name| {
            let cursor = ours.seal(&name.parse().expect("a name")).expect("a cursor");
            assert!(is_sealed(&cursor) && !cursor.contains("secret"));
            assert_eq!(ours.open(&cursor).as_deref(), Some(name));
            assert_eq!(other.open(&cursor), None);
            assert_eq!(ours.open(&cursor[..cursor.len() - 4]), None);
            let altered = if cursor.starts_with("~A") { "B" } else { "A" };
            assert_eq!(ours.open(&cursor.replacen(|c| c != SEALED, altered, 1)), None);
            cursor.len()
        });
        assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
        for cursor in ["", "~", "~AAAA", "~~", "a", "~é"] {
            assert_eq!(ours.open(cursor), None, "{cursor:?}");
        }
    }
}
