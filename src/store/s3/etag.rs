//! `ETag`s: one spelling for every store and every operation.

use std::sync::PoisonError;

use super::client::S3;
use crate::store::{Dialect, EtagSpelling, Version};

/// The version that an `ETag` stands for.
///
/// Some stores leave out the quotes in lists or in the answers to completions. A version always
/// has them, so that two answers about one write show the same version.
pub(super) fn version_of(tag: &str) -> Version {
    Version(if tag.ends_with('"') { tag.to_owned() } else { format!("\"{tag}\"") })
}

impl S3 {
    pub(super) fn dialect(&self) -> Dialect {
        *self.dialect.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of `If-Match` for a version.
    pub(super) fn if_match<'a>(&self, version: &'a Version) -> &'a str {
        match self.dialect().etag {
            EtagSpelling::Quoted => &version.0,
            EtagSpelling::Bare => version.0.trim_matches('"'),
        }
    }
}
