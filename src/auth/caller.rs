//! The authenticated identity of a request.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::access::{Access, Action, Resource};

/// The caller of an authorized request: anonymous, a user with a password, or the subject of a
/// token.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller(Arc<Identity>);

#[derive(Debug, Default, PartialEq)]
struct Identity {
    user: Option<String>,
    groups: Vec<String>,
    claims: Map<String, Value>,
    /// The access that the token grants, if there is a token.
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
    pub fn anonymous() -> Self {
        Self(Arc::default())
    }

    /// A user whose password was verified.
    pub(super) fn user(name: &str) -> Self {
        Self(Arc::new(Identity { user: Some(name.to_owned()), ..Identity::default() }))
    }

    /// The bearer of a token. A token may have no user.
    pub(super) fn token(
        user: Option<String>,
        groups: Vec<String>,
        claims: Map<String, Value>,
        grants: Vec<Grant>,
    ) -> Self {
        Self(Arc::new(Identity { user, groups, claims, grants: Some(grants) }))
    }

    /// The identity for logs and for the owner of an upload: `anonymous` or `user:NAME`. The prefix
    /// keeps a user called `anonymous` apart.
    pub fn subject(&self) -> String {
        match &self.0.user {
            Some(user) => format!("user:{user}"),
            None => "anonymous".to_owned(),
        }
    }

    /// Whether the caller has a password or a token, even one without a user.
    pub(super) fn has_credentials(&self) -> bool {
        self.0.user.is_some() || self.0.grants.is_some()
    }

    pub(super) fn has_token(&self) -> bool {
        self.0.grants.is_some()
    }

    /// The name of the user, if there is one.
    pub fn name(&self) -> Option<&str> {
        self.0.user.as_deref()
    }

    pub(super) fn groups(&self) -> &[String] {
        &self.0.groups
    }

    pub(super) fn claim(&self, name: &str) -> Option<&Value> {
        self.0.claims.get(name)
    }

    /// Whether the token has an entry for the resource, whatever it grants.
    pub(super) fn token_mentions(&self, resource: &Resource) -> bool {
        let (kind, name) = entry(resource);
        let grants = self.0.grants.as_deref().unwrap_or_default();
        grants.iter().any(|grant| grant.kind == kind && grant.name == name)
    }

    /// Whether the token grants this access. Without a token, nothing is granted.
    pub(super) fn is_granted(&self, access: &Access) -> bool {
        if access.action == Action::See {
            // A token that grants the catalog grants all of it.
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
            .any(|action| action == "*" || token_actions(access.action).contains(&action.as_str()))
    }
}

/// The type and name of the resource in a token.
fn entry(resource: &Resource) -> (&str, &str) {
    match resource {
        Resource::Repository(name) => ("repository", name.as_str()),
        Resource::Registry => ("registry", "catalog"),
    }
}

/// The actions in a token that allow this action.
fn token_actions(action: Action) -> &'static [&'static str] {
    match action {
        Action::Pull => &["pull"],
        Action::Create => &["push", "create"],
        Action::Push => &["push"],
        Action::Delete => &["delete"],
        Action::Open | Action::Enter | Action::Catalog | Action::See => &[],
    }
}
