//! The interface of authorization, and the authorizer that allows everything.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::HeaderMap;

use super::access::Access;
use super::caller::Caller;
use super::certificate::ClientCertificate;
use super::credentials;
use super::key_source::KeySource;
use crate::tasks::Tasks;
use crate::telemetry::metrics::{AuthMethod, AuthReason, AuthResult};

/// The parts of a request that authorization needs.
#[derive(Clone, Copy, Debug)]
pub struct AuthRequest<'a> {
    /// Contains the credentials.
    pub headers: &'a HeaderMap,
    /// What the handshake of the connection has verified: no header can say it.
    pub certificate: Option<&'a ClientCertificate>,
    /// The access that the request needs.
    pub access: &'a Access,
    /// Access that the request can do without: reading the source of a mount. A challenge asks for
    /// it, and a caller without it is allowed all the same. Only a token that does not mention the
    /// resource at all is challenged, because its client has not asked for the scope yet.
    pub optional_scope: Option<&'a Access>,
    /// The address of the client, which selects its queue of logins.
    pub client: Option<IpAddr>,
    /// The `Host` of the request.
    pub host: Option<&'a str>,
    /// Whether the client used TLS.
    pub secure: bool,
    /// Learns who the caller is as soon as that is proved, for the logs: the request may be refused
    /// all the same.
    pub proved: &'a OnceLock<Caller>,
    /// Whether it is for a page, where a browser asks for the login: it knows passwords only.
    pub page: bool,
}

/// Why a request is refused. Clients never see the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// 401: the client must log in, or needs a token that grants more.
    #[error("the request needs a login")]
    Unauthenticated {
        /// The value of `WWW-Authenticate` (RFC 9110, section 11.6.1).
        challenge: String,
        reason: AuthReason,
    },
    /// 403: the caller is known and not allowed.
    #[error("the caller may not do this")]
    Forbidden { reason: AuthReason },
    /// 429: too many logins of this client are waiting.
    #[error("too many logins at once, try again later")]
    TooManyAttempts,
    /// 503: the keys that would verify or sign the token could not be read or fetched yet.
    #[error("tokens cannot be used now, try again later")]
    Unavailable,
}

impl Denied {
    pub fn metric_label(&self) -> (AuthResult, AuthReason) {
        match self {
            Self::Unauthenticated { reason, .. } => (AuthResult::Challenged, *reason),
            Self::Forbidden { reason } => (AuthResult::Forbidden, *reason),
            Self::TooManyAttempts => (AuthResult::TooManyAttempts, AuthReason::TooManyAttempts),
            Self::Unavailable => (AuthResult::Unavailable, AuthReason::NoKeys),
        }
    }
}

#[async_trait]
pub trait Authorizer: Send + Sync + fmt::Debug {
    /// Authenticates the caller and decides about the request. Also returns the kind of
    /// credentials, for the metrics.
    async fn authorize(&self, request: AuthRequest<'_>) -> (AuthMethod, Result<Caller, Denied>);

    /// Whether an authorized caller has another access as well: to the source of a mount, to a
    /// repository in the catalog, or to an existing tag.
    fn may(&self, caller: &Caller, access: &Access) -> bool;

    /// What allows this to the caller, for the audit log: the rule as the configuration has it.
    fn rule(&self, caller: &Caller, access: &Access) -> Option<String>;

    /// How a person with a browser can log in.
    fn browser_login(&self) -> BrowserLogin;

    /// Whether the registry is its own token server.
    fn has_token_service(&self) -> bool {
        false
    }

    /// Gives our own token service its keys. Until then there are no tokens.
    fn connect(&self, _: Arc<dyn KeySource>, _: &Tasks) {}

    /// Reads those keys before the first request needs them.
    async fn prepare(&self) {}

    /// Issues a token to an authorized caller, or to the one with these credentials.
    async fn issue(&self, request: IssueRequest<'_>) -> Result<Issued, Denied>;
}

/// What a client asks the token service for.
#[derive(Clone, Copy, Debug)]
pub struct IssueRequest<'a> {
    /// The caller that the request itself has shown.
    pub caller: &'a Caller,
    /// Credentials in the form, which count instead.
    pub credentials: Option<FormCredentials<'a>>,
    /// The scopes, as the client has written them.
    pub scopes: &'a [&'a str],
    /// Whether the client asks for a refresh token as well.
    pub offline: bool,
    pub client: Option<IpAddr>,
    /// Learns who the token is for, for the logs.
    pub proved: &'a OnceLock<Caller>,
}

/// Credentials in a form.
#[derive(Clone, Copy)]
pub enum FormCredentials<'a> {
    Password { user: &'a str, password: &'a str },
    RefreshToken(&'a str),
}

/// Shows no credentials.
impl fmt::Debug for FormCredentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(***)",
            Self::RefreshToken(_) => "RefreshToken(***)",
        })
    }
}

/// What the token service has issued.
pub struct Issued {
    pub token: String,
    /// What the token allows, as scopes separated by spaces.
    pub scope: String,
    pub issued_at: SystemTime,
    pub expires_in: Duration,
    pub refresh_token: Option<String>,
}

/// How a person with a browser can log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrowserLogin {
    /// There is no login.
    None,
    /// With a name and a password, for which the browser asks (RFC 7617).
    Password,
    /// Not at all: logins go through a token server, which a browser cannot use.
    Token,
}

/// Shows no token.
impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// Allows everything to everyone, without a login.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

#[async_trait]
impl Authorizer for AllowAll {
    async fn authorize(&self, request: AuthRequest<'_>) -> (AuthMethod, Result<Caller, Denied>) {
        (credentials::method(request.headers), Ok(Caller::anonymous()))
    }

    fn may(&self, _: &Caller, _: &Access) -> bool {
        true
    }

    fn rule(&self, _: &Caller, _: &Access) -> Option<String> {
        Some("there is no login and no rule".to_owned())
    }

    fn browser_login(&self) -> BrowserLogin {
        BrowserLogin::None
    }

    async fn issue(&self, _: IssueRequest<'_>) -> Result<Issued, Denied> {
        Err(Denied::Unavailable)
    }
}
