//! What is decided about a caller, and why: for `longshore access`, whose reader may know more than
//! a client.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::access::{Access, Resource};
use super::caller::{Caller, Grant, Login};
use super::issuers::IssuerSettings;
use super::policy::{Decision, PolicyAuthorizer};
use super::rules::{Permission, Rules};
use super::settings::AccessSettings;
use super::token_service::Failure;
use crate::setting::shown;

/// What is decided about one access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    pub allowed: bool,
    /// The rule that allows it, or why nothing does.
    pub why: String,
}

/// Why there is no caller for a token or a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCaller {
    /// The registry answers 401.
    #[error("refused: {0}")]
    Refused(String),
    /// It could not be found out.
    #[error("{0}")]
    Unknown(String),
}

/// A caller that is only assumed to have logged in.
#[derive(Clone, Debug, PartialEq)]
pub struct Assumed {
    pub login: AssumedLogin,
    pub groups: Vec<String>,
    /// Of the token of an issuer or of a token server.
    pub claims: Map<String, Value>,
}

/// How an assumed caller has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssumedLogin {
    Anonymous,
    User(String),
    Issuer(String),
    Certificate(String),
}

impl FromStr for AssumedLogin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text
            .split_once(':')
            .filter(|(_, name)| !name.is_empty() && !name.chars().any(char::is_control));
        match named {
            None if text == "anonymous" => Ok(Self::Anonymous),
            Some(("user", name)) => Ok(Self::User(name.to_owned())),
            Some(("issuer", name)) => Ok(Self::Issuer(name.to_owned())),
            Some(("certificate", name)) => Ok(Self::Certificate(name.to_owned())),
            Some(_) | None => {
                let text = shown(text);
                Err(format!(
                    "{text:?} is not a caller: write anonymous, user:NAME, issuer:NAME or \
                     certificate:NAME, and groups and claims beside it"
                ))
            }
        }
    }
}

impl fmt::Display for AssumedLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Issuer(name) => write!(f, "issuer:{name}"),
            Self::Certificate(name) => write!(f, "certificate:{name}"),
        }
    }
}

impl Assumed {
    /// The caller, whose token lists all of the access if it is one of a token server. `Unknown`
    /// if no login of the settings could make such a caller.
    pub fn caller(
        &self,
        settings: &AccessSettings,
        certificates: bool,
        access: &Access,
    ) -> Result<Caller, NoCaller> {
        let impossible = |why: &str| Err(NoCaller::Unknown(why.to_owned()));
        let plain = self.groups.is_empty() && self.claims.is_empty();
        let by_server = settings.token.realm.is_some();
        match &self.login {
            AssumedLogin::Anonymous if plain => Ok(Caller::anonymous()),
            AssumedLogin::Anonymous => impossible("anonymous callers have no groups and no claims"),
            AssumedLogin::Certificate(_) if !certificates => {
                impossible("server.tls.client_ca_file is not set: certificates are no login")
            }
            AssumedLogin::Certificate(name) if plain => {
                let login = Login::Certificate(name.clone());
                Ok(Caller::logged_in(login, Vec::new(), Map::new()))
            }
            AssumedLogin::Certificate(_) => impossible("certificates have no groups and no claims"),
            AssumedLogin::User(user) if settings.htpasswd_file.is_some() && plain => {
                Ok(Caller::user(user))
            }
            AssumedLogin::User(user) if by_server => {
                let (groups, claims) = (self.groups.clone(), self.claims.clone());
                Ok(Caller::token(Some(user.clone()), groups, claims, vec![everything(access)]))
            }
            AssumedLogin::User(_) if settings.htpasswd_file.is_some() => impossible(
                "users with a password have no groups and no claims: only a token server, \
                 [access.token], gives users any",
            ),
            AssumedLogin::User(_) => {
                impossible("users cannot log in: add access.htpasswd_file or [access.token]")
            }
            AssumedLogin::Issuer(name) => {
                let of_name = |one: &&IssuerSettings| one.name.as_str() == name;
                match settings.issuers.iter().find(of_name) {
                    None => impossible("[[access.issuers]] has none of that name"),
                    Some(_) if !self.groups.is_empty() => impossible(
                        "the groups of an issuer are in its claims: write the claim that \
                         groups_claim names",
                    ),
                    Some(issuer) => self.of_issuer(issuer),
                }
            }
        }
    }

    fn of_issuer(&self, issuer: &IssuerSettings) -> Result<Caller, NoCaller> {
        let mut claims = self.claims.clone();
        let subject = issuer.subject_claim.clone();
        claims.entry(subject).or_insert_with(|| "subject".into());
        issuer.bearer(claims).map_err(|refused| NoCaller::Refused(refused.to_string()))
    }
}

/// An entry of a token that lists all of this resource.
fn everything(access: &Access) -> Grant {
    let (kind, name) = match &access.resource {
        Resource::Repository(name) => ("repository", name.as_str()),
        Resource::Registry => ("registry", "catalog"),
    };
    Grant { kind: kind.to_owned(), name: name.to_owned(), actions: vec!["*".to_owned()] }
}

impl PolicyAuthorizer {
    /// Who the bearer of a token is.
    pub async fn bearer(&self, token: &str) -> Result<Caller, NoCaller> {
        match self.verified(token).await {
            None => Err(NoCaller::Unknown("no login of this configuration is by token".into())),
            Some(Ok(caller)) => Ok(caller),
            Some(Err(Failure::Refused(refused))) => Err(NoCaller::Refused(refused.to_string())),
            Some(Err(Failure::NoKeys)) => {
                Err(NoCaller::Unknown("the keys that verify the token cannot be read".into()))
            }
        }
    }

    /// Whether only the keys of our own token service can verify this token.
    pub fn is_for_token_service(&self, token: &str) -> bool {
        let of_issuer = self.issuers.as_ref().is_some_and(|issuers| issuers.know(token));
        self.service.is_some() && self.tokens.is_none() && !of_issuer
    }

    /// What is decided about the caller.
    pub fn explain(&self, caller: &Caller, access: &Access) -> Decided {
        let why = match self.decide(caller, access) {
            Decision::Allowed => {
                let rule = self.rules.deciding(caller, access);
                let rule =
                    rule.map_or_else(|| "the token lists it".to_owned(), ToString::to_string);
                return Decided { allowed: true, why: rule };
            }
            Decision::NotInToken => "the token does not list it".to_owned(),
            Decision::Denied => self.rules.none_lets(&caller.subject(), access),
        };
        Decided { allowed: false, why }
    }
}

impl Rules {
    /// That no rule allows this to `who`.
    pub fn none_lets(&self, who: &str, access: &Access) -> String {
        let word = Permission::WORDS.iter().find(|(_, one)| one.action() == access.action);
        let (count, word) = (self.0.len(), word.map_or("", |(word, _)| word));
        let to = match &access.resource {
            Resource::Repository(name) => format!(" {name}"),
            Resource::Registry => String::new(),
        };
        format!("none of {count} rules lets {who} {word}{to}")
    }
}

impl Caller {
    /// Groups and claims, as far as a rule can match them.
    pub fn shown_to_rules(&self) -> (&[String], Map<String, Value>) {
        let seen = |value: &Value| match value {
            Value::String(_) | Value::Number(_) | Value::Bool(_) => true,
            Value::Array(values) => values.iter().any(Value::is_string),
            Value::Null | Value::Object(_) => false,
        };
        let claims = self.claims().iter().filter(|(_, value)| seen(value));
        (self.groups(), claims.map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}
