//! Sessions as registries see them: 70 of 100 ask whether a tag has moved, 25 pull an image, 5 push
//! one of which most is there already.

use std::collections::VecDeque;
use std::sync::Arc;

use clap::Args;
use http::{HeaderMap, Method};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use crate::Failure;
use crate::connection::{Connection, headers};
use crate::content::{Blob, Random, Source, fresh_seed};
use crate::images::{self, Image, push_blob, push_manifest};
use crate::measure::ByKind;
use crate::popularity::Popularity;

/// Layers of an image.
const LAYERS: u64 = 10;
/// Layers that a push brings; the others are there.
const NEW_LAYERS: usize = 2;
/// Popularity falls with the rank to this power, as in the traces of FAST '18.
const ZIPF: f64 = 0.95;
/// Pushes of each client whose bytes are there before anything is timed.
const PUSHES_READY: u64 = 24;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Host and port of the registry.
    #[arg(long)]
    server: String,
    #[arg(long, default_value_t = 50)]
    images: u64,
    #[arg(long, default_value_t = 16)]
    connections: u64,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// The status of a GET of a blob.
    #[arg(long, default_value_t = 307)]
    blob_status: u16,
}

struct World {
    arguments: Arguments,
    source: Source,
    images: Vec<(Image, String)>,
    popular: Popularity,
    headers: HeaderMap,
    end: Instant,
}

pub(crate) async fn run(arguments: Arguments) -> Result<String, Failure> {
    let source = Source::new(fresh_seed());
    let mut connection = Connection::to(&arguments.server);
    let mut images = Vec::new();
    for number in 0..arguments.images {
        let image = image(&source, number, number, &[], &mut Random::new(number + 1));
        for blob in image.layers.iter().chain([&image.config]) {
            push_blob(&mut connection, &image.repository, blob).await?;
        }
        let digest = push_manifest(&mut connection, &image).await?;
        images.push((image, digest));
    }
    let headers = headers(&images::accept())?;
    let popular = Popularity::of(images.len(), ZIPF);
    let plans: Vec<_> = (0..arguments.connections)
        .map(|number| Plan::new(number, &source, &images, &popular))
        .collect();
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(arguments.seconds);
    let world = Arc::new(World { arguments, source, images, popular, headers, end });
    let mut workers = JoinSet::new();
    for plan in plans {
        workers.spawn(world.clone().worker(plan));
    }
    let (mut seen, mut requests) = (ByKind::default(), 0);
    while let Some(worker) = workers.join_next().await {
        let (of_worker, of_requests) = worker?;
        seen.add(of_worker);
        requests += of_requests;
    }
    let elapsed = begun.elapsed();
    let mut report = seen.report(elapsed);
    report.insert("requests".to_owned(), json!(requests));
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 requests")]
    report.insert("requests_per_second".to_owned(), json!(requests as f64 / elapsed.as_secs_f64()));
    Ok(serde_json::Value::Object(report).to_string())
}

/// 65 % below 1 MiB, 15 % below 10, 14 % below 100, the rest above; a sixteenth of that, and no
/// more than 32 MiB, so that a run of seconds sees all kinds.
fn layer_bytes(random: &mut Random) -> u64 {
    let (low, high) = match random.below(100) {
        0..65 => (10, 20),
        65..80 => (20, 23),
        80..94 => (23, 26),
        _ => (26, 29),
    };
    let power = low + random.below(high - low);
    ((1 << power) + random.below(1 << power)) / 16
}

/// An image of a repository, with the layers of an older version that it has kept.
fn image(
    source: &Source,
    repository: u64,
    version: u64,
    kept: &[Blob],
    sizes: &mut Random,
) -> Image {
    let new = LAYERS - (kept.len() as u64).min(LAYERS);
    let new =
        (1..=new).map(|layer| source.blob(version * (LAYERS + 1) + layer, layer_bytes(sizes)));
    Image {
        repository: format!("load/mixed-{repository}"),
        tag: "latest".to_owned(),
        layers: new.chain(kept.iter().cloned()).collect(),
        config: source.blob(version * (LAYERS + 1), 2048),
        version,
    }
}

