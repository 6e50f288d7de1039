//! The settings of an issuer: one table of `[[access.issuers]]`.

use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;

use crate::auth::pattern::TextPattern;

/// An issuer of identity tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// What rules and logs call it.
    pub name: IssuerName,
    /// The `iss` of its tokens, and where its discovery document is.
    pub url: IssuerUrl,
    /// One of them has to be an audience of the token.
    pub audiences: Vec<String>,
    pub keys: KeysFrom,
    /// The authorities that its server is trusted by, instead of those of this machine.
    pub ca_file: Option<PathBuf>,
    /// A file with a token for its server, which is read for each request.
    pub bearer_token_file: Option<PathBuf>,
    /// Claims that a token must have.
    pub required: Vec<RequiredClaim>,
    /// The claim with the name of the caller.
    pub subject_claim: String,
    /// The claim with the groups of the caller, if rules may rely on it.
    pub groups_claim: Option<String>,
    /// The place in the configuration, for messages.
    pub place: String,
}

/// Where the keys of an issuer come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysFrom {
    /// From the `jwks_uri` of the discovery document (OpenID Connect Discovery 1.0, section 4).
    Discovery,
    /// From this address.
    Address(KeysAddress),
    /// From a file, which is read again when it changes.
    File(PathBuf),
}

/// The name of an issuer: a word without spaces and colons, which separate parts of a subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IssuerName(String);

/// The exact `iss` of the tokens of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerUrl(String);

/// An address that keys are fetched from: `https`, or `http` on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysAddress(Uri);

/// A claim, and what its text has to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredClaim {
    pub name: String,
    pub pattern: TextPattern,
}

/// Bytes of a name.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of the address of an issuer.
const URL_BYTES_MAX: usize = 512;

impl IssuerName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IssuerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("{text:?} is not a name: write letters, digits, dots, dashes and underscores"))
    }
}

impl IssuerUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the discovery document is, if that can be an address at all.
    pub fn discovery(&self) -> Result<KeysAddress, String> {
        let base = self.0.strip_suffix('/').unwrap_or(&self.0);
        format!("{base}/.well-known/openid-configuration").parse()
    }
}

impl FromStr for IssuerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let printable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if printable && text.len() <= URL_BYTES_MAX {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("{text:?} is not the address of an issuer: it is compared with `iss`"))
    }
}

impl KeysAddress {
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether it is on the host and port of another address.
    pub fn is_plain_http(&self) -> bool {
        self.0.scheme_str() == Some("http")
    }
}

impl FromStr for KeysAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("{text:?} is not an address to fetch keys from: {why}");
        let uri: Uri = text.parse().map_err(|_| bad("it is no URL"))?;
        let host = uri.host().unwrap_or_default();
        if host.is_empty() || uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(bad("it needs a host, and no login"));
        }
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        let local = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
        match uri.scheme_str() {
            Some("https") => Ok(Self(uri)),
            Some("http") if local => Ok(Self(uri)),
            Some(_) | None => Err(bad(
                "it has to be https, or http on this machine, so that the keys are genuine",
            )),
        }
    }
}

impl FromStr for RequiredClaim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a claim: write CLAIM=PATTERN");
        let (name, pattern) = text.split_once('=').ok_or_else(bad)?;
        if name.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad());
        }
        let pattern = pattern.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { name: name.to_owned(), pattern })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        for (text, good) in [
            ("https://issuer.example/keys", true),
            ("http://127.0.0.1:8080/keys", true),
            ("http://[::1]:8080/keys", true),
            ("http://localhost/keys", true),
            ("http://issuer.example/keys", false),
            ("http://127.0.0.1.example/keys", false),
            ("https://user:password@issuer.example/keys", false),
            ("ftp://issuer.example/keys", false),
            ("/keys", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<KeysAddress>().is_ok(), good, "{text}");
        }
    }

    #[test]
    fn the_discovery_document_is_below_the_address() {
        for issuer in ["https://issuer.example/a", "https://issuer.example/a/"] {
            let issuer: IssuerUrl = issuer.parse().expect("an address");
            let address = issuer.discovery().expect("https").uri().to_string();
            assert_eq!(address, "https://issuer.example/a/.well-known/openid-configuration");
        }
        let issuer: IssuerUrl = "kubernetes/serviceaccount".parse().expect("an `iss`");
        assert!(issuer.discovery().is_err());
    }

    #[test]
    fn names_and_claims_are_parsed() {
        for text in ["", "a b", "a:b", "ä", &"a".repeat(65)] {
            assert!(text.parse::<IssuerName>().is_err(), "{text}");
        }
        for text in ["", "=x", "a", "a b=x", "a="] {
            assert!(text.parse::<RequiredClaim>().is_err(), "{text}");
        }
        let claim: RequiredClaim = "repository=acme/*".parse().expect("a claim");
        assert!(claim.pattern.matches("acme/app") && claim.name == "repository");
    }
}
