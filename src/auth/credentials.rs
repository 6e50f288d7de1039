//! Parses the `Authorization` header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::telemetry::metrics::AuthMethod;

/// A longer header is refused without parsing.
const CREDENTIALS_BYTES_MAX: usize = 16 * 1024;

/// The credentials of a request. Without `Debug`, so that they cannot be logged.
pub(super) enum Credentials<'a> {
    None,
    /// RFC 7617.
    Basic {
        user: String,
        password: String,
    },
    /// RFC 6750.
    Bearer(&'a str),
    /// Credentials that cannot be parsed.
    Malformed,
}

impl<'a> Credentials<'a> {
    /// Parses the header. Two headers are malformed: either could be the one that counts.
    pub(super) fn of(headers: &'a HeaderMap) -> (AuthMethod, Self) {
        let method = method(headers);
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return (method, Self::None) };
        if values.next().is_some() || value.len() > CREDENTIALS_BYTES_MAX {
            return (method, Self::Malformed);
        }
        let text = value.to_str().ok().and_then(|text| text.split_once(' '));
        let rest = text.map(|(_, rest)| rest.trim());
        let credentials = match method {
            AuthMethod::Basic => rest.and_then(basic),
            AuthMethod::Bearer => rest.filter(|rest| !rest.is_empty()).map(Self::Bearer),
            AuthMethod::None | AuthMethod::Certificate | AuthMethod::Other => None,
        };
        (method, credentials.unwrap_or(Self::Malformed))
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

/// Some clients without credentials send an empty user name and an empty password.
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
            Credentials::Malformed => "malformed".to_owned(),
        }
    }

    #[test]
    fn headers_are_parsed() {
        for (values, expected) in [
            (&[][..], "none"),
            (&["Basic YTpi"], "a b"),
            (&["basic YTpiOmM="], "a b:c"),
            (&["Basic Og=="], "none"),
            (&["Basic YTo="], "a "),
            (&["BEARER x.y.z"], "bearer x.y.z"),
            (&["Basic YTpi", "Basic YTpi"], "malformed"),
            (&["Basic"], "malformed"),
            (&["Basic !"], "malformed"),
            (&["Basic YWI="], "malformed"),
            (&["Bearer "], "malformed"),
            (&["Digest x"], "malformed"),
        ] {
            assert_eq!(read(values), expected, "{values:?}");
        }
    }
}
