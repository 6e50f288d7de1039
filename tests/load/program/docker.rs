//! One image, pushed or pulled as docker does it: several layers at once, and for each of them one
//! request after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{Args, ValueEnum};
use http::{HeaderMap, Method, header};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Failure;
use crate::connection::{Answer, Connection, headers};
use crate::content::{Blob, Source};
use crate::images::{self, Image, push_blob, push_manifest};

/// Bytes of the configuration of an image.
const CONFIG_BYTES: u64 = 2048;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// For each layer a HEAD, and POST, PATCH and PUT if it is not there; then the same for the
    /// configuration; then the manifest.
    Push,
    /// The manifest; then the layers, and at the same time the configuration.
    Pull,
}

#[derive(Args)]
pub(crate) struct Arguments {
    /// Host and port of the registry.
    #[arg(long)]
    server: String,
    #[arg(long)]
    way: Way,
    #[arg(long, default_value = "load/docker")]
    repository: String,
    /// Seed of the content: the same one names the same image.
    #[arg(long)]
    seed: u64,
    #[arg(long, default_value_t = 10)]
    layers: u64,
    #[arg(long, default_value_t = 2 * 1024 * 1024)]
    layer_bytes: u64,
    /// Layers at once.
    #[arg(long, default_value_t = 5)]
    connections: usize,
}

struct Work {
    way: Way,
    server: String,
    image: Image,
    next_layer: AtomicUsize,
}

/// Prints how long it took, and how many blobs were uploaded or came by a redirect.
pub(crate) async fn run(arguments: Arguments) -> Result<String, Failure> {
    let source = Source::new(arguments.seed);
    let (way, layers) = (arguments.way, 1..=arguments.layers);
    let image = Image {
        repository: arguments.repository,
        tag: "latest".to_owned(),
        config: source.blob(0, CONFIG_BYTES),
        layers: layers.map(|number| source.blob(number, arguments.layer_bytes)).collect(),
        version: 0,
    };
    let (server, next_layer) = (arguments.server, AtomicUsize::new(0));
    let work = Arc::new(Work { way, server, image, next_layer });
    let mut client = Client::of(&work.server);
    let begun = Instant::now();
    if way == Way::Pull {
        let (accept, path) = (headers(&images::accept())?, work.image.path());
        client.ask(Method::GET, &path, &accept).await?.0.expect(200, &path)?;
    }
    let mut workers = JoinSet::new();
    for _ in 0..arguments.connections {
        workers.spawn(work.clone().layers());
    }
    let mut counted = 0;
    if way == Way::Pull {
        counted += u64::from(client.pull(&work.image, &work.image.config).await?);
    }
    while let Some(worker) = workers.join_next().await {
        counted += worker??;
    }
    if way == Way::Push {
        counted += u64::from(client.push(&work.image, &work.image.config).await?);
        push_manifest(&mut client.registry, &work.image).await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let counter = if way == Way::Push { "uploaded" } else { "redirected" };
    Ok(json!({ "seconds": seconds, counter: counted }).to_string())
}

impl Work {
    /// Takes one layer after the other until none is left.
    async fn layers(self: Arc<Self>) -> Result<u64, Failure> {
        let mut client = Client::of(&self.server);
        let mut counted = 0;
        let next = || self.next_layer.fetch_add(1, Ordering::Relaxed);
        while let Some(layer) = self.image.layers.get(next()) {
            counted += u64::from(match self.way {
                Way::Push => client.push(&self.image, layer).await?,
                Way::Pull => client.pull(&self.image, layer).await?,
            });
        }
        Ok(counted)
    }
}

/// A connection to the registry, and one to where the registry sends its clients.
struct Client {
    registry: Connection,
    store: Option<(String, Connection)>,
}

impl Client {
    fn of(registry: &str) -> Self {
        Self { registry: Connection::to(registry), store: None }
    }

    /// Follows a redirect; also says whether there was one.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(Answer, bool), Failure> {
        let answer = self.registry.ask(method.clone(), path, headers).await?;
        if !answer.status.is_redirection() {
            return Ok((answer, false));
        }
        let (host, path) = (answer.host()?, answer.location()?);
        let store = match self.store.take() {
            Some(store) if store.0 == host => store,
            _ => (host.clone(), Connection::to(&host)),
        };
        let (_, connection) = self.store.insert(store);
        Ok((connection.ask(method, &path, headers).await?, true))
    }

    /// Whether the blob had to be uploaded.
    async fn push(&mut self, image: &Image, blob: &Blob) -> Result<bool, Failure> {
        let path = image.blob_path(blob);
        let (answer, _) = self.ask(Method::HEAD, &path, &HeaderMap::new()).await?;
        if answer.status.as_u16() == 200 {
            return Ok(false);
        }
        answer.expect(404, &path)?;
        push_blob(&mut self.registry, &image.repository, blob).await?;
        Ok(true)
    }

    /// Whether the blob came by a redirect.
    async fn pull(&mut self, image: &Image, blob: &Blob) -> Result<bool, Failure> {
        let path = image.blob_path(blob);
        let (answer, redirected) = self.ask(Method::GET, &path, &HeaderMap::new()).await?;
        let answer = answer.expect(200, &path)?;
        let length = answer.headers.get(header::CONTENT_LENGTH).ok_or("a blob without a length")?;
        if length.to_str()?.parse() != Ok(blob.size) {
            return Err(format!("{path}: {length:?} bytes instead of {}", blob.size).into());
        }
        Ok(redirected)
    }
}
