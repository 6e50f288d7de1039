//! Identity tokens of other issuers (OpenID Connect): of CI jobs, clouds and clusters.
//!
//! A token names its issuer, and only the keys of that issuer verify it. Keys are fetched from the
//! issuer in the background; a token whose key is not known yet waits for one more fetch.

mod claims;
mod fetch;
mod keys;
mod settings;

use std::sync::Arc;

use serde_json::Value;

use self::fetch::Fetcher;
use self::keys::{Oldest, PublishedKeys};
pub use self::settings::{
    IssuerName, IssuerSettings, IssuerUrl, KeysAddress, KeysFrom, RequiredClaim,
};
use super::caller::{Caller, Login};
use super::jwks::Keys;
use super::rules::has;
use super::signed_token::{
    Claims, Refused, Verified, VerifiedTokens, check_claims, key_id, unverified_issuer,
};
use super::token_service::Failure;
use crate::clock::Clock;
use crate::reloaded_file::ReloadedFile;
use crate::tasks::Tasks;
use crate::telemetry::metrics::{Metrics, ReloadedFileKind};

/// The user of a login whose password is an identity token.
pub(super) const TOKEN_USER: &str = "oidc";

/// The issuers of the settings.
#[derive(Debug)]
pub struct Issuers(Vec<Issuer>);

#[derive(Debug)]
struct Issuer {
    settings: IssuerSettings,
    keys: Source,
    verified: VerifiedTokens,
}

#[derive(Debug)]
enum Source {
    File(ReloadedFile<Keys>),
    Published(Arc<PublishedKeys>),
}

impl Issuers {
    /// Reads the files of keys, which have to be good, and begins to fetch the keys of all other
    /// issuers. An issuer that is away does not fail the start.
    pub fn open(
        settings: &[IssuerSettings],
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Option<Self>, String> {
        let (tasks, oldest) = (Tasks::new(), Arc::new(Oldest::default()));
        let issuer = |settings: &IssuerSettings| {
            let failed =
                |error: String| format!("access.issuers, {}: {error}", settings.name.as_str());
            let keys = match (&settings.keys, Fetcher::new(settings).map_err(failed)?) {
                (KeysFrom::File(file), _) => {
                    let (shown, files) = (file.display().to_string(), vec![file.clone()]);
                    let kind = ReloadedFileKind::TokenKeys;
                    Source::File(ReloadedFile::open(files, kind, metrics, move |contents| {
                        Keys::parse(&contents[0]).map_err(|error| format!("{shown}: {error}"))
                    })?)
                }
                (_, Some(fetcher)) => Source::Published(PublishedKeys::start(
                    settings.name.as_str(),
                    fetcher,
                    (clock.clone(), oldest.clone()),
                    (&tasks, metrics),
                )),
                (_, None) => return Err(failed("it has no keys".to_owned())),
            };
            let verified = VerifiedTokens::new(clock.clone(), metrics);
            Ok(Issuer { settings: settings.clone(), keys, verified })
        };
        let issuers = settings.iter().map(issuer).collect::<Result<Vec<_>, String>>()?;
        Ok((!issuers.is_empty()).then_some(Self(issuers)))
    }

    /// Whether a text is a token that names one of the issuers. Nothing is verified.
    pub(super) fn know(&self, token: &str) -> bool {
        self.of(token).is_some()
    }

    /// Verifies a token of one of the issuers.
    pub(super) async fn verify(&self, token: &str) -> Result<Caller, Failure> {
        let issuer = self.of(token).ok_or(Refused::Issuer)?;
        let keys = match &issuer.keys {
            Source::File(file) => file.current(),
            Source::Published(keys) => keys.for_token(key_id(token).as_deref()).await?,
        };
        let verified =
            issuer.verified.verify(&keys, token, |claims, now| issuer.bearer(claims, now))?;
        Ok(verified.caller)
    }

    fn of(&self, token: &str) -> Option<&Issuer> {
        let named = unverified_issuer(token)?;
        self.0.iter().find(|issuer| issuer.settings.url.as_str() == named)
    }
}

impl Issuer {
    /// The bearer of a token whose signature is right.
    fn bearer(&self, claims: Claims, now: f64) -> Result<Verified, Refused> {
        let settings = &self.settings;
        let expires = check_claims(&claims, settings.url.as_str(), &settings.audiences, now)?;
        Ok(Verified { caller: settings.bearer(claims)?.until(expires), expires })
    }
}

impl IssuerSettings {
    /// Who has a token with these claims, whose issuer, audience and times are right.
    pub(super) fn bearer(&self, claims: Claims) -> Result<Caller, Refused> {
        let claims = claims::flat(claims);
        let matches = |required: &RequiredClaim| {
            let claim = claims.get(&required.name);
            claim.is_some_and(|claim| has(claim, |text| required.pattern.matches(text)))
        };
        if !self.required.iter().all(matches) {
            return Err(Refused::Claims);
        }
        let subject = claims.get(&self.subject_claim).and_then(Value::as_str);
        let subject = subject.filter(|subject| !subject.is_empty()).ok_or(Refused::Subject)?;
        let (issuer, subject) = (self.name.as_str().to_owned(), subject.to_owned());
        let groups = self.groups_claim.as_ref().and_then(|claim| claims.get(claim));
        let groups = super::signed_token::texts(groups);
        Ok(Caller::logged_in(Login::Issuer { issuer, subject }, groups, claims))
    }
}
