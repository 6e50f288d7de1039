//! A bucket as many pushes and deletions leave it, written directly in an S3 store.
//!
//! A repository has `per_repository` images. They share six layers, and each has four layers and a
//! configuration of its own. Half of the blobs lie in their links, the others in data objects. Of
//! twenty images one was deleted, and nothing has been collected yet.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use longshore::layout::encoding::{Draft, Lineage, Nonce, tombstone};
use longshore::layout::records::{
    Link, Manifest, Pointer, Reference, Repository, Summary, Tag, TagIndex, seconds,
};
use longshore::oci::{Algorithm, Digest, RepositoryName};
use longshore::store::s3::S3;
use longshore::store::{BlobStore as _, Location, RecordKey, RecordStore as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::Failure;
use crate::content::fresh_seed;
use crate::direct::Place;
use crate::images::IMAGE;

/// Layers that the images of a repository share.
const SHARED_LAYERS: u64 = 6;
/// Blobs that an image has for itself.
const OWN_BLOBS: u64 = 5;
/// Of so many images one was deleted.
const DELETED_EVERY: u64 = 20;
/// Bytes of a blob.
const BLOB_BYTES: u16 = 600;
/// Repositories that are written at once, and records of each.
const REPOSITORIES_AT_ONCE: usize = 8;
const RECORDS_AT_ONCE: usize = 8;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The prefix of the registry in the bucket.
    #[arg(long)]
    prefix: String,
    #[arg(long)]
    images: u64,
    #[arg(long, default_value_t = 50)]
    per_repository: u64,
}

/// An object of the bucket.
enum Object {
    Record(RecordKey, Bytes),
    Data(Location, Bytes),
}

/// Writes the bucket, and prints how many objects it has.
pub(crate) async fn run(arguments: Arguments) -> Result<String, Failure> {
    let Arguments { place, prefix, images, per_repository } = arguments;
    let (store, seed, written) = (place.open(&prefix).await?, fresh_seed(), AtomicU64::new(0));
    let repositories = images.div_ceil(per_repository);
    stream::iter(0..repositories)
        .map(|number| {
            let count = per_repository.min(images - number * per_repository);
            let objects = repository(&store, (seed, number), count);
            write(&store, objects, &written)
        })
        .buffer_unordered(REPOSITORIES_AT_ONCE)
        .try_collect::<()>()
        .await?;
    let objects = written.load(Ordering::Relaxed);
    Ok(json!({ "objects": objects, "repositories": repositories }).to_string())
}

async fn write(
    store: &S3,
    objects: Result<Vec<Object>, Failure>,
    written: &AtomicU64,
) -> Result<(), Failure> {
    stream::iter(objects?)
        .map(|object| async move {
            match object {
                Object::Record(key, body) => store.create(&key, body, None).await?,
                Object::Data(at, bytes) => store.put(&at, bytes, None).await?,
            };
            written.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Failure>(())
        })
        .buffer_unordered(RECORDS_AT_ONCE)
        .try_collect()
        .await
}

/// A blob, by its number.
fn content(number: u64) -> (Digest, Bytes) {
    let mut bytes = number.to_string().into_bytes();
    bytes.resize(usize::from(BLOB_BYTES), b'.');
    (Digest::of(Algorithm::Sha256, &bytes), bytes.into())
}

fn record<H: Serialize + DeserializeOwned>(key: RecordKey, header: &H, payload: Bytes) -> Object {
    let body = Draft::new(header, payload).encode(&Lineage::default());
    Object::Record(key, body)
}

/// The objects of one repository.
fn repository(store: &S3, (seed, number): (u64, u64), images: u64) -> Result<Vec<Object>, Failure> {
    let name: RepositoryName = format!("load/bucket-{number}").parse()?;
    let created = seconds(store.now());
    let key = RecordKey::Repository(name.clone());
    let mut objects = vec![record(key, &Repository { created }, Bytes::new())];
    let first = seed.wrapping_add(number.wrapping_mul(1_000_000));
    let mut shared = Vec::new();
    for blob in 0..SHARED_LAYERS {
        shared.push(add_blob(store, &name, first.wrapping_add(blob), &mut objects));
    }
    for image in 0..images {
        let mut references = shared.clone();
        for blob in 0..OWN_BLOBS {
            let blob = first.wrapping_add(1_000 + image * OWN_BLOBS + blob);
            references.push(add_blob(store, &name, blob, &mut objects));
        }
        add_image(&name, (image, created), references, &mut objects)?;
    }
    Ok(objects)
}

/// The link, the pointer and the data of a blob.
fn add_blob(
    store: &S3,
    name: &RepositoryName,
    number: u64,
    objects: &mut Vec<Object>,
) -> Reference {
    let (digest, bytes) = content(number);
    let location = number.is_multiple_of(2).then(|| Location::new_unique(store.now()));
    let payload = if location.is_some() { Bytes::new() } else { bytes.clone() };
    let pointer = Pointer {
        size: u64::from(BLOB_BYTES),
        location: location.clone(),
        etag: None,
        repository: name.clone(),
    };
    let link = Link { size: u64::from(BLOB_BYTES), location: location.clone(), etag: None };
    objects.extend(location.map(|location| Object::Data(location, bytes)));
    objects.push(record(RecordKey::Pointer(digest), &pointer, Bytes::new()));
    objects.push(record(RecordKey::Link(name.clone(), digest), &link, payload));
    Reference { digest: digest.to_string(), size: u64::from(BLOB_BYTES) }
}

/// The manifest of an image, its tag and the row of its tag; of a deleted one their tombstones.
fn add_image(
    name: &RepositoryName,
    (image, at): (u64, u64),
    references: Vec<Reference>,
    objects: &mut Vec<Object>,
) -> Result<(), Failure> {
    let layers: Vec<_> = references.iter().map(|blob| json!({ "digest": blob.digest })).collect();
    let payload = Bytes::from(json!({ "schemaVersion": 2, "layers": layers }).to_string());
    let (digest, size) = (Digest::of(Algorithm::Sha256, &payload), payload.len() as u64);
    let tag: longshore::oci::Tag = format!("v{image}").parse()?;
    let manifest_key = RecordKey::Manifest(name.clone(), digest);
    let tag_key = RecordKey::Tag(name.clone(), tag.clone());
    if image % DELETED_EVERY == 0 {
        let body = || tombstone(Nonce::random(), &Lineage::default());
        objects.extend([manifest_key, tag_key].map(|key| Object::Record(key, body())));
        return Ok(());
    }
    let manifest = Manifest {
        media_type: IMAGE.to_owned(),
        references,
        external: Vec::new(),
        subject: None,
        artifact_type: None,
        doomed: false,
        generation: image.to_string(),
    };
    let target = Tag {
        digest,
        media_type: IMAGE.to_owned(),
        size,
        unconditional: true,
        seq: 1,
        by: "load".to_owned(),
        at,
        previous: None,
        summary: Summary::default(),
    };
    objects.push(record(manifest_key, &manifest, payload));
    objects.push(record(tag_key, &target, Bytes::new()));
    objects.push(record(
        RecordKey::TagIndex(name.clone(), digest, tag),
        &TagIndex {},
        Bytes::new(),
    ));
    Ok(())
}
