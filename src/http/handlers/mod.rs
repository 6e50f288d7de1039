//! One handler for each operation, by the section of the distribution-spec that it implements.

pub(super) mod blobs;
pub(super) mod catalog;
pub(super) mod manifests;
mod page;
pub(super) mod referrers;
pub(super) mod support;
pub(super) mod tags;
pub(super) mod uploads;
