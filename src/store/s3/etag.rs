//! `ETag`s: one spelling for every store and every operation.

use crate::store::Version;

/// The version that an `ETag` stands for.
///
/// Some stores leave out the quotes in lists or in the answers to completions. A version always
/// has them, so that two answers about one write show the same version.
pub(super) fn version_of(tag: &str) -> Version {
    Version(if tag.ends_with('"') { tag.to_owned() } else { format!("\"{tag}\"") })
}
