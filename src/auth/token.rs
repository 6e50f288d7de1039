//! Bearer tokens signed by an external token server (Distribution registry, "Token Authentication
//! Implementation").
//!
//! Only keys from the key file verify tokens. Keys that a token carries (`jwk`, `jku`, `x5u`,
//! `x5c`) are ignored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::authorizer::AuthRequest;
use super::caller::{Caller, Grant};
use super::challenge::{self, TokenError};
use super::jwks::Keys;
use super::settings::TokenSettings;
use crate::clock::Clock;
use crate::reloaded_file::ReloadedFile;
use crate::telemetry::metrics::{
    AuthReason, CacheLayer, CacheResult, Cached, Metrics, ReloadedFileKind,
};

/// The tolerated difference between the clocks of the token server and of this registry.
const SKEW_SECONDS: f64 = 60.0;
/// The most verified tokens in the cache.
const CACHED_MAX: usize = 10_000;
/// A longer token is refused without parsing.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug)]
pub struct Tokens {
    realm: String,
    service: String,
    issuer: String,
    groups_claim: String,
    keys: ReloadedFile<Keys>,
    clock: Arc<dyn Clock>,
    cache: Mutex<TokenCache>,
    metrics: Metrics,
}

/// Tokens that were verified with these keys.
#[derive(Default)]
struct TokenCache {
    keys: Option<Arc<Keys>>,
    callers: HashMap<[u8; 32], (Caller, f64)>,
}

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCache").field("tokens", &self.callers.len()).finish_non_exhaustive()
    }
}

/// Why a token is refused. For the log: clients only learn that the token is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("not a signed token of three parts")]
    Malformed,
    #[error("the algorithm is not RS256, ES256 or EdDSA")]
    Algorithm,
    #[error("it has critical extensions")]
    Critical,
    #[error("no key of the token server verifies the signature")]
    Signature,
    #[error("another issuer")]
    Issuer,
    #[error("another audience")]
    Audience,
    #[error("the expiry is missing or not a number")]
    Times,
    #[error("expired")]
    Expired,
    #[error("not valid yet")]
    NotYet,
}

