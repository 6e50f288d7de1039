//! From settings to the authorizer.

use std::sync::Arc;

use super::StartError;
use crate::auth::{
    Access, AccessSettings, AllowAll, Authorizer, GeneralAccess, Htpasswd, Issuers, Permission,
    PolicyAuthorizer, Resource, Rule, Rules, Subject, TokenService, Tokens,
};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::oci::RepositoryName;
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
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let tokens = Tokens::open(&access.token, clock.clone(), metrics);
    let issuers = Issuers::open(&access.issuers, &clock, metrics);
    let service = settings.has_token_service().then(|| TokenService::new(clock.clone(), metrics));
    Ok(Arc::new(PolicyAuthorizer {
        passwords: passwords.transpose().map_err(StartError::File)?,
        tokens: tokens.map_err(StartError::File)?,
        issuers: issuers.map_err(StartError::File)?,
        service,
        challenge: access.challenge,
        rules: rules(access),
        clock,
    }))
}

/// Whether every client may do everything: there is neither a login nor a rule. Where clients log
/// in with certificates, one of the other settings says what they may do.
fn is_open(access: &AccessSettings) -> bool {
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

/// Which rule decides about a request. An error if none allows it.
pub fn explain(
    settings: &AccessSettings,
    subjects: &[Subject],
    repository: Option<&RepositoryName>,
    permission: Permission,
) -> Result<String, String> {
    let rules = rules(settings);
    let resource = match (permission, repository) {
        (Permission::Catalog, _) | (_, None) => Resource::Registry,
        (_, Some(name)) => Resource::Repository(name.clone()),
    };
    let access = Access { resource, action: permission.action() };
    let who: Vec<String> = subjects.iter().map(ToString::to_string).collect();
    let (who, to) = (who.join(", "), repository.map_or(String::new(), |name| format!(" {name}")));
    let anybody = rules.allowing_anonymous(&access).is_some();
    let by_tokens = settings.token.realm.is_some() && !anybody;
    if is_open(settings) {
        return Ok(
            "allowed: there is no login and no rule, so every client may do everything".into()
        );
    }
    if let Some(rule) = rules.allowing_subjects(subjects, &access) {
        let token =
            if by_tokens { "\nthe list of the caller's token has to allow it as well" } else { "" };
        return Ok(format!("allowed: {rule}{token}"));
    }
    let known = subjects.iter().any(|subject| *subject != Subject::Anonymous);
    if by_tokens && known && !rules.restrict_authenticated() {
        return Ok("the list of the token decides: no rule is for callers with a login".into());
    }
    let count = rules.0.len();
    Err(format!("denied: none of {count} rules lets {who} {permission}{to}"))
}
