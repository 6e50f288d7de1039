//! Verifies signed tokens (RFC 7519), whoever issues them, and keeps the verified ones.
//!
//! Only the given keys verify tokens. Keys that a token carries (`jwk`, `jku`, `x5u`, `x5c`) are
//! ignored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::caller::Caller;
use super::jwks::Keys;
use crate::clock::Clock;
use crate::telemetry::metrics::{AuthReason, CacheLayer, CacheResult, Cached, Metrics};

/// The tolerated difference between the clocks of the issuer and of this registry.
pub(super) const SKEW_SECONDS: f64 = 60.0;
/// The most verified tokens in the cache of one issuer.
const CACHED_MAX: usize = 10_000;
/// A longer token is refused without parsing.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The claims of a token.
pub(super) type Claims = Map<String, Value>;

/// The tokens of one issuer that were verified a moment ago, so that the signature of a token is
/// not verified for each request that has it.
#[derive(Debug)]
pub(super) struct VerifiedTokens {
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    cache: Mutex<TokenCache>,
}

/// The bearer of a token that is valid.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verified {
    pub(super) caller: Caller,
    /// The end of the token, in seconds since 1970, without the tolerated difference.
    pub(super) expires: f64,
}

/// Tokens that were verified with these keys.
#[derive(Default)]
struct TokenCache {
    keys: Option<Arc<Keys>>,
    tokens: HashMap<[u8; 32], Verified>,
}

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCache").field("tokens", &self.tokens.len()).finish_non_exhaustive()
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
    #[error("no key of the issuer verifies the signature")]
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
    #[error("a claim that access.issuers requires is missing or has another value")]
    Claims,
    #[error("the claim with its subject is missing")]
    Subject,
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
            Self::Claims | Self::Subject => AuthReason::TokenClaims,
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl VerifiedTokens {
    pub(super) fn new(clock: Arc<dyn Clock>, metrics: &Metrics) -> Self {
        Self { clock, metrics: metrics.clone(), cache: Mutex::default() }
    }

    pub(super) fn now(&self) -> f64 {
        seconds(self.clock.now())
    }

    /// Verifies a token and returns its bearer. `check` is for tokens whose signature is right, and
    /// has to check the issuer, the audience and the times; see [`check_claims`].
    pub(super) fn verify(
        &self,
        keys: &Arc<Keys>,
        token: &str,
        check: impl FnOnce(Claims, f64) -> Result<Verified, Refused>,
    ) -> Result<Verified, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::Malformed);
        }
        let now = self.now();
        let fingerprint: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let cached = self.cached(keys, &fingerprint, now);
        let found = if cached.is_some() { CacheResult::Hit } else { CacheResult::Miss };
        self.metrics.cache_requests.inc((Cached::Token, CacheLayer::Local, found));
        if let Some(verified) = cached {
            return Ok(verified);
        }
        let verified = check(signed_claims(keys, token)?, now)?;
        self.insert(keys, fingerprint, &verified, now);
        Ok(verified)
    }

    fn cached(&self, keys: &Arc<Keys>, fingerprint: &[u8; 32], now: f64) -> Option<Verified> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if !cache.keys.as_ref().is_some_and(|old| Arc::ptr_eq(old, keys)) {
            // New keys: tokens verified with a removed key are no longer valid.
            *cache = TokenCache { keys: Some(keys.clone()), tokens: HashMap::new() };
        }
        let verified = cache.tokens.get(fingerprint)?;
        verified.is_valid(now).then(|| verified.clone())
    }

    fn insert(&self, keys: &Arc<Keys>, fingerprint: [u8; 32], verified: &Verified, now: f64) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if !cache.keys.as_ref().is_some_and(|old| Arc::ptr_eq(old, keys)) {
            return;
        }
        if cache.tokens.len() >= CACHED_MAX {
            cache.tokens.retain(|_, verified| verified.is_valid(now));
        }
        if cache.tokens.len() >= CACHED_MAX {
            cache.tokens.clear();
        }
        cache.tokens.insert(fingerprint, verified.clone());
    }
}

impl Verified {
    fn is_valid(&self, now: f64) -> bool {
        now < self.expires + SKEW_SECONDS
    }
}

/// Checks issuer, audience and times. Returns when the token expires.
pub(super) fn check_claims(
    claims: &Claims,
    issuer: &str,
    audiences: &[impl AsRef<str>],
    now: f64,
) -> Result<f64, Refused> {
    if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
        return Err(Refused::Issuer);
    }
    let is_for_us = match claims.get("aud") {
        Some(Value::String(one)) => audiences.iter().any(|ours| ours.as_ref() == one),
        Some(Value::Array(all)) => {
            audiences.iter().any(|ours| all.iter().any(|one| one == ours.as_ref()))
        }
        Some(_) | None => false,
    };
    if !is_for_us {
        return Err(Refused::Audience);
    }
    // A token without an expiry would be valid for ever.
    let expires = claims.get("exp").and_then(Value::as_f64).ok_or(Refused::Times)?;
    let not_before = match claims.get("nbf") {
        None | Some(Value::Null) => None,
        Some(value) => Some(value.as_f64().ok_or(Refused::Times)?),
    };
    if now >= expires + SKEW_SECONDS {
        return Err(Refused::Expired);
    }
    if not_before.is_some_and(|not_before| now < not_before - SKEW_SECONDS) {
        return Err(Refused::NotYet);
    }
    Ok(expires)
}

/// The claims of a token, after one of the keys has verified its signature.
pub(super) fn signed_claims(keys: &Keys, token: &str) -> Result<Claims, Refused> {
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

/// The texts of a claim: of a list, or a single one.
pub(super) fn texts(claim: Option<&Value>) -> Vec<String> {
    match claim {
        Some(Value::Array(texts)) => {
            texts.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(Value::String(text)) => vec![text.clone()],
        Some(_) | None => Vec::new(),
    }
}

/// The issuer that a text names, if it is a token. Nothing is verified.
pub(super) fn unverified_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Payload {
        iss: String,
    }
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let mut parts = token.split('.');
    let (_, payload) = (parts.next()?, parts.next()?);
    (parts.count() == 1).then(|| part::<Payload>(payload).ok()).flatten().map(|it| it.iss)
}

/// The key that a token says has signed it. Nothing is verified.
pub(super) fn key_id(token: &str) -> Option<String> {
    part::<Header>(token.split('.').next()?).ok()?.kid
}

pub(super) fn seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}