impl Refused {
    pub(super) fn metric_label(self) -> AuthReason {
        match self {
            Self::Malformed | Self::Algorithm | Self::Critical | Self::Times => {
                AuthReason::TokenMalformed
            }
            Self::Signature => AuthReason::TokenSignature,
            Self::Issuer => AuthReason::TokenIssuer,
            Self::Audience => AuthReason::TokenAudience,
            Self::Expired => AuthReason::TokenExpired,
            Self::NotYet => AuthReason::TokenNotYetValid,
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct RawGrant {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    actions: Option<Vec<String>>,
}

impl Tokens {
    /// Reads the keys, which have to be good, and reads them again when they change.
    pub fn open(
        settings: &TokenSettings,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Option<Self>, String> {
        let TokenSettings { realm, service, issuer, keys_file, groups_claim } = settings.clone();
        let (Some(realm), Some(service), Some(issuer), Some(keys_file)) =
            (realm, service, issuer, keys_file)
        else {
            return Ok(None);
        };
        let (shown, files) = (keys_file.display().to_string(), vec![keys_file]);
        let keys =
            ReloadedFile::open(files, ReloadedFileKind::TokenKeys, metrics, move |contents| {
                Keys::parse(&contents[0]).map_err(|error| format!("{shown}: {error}"))
            })?;
        let (cache, metrics) = (Mutex::default(), metrics.clone());
        Ok(Some(Self { realm, service, issuer, groups_claim, keys, clock, cache, metrics }))
    }

    pub(super) fn challenge(&self, request: &AuthRequest<'_>, error: Option<TokenError>) -> String {
        let optional_scope = request
            .optional_scope
            .filter(|optional_scope| optional_scope.resource != request.access.resource);
        let scopes: Vec<String> = [Some(request.access), optional_scope]
            .into_iter()
            .flatten()
            .filter_map(challenge::scope)
            .collect();
        let realm = challenge::absolute_url(&self.realm, request.host, request.secure);
        challenge::bearer(&realm, &self.service, &scopes, error)
    }

    /// Verifies a token and returns its caller.
    pub(super) fn verify(&self, token: &str) -> Result<Caller, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::Malformed);
        }
        let keys = self.keys.current();
        let now = seconds(self.clock.now());
        let fingerprint: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let cached = self.cached(&keys, &fingerprint, now);
        let found = if cached.is_some() { CacheResult::Hit } else { CacheResult::Miss };
        self.metrics.cache_requests.inc((Cached::Token, CacheLayer::Local, found));
        if let Some(caller) = cached {
            return Ok(caller);
        }
        let claims = signed_claims(&keys, token)?;
        let valid_until = self.check(&claims, now)?;
        let caller = self.caller(claims);
        self.insert(&keys, fingerprint, &caller, valid_until, now);
        Ok(caller)
    }

    /// Checks issuer, audience and times. Returns the expiry, clock skew included.
    fn check(&self, claims: &Map<String, Value>, now: f64) -> Result<f64, Refused> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(Refused::Issuer);
        }
        let service = self.service.as_str();
        let for_this_service = match claims.get("aud") {
            Some(Value::String(audience)) => audience == service,
            Some(Value::Array(audiences)) => audiences.iter().any(|one| one == service),
            Some(_) | None => false,
        };
        if !for_this_service {
            return Err(Refused::Audience);
        }
        // A token without an expiry would be valid for ever.
        let expires = claims.get("exp").and_then(Value::as_f64).ok_or(Refused::Times)?;
        let not_before = match claims.get("nbf") {
            None | Some(Value::Null) => None,
            Some(value) => Some(value.as_f64().ok_or(Refused::Times)?),
        };
        let valid_until = expires + SKEW_SECONDS;
        if now >= valid_until {
            return Err(Refused::Expired);
        }
        if not_before.is_some_and(|not_before| now < not_before - SKEW_SECONDS) {
            return Err(Refused::NotYet);
        }
        Ok(valid_until)
    }

    fn caller(&self, claims: Map<String, Value>) -> Caller {
        let user = claims.get("sub").and_then(Value::as_str).filter(|user| !user.is_empty());
        let groups = match claims.get(&self.groups_claim) {
            Some(Value::Array(groups)) => {
                groups.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(Value::String(group)) => vec![group.clone()],
            Some(_) | None => Vec::new(),
        };
        let grants = match claims.get("access") {
            Some(Value::Array(entries)) => entries.iter().filter_map(grant).collect(),
            Some(_) | None => Vec::new(),
        };
        Caller::token(user.map(str::to_owned), groups, claims, grants)
    }

    fn cached(&self, keys: &Arc<Keys>, fingerprint: &[u8; 32], now: f64) -> Option<Caller> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if !cache.keys.as_ref().is_some_and(|old| Arc::ptr_eq(old, keys)) {
            // New keys: tokens verified with a removed key are no longer valid.
            *cache = TokenCache { keys: Some(keys.clone()), callers: HashMap::new() };
        }
        let (caller, valid_until) = cache.callers.get(fingerprint)?;
        (now < *valid_until).then(|| caller.clone())
    }

    fn insert(
        &self,
        keys: &Arc<Keys>,
        fingerprint: [u8; 32],
        caller: &Caller,
        valid_until: f64,
        now: f64,
    ) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if !cache.keys.as_ref().is_some_and(|old| Arc::ptr_eq(old, keys)) {
            return;
        }
        if cache.callers.len() >= CACHED_MAX {
            cache.callers.retain(|_, (_, until)| now < *until);
        }
        if cache.callers.len() >= CACHED_MAX {
            cache.callers.clear();
        }
        cache.callers.insert(fingerprint, (caller.clone(), valid_until));
    }
}

/// The claims of a token, after one of the keys has verified its signature.
fn signed_claims(keys: &Keys, token: &str) -> Result<Map<String, Value>, Refused> {
    let (message, signature) = token.rsplit_once('.').ok_or(Refused::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(Refused::Malformed)?;
    if payload.contains('.') {
        return Err(Refused::Malformed);
    }
    let header: Header = part(header)?;
    let algorithm = match header.alg.as_str() {
        "RS256" => Algorithm::RS256,
        "ES256" => Algorithm::ES256,
        "EdDSA" => Algorithm::EdDSA,
        _ => return Err(Refused::Algorithm),
    };
    if header.crit.is_some() {
        return Err(Refused::Critical);
    }
    let signed = keys.candidates(header.kid.as_deref(), algorithm).any(|key| {
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.public, key.algorithm)
            .unwrap_or(false)
    });
    if !signed {
        return Err(Refused::Signature);
    }
    part(payload)
}

fn part<T: for<'de> Deserialize<'de>>(encoded: &str) -> Result<T, Refused> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Refused::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Refused::Malformed)
}

/// An entry of the access list. `repository(plugin)` counts as `repository`. An invalid entry
/// grants nothing.
fn grant(entry: &Value) -> Option<Grant> {
    let RawGrant { kind, name, actions } = RawGrant::deserialize(entry).ok()?;
    let kind = kind.split('(').next().unwrap_or_default().to_owned();
    Some(Grant { kind, name, actions: actions.unwrap_or_default() })
}

fn seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}
