//! The keys of the token service: in the store for `serve`, and shown or changed by
//! `longshore keys`.

use std::cmp::Ordering;
use std::fmt::Write as _;

use async_trait::async_trait;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::stores::test_store;
use super::{StartError, open_store};
use crate::auth::{KEYS_OVERLAP, KeySource, OLD_KEYS_KEPT, SigningKey};
use crate::config::Settings;
use crate::registry::{Leases, Rotation, RotationError, TokenKey, TokenKeyStore};
use crate::telemetry::error_chain;
use crate::telemetry::metrics::Metrics;

/// The keys in the record of the store.
#[derive(Debug)]
pub(super) struct StoredKeys(pub(super) TokenKeyStore);

#[async_trait]
impl KeySource for StoredKeys {
    async fn read(&self) -> Result<Vec<SigningKey>, String> {
        let keys = self.0.read_or_create().await.map_err(|error| error_chain(&error))?;
        Ok(keys.into_iter().map(signing_key).collect())
    }
}

/// The same keys for a command that changes nothing.
#[derive(Debug)]
pub(super) struct KnownKeys(TokenKeyStore);

impl KnownKeys {
    pub(super) async fn of(settings: &Settings) -> Result<Self, StartError> {
        let store = open_store(settings, &Metrics::default()).await?;
        Ok(Self(TokenKeyStore::new(store, Leases::new(&settings.collection)?)))
    }
}

#[async_trait]
impl KeySource for KnownKeys {
    async fn read(&self) -> Result<Vec<SigningKey>, String> {
        let keys = self.0.read().await.map_err(|error| error_chain(&error))?;
        Ok(keys.into_iter().map(signing_key).collect())
    }
}

fn signing_key(TokenKey { id, seed, signs_from, .. }: TokenKey) -> SigningKey {
    SigningKey { id, seed: *seed.expose(), signs_from }
}

/// The keys, without what is secret.
pub async fn list_keys(settings: &Settings) -> Result<String, StartError> {
    let store = open_store(settings, &Metrics::default()).await?;
    let keys = TokenKeyStore::new(store, Leases::new(&settings.collection)?);
    Ok(table(&keys.read().await?, keys.now()))
}

/// Makes a new key, and ends all tokens at once if `revoke`.
pub async fn rotate_keys(settings: &Settings, revoke: bool) -> Result<String, StartError> {
    // The test finds out how this store wants a compare-and-swap.
    let (store, _) = test_store(settings, &Metrics::default()).await?;
    let keys = TokenKeyStore::new(store.clone(), Leases::new(&settings.collection)?);
    let rotation = if revoke {
        Rotation::Revoking
    } else {
        Rotation::Overlapping { overlap: KEYS_OVERLAP, kept: OLD_KEYS_KEPT }
    };
    store.begin_writing().await?;
    let rotated = keys.rotate(rotation).await;
    store.end_writing().await;
    let rotated = rotated.map_err(|error| match error {
        RotationError::TooMany => StartError::Keys(error.to_string()),
        RotationError::Store(error) => error.into(),
    })?;
    Ok(table(&rotated, keys.now()))
}

fn table(keys: &[TokenKey], now: u64) -> String {
    if keys.is_empty() {
        return "the store has no keys yet: the first `longshore serve` with a token service makes \
                one\n"
            .to_owned();
    }
    let mut keys: Vec<&TokenKey> = keys.iter().collect();
    keys.sort_by_key(|key| (key.signs_from, &key.id));
    let signs = keys.iter().rposition(|key| key.signs_from <= now).unwrap_or(0);
    let mut table = format!("{:<18}{:<22}state\n", "key", "signs from");
    for (place, key) in keys.iter().enumerate() {
        let state = match place.cmp(&signs) {
            Ordering::Equal => "signs".to_owned(),
            Ordering::Greater => "verifies, and signs then".to_owned(),
            Ordering::Less => {
                let stopped = keys[place + 1].signs_from;
                format!("verifies until {}", moment(stopped + OLD_KEYS_KEPT.as_secs()))
            }
        };
        let _ = writeln!(table, "{:<18}{:<22}{state}", key.id, moment(key.signs_from));
    }
    table
}

fn moment(seconds: u64) -> String {
    let time =
        i64::try_from(seconds).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}
