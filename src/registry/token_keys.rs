//! The keys that sign tokens, in the record `g/keys`.
//!
//! The first process that needs them creates the record, and every other one reads it, so each
//! verifies what another one has signed. A program that can read the record can sign any token.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Map;

use super::Error;
use super::lease::Leases;
use super::record::{ATTEMPTS_MAX, Current, Records, Written, contended};
use crate::entropy;
use crate::layout::encoding::Draft;
pub use crate::layout::records::TokenKey;
use crate::layout::records::{MacKey, TokenKeys, seconds};
use crate::store::{self, ObjectStore, RecordKey};

/// The most keys in the record: a replica verifies with each of them.
const KEYS_MAX: usize = 16;

/// The record of the keys.
#[derive(Clone, Debug)]
pub struct TokenKeyStore {
    records: Records,
}

/// How a new key takes the place of the one that signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The new key signs after `overlap`, when every process has read it. A key goes when it has
    /// not signed for `kept`.
    Overlapping { overlap: Duration, kept: Duration },
    /// The new key is the only one at once: no token that was signed before is valid.
    Revoking,
}

/// Why the keys were not changed.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    #[error(
        "there are {KEYS_MAX} keys already: wait until the first of them goes (see `longshore keys \
         list`), or end all tokens with --revoke"
    )]
    TooMany,
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl TokenKeyStore {
    pub fn new(store: Arc<dyn ObjectStore>, leases: Leases) -> Self {
        Self { records: Records::new(store, leases) }
    }

    /// The time by the store's clock, as the keys have it.
    pub fn now(&self) -> u64 {
        seconds(self.records.now())
    }

    /// The keys, none if no process has needed one yet.
    pub async fn read(&self) -> Result<Vec<TokenKey>, store::Error> {
        keys_of(&self.current().await?)
    }

    /// The keys, of which this creates the first.
    pub async fn read_or_create(&self) -> Result<Vec<TokenKey>, store::Error> {
        let current = self.current().await?;
        let keys = keys_of(&current)?;
        if !keys.is_empty() {
            return Ok(keys);
        }
        let keys = vec![self.new_key(Duration::ZERO)];
        match self.write(&current, &keys).await? {
            Written::Ours(_) => Ok(keys),
            // Another process started at the same moment.
            Written::Replaced(now) | Written::Lost(now) => match keys_of(&now)? {
                keys if keys.is_empty() => Err(contended().into_store()),
                keys => Ok(keys),
            },
        }
    }

    /// Adds a key, and removes those that have ended. Returns what the record then holds.
    pub async fn rotate(&self, rotation: Rotation) -> Result<Vec<TokenKey>, RotationError> {
        for _ in 0..ATTEMPTS_MAX {
            let current = self.current().await?;
            let keys = match rotation {
                Rotation::Revoking => vec![self.new_key(Duration::ZERO)],
                Rotation::Overlapping { overlap, kept } => {
                    let mut keys = keys_of(&current)?;
                    remove_ended(&mut keys, self.now(), kept.as_secs());
                    // The first key has nothing to wait for.
                    let wait = if keys.is_empty() { Duration::ZERO } else { overlap };
                    keys.push(self.new_key(wait));
                    keys
                }
            };
            if keys.len() > KEYS_MAX {
                return Err(RotationError::TooMany);
            }
            if let Written::Ours(_) | Written::Replaced(_) = self.write(&current, &keys).await? {
                return Ok(keys);
            }
        }
        Err(contended().into_store().into())
    }

    async fn current(&self) -> Result<Current, store::Error> {
        self.records.read(&RecordKey::TokenKeys).await.map_err(Error::into_store)
    }

    async fn write(&self, current: &Current, keys: &[TokenKey]) -> Result<Written, store::Error> {
        let draft = Draft::new(&TokenKeys { keys: keys.to_vec() }, Bytes::new());
        let written = self.records.upsert(&RecordKey::TokenKeys, current, &draft, None).await;
        written.map_err(Error::into_store)
    }

    fn new_key(&self, signs_after: Duration) -> TokenKey {
        TokenKey {
            id: hex::encode(entropy::bytes::<8>()),
            seed: MacKey::random(),
            signs_from: self.now() + signs_after.as_secs(),
            rest: Map::new(),
        }
    }
}

fn keys_of(current: &Current) -> Result<Vec<TokenKey>, store::Error> {
    let header: Option<TokenKeys> = current.header().map_err(Error::into_store)?;
    Ok(header.map(|header| header.keys).unwrap_or_default())
}

/// Removes the keys that have not signed for so long: another key has signed since.
fn remove_ended(keys: &mut Vec<TokenKey>, now: u64, kept: u64) {
    keys.sort_by_key(|key| key.signs_from);
    let successors: Vec<u64> = keys.iter().skip(1).map(|key| key.signs_from).collect();
    let mut successors = successors.into_iter();
    keys.retain(|_| successors.next().is_none_or(|stopped| stopped + kept > now));
}
