//! The authorizer of a registry with passwords, tokens or rules.
//!
//! A caller with a password may do what the rules allow. A caller with a token may do what its
//! token grants; if any rule is about authenticated callers, a rule must allow it as well. Access
//! that the rules allow to anonymous callers is allowed to everyone. Wrong credentials are always
//! refused, even for access that needs none.
//!
//! A client certificate is a login of requests without an `Authorization` header.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use super::access::{Access, Action};
use super::authorizer::{
    AuthRequest, Authorizer, BrowserLogin, Denied, FormCredentials, IssueRequest, Issued,
};
use super::caller::{Caller, Login};
use super::challenge::{self, TokenError};
use super::credentials::Credentials;
use super::htpasswd::{Htpasswd, TooManyAttempts};
use super::issuers::{Issuers, TOKEN_USER};
use super::key_source::KeySource;
use super::rules::Rules;
use super::settings::Challenge;
use super::signed_token::Refused;
use super::token::Tokens;
use super::token_service::{Failure, RefreshLogin, TokenService, granted};
use crate::clock::Clock;
use crate::tasks::Tasks;
use crate::telemetry::metrics::{AuthMethod, AuthReason};

/// Decides by passwords, tokens and rules, as far as they are configured.
#[derive(Debug)]
pub struct PolicyAuthorizer {
    pub passwords: Option<Htpasswd>,
    pub tokens: Option<Tokens>,
    pub issuers: Option<Issuers>,
    /// Our own token service. There is none beside another token server.
    pub service: Option<TokenService>,
    pub challenge: Challenge,
    pub rules: Rules,
    pub clock: Arc<dyn Clock>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Allowed,
    /// Another token could grant it.
    NotInToken,
    Denied,
}

impl PolicyAuthorizer {
    fn can_log_in(&self) -> bool {
        self.passwords.is_some()
            || self.tokens.is_some()
            || self.issuers.is_some()
            || self.service.is_some()
    }

    pub(super) fn decide(&self, caller: &Caller, access: &Access) -> Decision {
        if matches!(access.action, Action::Open | Action::Token) {
            return Decision::Allowed;
        }
        if access.action == Action::Enter {
            // Only this response tells Docker, podman and crane that there is a login.
            let allowed = caller.has_credentials() || !self.can_log_in();
            return if allowed { Decision::Allowed } else { Decision::Denied };
        }
        if self.rules.allowing_anonymous(access).is_some() {
            return Decision::Allowed;
        }
        if caller.has_token() {
            if !caller.is_granted(access) {
                // No other token of ours could grant it to the same caller.
                let never = caller.has_own_token()
                    && caller.is_authenticated()
                    && self.rules.allowing(caller, access).is_none();
                return if never { Decision::Denied } else { Decision::NotInToken };
            }
            if !caller.has_own_token() && !self.rules.restrict_authenticated() {
                return Decision::Allowed;
            }
        }
        match self.rules.allowing(caller, access) {
            Some(_) => Decision::Allowed,
            None => Decision::Denied,
        }
    }

    /// Whether a token lacks the optional scope because the client has not asked the token server
    /// for it. If the server refused, the token mentions the resource without the action, or the
    /// client tries again without the mount, as with the Docker registry.
    fn lacks_optional_scope(&self, caller: &Caller, scope: Option<&Access>) -> bool {
        scope.is_some_and(|scope| {
            !caller.token_mentions(&scope.resource)
                && self.decide(caller, scope) == Decision::NotInToken
        })
    }

    async fn caller(
        &self,
        request: &AuthRequest<'_>,
        credentials: Credentials<'_>,
    ) -> Result<Caller, Denied> {
        match credentials {
            Credentials::None => Ok(Caller::anonymous()),
            Credentials::Basic { user, password }
                if self.passwords.is_some() || self.issuers.is_some() =>
            {
                self.by_password(&user, &password, request.client).await
            }
            Credentials::Bearer(token) => self.by_token(request, token).await,
            Credentials::Basic { .. } => {
                Err(self.challenge(request, AuthReason::NotConfigured, None))
            }
            Credentials::Malformed => Err(self.challenge(request, AuthReason::Malformed, None)),
        }
    }

