//! From settings to whoever decides about requests.

use std::sync::Arc;

use super::StartError;
use crate::auth::{
    Access, AllowAll, Authorizer, Htpasswd, Permission, PolicyAuthorizer, Resource, Rule, Rules,
    Subject, TokenSettings, Tokens,
};
use crate::clock::SystemClock;
use crate::config::{GeneralAccess, Settings};
use crate::oci::RepositoryName;
use crate::telemetry::metrics::Metrics;

/// What the settings allow to whom, in the order in which it is looked at.
fn rules(settings: &Settings) -> Rules {
    let access = &settings.access;
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

/// Who decides about requests.
pub fn authorizer(
    settings: &Settings,
    metrics: &Metrics,
) -> Result<Arc<dyn Authorizer>, StartError> {
    let access = &settings.access;
    let passwords = access.htpasswd_file.as_ref().map(|path| Htpasswd::open(path.into(), metrics));
    let tokens =
        token_settings(settings).map(|token| Tokens::open(token, Arc::new(SystemClock), metrics));
    let login = PolicyAuthorizer {
        passwords: passwords.transpose().map_err(StartError::File)?,
        tokens: tokens.transpose().map_err(StartError::File)?,
        rules: rules(settings),
    };
    if is_open(settings) { Ok(Arc::new(AllowAll)) } else { Ok(Arc::new(login)) }
}

/// Whether everybody may do everything: there is no login, and nothing else was asked for.
fn is_open(settings: &Settings) -> bool {
    let access = &settings.access;
    !access.has_login() && access.anonymous.is_none() && access.rules.is_empty()
}

/// Which rule decides about a request. An error if none allows it.
pub fn explain(
    settings: &Settings,
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
    let by_tokens = settings.access.token.realm.is_some() && !anybody;
    if is_open(settings) {
        return Ok("allowed: there is no login and no rule, so everybody may do everything".into());
    }
    if let Some(rule) = rules.allowing_subjects(subjects, &access) {
        let token =
            if by_tokens { "\na caller with a token needs it in its list as well" } else { "" };
        return Ok(format!("allowed: {rule}{token}"));
    }
    let known = subjects.iter().any(|subject| *subject != Subject::Anonymous);
    if by_tokens && known && !rules.restrict_authenticated() {
        return Ok("the list of the token decides: no rule speaks of callers who logged in".into());
    }
    let count = rules.0.len();
    Err(format!("denied: none of {count} rules lets {who} {permission}{to}"))
}

fn token_settings(settings: &Settings) -> Option<TokenSettings> {
    let token = &settings.access.token;
    Some(TokenSettings {
        realm: token.realm.clone()?,
        service: token.service.clone()?,
        issuer: token.issuer.clone()?,
        keys_file: token.keys_file.as_ref()?.into(),
        groups_claim: token.groups_claim.clone(),
    })
}
