//! The settings of quotas.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::auth::Pattern;
use crate::oci::RepositoryName;
use crate::setting::{DAY, MINUTE, duration, format_bytes, parse_bytes, settings, shown};

settings! {
    /// How the bucket is counted for `[[quotas]]`. Without a quota it is not counted.
    pub struct UsageSettings {
        /// The time between two scans of the bucket for the quotas. One process of those on the
        /// bucket scans; `docs/request-costs.md` has the cost.
        interval: Duration = 15 * MINUTE, duration(MINUTE..=DAY);
    }
}

/// One table of `[[quotas]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The namespaces that have this quota, each by itself.
    pub namespaces: Vec<NamespacePattern>,
    pub bytes: QuotaBytes,
}

/// A pattern of namespaces: a pattern of repositories without a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacePattern(Pattern);

/// What a namespace may store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaBytes(pub(super) u64);

impl NamespacePattern {
    pub(super) fn matches(&self, namespace: &RepositoryName) -> bool {
        self.0.matches(namespace)
    }
}

impl FromStr for NamespacePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(pattern) if !text.contains('/') => Ok(Self(pattern)),
            _ => Err(format!(
                "{:?} is not a pattern of namespaces: write the first component of names of \
                 repositories, in which * matches anything, such as team-*",
                shown(text)
            )),
        }
    }
}

impl fmt::Display for NamespacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for QuotaBytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match parse_bytes(text)? {
            0 => Err("is no quota: to forbid pushes, use access rules".to_owned()),
            bytes => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for QuotaBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_bytes(self.0))
    }
}
