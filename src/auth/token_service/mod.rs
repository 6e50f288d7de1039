//! The registry as its own token server (Distribution registry, "Token Authentication").
//!
//! A token says who its bearer is and what it asked for. The rules decide at each request, so a
//! token never allows more than they do. A *refresh token* stands for a password where a client
//! keeps no password; it is good for new tokens and for nothing else, until the password changes.

mod keys;
mod scopes;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use self::keys::{KeySet, TokenKeys};
pub(super) use self::scopes::granted;
use super::authorizer::{AuthRequest, Issued};
use super::caller::{Caller, Grant, Login};
use super::challenge::{self, TokenError};
use super::key_source::KeySource;
use super::rules::Rules;
use super::signed_token::{
    Claims, Refused, Verified, VerifiedTokens, check_claims, key_id, signed_claims,
};
use super::token::grants;
use crate::clock::Clock;
use crate::entropy;
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

/// Where clients fetch tokens. It is not below `/v2/`, whose paths name repositories.
pub const TOKEN_PATH: &str = "/auth/token";
/// How long a token is good. Clients fetch another one by themselves.
const TOKEN_FOR: Duration = Duration::from_mins(5);
/// How long a refresh token is good. Then its user logs in again.
const REFRESH_TOKEN_FOR: Duration = Duration::from_hours(30 * 24);
/// How long a new key only verifies: until every process has read it, with a margin for clocks
/// that differ.
pub const KEYS_OVERLAP: Duration = Duration::from_mins(5);
/// How long a key verifies after it has signed for the last time.
pub const OLD_KEYS_KEPT: Duration = Duration::from_hours(31 * 24);

/// The issuer of the tokens, and the service that they are for. It is the same for all registries,
/// whose keys differ.
const NAME: &str = "longshore";
/// The audience of refresh tokens: the registry refuses them.
const REFRESH_NAME: &str = "longshore-refresh";

/// Issues and verifies tokens.
#[derive(Debug)]
pub struct TokenService {
    keys: TokenKeys,
    verified: VerifiedTokens,
    clock: Arc<dyn Clock>,
}

/// Why there is no caller for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Refused(Refused),
    /// The keys were never read.
    NoKeys,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// What a refresh token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefreshLogin {
    pub(super) user: String,
    /// Of the password, see `Htpasswd::version_of`.
    pub(super) version: [u8; 16],
}

impl TokenService {
    pub fn new(clock: Arc<dyn Clock>, metrics: &Metrics) -> Self {
        let verified = VerifiedTokens::new(clock.clone(), metrics);
        Self { keys: TokenKeys::new(), verified, clock }
    }

    /// Gives the service its keys. Until then there are no tokens.
    pub fn connect(&self, source: Arc<dyn KeySource>, tasks: &Tasks) {
        self.keys.connect(source, tasks.clone());
    }

    /// Reads the keys before the first request needs them.
    pub async fn prepare(&self) {
        self.keys.current().await;
    }

    pub(super) fn challenge(request: &AuthRequest<'_>, error: Option<TokenError>) -> String {
        challenge::bearer(TOKEN_PATH, NAME, request, error)
    }

    /// Verifies a token and returns its caller.
    pub(super) async fn verify(&self, token: &str) -> Result<Caller, Failure> {
        let keys = self.keys_for(token).await?;
        let check = |claims: Claims, now| {
            let expires = check_claims(&claims, NAME, &[NAME], now)?;
            Ok(Verified { caller: caller(&claims).ok_or(Refused::Malformed)?, expires })
        };
        Ok(self.verified.verify(&keys.verifying, token, check)?.caller)
    }

    /// Verifies a refresh token.
    pub(super) async fn verify_refresh(&self, token: &str) -> Result<RefreshLogin, Failure> {
        let keys = self.keys_for(token).await?;
        let claims = signed_claims(&keys.verifying, token)?;
        check_claims(&claims, NAME, &[REFRESH_NAME], self.verified.now())?;
        let text = |name| claims.get(name).and_then(Value::as_str).ok_or(Refused::Malformed);
        let version = URL_SAFE_NO_PAD.decode(text("password")?).map_err(|_| Refused::Malformed)?;
        let version = version.try_into().map_err(|_| Refused::Malformed)?;
        Ok(RefreshLogin { user: text("sub")?.to_owned(), version })
    }

