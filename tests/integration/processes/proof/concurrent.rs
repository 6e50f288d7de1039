//! Clients that push, mount and delete the same content at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::cluster::Cluster;
use super::images::{Blob, Image, content, mount, shared_layers};
use crate::support::persistent::Flow;
use crate::support::random::Random;
use crate::support::sha256;

/// Between the blobs of an image and its manifest, for some of them: less than a lease.
const PAUSE: Duration = Duration::from_secs(3);
const REPOSITORIES: u64 = 3;
/// Blobs that no manifest names and that every client pushes, mounts and deletes.
const LOOSE: u64 = 6;

/// What was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Done {
    pushes: AtomicU64,
    mounts: AtomicU64,
    deletions: AtomicU64,
}

impl Done {
    fn all(&self) -> u64 {
        [&self.pushes, &self.mounts, &self.deletions]
            .map(|it| it.load(Ordering::SeqCst))
            .iter()
            .sum()
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

fn repository(random: &mut Random) -> String {
    format!("r{}", random.below(REPOSITORIES))
}

fn contested(number: u64) -> Image {
    Image {
        repository: "same".to_owned(),
        tag: format!("same-{number}"),
        config: (500 + number, 300),
        layers: shared_layers(number),
    }
}

/// Lets so many clients do so many operations or more, until `ends` says so, and returns the images
/// that are left.
pub(super) async fn operate(
    cluster: &Arc<Cluster>,
    clients: u64,
    operations: u64,
    ends: impl Fn() -> bool + Copy + Send + 'static,
) -> (Vec<Image>, Done) {
    let (done, mut running) = (Arc::new(Done::default()), JoinSet::new());
    for number in 0..clients {
        let (cluster, done) = (cluster.clone(), done.clone());
        let (random, contested) = (Random::new(cluster.seed + number), clients / 2);
        let client = Client { cluster, random, contested, done };
        running.spawn(client.operate(number, move |done| done >= operations && ends()));
    }
    let mut images: Vec<Image> = running.join_all().await.into_iter().flatten().collect();
    for number in 0..clients / 2 {
        let image = contested(number);
        let by_tag = cluster.client.ask("GET", &image.by_tag(), &[], b"").await.status;
        let by_digest = cluster.client.ask("GET", &image.by_digest(), &[], b"").await.status;
        assert_eq!(by_tag, by_digest, "{image:?}");
        match by_tag.as_u16() {
            200 => images.push(image),
            404 => {}
            status => panic!("{status}: {image:?}"),
        }
    }
    (images, Arc::into_inner(done).expect("all clients are done"))
}

struct Client {
    cluster: Arc<Cluster>,
    random: Random,
    /// How many images all clients push and delete.
    contested: u64,
    done: Arc<Done>,
}

impl Client {
    async fn operate(mut self, number: u64, ends: impl Fn(u64) -> bool) -> Vec<Image> {
        let (mut left, mut next) = (Vec::new(), 100_000 * number);
        while !ends(self.done.all()) {
            match self.random.below(100) {
                0..45 => {
                    next += 1;
                    left.extend(self.push_and_delete(next).await);
                }
                45..60 => {
                    let image = contested(self.random.below(self.contested));
                    self.push(&image, None).await;
                }
                60..75 => {
                    let image = contested(self.random.below(self.contested));
                    image.delete(&self.cluster.client).await;
                    add(&self.done.deletions);
                }
                _ => self.loose().await,
            }
        }
        left
    }

    async fn push(&mut self, image: &Image, from: Option<&str>) {
        let pause = if self.random.percent(10) { PAUSE } else { Duration::ZERO };
        image.push(&self.cluster.client, self.cluster.times, pause, from).await;
        add(&self.done.pushes);
    }

    /// Pushes an image of its own with layers of others, and deletes two of three again.
    async fn push_and_delete(&mut self, number: u64) -> Option<Image> {
        let image = Image::new(&repository(&mut self.random), number);
        let from = self.random.percent(50).then(|| repository(&mut self.random));
        self.push(&image, from.as_deref()).await;
        if self.random.below(3) == 0 {
            return Some(image);
        }
        image.delete(&self.cluster.client).await;
        add(&self.done.deletions);
        None
    }

    /// Pushes, mounts, deletes or pulls a blob that no manifest names.
    async fn loose(&mut self) {
        let client = &self.cluster.client;
        let blob: Blob = (700 + self.random.below(LOOSE), 90_000);
        let [to, from] = [repository(&mut self.random), repository(&mut self.random)];
        let content = content(blob);
        let path = format!("/v2/{to}/blobs/{}", sha256(&content));
        match self.random.below(6) {
            0 | 1 => {
                client.push_blob(&to, &content, Flow::Put).await;
                add(&self.done.pushes);
            }
            2 | 3 => {
                mount(client, &to, &from, blob).await;
                add(&self.done.mounts);
            }
            4 => {
                let deleted = client.ask("DELETE", &path, &[], b"").await;
                assert!(matches!(deleted.status.as_u16(), 202 | 404), "{deleted:?}");
                add(&self.done.deletions);
            }
            _ => {
                let pulled = client.ask("GET", &path, &[], b"").await;
                assert!(pulled.status == 404 || pulled.expect(200).body == content, "{path}");
            }
        }
    }
}