    async fn by_password(
        &self,
        user: &str,
        password: &str,
        client: Option<IpAddr>,
    ) -> Result<Caller, Denied> {
        if let Some(issuers) = &self.issuers
            && (user == TOKEN_USER || issuers.know(password))
        {
            let verified = issuers.verify(password).await;
            return verified.map_err(|failure| refused(failure, basic));
        }
        let Some(passwords) = &self.passwords else { return Err(basic(AuthReason::NotConfigured)) };
        match passwords.check(user, password, client).await {
            Ok(true) => Ok(Caller::user(user)),
            Ok(false) => Err(basic(AuthReason::WrongPassword)),
            Err(TooManyAttempts) => Err(Denied::TooManyAttempts),
        }
    }

    async fn by_token(&self, request: &AuthRequest<'_>, token: &str) -> Result<Caller, Denied> {
        let Some(verified) = self.verified(token).await else {
            return Err(self.challenge(request, AuthReason::NotConfigured, None));
        };
        verified.map_err(|failure| {
            refused(failure, |reason| self.challenge(request, reason, Some(TokenError::Invalid)))
        })
    }

    /// The bearer of a token. `None` if no login is by token.
    pub(super) async fn verified(&self, token: &str) -> Option<Result<Caller, Failure>> {
        let issuers = self.issuers.as_ref().filter(|issuers| issuers.know(token));
        Some(match (issuers, &self.tokens, &self.service) {
            (Some(issuers), _, _) => issuers.verify(token).await,
            (None, Some(tokens), _) => tokens.verify(token).map_err(Failure::Refused),
            (None, None, Some(service)) => service.verify(token).await,
            (None, None, None) => return None,
        })
    }

    /// The user of a refresh token, if the password is still the same.
    async fn by_refresh_token(
        &self,
        service: &TokenService,
        token: &str,
    ) -> Result<Caller, Denied> {
        let RefreshLogin { user, version } =
            service.verify_refresh(token).await.map_err(|failure| match failure {
                Failure::NoKeys => Denied::Unavailable,
                Failure::Refused(Refused::Audience) => basic(AuthReason::NotExchangeable),
                Failure::Refused(refused) => basic(refused.metric_label()),
            })?;
        let passwords = self.passwords.as_ref();
        if passwords.and_then(|passwords| passwords.version_of(&user)) != Some(version) {
            return Err(basic(AuthReason::NotExchangeable));
        }
        Ok(Caller::user(&user))
    }

    /// What a refresh token for this caller is bound to. Only passwords have any.
    fn refresh_login(&self, caller: &Caller) -> Option<RefreshLogin> {
        let Login::Password(user) = caller.login() else { return None };
        let version = self.passwords.as_ref()?.version_of(user)?;
        Some(RefreshLogin { user: user.clone(), version })
    }

    fn allowed(&self, request: &AuthRequest<'_>, caller: Caller) -> Result<Caller, Denied> {
        if request.access.action == Action::Token && caller.has_token() {
            return Err(basic(AuthReason::NotExchangeable));
        }
        let more = Some(TokenError::InsufficientScope);
        match self.decide(&caller, request.access) {
            Decision::Allowed if self.lacks_optional_scope(&caller, request.optional_scope) => {
                Err(self.challenge(request, AuthReason::TokenScope, more))
            }
            Decision::Allowed => Ok(caller),
            Decision::NotInToken => Err(self.challenge(request, AuthReason::TokenScope, more)),
            Decision::Denied if self.is_final(&caller) || !self.can_log_in() => {
                Err(Denied::Forbidden { reason: AuthReason::NoRule })
            }
            Decision::Denied if caller.has_credentials() => {
                Err(self.challenge(request, AuthReason::NoRule, None))
            }
            Decision::Denied => Err(self.challenge(request, AuthReason::NoCredentials, None)),
        }
    }

    /// Whether the caller has shown all that it has: one with only a certificate may also have a
    /// password or a token, which many clients send only when they are challenged.
    fn is_final(&self, caller: &Caller) -> bool {
        let more = self.passwords.is_some() || self.tokens.is_some() || self.issuers.is_some();
        let by_certificate = matches!(caller.login(), Login::Certificate(_)) && !caller.has_token();
        caller.has_credentials() && !(by_certificate && more)
    }

    /// Challenges for a token if tokens are configured: a client with a password for the token
    /// server learns its address only from the challenge.
    fn challenge(
        &self,
        request: &AuthRequest<'_>,
        reason: AuthReason,
        error: Option<TokenError>,
    ) -> Denied {
        if self.passwords.is_some() && self.asks_for_password(request) {
            return basic(reason);
        }
        let challenge = match (&self.tokens, &self.service) {
            (Some(tokens), _) => tokens.challenge(request, error),
            (None, Some(_)) => TokenService::challenge(request, error),
            // There is no login that a challenge could ask for.
            (None, None) => return Denied::Forbidden { reason },
        };
        Denied::Unauthenticated { challenge, reason }
    }

