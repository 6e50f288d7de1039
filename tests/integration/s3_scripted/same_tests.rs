//! Tests that run over the store in memory where they are, and once more here: over a scripted S3,
//! with the SDK between the registry and the store.
//!
//! Each of these files is compiled twice, and takes from its parent module over which store its
//! tests run.

use crate::support::test_store::StoreKind;

const STORE: StoreKind = StoreKind::ScriptedS3;

#[path = "../collector/leaks.rs"]
mod collection_leaks;
#[path = "../collector/races.rs"]
mod collection_races;
#[path = "../collector/removed.rs"]
mod collection_removed;
#[path = "../collector/untagged.rs"]
mod collection_untagged;
#[path = "../deleted_rows.rs"]
mod deleted_rows;
#[path = "../push_chunked/final_puts.rs"]
mod final_puts;
#[path = "../push_chunked/later_release.rs"]
mod later_release;
#[path = "../faults/leases.rs"]
mod leases;
#[path = "../faults/moved_tags.rs"]
mod moved_tags;
#[path = "../cache/own_writes.rs"]
mod own_writes;
#[path = "../quotas.rs"]
mod quotas;
#[path = "../faults/upload_leases.rs"]
mod upload_leases;
