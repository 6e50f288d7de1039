//! CORS (Fetch standard, "CORS protocol"): pages of origins that the settings name may talk to the
//! registry from a browser.

use std::fmt;
use std::str::FromStr;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use crate::setting::{Kind, Shape};

/// The methods of the API.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// The request headers that a page may set.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Accept, Authorization, Content-Range, Content-Type, If-Match, If-None-Match, If-Range, \
     Range, X-Request-Id",
);
/// The response headers that a page may read, besides those that any page may.
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "Accept-Ranges, Content-Length, Content-Range, Docker-Content-Digest, \
     Docker-Distribution-Api-Version, Docker-Upload-UUID, ETag, Link, Location, \
     OCI-Filters-Applied, OCI-Subject, OCI-Tag, Range, Retry-After, WWW-Authenticate, X-Request-Id",
);
/// For how many seconds a browser remembers the answer to a preflight.
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("3600");

/// Origins, written as `https://ui.example.com,http://localhost:8080`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.split(',').map(origin).collect::<Result<_, _>>()?))
    }
}

/// The inverse of `from_str`.
impl fmt::Display for Origins {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join(","))
    }
}

/// An origin as browsers spell it: without a path, in lower case, without the usual port.
fn origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    let bad = || format!("{text:?} is not an origin, such as https://ui.example.com");
    let uri: Uri = text.parse().map_err(|_| bad())?;
    let usual = match uri.scheme_str() {
        Some("http") => ":80",
        Some("https") => ":443",
        Some(_) | None => return Err(bad()),
    };
    let origin = text.to_ascii_lowercase();
    if text.contains(['@', '*', '#']) || text.matches('/').count() != 2 || uri.query().is_some() {
        return Err(bad());
    }
    Ok(origin.strip_suffix(usual).unwrap_or(&origin).to_owned())
}

/// A setting that is a list of origins.
pub(super) fn origins() -> Kind<Origins> {
    Kind::new(Shape::List, Origins::from_str, Origins::to_string)
}

/// What a request and the settings say about CORS.
pub(super) struct Cors {
    /// Whether responses depend on the origin of the request.
    varies: bool,
    /// The origin of the request, if the settings name it.
    origin: Option<HeaderValue>,
    preflight: bool,
}

impl Cors {
    pub(super) fn of(Origins(named): &Origins, request: &Request) -> Self {
        let headers = request.headers();
        // Most registries name none, and then nothing has to be looked up.
        let origin = if named.is_empty() { None } else { headers.get(ORIGIN) };
        let origin = origin.filter(|origin| named.iter().any(|named| named == *origin));
        let preflight = request.method() == Method::OPTIONS
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        Self { varies: !named.is_empty(), origin: origin.cloned(), preflight }
    }

    /// The response to a preflight of a named origin. Browsers send it without credentials.
    pub(super) fn preflight(&self) -> Option<Response> {
        if !self.preflight || self.origin.is_none() {
            return None;
        }
        let answer = [
            (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
            (ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS),
        ];
        Some((StatusCode::NO_CONTENT, answer).into_response())
    }

    /// Lets a page of the origin read a response, whatever it is.
    pub(super) fn allow(self, headers: &mut HeaderMap) {
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(origin) = self.origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_spell_them() {
        for (text, origins) in [
            ("https://ui.example.com", "https://ui.example.com"),
            ("https://UI.example.com:443", "https://ui.example.com"),
            ("http://a:80, https://b:8443", "http://a,https://b:8443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(
                text.parse::<Origins>().map(|read| read.to_string()),
                Ok(origins.to_owned())
            );
        }
        for text in [
            "",
            "*",
            "null",
            "ui.example.com",
            "https://*.example.com",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://u:p@a",
            "ftp://a",
            "https://a,",
            "https://",
        ] {
            assert!(text.parse::<Origins>().is_err(), "{text:?}");
        }
    }
}
