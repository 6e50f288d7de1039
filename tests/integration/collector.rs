use super::STORE;

/// Removals that do not wait for each other.
mod at_once;
/// `longshore gc`, and the collection in the background of `serve`.
mod commands;
/// Data without a name, and damage.
mod leaks;
/// Requests between two steps of a run.
mod races;
/// What a run removes, and what it keeps.
mod removed;
/// Runs that are cut off, and several at once.
mod runs;
/// Manifests without a tag.
mod untagged;
