//! The authorizer of a registry with logins or rules.
//!
//! A caller with a password may do what the rules allow. A caller with a token may do what its
//! token allows; where rules speak of logins, they have to allow it as well. What the rules allow
//! to anonymous callers they allow to everybody: whoever could leave the credentials away need not.
//! Credentials that are wrong are always refused, even for what needs none.

use async_trait::async_trait;

use super::challenge::{self, TokenError};
use super::credentials::Credentials;
use super::htpasswd::{Htpasswd, TooMany};
use super::rules::Rules;
use super::token::Tokens;
use super::{Access, Action, AuthRequest, Authorizer, Caller, Denied};
use crate::telemetry::metrics::{AuthMethod, AuthReason};

/// Decides by passwords, tokens and rules, as far as there are any.
#[derive(Debug)]
pub struct PolicyAuthorizer {
    /// Users with passwords.
    pub passwords: Option<Htpasswd>,
    /// Tokens of a token server.
    pub tokens: Option<Tokens>,
    /// Who may do what.
    pub rules: Rules,
}

/// What comes of one question about one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Allowed,
    /// Another token could be allowed to do it.
    NotInToken,
    Denied,
}

impl PolicyAuthorizer {
    fn can_log_in(&self) -> bool {
        self.passwords.is_some() || self.tokens.is_some()
    }

    fn decide(&self, caller: &Caller, access: &Access) -> Decision {
        if access.action == Action::Enter {
            // Docker, podman and crane learn here, and only here, that there is a login.
            let welcome = caller.has_credentials() || !self.can_log_in();
            return if welcome { Decision::Allowed } else { Decision::Denied };
        }
        if self.rules.allowing_anybody(access).is_some() {
            return Decision::Allowed;
        }
        if caller.has_token() {
            if !caller.is_granted(access) {
                return Decision::NotInToken;
            }
            if !self.rules.restrict_authenticated() {
                return Decision::Allowed;
            }
        }
        match self.rules.allowing(caller, access) {
            Some(_) => Decision::Allowed,
            None => Decision::Denied,
        }
    }

    /// Whether a token lacks what the request would like only because nobody asked the token server
    /// for it. Where the server was asked and said no, the token says so, or its bearer tries again
    /// without: so do the clients of the Docker registry, which demands it in any case.
    fn lacks_optional_scope(&self, caller: &Caller, optional_scope: Option<&Access>) -> bool {
        optional_scope.is_some_and(|optional_scope| {
            self.decide(caller, optional_scope) == Decision::NotInToken
                && !caller.token_mentions(&optional_scope.resource)
        })
    }

    async fn caller(
        &self,
        attempt: &AuthRequest<'_>,
        credentials: Credentials<'_>,
    ) -> Result<Caller, Denied> {
        match (credentials, &self.passwords, &self.tokens) {
            (Credentials::None, _, _) => Ok(Caller::anonymous()),
            (Credentials::Basic { user, password }, Some(passwords), _) => {
                match passwords.check(&user, &password, attempt.client).await {
                    Ok(true) => Ok(Caller::user(&user)),
                    Ok(false) => Err(basic(AuthReason::WrongPassword)),
                    Err(TooMany) => Err(Denied::TooManyAttempts),
                }
            }
            (Credentials::Bearer(token), _, Some(tokens)) => match tokens.verify(token) {
                Ok(caller) => Ok(caller),
                Err(refused) => {
                    tracing::debug!(reason = %refused, "a token was refused");
                    Err(self.challenge(attempt, refused.metric_label(), Some(TokenError::Invalid)))
                }
            },
            (Credentials::Basic { .. } | Credentials::Bearer(_), _, _) => {
                Err(self.challenge(attempt, AuthReason::NotTaken, None))
            }
            (Credentials::Unreadable, _, _) => {
                Err(self.challenge(attempt, AuthReason::Unreadable, None))
            }
        }
    }

    fn allowed(&self, attempt: &AuthRequest<'_>, caller: Caller) -> Result<Caller, Denied> {
        let more = Some(TokenError::InsufficientScope);
        match self.decide(&caller, attempt.access) {
            Decision::Allowed if self.lacks_optional_scope(&caller, attempt.optional_scope) => {
                Err(self.challenge(attempt, AuthReason::TokenScope, more))
            }
            Decision::Allowed => Ok(caller),
            Decision::NotInToken => Err(self.challenge(attempt, AuthReason::TokenScope, more)),
            Decision::Denied if caller.has_credentials() || !self.can_log_in() => {
                Err(Denied::Forbidden { reason: AuthReason::NoRule })
            }
            Decision::Denied => Err(self.challenge(attempt, AuthReason::NoCredentials, None)),
        }
    }

    /// Asks for a token where there are any, because a client that has a password for the token
    /// server finds the way there only so.
    fn challenge(
        &self,
        attempt: &AuthRequest<'_>,
        reason: AuthReason,
        error: Option<TokenError>,
    ) -> Denied {
        match &self.tokens {
            Some(tokens) => {
                Denied::Unauthenticated { challenge: tokens.challenge(attempt, error), reason }
            }
            None if self.passwords.is_some() => basic(reason),
            // Nothing could be said that would help.
            None => Denied::Forbidden { reason },
        }
    }
}

fn basic(reason: AuthReason) -> Denied {
    Denied::Unauthenticated { challenge: challenge::BASIC.to_owned(), reason }
}

#[async_trait]
impl Authorizer for PolicyAuthorizer {
    async fn authorize(&self, attempt: AuthRequest<'_>) -> (AuthMethod, Result<Caller, Denied>) {
        let (method, credentials) = Credentials::of(attempt.headers);
        let caller = self.caller(&attempt, credentials).await;
        (method, caller.and_then(|caller| self.allowed(&attempt, caller)))
    }

    fn may(&self, caller: &Caller, access: &Access) -> bool {
        self.decide(caller, access) == Decision::Allowed
    }
}
