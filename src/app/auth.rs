//! From settings to the authorizer.

use std::sync::Arc;

use super::StartError;
use crate::auth::{
    AccessSettings, AllowAll, Authorizer, GeneralAccess, Htpasswd, Issuers, Permission,
    PolicyAuthorizer, Rule, Rules, Subject, TokenService, Tokens,
};
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::setting::Choice as _;
use crate::telemetry::metrics::Metrics;

/// The rules of the settings, in the order in which the authorizer tries them.
fn rules(access: &AccessSettings) -> Rules {
    let everywhere = |given: Option<GeneralAccess>, subject, place: &str| {
        let permissions = match given? {
            GeneralAccess::Pull => vec![Permission::Pull, Permission::Catalog],
            GeneralAccess::Push => Permission::WORDS.map(|(_, permission)| permission).into(),
        };
        Some(Rule::everywhere(subject, permissions, place))
    };
    let anonymous = everywhere(access.anonymous, Subject::Anonymous, "access.anonymous");
    let authenticated =
        everywhere(access.authenticated, Subject::Authenticated, "access.authenticated");
    let rules = access.rules.iter().cloned();
    Rules(anonymous.into_iter().chain(authenticated).chain(rules).collect())
}

/// The authorizer of the settings. Reads the files of passwords and keys.
pub fn authorizer(
    settings: &Settings,
    metrics: &Metrics,
) -> Result<Arc<dyn Authorizer>, StartError> {
    let access = &settings.access;
    if is_open(access) {
        return Ok(Arc::new(AllowAll));
    }
    let passwords = access.htpasswd_file.clone().map(|path| Htpasswd::open(path, metrics));
    let passwords = passwords.transpose().map_err(StartError::File)?;
    Ok(Arc::new(PolicyAuthorizer { passwords, ..by_token(settings, metrics)? }))
}

/// An authorizer that knows no passwords. Reads the files of keys.
pub(super) fn by_token(
    settings: &Settings,
    metrics: &Metrics,
) -> Result<PolicyAuthorizer, StartError> {
    let access = &settings.access;
    let by_rules = by_rules(access);
    let clock = &by_rules.clock;
    let tokens = Tokens::open(&access.token, clock.clone(), metrics);
    let issuers = Issuers::open(&access.issuers, clock, metrics);
    let service = settings.has_token_service().then(|| TokenService::new(clock.clone(), metrics));
    let tokens = tokens.map_err(StartError::File)?;
    let issuers = issuers.map_err(StartError::File)?;
    Ok(PolicyAuthorizer { tokens, issuers, service, ..by_rules })
}

/// An authorizer without any login. Reads nothing.
pub(super) fn by_rules(access: &AccessSettings) -> PolicyAuthorizer {
    PolicyAuthorizer {
        passwords: None,
        tokens: None,
        issuers: None,
        service: None,
        challenge: access.challenge,
        rules: rules(access),
        clock: Arc::new(SystemClock),
    }
}

/// Whether every client may do everything: there is neither a login nor a rule. Where clients log
/// in with certificates, one of the other settings says what they may do.
pub(super) fn is_open(access: &AccessSettings) -> bool {
    let general = access.anonymous.is_some() || access.authenticated.is_some();
    !access.has_login() && !general && access.rules.is_empty()
}

/// Who may do what, in a few words.
pub(super) fn describe(settings: &Settings) -> String {
    let access = &settings.access;
    if is_open(access) {
        return "open: every client may do everything".to_owned();
    }
    let general = |who: &str, given: Option<GeneralAccess>| {
        given.map(|access| format!("{who}: {}", access.as_str()))
    };
    let rules = access.rules.len();
    let parts = [
        general("anonymous", access.anonymous),
        access.htpasswd_file.as_ref().map(|_| "passwords".to_owned()),
        access.token.realm.as_ref().map(|_| "tokens".to_owned()),
        settings.server.tls.client_ca_file.as_ref().map(|_| "certificates".to_owned()),
        (!access.issuers.is_empty()).then(|| format!("issuers: {}", access.issuers.len())),
        general("logged in", access.authenticated),
        (rules > 0).then(|| format!("rules: {rules}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
