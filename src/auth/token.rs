//! Tokens of an external token server (Distribution registry, "Token Authentication
//! Implementation").

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::authorizer::AuthRequest;
use super::caller::{Caller, Grant};
use super::challenge::{self, TokenError};
use super::jwks::Keys;
use super::settings::TokenSettings;
use super::signed_token::{Claims, Refused, Verified, VerifiedTokens, check_claims, texts};
use crate::clock::Clock;
use crate::reloaded_file::ReloadedFile;
use crate::telemetry::metrics::{Metrics, ReloadedFileKind};

#[derive(Debug)]
pub struct Tokens {
    realm: String,
    service: String,
    issuer: String,
    groups_claim: String,
    keys: ReloadedFile<Keys>,
    verified: VerifiedTokens,
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
        let verified = VerifiedTokens::new(clock, metrics);
        Ok(Some(Self { realm, service, issuer, groups_claim, keys, verified }))
    }

    pub(super) fn challenge(&self, request: &AuthRequest<'_>, error: Option<TokenError>) -> String {
        challenge::bearer(&self.realm, &self.service, request, error)
    }

    /// Verifies a token and returns its caller.
    pub(super) fn verify(&self, token: &str) -> Result<Caller, Refused> {
        let check = |claims: Claims, now| {
            let expires = check_claims(&claims, &self.issuer, &[&self.service], now)?;
            Ok(Verified { caller: self.caller(claims), expires })
        };
        Ok(self.verified.verify(&self.keys.current(), token, check)?.caller)
    }

    fn caller(&self, claims: Claims) -> Caller {
        let user = claims.get("sub").and_then(Value::as_str).filter(|user| !user.is_empty());
        let groups = texts(claims.get(&self.groups_claim));
        let grants = grants(&claims);
        Caller::token(user.map(str::to_owned), groups, claims, grants)
    }
}

/// The access list of a token.
pub(super) fn grants(claims: &Claims) -> Vec<Grant> {
    match claims.get("access") {
        Some(Value::Array(entries)) => entries.iter().filter_map(grant).collect(),
        Some(_) | None => Vec::new(),
    }
}

/// An entry of the access list. `repository(plugin)` counts as `repository`. An invalid entry
/// grants nothing.
fn grant(entry: &Value) -> Option<Grant> {
    let RawGrant { kind, name, actions } = RawGrant::deserialize(entry).ok()?;
    let kind = kind.split('(').next().unwrap_or_default().to_owned();
    Some(Grant { kind, name, actions: actions.unwrap_or_default() })
}
