//! What the operator decides about the registry.

use std::time::Duration;

use super::lease::Leases;
use super::read_cache::Caching;
use crate::docker_schema1::Schema1;

/// Bounds of the registry.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a pushed manifest.
    pub manifest_bytes_max: usize,
    /// Tags that one push of a manifest may set.
    pub tags_per_push_max: usize,
    /// Blobs up to this many bytes are stored inside their link.
    pub inline_bytes_max: usize,
    /// Bytes of the first parts of an upload; later parts grow.
    pub part_bytes: usize,
    /// Parts of one upload that are sent to the store at once.
    pub parts_in_flight_max: usize,
    /// Bytes of upload buffers in the whole process.
    pub buffer_bytes_max: usize,
    /// Uploads that this process receives at once.
    pub uploads_concurrent_max: usize,
    /// How long an upload waits for buffer memory before the client gets 503.
    pub buffer_wait_max: Duration,
    /// Rows of a page of a list.
    pub page_max: usize,
}

/// Which incomplete content a push may name.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whether an index may name manifests that the repository does not have.
    pub sparse_indexes: bool,
    /// Whether an image may name blobs that the repository does not have.
    pub sparse_images: bool,
}

/// All settings of the registry.
#[derive(Debug)]
pub struct Settings {
    pub caching: Caching,
    pub limits: Limits,
    pub policy: Policy,
    pub leases: Leases,
    pub schema1: Schema1,
}
