//! The store without a registry, through the same S3 client that the registry has: what a push or
//! a pull could do at most.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use futures_util::StreamExt as _;
use longshore::oci::{RepositoryName, Tag};
use longshore::setting::Secret;
use longshore::store::s3::{S3, Settings};
use longshore::store::{BlobStore, Location, Part, RecordKey, RecordStore};
use longshore::telemetry::metrics::Metrics;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Failure;
use crate::content::{Blob, Source, fresh_seed};
use crate::measure::ByKind;

/// Where objects go that no registry has.
const DIRECT_PREFIX: &str = "direct";
/// Entries that are written at once.
const ENTRIES_AT_ONCE: usize = 32;

#[derive(Args)]
pub(crate) struct Place {
    #[arg(long)]
    endpoint: String,
    #[arg(long)]
    bucket: String,
    /// These are the keys of the tests, which open nothing else.
    #[arg(long, default_value = "longshore-tests")]
    access_key: String,
    #[arg(long, default_value = "longshore-tests-secret")]
    secret_key: String,
}

#[derive(Args)]
pub(crate) struct PutArguments {
    #[command(flatten)]
    place: Place,
    #[arg(long, default_value_t = 1)]
    count: u64,
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// Objects at once.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Parts of one object at once, as `uploads.parts_in_flight`.
    #[arg(long, default_value_t = 4)]
    parts: usize,
    /// As `uploads.part_bytes`.
    #[arg(long, default_value_t = 16)]
    part_mib: u64,
}

#[derive(Args)]
pub(crate) struct GetArguments {
    #[command(flatten)]
    place: Place,
    /// Size of the object, which is put before.
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    #[arg(long, default_value_t = 1)]
    count: u64,
}

#[derive(Args)]
pub(crate) struct EntriesArguments {
    #[command(flatten)]
    place: Place,
    /// Where the registry keeps its things in the bucket.
    #[arg(long)]
    prefix: String,
    #[arg(long)]
    repository: RepositoryName,
    /// A tag that is there, for tags. Without it repositories are made, below this one.
    #[arg(long)]
    like: Option<Tag>,
    #[arg(long, default_value_t = 100_000)]
    count: u64,
}

impl Place {
    pub(crate) async fn open(&self, prefix: &str) -> Result<Arc<S3>, Failure> {
        let settings = Settings {
            endpoint: Some(self.endpoint.clone()),
            region: Some("us-east-1".to_owned()),
            access_key_id: Some(self.access_key.clone()),
            secret_access_key: Some(Secret::new(&self.secret_key)),
            attempts_max: 1,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(60),
            ..Settings::default()
        };
        Ok(Arc::new(S3::connect(&self.bucket, prefix, &settings, &Metrics::default()).await?))
    }
}

/// The parts of a blob, each in a buffer of its own, as the registry sends them.
fn parts(blob: &Blob, part_bytes: u64) -> Vec<Bytes> {
    let starts = (0..blob.size).step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX));
    starts.map(|start| blob.bytes(start..(start + part_bytes).min(blob.size))).collect()
}

async fn put_object(
    store: &Arc<S3>,
    location: &Location,
    bytes: Vec<Bytes>,
    at_once: usize,
) -> Result<(), Failure> {
    if let [whole] = bytes.as_slice() {
        store.put(location, whole.clone(), None).await?;
        return Ok(());
    }
    let id = store.start(location).await?;
    let sent: Vec<Result<Part, _>> = futures_util::stream::iter((1..).zip(bytes))
        .map(|(number, bytes)| store.put_part(location, &id, number, bytes))
        .buffered(at_once)
        .collect()
        .await;
    let parts: Result<Vec<Part>, _> = sent.into_iter().collect();
    store.complete(location, &id, &parts?).await?;
    Ok(())
}

