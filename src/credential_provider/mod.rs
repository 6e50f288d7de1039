//! A credential provider of the kubelet: pods pull as their own service account.
//!
//! The kubelet runs a program for the images that its configuration names, writes a
//! `CredentialProviderRequest` to its standard input and reads a `CredentialProviderResponse`
//! (`credentialprovider.kubelet.k8s.io/v1`, KEP-2133). With `tokenAttributes` in that configuration
//! the request has a token of the pod's service account (KEP-4412). The response gives this token
//! to the registry as the password of the user `oidc`; it says nothing else, and asks no server.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;

/// Bytes of a request that are read.
pub const REQUEST_BYTES_MAX: u64 = 256 * 1024;
/// The user whose password is an identity token.
const USER: &str = "oidc";
const API_VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";
/// How long before the end of a token the kubelet asks for another one: a pull takes a while, and
/// the clocks of the node and the registry differ.
const MARGIN: Duration = Duration::from_secs(60);
/// The longest time for which the kubelet may keep a response.
const CACHE_MAX: Duration = Duration::from_hours(1);

/// Why there is no response. No message has a part of the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the request on standard input is longer than {REQUEST_BYTES_MAX} bytes")]
    TooLong,
    #[error(
        "standard input is no CredentialProviderRequest (line {line}, column {column}): only the \
         kubelet runs this command"
    )]
    Malformed { line: usize, column: usize },
    #[error("the request has the version {0:?}, and this command speaks {API_VERSION}")]
    Version(String),
    #[error("the image {0:?} names no registry")]
    Image(String),
    #[error(
        "the request has no token of a service account: the configuration of the kubelet needs \
         tokenAttributes with serviceAccountTokenAudience and requireServiceAccount: true"
    )]
    NoToken,
    #[error("the token in the request is no JWT with an expiry")]
    Token,
    #[error("the token in the request has expired: the clock of this node may be wrong")]
    Expired,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    api_version: String,
    kind: String,
    image: String,
    #[serde(default)]
    service_account_token: String,
}

/// What the kubelet looks at of a token.
#[derive(Deserialize)]
struct Claims {
    exp: u64,
}

/// The response to the request of the kubelet.
pub fn respond(request: &[u8], now: SystemTime) -> Result<String, Error> {
    if request.len() as u64 > REQUEST_BYTES_MAX {
        return Err(Error::TooLong);
    }
    let Request { api_version, kind, image, service_account_token } = read(request)?;
    if api_version != API_VERSION || kind != "CredentialProviderRequest" {
        return Err(Error::Version(format!("{} {}", shortened(&api_version), shortened(&kind))));
    }
    let registry = registry(&image).ok_or_else(|| Error::Image(shortened(&image)))?;
    if service_account_token.is_empty() {
        return Err(Error::NoToken);
    }
    let left = left(&service_account_token, now)?;
    let response = json!({
        "apiVersion": API_VERSION,
        "kind": "CredentialProviderResponse",
        // The token is for every repository of the registry: rules decide.
        "cacheKeyType": "Registry",
        "cacheDuration": format!("{}s", left.saturating_sub(MARGIN).min(CACHE_MAX).as_secs()),
        "auth": { registry: { "username": USER, "password": service_account_token } },
    });
    Ok(format!("{response}\n"))
}

/// The messages of a JSON parser quote what they have read, so only the place is told.
fn read(request: &[u8]) -> Result<Request, Error> {
    serde_json::from_slice(request)
        .map_err(|error| Error::Malformed { line: error.line(), column: error.column() })
}

/// The host of an image, with its port. The kubelet puts it before every image, also before those
/// of Docker Hub.
fn registry(image: &str) -> Option<&str> {
    let (host, _) = image.split_once('/')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let is_host = host.contains(['.', ':']) || host == "localhost";
    (is_host && host.bytes().all(plain)).then_some(host)
}

/// How long the token is still valid, by its own word: the registry verifies it.
fn left(token: &str, now: SystemTime) -> Result<Duration, Error> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Error::Token);
    };
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| Error::Token)?;
    let Claims { exp } = serde_json::from_slice(&claims).map_err(|_| Error::Token)?;
    let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(exp)).ok_or(Error::Token)?;
    let left = end.duration_since(now).unwrap_or_default();
    if left.is_zero() { Err(Error::Expired) } else { Ok(left) }
}

/// The beginning of a text for a message.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
