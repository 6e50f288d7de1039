//! Pushes blobs, and how long the last request takes, which makes the blob readable.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{Args, ValueEnum};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Failure;
use crate::connection::{Connection, empty, headers};
use crate::content::{Blob, Source, fresh_seed};
use crate::images::with_digest;
use crate::measure::ByKind;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// POST, one PATCH of unknown length, PUT.
    Patch,
    /// POST, PUT with everything.
    Whole,
    /// POST, a PATCH for each 16 MiB, PUT.
    Chunks,
}

const CHUNK_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Host and port of the registry.
    #[arg(long)]
    server: String,
    #[arg(long, default_value = "load/push")]
    repository: String,
    #[arg(long, default_value_t = 1)]
    count: u64,
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// Instead of `--mib`.
    #[arg(long)]
    bytes: Option<u64>,
    /// Blobs at once.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    #[arg(long, default_value = "patch")]
    way: Way,
    /// Seed of the content: the same one pushes what is there already.
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<String, Failure> {
    let source = Source::new(arguments.seed.unwrap_or_else(fresh_seed));
    let size = arguments.bytes.unwrap_or(arguments.mib * 1024 * 1024);
    let blobs: Arc<Vec<Blob>> =
        Arc::new((0..arguments.count).map(|number| source.blob(number, size)).collect());
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..arguments.connections {
        let (blobs, next) = (blobs.clone(), next.clone());
        let mut connection = Connection::to(&arguments.server);
        let (repository, way) = (arguments.repository.clone(), arguments.way);
        workers.spawn(async move {
            let mut seen = ByKind::default();
            while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let begun = Instant::now();
                match push(&mut connection, &repository, blob, way, &mut seen).await {
                    Ok(()) => seen.of("push").observe(begun.elapsed()),
                    Err(error) => seen.of("push").failed(&error),
                }
            }
            seen
        });
    }
    let mut seen = ByKind::default();
    while let Some(worker) = workers.join_next().await {
        seen.add(worker?);
    }
    let elapsed = begun.elapsed();
    let mut report = seen.report(elapsed);
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 bytes")]
    let mib = (size * arguments.count) as f64 / 1024.0 / 1024.0;
    report.insert("mib".to_owned(), json!(mib));
    report.insert("mib_per_second".to_owned(), json!(mib / elapsed.as_secs_f64()));
    report.insert("first_digest".to_owned(), json!(blobs.first().map(|blob| &*blob.digest)));
    Ok(serde_json::Value::Object(report).to_string())
}

async fn push(
    to: &mut Connection,
    repository: &str,
    blob: &Blob,
    way: Way,
    seen: &mut ByKind,
) -> Result<(), Failure> {
    let none = HeaderMap::new();
    let octets = headers(&["content-type: application/octet-stream".to_owned()])?;
    let path = format!("/v2/{repository}/blobs/uploads/");
    let mut at = to.ask(Method::POST, &path, &none).await?.expect(202, &path)?.location()?;
    let step = match way {
        Way::Patch => blob.size.max(1),
        Way::Whole => u64::MAX,
        Way::Chunks => CHUNK_BYTES,
    };
    let mut sent = 0;
    while way != Way::Whole && sent < blob.size {
        let end = (sent + step).min(blob.size);
        let mut headers = octets.clone();
        if way == Way::Chunks {
            headers.insert("content-range", format!("{sent}-{}", end - 1).parse()?);
            headers.insert(CONTENT_LENGTH, (end - sent).into());
        }
        let patched = to.send(Method::PATCH, &at, &headers, blob.body(sent..end)).await?;
        at = patched.expect(202, "PATCH")?.location()?;
        sent = end;
    }
    let rest = if sent == blob.size { empty() } else { blob.body(sent..blob.size) };
    let mut headers = octets;
    headers.insert(CONTENT_LENGTH, (blob.size - sent).into());
    let begun = Instant::now();
    let put = to.send(Method::PUT, &with_digest(&at, blob), &headers, rest).await?;
    put.expect(201, "PUT of a blob")?;
    seen.of("commit").observe(begun.elapsed());
    Ok(())
}
