//! Addresses: what the operator asks about, and where the registry sends clients.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

/// A server: scheme, host, port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub(super) secure: bool,
    /// In lower case; an address of IPv6 in brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// Why a text is no address of a server. It never repeats the text, which may have a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("is not http://HOST, https://HOST, with :PORT or without")]
    Malformed,
    #[error("has a login in it: give it with --user and --password-file")]
    Login,
    #[error("has a path or a query: only the scheme, the host and the port are wanted")]
    Path,
}

/// A resource: a server, and what comes after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) server: Address,
    /// Path and query, as they stand.
    pub(super) path: String,
}

impl Address {
    /// The host as a name or an address without brackets.
    pub(super) fn host_name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether the host is an address of a private network or of this machine.
    pub(super) fn is_private_ip(&self) -> bool {
        match self.host_name().parse() {
            Ok(IpAddr::V4(ip)) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
            Ok(IpAddr::V6(ip)) => {
                ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local()
            }
            Err(_) => false,
        }
    }

    /// A resource of this server.
    pub(super) fn at(&self, path: impl Into<String>) -> Place {
        Place { server: self.clone(), path: path.into() }
    }

    /// The value of `Host`: the port only where it is not the usual one.
    pub(super) fn authority(&self) -> String {
        if self.port == usual_port(self.secure) {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// What a `Location` or a realm means that this server has sent. `None` if it is no address.
    pub(super) fn resolve(&self, text: &str) -> Option<Place> {
        if text.starts_with('/') && !text.starts_with("//") {
            return Some(self.at(text));
        }
        Place::parse(text).ok()
    }
}

fn usual_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

impl Place {
    fn parse(text: &str) -> Result<Self, AddressError> {
        let uri: Uri = text.parse().map_err(|_| AddressError::Malformed)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(AddressError::Malformed),
        };
        let authority = uri.authority().ok_or(AddressError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(AddressError::Login);
        }
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() {
            return Err(AddressError::Malformed);
        }
        let port = authority.port_u16().unwrap_or_else(|| usual_port(secure));
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { server: Address { secure, host, port }, path })
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Place { server, path } = Place::parse(text)?;
        if path == "/" { Ok(server) } else { Err(AddressError::Path) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// Without the query, which may be a signature.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.server, self.path.split('?').next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_scheme_host_and_port() {
        let printed = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        for (text, address) in [
            ("https://Registry.example/", "https://registry.example"),
            ("https://registry.example:443", "https://registry.example"),
            ("http://localhost:5000", "http://localhost:5000"),
            ("http://[::1]:5000", "http://[::1]:5000"),
        ] {
            assert_eq!(printed(text).as_deref(), Ok(address));
        }
        for text in ["registry.example", "ftp://a", "https://", "", "https://a b"] {
            assert_eq!(printed(text), Err(AddressError::Malformed), "{text}");
        }
        assert_eq!(printed("https://user:secret@a"), Err(AddressError::Login));
        assert_eq!(printed("https://a/v2/"), Err(AddressError::Path));
        assert_eq!(printed("https://a/?b"), Err(AddressError::Path));
    }

    #[test]
    fn a_location_is_resolved_and_shown_without_its_query() {
        let server: Address = "https://a:5000".parse().expect("an address");
        let shown = |text: &str| server.resolve(text).map(|place| place.to_string());
        assert_eq!(shown("/v2/x?a=b").as_deref(), Some("https://a:5000/v2/x"));
        assert_eq!(shown("http://b/x?Signature=1").as_deref(), Some("http://b/x"));
        assert_eq!(shown("//b/x"), None);
        assert_eq!(
            server.resolve("http://b/x?s=1").map(|place| place.path).as_deref(),
            Some("/x?s=1")
        );
    }
}
