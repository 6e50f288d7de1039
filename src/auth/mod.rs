//! Who asks, and may they.
//!
//! A request is authorized once, from its endpoint, before anything is looked up: so what is
//! missing and what is forbidden look the same to those who may know neither.
//!
//! [`PolicyAuthorizer`] is the authorizer of a registry with passwords, tokens or rules;
//! [`AllowAll`] that of
//! one without. Whom a rule speaks of and what it allows are the nouns of [`Rule`].

mod authorizer;
mod caller;
mod challenge;
mod credentials;
mod htpasswd;
mod jwks;
mod pattern;
mod rules;
mod token;

use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;
use http::HeaderMap;

use crate::oci::RepositoryName;
use crate::telemetry::metrics::{AuthMethod, AuthReason, AuthResult};

pub use authorizer::PolicyAuthorizer;
pub use caller::Caller;
pub use htpasswd::Htpasswd;
pub use pattern::{Pattern, PatternError};
pub use rules::{Permission, Rule, RuleError, Rules, Subject};
pub use token::{TokenSettings, Tokens};

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Ask whether this is a registry.
    Enter,
    /// Read content and lists of a repository.
    Pull,
    /// Add content to a repository, without changing what a tag means that is there already.
    Create,
    /// Change what a tag means that is there already. Whoever may do this may also create.
    Push,
    /// Remove content from a repository.
    Delete,
    /// Ask which repositories there are.
    Catalog,
    /// See the name of one of them in the answer.
    See,
}

/// What it is done to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The registry as a whole.
    Registry,
    /// One repository.
    Repository(RepositoryName),
}

/// One thing that a request needs to be allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// What it is done to.
    pub resource: Resource,
    /// What is done.
    pub action: Action,
}

/// A request, as far as authorization looks at it.
#[derive(Clone, Copy, Debug)]
pub struct AuthRequest<'a> {
    /// Its headers: they hold the credentials.
    pub headers: &'a HeaderMap,
    /// What it needs.
    pub access: &'a Access,
    /// What it would like to be allowed besides: reading the source of a mount. It is asked for in
    /// a challenge, and whoever may not do it is let through all the same. Only a token that says
    /// nothing of it at all is sent back, because its bearer has not asked for that yet.
    pub optional_scope: Option<&'a Access>,
    /// Where it comes from, so that one sender cannot use up the patience meant for all.
    pub client: Option<IpAddr>,
    /// The host that it was sent to, where it said so.
    pub host: Option<&'a str>,
    /// Whether it was encrypted on its way.
    pub secure: bool,
}

/// Why a request may not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It has to say who it is, or has to bring a token that allows more. The challenge is the
    /// value of `WWW-Authenticate`.
    #[error("authentication is required")]
    Unauthenticated {
        /// RFC 9110, section 11.6.1.
        challenge: String,
        /// For the metrics. It does not reach the client.
        reason: AuthReason,
    },
    /// It said who it is, and that is not enough.
    #[error("the caller may not do this")]
    Forbidden {
        /// For the metrics. It does not reach the client.
        reason: AuthReason,
    },
    /// Too many logins are being checked for its sender.
    #[error("too many logins at once, try again later")]
    TooManyAttempts,
}

impl Denied {
    /// As what it is counted.
    pub fn metric_label(&self) -> (AuthResult, AuthReason) {
        match self {
            Self::Unauthenticated { reason, .. } => (AuthResult::Challenged, *reason),
            Self::Forbidden { reason } => (AuthResult::Forbidden, *reason),
            Self::TooManyAttempts => (AuthResult::Busy, AuthReason::TooManyLogins),
        }
    }
}

/// Decides about requests.
#[async_trait]
pub trait Authorizer: Send + Sync + fmt::Debug {
    /// Decides whether a request may go on. Returns how its caller logged in, and the caller or
    /// why the request is refused.
    async fn authorize(&self, attempt: AuthRequest<'_>) -> (AuthMethod, Result<Caller, Denied>);

    /// Whether a caller that was authorized may do something else, too: whether it may read the
    /// source of a mount, see a repository in the catalog, or move a tag.
    fn may(&self, caller: &Caller, access: &Access) -> bool;
}

/// Allows everything to everybody, without a login.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

#[async_trait]
impl Authorizer for AllowAll {
    async fn authorize(&self, attempt: AuthRequest<'_>) -> (AuthMethod, Result<Caller, Denied>) {
        (credentials::method(attempt.headers), Ok(Caller::anonymous()))
    }

    fn may(&self, _: &Caller, _: &Access) -> bool {
        true
    }
}