/// What a client does next.
enum Session {
    Ask(usize),
    Pull(usize),
    Push(Image),
}

/// What one client does, in its order. The first sessions are ready before anything is timed,
/// because making and hashing what they push costs as much as some registries do.
struct Plan {
    worker: u64,
    pushes: u64,
    random: Random,
    ready: VecDeque<Session>,
}

impl Plan {
    fn new(worker: u64, source: &Source, images: &[(Image, String)], popular: &Popularity) -> Self {
        let random = Random::new(worker + 101);
        let mut plan = Self { worker, pushes: 0, random, ready: VecDeque::new() };
        while plan.pushes < PUSHES_READY {
            let session = plan.draw(source, images, popular);
            plan.ready.push_back(session);
        }
        plan
    }

    fn next(
        &mut self,
        source: &Source,
        images: &[(Image, String)],
        popular: &Popularity,
    ) -> Session {
        self.ready.pop_front().unwrap_or_else(|| self.draw(source, images, popular))
    }

    fn draw(
        &mut self,
        source: &Source,
        images: &[(Image, String)],
        popular: &Popularity,
    ) -> Session {
        let chosen = popular.draw(&mut self.random);
        match self.random.below(100) {
            0..70 => Session::Ask(chosen),
            70..95 => Session::Pull(chosen),
            _ => {
                self.pushes += 1;
                let version = images.len() as u64 + self.worker * 100_000 + self.pushes;
                let kept = &images[chosen].0.layers[NEW_LAYERS..];
                Session::Push(image(source, chosen as u64, version, kept, &mut self.random))
            }
        }
    }
}

impl World {
    async fn worker(self: Arc<Self>, mut plan: Plan) -> (ByKind, u64) {
        let mut connection = Connection::to(&self.arguments.server);
        let mut seen = ByKind::default();
        let mut requests = 0;
        while Instant::now() < self.end {
            let session = plan.next(&self.source, &self.images, &self.popular);
            let begun = Instant::now();
            let (kind, done) = match session {
                Session::Ask(chosen) => ("ask", self.ask(&mut connection, chosen).await),
                Session::Pull(chosen) => ("pull", self.pull(&mut connection, chosen).await),
                Session::Push(image) => ("push", self.push(&mut connection, &image).await),
            };
            match done {
                Ok(sent) => {
                    requests += sent;
                    seen.of(kind).observe(begun.elapsed());
                }
                Err(error) => seen.of(kind).failed(&error),
            }
        }
        (seen, requests)
    }

    async fn ask(&self, to: &mut Connection, chosen: usize) -> Result<u64, Failure> {
        let path = self.images[chosen].0.path();
        to.ask(Method::HEAD, &path, &self.headers).await?.expect(200, &path)?;
        Ok(1)
    }

    async fn pull(&self, to: &mut Connection, chosen: usize) -> Result<u64, Failure> {
        let (image, digest) = &self.images[chosen];
        self.ask(to, chosen).await?;
        let path = format!("/v2/{}/manifests/{digest}", image.repository);
        to.ask(Method::GET, &path, &self.headers).await?.expect(200, &path)?;
        let none = HeaderMap::new();
        let mut requests = 2;
        for blob in image.layers.iter().chain([&image.config]) {
            let path = image.blob_path(blob);
            let answer = to.ask(Method::GET, &path, &none).await?;
            // Small blobs lie beside their link, and are sent at once.
            if answer.status.as_u16() != 200 {
                answer.expect(self.arguments.blob_status, &path)?;
            }
            requests += 1;
        }
        Ok(requests)
    }

    async fn push(&self, to: &mut Connection, image: &Image) -> Result<u64, Failure> {
        let none = HeaderMap::new();
        let mut requests = 1;
        for blob in image.layers.iter().chain([&image.config]) {
            let path = image.blob_path(blob);
            requests += 1;
            if to.ask(Method::HEAD, &path, &none).await?.status.as_u16() != 200 {
                push_blob(to, &image.repository, blob).await?;
                requests += 3;
            }
        }
        push_manifest(to, image).await?;
        Ok(requests)
    }
}
