//! The authenticated identity of a request.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

use super::access::{Access, Action, Resource};

/// The caller of an authorized request: how it has logged in, and what its token allows, if it has
/// one.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller(Arc<Identity>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Identity {
    login: Login,
    groups: Vec<String>,
    claims: Map<String, Value>,
    grants: Option<Grants>,
    /// When the identity token expires that proved all this, in seconds since 1970.
    expires: Option<f64>,
}

/// How a caller has proved who it is. The names of one variant say nothing about those of another:
/// the user `ci` with a password is not the subject `ci` of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Login {
    #[default]
    Anonymous,
    /// The user of a password that was verified.
    Password(String),
    /// The user in a token of the external token server, which may name none.
    TokenServer(Option<String>),
    /// The subject of an identity token of one of `access.issuers`.
    Issuer { issuer: String, subject: String },
    /// The name in a client certificate.
    Certificate(String),
}

/// What a token allows.
#[derive(Clone, Debug, PartialEq)]
struct Grants {
    list: Vec<Grant>,
    /// Who signed the token. What an external token server grants is decided there; what our own
    /// token service grants, the rules decide at each request.
    signer: Signer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signer {
    TokenServer,
    Ourselves,
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
        // One for all, because each anonymous request needs two.
        static ANONYMOUS: LazyLock<Caller> = LazyLock::new(|| Caller(Arc::default()));
        ANONYMOUS.clone()
    }

    /// A caller that has logged in without a token of the token server: what it may do is decided
    /// by the rules alone.
    pub(super) fn logged_in(login: Login, groups: Vec<String>, claims: Map<String, Value>) -> Self {
        Self(Arc::new(Identity { login, groups, claims, grants: None, expires: None }))
    }

    /// A user whose password was verified.
    pub(super) fn user(name: &str) -> Self {
        Self::logged_in(Login::Password(name.to_owned()), Vec::new(), Map::new())
    }

    /// The bearer of a token of an external token server. A token may have no user.
    pub(super) fn token(
        user: Option<String>,
        groups: Vec<String>,
        claims: Map<String, Value>,
        list: Vec<Grant>,
    ) -> Self {
        let grants = Some(Grants { list, signer: Signer::TokenServer });
        let login = Login::TokenServer(user);
        Self(Arc::new(Identity { login, groups, claims, grants, expires: None }))
    }

    /// This caller with a token of our own token service, which allows no more than these grants.
    pub(super) fn with_own_token(&self, list: Vec<Grant>) -> Self {
        let grants = Some(Grants { list, signer: Signer::Ourselves });
        Self(Arc::new(Identity { grants, ..Identity::clone(&self.0) }))
    }

    /// This caller, whose login is over at this time, in seconds since 1970.
    pub(super) fn until(&self, expires: f64) -> Self {
        Self(Arc::new(Identity { expires: Some(expires), ..Identity::clone(&self.0) }))
    }

    /// When the login is over, in seconds since 1970, if it ends by itself.
    pub(super) fn expires(&self) -> Option<f64> {
        self.0.expires
    }

    pub fn login(&self) -> &Login {
        &self.0.login
    }

    /// The identity for logs and for the owner of an upload. The prefix keeps a user called
    /// `anonymous` apart, and the logins of one kind from those of another.
    pub fn subject(&self) -> String {
        match &self.0.login {
            Login::Anonymous | Login::TokenServer(None) => "anonymous".to_owned(),
            Login::Password(user) | Login::TokenServer(Some(user)) => format!("user:{user}"),
            Login::Issuer { issuer, subject } => format!("issuer:{issuer}:{subject}"),
            Login::Certificate(name) => format!("certificate:{name}"),
        }
    }

    /// By what the caller has proved who it is, or has proved it to our own token service.
    pub fn credential(&self) -> String {
        let login = match &self.0.login {
            Login::Anonymous => "anonymous".to_owned(),
            Login::Password(_) => "password".to_owned(),
            Login::TokenServer(_) => "token".to_owned(),
            Login::Issuer { issuer, .. } => format!("issuer {issuer}"),
            Login::Certificate(_) => "certificate".to_owned(),
        };
        if self.has_own_token() { format!("registry_token {login}") } else { login }
    }

    /// Whether the caller has logged in, or has a token, even one without a user.
    pub(super) fn has_credentials(&self) -> bool {
        self.is_authenticated() || self.0.grants.is_some()
    }

    pub(super) fn has_token(&self) -> bool {
        self.0.grants.is_some()
    }

    /// Whether the token is one of our own, which never grants more than the rules.
    pub(super) fn has_own_token(&self) -> bool {
        self.0.grants.as_ref().is_some_and(|grants| grants.signer == Signer::Ourselves)
    }

    /// Whether it is known who the caller is.
    pub fn is_authenticated(&self) -> bool {
        self.name().is_some()
    }

    /// The name of the caller, if it is known: of a user, the subject of an issuer, or a name in a
    /// certificate.
    pub fn name(&self) -> Option<&str> {
        match &self.0.login {
            Login::Anonymous | Login::TokenServer(None) => None,
            Login::Password(name)
            | Login::TokenServer(Some(name))
            | Login::Issuer { subject: name, .. }
            | Login::Certificate(name) => Some(name),
        }
    }

    /// Who has changed a tag, as its record says it: the name of a user, and the whole subject of
    /// every other login.
    pub fn written_name(&self) -> Option<String> {
        match &self.0.login {
            Login::Anonymous | Login::TokenServer(None) => None,
            Login::Password(user) | Login::TokenServer(Some(user)) => Some(user.clone()),
            Login::Issuer { .. } | Login::Certificate(_) => Some(self.subject()),
        }
    }

    pub(super) fn groups(&self) -> &[String] {
        &self.0.groups
    }

    pub(super) fn claims(&self) -> &Map<String, Value> {
        &self.0.claims
    }

    pub(super) fn claim(&self, name: &str) -> Option<&Value> {
        self.0.claims.get(name)
    }

    fn grants(&self) -> &[Grant] {
        self.0.grants.as_ref().map(|grants| grants.list.as_slice()).unwrap_or_default()
    }

    /// Whether the token has an entry for the resource, whatever it grants.
    pub(super) fn token_mentions(&self, resource: &Resource) -> bool {
        let (kind, name) = entry(resource);
        self.grants().iter().any(|grant| grant.kind == kind && grant.name == name)
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
        self.grants()
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
        Action::Open | Action::Token | Action::Enter | Action::Catalog | Action::See => &[],
    }
}
