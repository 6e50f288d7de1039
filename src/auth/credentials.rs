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
    /// Reads the header. Two of them are none that can be read: which one would count?
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Self::None };
        if values.next().is_some() || value.len() > CREDENTIALS_BYTES_MAX {
            return Self::Unreadable;
        }
        let Ok(text) = value.to_str() else { return Self::Unreadable };
        let Some((scheme, rest)) = text.split_once(' ') else { return Self::Unreadable };
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("basic") {
            basic(rest).unwrap_or(Self::Unreadable)
        } else if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
            Self::Bearer(rest)
        } else {
            Self::Unreadable
        }
    }
}

/// As what the credentials of a request are counted. Looks at nothing but their scheme.
pub fn metric_label(headers: &HeaderMap) -> AuthMethod {
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
        match Credentials::of(&headers) {
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
