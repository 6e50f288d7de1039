//! Someone whose request was authorized.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Access, Action, Resource, Subject};

/// Someone whose request was authorized: nobody in particular, a user with a password, or whoever
/// a token was made out to.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller(Arc<Identity>);

#[derive(Debug, Default, PartialEq)]
struct Identity {
    /// Nothing for those who did not say who they are.
    user: Option<String>,
    groups: Vec<String>,
    claims: Map<String, Value>,
    /// What the token allows, for those who have one.
    grants: Option<Vec<Grant>>,
}

/// One entry of the access list of a token.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grant {
    /// `repository` or `registry`, without a class in parentheses.
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) actions: Vec<String>,
}

impl Caller {
    /// Somebody who does not say who they are.
    pub fn anonymous() -> Self {
        Self(Arc::default())
    }

    /// Somebody who knows the password of a user.
    pub(super) fn user(name: &str) -> Self {
        Self(Arc::new(Identity { user: Some(name.to_owned()), ..Identity::default() }))
    }

    /// Somebody with a token. A token can be made out to nobody, too.
    pub(super) fn token(
        user: Option<String>,
        groups: Vec<String>,
        claims: Map<String, Value>,
        grants: Vec<Grant>,
    ) -> Self {
        Self(Arc::new(Identity { user, groups, claims, grants: Some(grants) }))
    }

    /// Who it is, for logs and as the owner of an upload: `anonymous`, or `user:` and the name, so
    /// that nobody becomes anonymous by their name.
    pub fn subject(&self) -> String {
        match &self.0.user {
            Some(user) => format!("user:{user}"),
            None => "anonymous".to_owned(),
        }
    }

    /// Whether it showed anything at all: a password, or a token, be it one made out to nobody.
    pub(super) fn has_credentials(&self) -> bool {
        self.0.user.is_some() || self.0.grants.is_some()
    }

    pub(super) fn has_token(&self) -> bool {
        self.0.grants.is_some()
    }

    /// Whether a rule about this subject speaks of the caller.
    pub(super) fn is(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Anonymous => true,
            Subject::Authenticated => self.0.user.is_some(),
            Subject::User(name) => self.0.user.as_ref() == Some(name),
            Subject::Group(name) => self.0.groups.contains(name),
            Subject::Claim(name, value) => {
                self.0.claims.get(name).is_some_and(|claim| holds(claim, value))
            }
        }
    }

    /// Whether its token says anything of a repository.
    pub(super) fn token_mentions(&self, resource: &Resource) -> bool {
        let (kind, name) = entry(resource);
        let grants = self.0.grants.as_deref().unwrap_or_default();
        grants.iter().any(|grant| grant.kind == kind && grant.name == name)
    }

    /// Whether its token allows this. Without a token nothing is granted so.
    pub(super) fn is_granted(&self, access: &Access) -> bool {
        if access.action == Action::See {
            // Who may see the catalog may see all of it: so says the token server.
            let pull = Access { resource: access.resource.clone(), action: Action::Pull };
            let catalog = Access { resource: Resource::Registry, action: Action::Catalog };
            return self.is_granted(&pull) || self.is_granted(&catalog);
        }
        let (kind, name) = entry(&access.resource);
        let grants = self.0.grants.as_deref().unwrap_or_default();
        grants
            .iter()
            .filter(|grant| grant.kind == kind && grant.name == name)
            .flat_map(|grant| &grant.actions)
            .any(|action| action == "*" || words(access.action).contains(&action.as_str()))
    }
}

/// How a token calls it.
fn entry(resource: &Resource) -> (&str, &str) {
    match resource {
        Resource::Repository(name) => ("repository", name.as_str()),
        Resource::Registry => ("registry", "catalog"),
    }
}

/// The words of a token that allow an action.
fn words(action: Action) -> &'static [&'static str] {
    match action {
        Action::Pull => &["pull"],
        Action::Create => &["push", "create"],
        Action::Push => &["push"],
        Action::Delete => &["delete"],
        Action::Enter | Action::Catalog | Action::See => &[],
    }
}

/// Whether a claim is this text, or a list with it.
fn holds(claim: &Value, value: &str) -> bool {
    match claim {
        Value::String(text) => text == value,
        Value::Array(values) => values.iter().any(|one| one.as_str() == Some(value)),
        Value::Bool(flag) => value == if *flag { "true" } else { "false" },
        Value::Number(number) => number.to_string() == value,
        Value::Null | Value::Object(_) => false,
    }
}