    async fn keys_for(&self, token: &str) -> Result<Arc<KeySet>, Failure> {
        self.keys.with(key_id(token).as_deref()).await.ok_or(Failure::NoKeys)
    }

    /// Issues a token for these grants, and a refresh token if one is asked for. It says of the
    /// caller what the rules need. `None` if the keys were never read.
    pub(super) async fn issue(
        &self,
        caller: &Caller,
        grants: &[Grant],
        refresh: Option<RefreshLogin>,
        rules: &Rules,
    ) -> Option<Issued> {
        let keys = self.keys.current().await?;
        let issued_at = self.clock.now();
        let now = issued_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = caller.expires().map_or(TOKEN_FOR, |expires| {
            Duration::try_from_secs_f64(expires - now.as_secs_f64()).unwrap_or_default()
        });
        let expires_in = TOKEN_FOR.min(left);
        let mut claims = identity(caller, rules);
        let access: Vec<Value> = grants
            .iter()
            .map(
                |grant| json!({ "type": grant.kind, "name": grant.name, "actions": grant.actions }),
            )
            .collect();
        claims.insert("access".to_owned(), access.into());
        let token = |mut claims: Map<String, Value>, audience: &str, lasts: Duration| {
            let of_token = json!({
                "iss": NAME,
                "aud": audience,
                "iat": now.as_secs(),
                "exp": (now + lasts).as_secs(),
                "jti": hex::encode(entropy::bytes::<12>()),
            });
            if let Value::Object(of_token) = of_token {
                claims.extend(of_token);
            }
            keys.sign(now.as_secs(), &claims.into())
        };
        let refresh_token = refresh.map(|RefreshLogin { user, version }| {
            let password = URL_SAFE_NO_PAD.encode(version);
            let bound = [("sub".to_owned(), user.into()), ("password".to_owned(), password.into())];
            token(bound.into_iter().collect(), REFRESH_NAME, REFRESH_TOKEN_FOR)
        });
        Some(Issued {
            token: token(claims, NAME, expires_in),
            scope: scopes::text(grants),
            issued_at,
            expires_in,
            refresh_token,
        })
    }
}

/// The claims that say who the bearer is.
fn identity(caller: &Caller, rules: &Rules) -> Map<String, Value> {
    let (groups, names) = rules.named();
    let mut identity = Map::new();
    let mut put = |name: &str, value: Value| drop(identity.insert(name.to_owned(), value));
    put("sub", caller.name().unwrap_or_default().into());
    match caller.login() {
        Login::Anonymous | Login::TokenServer(_) => {}
        Login::Password(_) => put("login", "password".into()),
        Login::Certificate(_) => put("login", "certificate".into()),
        Login::Issuer { issuer, .. } => {
            put("login", "issuer".into());
            put("issuer", issuer.as_str().into());
        }
    }
    let is_named = |group: &&String| groups.contains(group.as_str());
    let groups: Vec<Value> =
        caller.groups().iter().filter(is_named).map(|group| group.as_str().into()).collect();
    if !groups.is_empty() {
        put("groups", groups.into());
    }
    let claims = caller.claims().iter().filter(|(name, _)| names.contains(name.as_str()));
    let claims: Map<String, Value> =
        claims.map(|(name, value)| (name.clone(), value.clone())).collect();
    if !claims.is_empty() {
        put("claims", claims.into());
    }
    identity
}

/// The bearer of a token with these claims.
fn caller(claims: &Claims) -> Option<Caller> {
    let text = |name| claims.get(name).and_then(Value::as_str);
    let subject = text("sub")?.to_owned();
    let login = match text("login") {
        None => Login::Anonymous,
        Some("password") => Login::Password(subject),
        Some("certificate") => Login::Certificate(subject),
        Some("issuer") => Login::Issuer { issuer: text("issuer")?.to_owned(), subject },
        Some(_) => return None,
    };
    let groups = claims.get("groups").and_then(Value::as_array).into_iter().flatten();
    let groups = groups.filter_map(Value::as_str).map(str::to_owned).collect();
    let named = claims.get("claims").and_then(Value::as_object).cloned().unwrap_or_default();
    Some(Caller::logged_in(login, groups, named).with_own_token(grants(claims)))
}
