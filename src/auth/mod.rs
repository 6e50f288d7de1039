//! Authentication and authorization.
//!
//! A request is authorized once, from its endpoint, before any lookup: a caller without access
//! cannot tell a missing repository from a forbidden one.
//!
//! [`PolicyAuthorizer`] decides by passwords, tokens and [`Rules`]; [`AllowAll`] is the authorizer
//! of a registry without any of them.

mod access;
mod authorizer;
mod caller;
mod certificate;
mod challenge;
mod credentials;
mod explain;
mod htpasswd;
mod issuers;
mod jwks;
mod key_source;
mod pattern;
mod policy;
mod rules;
mod settings;
mod signed_token;
mod token;
mod token_service;

pub use access::{Access, Action, Resource};
pub use authorizer::{
    AllowAll, AuthRequest, Authorizer, BrowserLogin, Denied, FormCredentials, IssueRequest, Issued,
};
pub use caller::{Caller, Login};
pub use certificate::{CertificateName, ClientCertificate};
pub use challenge::absolute_url;
pub use explain::{Assumed, AssumedLogin, Decided, NoCaller};
pub use htpasswd::{Htpasswd, ListedUser, UserChange, change_users, list_users};
pub use issuers::{
    IssuerName, IssuerSettings, IssuerUrl, Issuers, KeysAddress, KeysFrom, RequiredClaim,
};
pub use key_source::{KeySource, SigningKey};
pub use pattern::{Pattern, PatternError, TextPattern, TextPatternError};
pub use policy::PolicyAuthorizer;
pub use rules::{Permission, Rule, RuleError, Rules, Subject};
pub use settings::{AccessSettings, Challenge, GeneralAccess, TokenSettings};
pub use token::Tokens;
pub use token_service::{KEYS_OVERLAP, OLD_KEYS_KEPT, TOKEN_PATH, TokenService};
