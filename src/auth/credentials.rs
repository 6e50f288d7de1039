//! What a request says about its sender: the `Authorization` header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::telemetry::metrics::AuthMethod;

/// No password is longer, and no token: what is longer is refused unread.
const CREDENTIALS_BYTES_MAX: usize = 16 * 1024;

/// The credentials of a request. Not printable, on purpose.
pub(super) enum Credentials<'a> {
    /// There are none.
    None,
    /// RFC 7617.
    Basic { user: String, password: String },
    /// RFC 6750.
    Bearer(&'a str),
    /// There are some, but nothing that could be checked.
    Unreadable,
}

impl<'a> Credentials<'a> {
    /// Reads the header. Two headers are unreadable: which one would count?
    pub(super) fn of(headers: &'a HeaderMap) -> (AuthMethod, Self) {
        let method = method(headers);
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return (method, Self::None) };
        if values.next().is_some() || value.len() > CREDENTIALS_BYTES_MAX {
            return (method, Self::Unreadable);
        }
        let text = value.to_str().ok().and_then(|text| text.split_once(' '));
        let rest = text.map(|(_, rest)| rest.trim());
        let credentials = match method {
            AuthMethod::Basic => rest.and_then(basic),
            AuthMethod::Bearer => rest.filter(|rest| !rest.is_empty()).map(Self::Bearer),
            AuthMethod::None | AuthMethod::Other => None,
        };
        (method, credentials.unwrap_or(Self::Unreadable))
    }
}

/// The scheme of the credentials, whether or not they can be read.
pub(super) fn method(headers: &HeaderMap) -> AuthMethod {
    let Some(value) = headers.get(AUTHORIZATION) else { return AuthMethod::None };
    let scheme = value.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    if scheme.eq_ignore_ascii_case(b"basic") {
        AuthMethod::Basic
    } else if scheme.eq_ignore_ascii_case(b"bearer") {
        AuthMethod::Bearer
    } else {
        AuthMethod::Other
    }
}

/// Clients that have nothing to say send an empty user and an empty password.
fn basic(encoded: &str) -> Option<Credentials<'static>> {
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    if user.is_empty() && password.is_empty() {
        return Some(Credentials::None);
    }
    Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        match Credentials::of(&headers).1 {
            Credentials::None => "none".to_owned(),
            Credentials::Basic { user, password } => format!("{user} {password}"),
            Credentials::Bearer(token) => format!("bearer {token}"),
            Credentials::Unreadable => "unreadable".to_owned(),
        }
    }

    #[test]
    fn what_headers_say() {
        for (values, expected) in [
            (&[][..], "none"),
            (&["Basic YTpi"], "a b"),
            (&["basic YTpiOmM="], "a b:c"),
            (&["Basic Og=="], "none"),
            (&["Basic YTo="], "a "),
            (&["BEARER x.y.z"], "bearer x.y.z"),
            (&["Basic YTpi", "Basic YTpi"], "unreadable"),
            (&["Basic"], "unreadable"),
            (&["Basic !"], "unreadable"),
            (&["Basic YWI="], "unreadable"),
            (&["Bearer "], "unreadable"),
            (&["Digest x"], "unreadable"),
        ] {
            assert_eq!(read(values), expected, "{values:?}");
        }
    }
}
