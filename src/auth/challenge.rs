//! What a client is told that has to log in: the value of `WWW-Authenticate`.
//!
//! There is one such header and it names one scheme, because some clients read the first only. And
//! no parameter holds the name of a scheme, because some look for it anywhere in the line.

use super::{Access, Action, Resource};

/// RFC 7617.
pub(super) const BASIC: &str = "Basic realm=\"Longshore\"";

/// What is wrong with the token that came (RFC 6750, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenError {
    Invalid,
    InsufficientScope,
}

/// Distribution registry, "Token Authentication Specification". Scopes are separated by spaces.
pub(super) fn bearer(
    realm: &str,
    service: &str,
    scopes: &[String],
    error: Option<TokenError>,
) -> String {
    let scopes = match scopes {
        [] => String::new(),
        scopes => format!(",scope=\"{}\"", scopes.join(" ")),
    };
    let error = match error {
        None => "",
        Some(TokenError::Invalid) => ",error=\"invalid_token\"",
        Some(TokenError::InsufficientScope) => ",error=\"insufficient_scope\"",
    };
    format!("Bearer realm=\"{realm}\",service=\"{service}\"{scopes}{error}")
}

/// The scope that a token needs; nothing for asking whether this is a registry.
pub(super) fn scope(access: &Access) -> Option<String> {
    let actions = match access.action {
        Action::Enter | Action::See => return None,
        Action::Catalog => "*",
        Action::Pull => "pull",
        // Whoever pushes asks first what is there already.
        Action::Create | Action::Push => "pull,push",
        Action::Delete => "delete",
    };
    Some(match &access.resource {
        Resource::Repository(name) => format!("repository:{name}:{actions}"),
        Resource::Registry => format!("registry:catalog:{actions}"),
    })
}

/// The realm as an absolute URL. One that is a path lies on this registry's own address, as far as
/// the request tells it.
pub(super) fn absolute(realm: &str, host: Option<&str>, secure: bool) -> String {
    let plain = |host: &&str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        !host.is_empty() && host.bytes().all(allowed)
    };
    match host.filter(plain) {
        Some(host) if realm.starts_with('/') => {
            format!("{}://{host}{realm}", if secure { "https" } else { "http" })
        }
        Some(_) | None => realm.to_owned(),
    }
}