    /// Whether a challenge asks for a password although there are tokens.
    fn asks_for_password(&self, request: &AuthRequest<'_>) -> bool {
        let of_service = request.page || request.access.action == Action::Token;
        self.challenge == Challenge::Basic || (self.tokens.is_none() && of_service)
    }
}

/// The answer to a token that is not accepted. Clients do not learn why.
fn refused(failure: Failure, challenge: impl FnOnce(AuthReason) -> Denied) -> Denied {
    match failure {
        Failure::NoKeys => Denied::Unavailable,
        Failure::Refused(refused) => {
            tracing::debug!(reason = %refused, "token refused");
            challenge(refused.metric_label())
        }
    }
}

fn basic(reason: AuthReason) -> Denied {
    Denied::Unauthenticated { challenge: challenge::BASIC.to_owned(), reason }
}

#[async_trait]
impl Authorizer for PolicyAuthorizer {
    async fn authorize(&self, request: AuthRequest<'_>) -> (AuthMethod, Result<Caller, Denied>) {
        let (method, credentials) = Credentials::of(request.headers);
        if let Some(certificate) = request.certificate {
            // The handshake was before that. Even with a password: the connection has to end.
            if !certificate.is_valid_at(self.clock.now()) {
                let reason = AuthReason::CertificateExpired;
                return (AuthMethod::Certificate, Err(Denied::Forbidden { reason }));
            }
            if matches!(credentials, Credentials::None) {
                let caller = certificate.caller().clone();
                request.proved.get_or_init(|| caller.clone());
                return (AuthMethod::Certificate, self.allowed(&request, caller));
            }
        }
        let caller = self.caller(&request, credentials).await;
        if let Some(caller) = caller.as_ref().ok().filter(|caller| caller.has_credentials()) {
            request.proved.get_or_init(|| caller.clone());
        }
        (method, caller.and_then(|caller| self.allowed(&request, caller)))
    }

    fn may(&self, caller: &Caller, access: &Access) -> bool {
        self.decide(caller, access) == Decision::Allowed
    }

    fn rule(&self, caller: &Caller, access: &Access) -> Option<String> {
        let rule = self.rules.deciding(caller, access);
        let by_token = caller.has_token() && !self.rules.restrict_authenticated();
        rule.map(ToString::to_string).or_else(|| by_token.then(|| "the token".to_owned()))
    }

    fn browser_login(&self) -> BrowserLogin {
        match (&self.tokens, &self.passwords) {
            (Some(_), _) => BrowserLogin::Token,
            (None, Some(_)) => BrowserLogin::Password,
            (None, None) if self.issuers.is_some() => BrowserLogin::Token,
            (None, None) => BrowserLogin::None,
        }
    }

    fn has_token_service(&self) -> bool {
        self.service.is_some()
    }

    fn connect(&self, source: Arc<dyn KeySource>, tasks: &Tasks) {
        if let Some(service) = &self.service {
            service.connect(source, tasks);
        }
    }

    async fn prepare(&self) {
        if let Some(service) = &self.service {
            service.prepare().await;
        }
    }

    async fn issue(&self, request: IssueRequest<'_>) -> Result<Issued, Denied> {
        let Some(service) = &self.service else { return Err(Denied::Unavailable) };
        let caller = match request.credentials {
            None => request.caller.clone(),
            Some(FormCredentials::Password { user: "", password: "" }) => Caller::anonymous(),
            Some(FormCredentials::Password { user, password }) => {
                self.by_password(user, password, request.client).await?
            }
            Some(FormCredentials::RefreshToken(token)) => {
                self.by_refresh_token(service, token).await?
            }
        };
        request.proved.get_or_init(|| caller.clone());
        let may = |access: &Access| self.rules.allowing(&caller, access).is_some();
        let grants = granted(request.scopes, may);
        let refresh = if request.offline { self.refresh_login(&caller) } else { None };
        let issued = service.issue(&caller, &grants, refresh, &self.rules).await;
        let mut issued = issued.ok_or(Denied::Unavailable)?;
        if let (true, Some(FormCredentials::RefreshToken(token))) =
            (request.offline, request.credentials)
        {
            // It stays the same, so that it ends.
            issued.refresh_token = Some(token.to_owned());
        }
        Ok(issued)
    }
}