pub(crate) async fn put(arguments: PutArguments) -> Result<String, Failure> {
    let PutArguments { place, count, mib, connections, parts: at_once, part_mib } = arguments;
    let store = place.open(DIRECT_PREFIX).await?;
    let source = Source::new(fresh_seed());
    let mut queues: Vec<Vec<Vec<Bytes>>> = vec![Vec::new(); connections.max(1)];
    for number in 0..count {
        let blob = source.blob(number, mib * 1024 * 1024);
        let queue = usize::try_from(number)? % connections.max(1);
        queues[queue].push(parts(&blob, part_mib * 1024 * 1024));
    }
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for queue in queues {
        let store = store.clone();
        workers.spawn(async move {
            let mut seen = ByKind::default();
            for bytes in queue {
                let begun = Instant::now();
                let location = Location::new_unique(store.now());
                match put_object(&store, &location, bytes, at_once).await {
                    Ok(()) => seen.of("put").observe(begun.elapsed()),
                    Err(error) => seen.of("put").failed(&error),
                }
            }
            seen
        });
    }
    let mut seen = ByKind::default();
    while let Some(worker) = workers.join_next().await {
        seen.add(worker?);
    }
    Ok(with_rate(seen, begun, mib * count))
}

#[expect(clippy::cast_precision_loss, reason = "mebibytes")]
fn with_rate(seen: ByKind, begun: Instant, mib: u64) -> String {
    let elapsed = begun.elapsed();
    let mut report = seen.report(elapsed);
    report.insert("mib".to_owned(), json!(mib));
    report.insert("mib_per_second".to_owned(), json!(mib as f64 / elapsed.as_secs_f64()));
    serde_json::Value::Object(report).to_string()
}

pub(crate) async fn get(arguments: GetArguments) -> Result<String, Failure> {
    let GetArguments { place, mib, count } = arguments;
    let store = place.open(DIRECT_PREFIX).await?;
    let blob = Source::new(fresh_seed()).blob(0, mib * 1024 * 1024);
    let location = Location::new_unique(store.now());
    put_object(&store, &location, parts(&blob, 16 * 1024 * 1024), 4).await?;
    let begun = Instant::now();
    let mut seen = ByKind::default();
    for _ in 0..count {
        let begun = Instant::now();
        let mut bytes = store.get(&location, Some(0..blob.size)).await?;
        let mut received = 0;
        while let Some(chunk) = bytes.next().await {
            received += chunk?.len() as u64;
        }
        if received == blob.size {
            seen.of("get").observe(begun.elapsed());
        } else {
            seen.of("get").failed(&format!("{received} bytes"));
        }
    }
    Ok(with_rate(seen, begun, mib * count))
}

/// Copies the entry of one tag, or that of one repository, under many others, named so that they
/// sort by number.
pub(crate) async fn entries(arguments: EntriesArguments) -> Result<String, Failure> {
    let EntriesArguments { place, prefix, repository, like, count } = arguments;
    let store = place.open(&prefix).await?;
    let key = |number: Option<u64>| -> Result<RecordKey, Failure> {
        let named = number.map(|number| format!("n{number:06}"));
        Ok(match (&like, named) {
            (Some(like), None) => RecordKey::Tag(repository.clone(), like.clone()),
            (Some(_), Some(tag)) => RecordKey::Tag(repository.clone(), tag.parse()?),
            (None, None) => RecordKey::Repository(repository.clone()),
            (None, Some(name)) => RecordKey::Repository(format!("{repository}/{name}").parse()?),
        })
    };
    let body = store.read(&key(None)?).await?.body;
    let keys: Result<Vec<_>, _> = (0..count).map(|number| key(Some(number))).collect();
    let written: Vec<_> = futures_util::stream::iter(keys?)
        .map(|key| {
            let (store, body) = (&store, body.clone());
            async move { store.create(&key, body, None).await }
        })
        .buffer_unordered(ENTRIES_AT_ONCE)
        .collect()
        .await;
    let errors = written.iter().filter(|written| written.is_err()).count();
    let first_error = written.into_iter().find_map(Result::err).map(|error| error.to_string());
    Ok(json!({ "entries": count, "errors": errors, "first_error": first_error }).to_string())
}
