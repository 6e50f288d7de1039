//! The settings of what the registry accepts, keeps and lists.

use std::time::Duration;

use super::lease::Leases;
use crate::docker_schema1::Schema1;
use crate::oci::Negotiation;
use crate::setting::{
    Choice, GIB, HOUR, KIB, MIB, MINUTE, Secret, TIB, bytes, choice, choice_of, count, duration,
    secret, settings,
};
use crate::shared_cache::CacheSettings;

/// What one registry needs of the settings.
#[derive(Debug)]
pub struct Settings {
    pub caching: CacheSettings,
    pub uploads: UploadSettings,
    pub sparse: Sparse,
    pub leases: Leases,
    pub schema1: Schema1,
}

settings! {
    /// The parts of uploads, and the memory that uploads may use.
    pub struct UploadSettings {
        /// The size of the first parts of a multipart upload. It doubles after each thousand parts,
        /// because an upload has 10,000 parts at most. Parts that do not fit into
        /// `uploads.buffer_bytes` cannot be sent, which limits the largest blob: with the defaults
        /// to 984 GiB. A larger one gets 413.
        part_bytes: usize = 16 * MIB, bytes(5 * MIB..=GIB);
        /// Whether all parts of an upload but the last have one length, which Cloudflare R2 needs.
        /// Parts then do not grow, so the largest blob has 10,000 times `uploads.part_bytes`, and
        /// what a client sends beyond a whole part waits in the upload session, so
        /// `uploads.part_bytes` may be 64 MiB at most.
        equal_parts: bool = false, choice_of();
        /// Parts of one upload that the registry sends to the store at the same time.
        parts_in_flight: usize = 4, count(1..=64);
        /// Memory for the data of all uploads together, and for manifests that are being pushed.
        /// When it is used up, the registry stops reading from clients until the store has taken
        /// some data.
        buffer_bytes: usize = 512 * MIB, bytes(5 * MIB..=TIB);
        /// Uploads that may receive data at the same time. Further ones wait.
        concurrent_max: usize = 1024, count(1..=1_000_000);
        /// How long an upload waits for its turn, and then for upload memory, before it gets 503.
        wait_max: Duration = MINUTE, duration(Duration::ZERO..=HOUR);
        /// The largest blob that is stored inside its record and not as an object of its own: one
        /// write pushes it and one read pulls it.
        inline_bytes: usize = 64 * KIB, bytes(0..=256 * KIB);
    }
}

settings! {
    /// Which manifests the registry accepts, and how it serves them.
    pub struct ManifestSettings {
        /// The largest manifest. A larger one gets 413.
        bytes_max: usize = 4 * MIB, bytes(64 * KIB..=64 * MIB);
        /// What a manifest may reference although the repository does not have it: `none`,
        /// `indexes` (an index may reference missing manifests) or `all` (an image may also
        /// reference missing blobs).
        sparse: Sparse = Sparse::None, choice_of();
        /// Tags that one push may set with `?tag=`.
        tags_per_push_max: usize = 64, count(1..=1024);
        /// Whether clients may delete manifests and tags.
        delete: bool = true, choice_of();
        /// What the registry serves to a client that requests a tag and does not accept the type
        /// of the stored manifest.
        ///
        /// `oci`: the stored manifest, or the `linux/amd64` image of a Docker list to a client that
        /// does not know lists; an OCI document is refused (404). `docker-legacy`: what Docker's
        /// registry 2.x served, for old clients: only types that the client names count, not
        /// wildcards, and images of schema 2 are converted to schema 1. A request by digest always
        /// gets the stored manifest.
        mode: Negotiation = Negotiation::Oci, choice_of();
        /// Whether clients may push signed manifests of schema 1, the type before schema 2.
        /// The default is true in mode `docker-legacy` and false otherwise. The registry always
        /// serves those that are stored.
        schema1_push: Option<bool> = None, choice_of::<bool>() => "true";
        /// The private key that signs images converted to schema 1: a key on the curve P-256 in
        /// PEM. It can be the `signingkeyfile` of a Docker registry. All processes on one bucket
        /// should have the same key; without this setting each process makes one at its start.
        schema1_key: Option<Secret> = None, secret() => "...";
    }
}

impl ManifestSettings {
    /// Whether clients may push schema 1, decided.
    pub fn takes_schema1(&self) -> bool {
        self.schema1_push.unwrap_or(self.mode == Negotiation::DockerLegacy)
    }
}

choice! {
    /// What a manifest may reference although the repository does not have it.
    pub enum Sparse {
        /// Nothing.
        None = "none",
        /// An index may reference missing manifests.
        Indexes = "indexes",
        /// An image may also reference missing blobs.
        All = "all",
    }
}

impl Choice for Negotiation {
    const WORDS: &'static [(&'static str, Self)] =
        &[("oci", Self::Oci), ("docker-legacy", Self::DockerLegacy)];
}
