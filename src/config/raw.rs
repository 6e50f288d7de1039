//! What the sources say, before it is parsed.

use super::errors::{ConfigError, Source};
use super::keys::Key;
use crate::auth::{IssuerSettings, Rule};
use crate::quota::Quota;

/// The text that one source gives for a setting.
pub(super) struct RawValue {
    pub(super) source: Source,
    pub(super) key: &'static Key,
    /// Whether `text` is the path of a file that holds the value.
    pub(super) by_file: bool,
    pub(super) text: String,
}

/// The texts of all sources.
#[derive(Default)]
pub(super) struct RawSettings {
    /// In rising priority.
    pub(super) values: Vec<Result<RawValue, ConfigError>>,
    /// Lists of tables, which only a file can hold.
    pub(super) rules: Vec<Rule>,
    pub(super) issuers: Vec<IssuerSettings>,
    pub(super) quotas: Vec<Quota>,
    /// Whether a whole source could not be understood.
    pub(super) unreadable: bool,
}
