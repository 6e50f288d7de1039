//! The guarantees of every store (`longshore::store`, "Guarantees").
//!
//! The functions below `check_everything` accept any store, so that a decorator can be tested as
//! well. Names are new in every run: a bucket can be used again.

mod conditions;
mod content;
mod crash;
mod data_lists;
mod folder;
mod lists;
mod memory;
mod torn_writes;

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use longshore::oci::{RepositoryName, UploadId};
use longshore::store::local::Local;
use longshore::store::memory::Memory;
use longshore::store::{ByteStream, Error, Location, ObjectStore, ProbeLimits, RecordKey, probe};
use uuid::Uuid;

/// Checks all guarantees.
pub(crate) async fn check_everything(store: Arc<dyn ObjectStore>) {
    let others = async {
        conditions::check(&store).await;
        lists::check(&store).await;
        content::check(&store).await;
        data_lists::check(store.as_ref()).await;
    };
    // Waiting for a record to age runs in parallel with the rest.
    tokio::join!(conditions::ages_grow(store.as_ref()), others);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_guarantees() {
    check_everything(Arc::new(Memory::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_keeps_the_guarantees() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    check_everything(Arc::new(Local::open(folder.path()).expect("an empty folder opens"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_guarantees() {
    match crate::support::store_from_environment().await {
        Some(store) => {
            let limit = Duration::from_mins(5);
            let limits = ProbeLimits { clock_skew: limit, write_deadline: limit };
            // So that removals are tested where the store has them.
            let report = probe(store.as_ref(), limits).await.expect("a store that can be used");
            assert!(!report.degraded(), "{report}");
            check_everything(store).await;
        }
        None => writeln!(io::stderr(), "not run against S3: LONGSHORE_TEST_S3 is not set")
            .expect("stderr can be written"),
    }
}

/// Bytes that depend on the seed, so that a mix-up is detected.
fn bytes_of(seed: u64, length: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(length + 8);
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    while bytes.len() < length {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        bytes.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.freeze()
}

async fn collect(stream: ByteStream) -> Result<Bytes, Error> {
    let bytes = stream.try_fold(BytesMut::new(), |mut all, chunk| async move {
        all.extend_from_slice(&chunk);
        Ok(all)
    });
    Ok(bytes.await?.freeze())
}

async fn get(store: &dyn ObjectStore, location: &Location) -> Result<Bytes, Error> {
    collect(store.get(location, None).await?).await
}

fn unused_key() -> RecordKey {
    RecordKey::Probe(UploadId::random())
}

fn unused_repository() -> RepositoryName {
    format!("suite-{}", Uuid::now_v7().simple()).parse().expect("a valid name")
}

fn unused_location(store: &dyn ObjectStore) -> Location {
    Location::new_unique(store.now())
}

/// Asserts the kind of an error.
macro_rules! assert_fails {
    ($outcome:expr, $kind:pat) => {
        match $outcome {
            Err($kind) => {}
            Err(other) => panic!("{}: {other:?}", stringify!($outcome)),
            Ok(_) => panic!("{} succeeded", stringify!($outcome)),
        }
    };
}
use assert_fails;
