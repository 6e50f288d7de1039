//! The authorizer of a registry with passwords, tokens or rules.
//!
//! A caller with a password may do what the rules allow. A caller with a token may do what its
//! token grants; if any rule is about authenticated callers, a rule must allow it as well. Access
//! that the rules allow to anonymous callers is allowed to everyone. Wrong credentials are always
//! refused, even for access that needs none.

use async_trait::async_trait;

use super::access::{Access, Action};
use super::authorizer::{AuthRequest, Authorizer, BrowserLogin, Denied};
use super::caller::Caller;
use super::challenge::{self, TokenError};
use super::credentials::Credentials;
use super::htpasswd::{Htpasswd, TooManyAttempts};
use super::rules::Rules;
use super::token::Tokens;
use crate::telemetry::metrics::{AuthMethod, AuthReason};

/// Decides by passwords, tokens and rules, as far as they are configured.
#[derive(Debug)]
pub struct PolicyAuthorizer {
    pub passwords: Option<Htpasswd>,
    pub tokens: Option<Tokens>,
    pub rules: Rules,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Allowed,
    /// Another token could grant it.
    NotInToken,
    Denied,
}

impl PolicyAuthorizer {
    fn can_log_in(&self) -> bool {
        self.passwords.is_some() || self.tokens.is_some()
    }

    fn decide(&self, caller: &Caller, access: &Access) -> Decision {
        if access.action == Action::Open {
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
                return Decision::NotInToken;
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
        match (credentials, &self.passwords, &self.tokens) {
            (Credentials::None, _, _) => Ok(Caller::anonymous()),
            (Credentials::Basic { user, password }, Some(passwords), _) => {
                match passwords.check(&user, &password, request.client).await {
                    Ok(true) => Ok(Caller::user(&user)),
                    Ok(false) => Err(basic(AuthReason::WrongPassword)),
                    Err(TooManyAttempts) => Err(Denied::TooManyAttempts),
                }
            }
            (Credentials::Bearer(token), _, Some(tokens)) => match tokens.verify(token) {
                Ok(caller) => Ok(caller),
                Err(refused) => {
                    tracing::debug!(reason = %refused, "token refused");
                    Err(self.challenge(request, refused.metric_label(), Some(TokenError::Invalid)))
                }
            },
            (Credentials::Basic { .. } | Credentials::Bearer(_), _, _) => {
                Err(self.challenge(request, AuthReason::NotConfigured, None))
            }
            (Credentials::Malformed, _, _) => {
                Err(self.challenge(request, AuthReason::Malformed, None))
            }
        }
    }

    fn allowed(&self, request: &AuthRequest<'_>, caller: Caller) -> Result<Caller, Denied> {
        let more = Some(TokenError::InsufficientScope);
        match self.decide(&caller, request.access) {
            Decision::Allowed if self.lacks_optional_scope(&caller, request.optional_scope) => {
                Err(self.challenge(request, AuthReason::TokenScope, more))
            }
            Decision::Allowed => Ok(caller),
            Decision::NotInToken => Err(self.challenge(request, AuthReason::TokenScope, more)),
            Decision::Denied if caller.has_credentials() || !self.can_log_in() => {
                Err(Denied::Forbidden { reason: AuthReason::NoRule })
            }
            Decision::Denied => Err(self.challenge(request, AuthReason::NoCredentials, None)),
        }
    }

    /// Challenges for a token if tokens are configured: a client with a password for the token
    /// server learns its address only from the challenge.
    fn challenge(
        &self,
        request: &AuthRequest<'_>,
        reason: AuthReason,
        error: Option<TokenError>,
    ) -> Denied {
        match &self.tokens {
            Some(tokens) => {
                Denied::Unauthenticated { challenge: tokens.challenge(request, error), reason }
            }
            None if self.passwords.is_some() => basic(reason),
            // There is no login that a challenge could ask for.
            None => Denied::Forbidden { reason },
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
        let public = self.rules.allowing_anonymous(access);
        let rule = public.or_else(|| self.rules.allowing(caller, access));
        let by_token = caller.has_token() && !self.rules.restrict_authenticated();
        rule.map(ToString::to_string).or_else(|| by_token.then(|| "the token".to_owned()))
    }

    fn browser_login(&self) -> BrowserLogin {
        match (&self.tokens, &self.passwords) {
            (Some(_), _) => BrowserLogin::Token,
            (None, Some(_)) => BrowserLogin::Password,
            (None, None) => BrowserLogin::None,
        }
    }
}
