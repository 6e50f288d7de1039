//! The rules of the protocol, each of which can be taken away.

/// What the code does. An ablation sets one field to false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each rule is taken away alone")]
pub(crate) struct Rules {
    /// The pointer carries a deadline: `Blobs::claim_pointer` in `src/registry/blobs.rs` (D1).
    pub(crate) pointer_dated: bool,
    /// That deadline begins before the data object was begun, or at the write of the session:
    /// `commit_buffer` in `src/registry/uploads/commit.rs` (D2).
    pub(crate) dated_before_data: bool,
    /// The session that names a staged object carries a deadline: `save_single_object` in
    /// `src/registry/uploads/single_object.rs` (D3).
    pub(crate) staged_dated: bool,
    /// A resumed commit touches its session first: `touch_committing` in
    /// `src/registry/uploads/commit.rs` (D4).
    pub(crate) resumed_touches: bool,
    /// A long completion touches the session again: `complete` in the same file.
    pub(crate) completion_touches: bool,
    /// An old record is touched before a request relies on it: `Records::lease` in
    /// `src/registry/record/mod.rs`.
    pub(crate) lease: bool,
    /// The store refuses a dated write that comes too late: `src/store/s3/deadline.rs`.
    pub(crate) deadlines: bool,
    /// Tombstones have nonces: `encoding::tombstone` in `src/layout/encoding/mod.rs`.
    pub(crate) tombstone_nonce: bool,
    /// Records name the versions before them: `History` in the same file, `after_conflict` in
    /// `src/registry/record/mod.rs`.
    pub(crate) past: bool,
    /// 409 means to try again while the condition holds: `Records::write_once`.
    pub(crate) busy_is_retried: bool,
    /// External layers are listed and leased: `lease_references` in
    /// `src/registry/manifests/references.rs`, `draft` in `push.rs` beside it.
    pub(crate) external_listed: bool,
    /// All processes have the same settings: `src/registry/shared_settings.rs`.
    pub(crate) equal_settings: bool,
    /// A pointer is used only after a look at its data: `Blobs::lease_pointer`.
    pub(crate) head_on_adopt: bool,
    /// A manifest that was leased is not doomed: `lease_reference`.
    pub(crate) lease_is_checked: bool,
    /// Names are read in the direction in which they move, from the session to the link:
    /// `find_leaks` in `src/collector/leaks.rs`.
    pub(crate) names_read_forward: bool,
    /// A link is removed only if an earlier run saw it unreferenced in the same version.
    pub(crate) second_sighting: bool,
    /// Every removal of the collector is a compare-and-swap.
    pub(crate) conditional_removal: bool,
    /// The time of a phase is that of its first listing: `Cutoff` in the collector.
    pub(crate) first_listing_is_begin: bool,
    /// Before data leaves the quarantine, the living sessions are read, too.
    pub(crate) quarantine_reads_sessions: bool,
    /// A push of a manifest ends with touching it: `still_current` in
    /// `src/registry/manifests/push.rs`.
    pub(crate) push_touches_last: bool,
    /// Only the request that certainly ended a session frees its data: `discard` and `cancel`.
    pub(crate) free_after_end: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        pointer_dated: true,
        dated_before_data: true,
        staged_dated: true,
        resumed_touches: true,
        completion_touches: true,
        lease: true,
        deadlines: true,
        tombstone_nonce: true,
        past: true,
        busy_is_retried: true,
        external_listed: true,
        equal_settings: true,
        head_on_adopt: true,
        lease_is_checked: true,
        names_read_forward: true,
        second_sighting: true,
        conditional_removal: true,
        first_listing_is_begin: true,
        quarantine_reads_sessions: true,
        push_touches_last: true,
        free_after_end: true,
    };
}
