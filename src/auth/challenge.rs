//! The value of `WWW-Authenticate`.
//!
//! A response has one such header with one scheme, because some clients read only the first. No
//! parameter contains the name of a scheme, because some clients search the whole line for it.

use super::access::{Access, Action, Resource};
use super::authorizer::AuthRequest;

/// RFC 7617.
pub(super) const BASIC: &str = "Basic realm=\"Longshore\"";

/// The error of a refused token (RFC 6750, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenError {
    Invalid,
    InsufficientScope,
}

/// Distribution registry, "Token Authentication Specification". Scopes are separated by spaces.
pub(super) fn bearer(
    realm: &str,
    service: &str,
    request: &AuthRequest<'_>,
    error: Option<TokenError>,
) -> String {
    let optional_scope = request
        .optional_scope
        .filter(|optional_scope| optional_scope.resource != request.access.resource);
    let scopes: Vec<String> =
        [Some(request.access), optional_scope].into_iter().flatten().filter_map(scope).collect();
    let realm = absolute_url(realm, request.host, request.secure);
    let scopes = match scopes.as_slice() {
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

/// The scope that a token needs for this access.
fn scope(access: &Access) -> Option<String> {
    let actions = match access.action {
        Action::Open | Action::Token | Action::Enter | Action::See => return None,
        Action::Catalog => "*",
        Action::Pull => "pull",
        // A client checks which blobs exist before it pushes.
        Action::Create | Action::Push => "pull,push",
        Action::Delete => "delete",
    };
    Some(match &access.resource {
        Resource::Repository(name) => format!("repository:{name}:{actions}"),
        Resource::Registry => format!("registry:catalog:{actions}"),
    })
}

/// A URL of this registry or elsewhere as an absolute one. A path is resolved against the `Host` of
/// the request, unless that could be no host.
pub fn absolute_url(url: &str, host: Option<&str>, secure: bool) -> String {
    let plain = |host: &&str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        !host.is_empty() && host.bytes().all(allowed)
    };
    match host.filter(plain) {
        Some(host) if url.starts_with('/') => {
            format!("{}://{host}{url}", if secure { "https" } else { "http" })
        }
        Some(_) | None => url.to_owned(),
    }
}
