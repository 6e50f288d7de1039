//! Images that clients push until they are acknowledged.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, Times};
use crate::support::app::{OCI_MANIFEST, image_manifest};
use crate::support::http::Client;
use crate::support::persistent::{Flow, Persistent};
use crate::support::random::Random;
use crate::support::{bytes, sha256};

const MIB: usize = 1024 * 1024;
/// The largest blob that is in its link.
pub(super) const INLINE_MAX: usize = 64 * 1024;
/// How often an image is pushed again whose blobs were collected rightly.
const AGAIN_MAX: usize = 200;

/// Content by its seed and its size.
pub(super) type Blob = (u64, usize);

/// An image under a tag.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) repository: String,
    pub(super) tag: String,
    pub(super) config: Blob,
    pub(super) layers: Vec<Blob>,
}

pub(super) fn content((seed, size): Blob) -> Vec<u8> {
    bytes(seed, size)
}

/// A layer in a record, and one that is an object of its own: of several of each, so that clients
/// push the same ones.
pub(super) fn shared_layers(number: u64) -> Vec<Blob> {
    vec![(number % 5, 2_000), (100 + number % 7, 150_000)]
}

impl Image {
    /// An image of which only some layers are those of others.
    pub(super) fn new(repository: &str, number: u64) -> Self {
        Self {
            repository: repository.to_owned(),
            tag: format!("i{number}"),
            config: (1_000_000 + number, 300),
            layers: shared_layers(number),
        }
    }

    /// The same with a layer of its own. Some of them have several parts.
    pub(super) fn with_own_layer(mut self, number: u64) -> Self {
        let size = if number % 16 == 3 { 11 * MIB } else { 100_000 };
        self.layers.push((100_000_000 + number, size));
        self
    }

    pub(super) fn manifest(&self) -> Vec<u8> {
        let layers: Vec<Vec<u8>> = self.layers.iter().copied().map(content).collect();
        image_manifest(&content(self.config), &layers)
    }

    pub(super) fn by_tag(&self) -> String {
        format!("/v2/{}/manifests/{}", self.repository, self.tag)
    }

    pub(super) fn by_digest(&self) -> String {
        format!("/v2/{}/manifests/{}", self.repository, sha256(&self.manifest()))
    }

    /// Everything that its manifest names.
    pub(super) fn blobs(&self) -> impl Iterator<Item = Blob> {
        [self.config].into_iter().chain(self.layers.iter().copied())
    }

    /// Pushes it until it is acknowledged, with a pause before the manifest. Layers come from
    /// another repository if it has them.
    pub(super) async fn push(
        &self,
        client: &Persistent,
        times: Times,
        pause: Duration,
        from: Option<&str>,
    ) {
        let manifest = self.manifest();
        for _ in 0..AGAIN_MAX {
            let began = Instant::now();
            for (number, blob) in self.blobs().enumerate() {
                let mounted = match from {
                    Some(from) if number > 0 => mount(client, &self.repository, from, blob).await,
                    _ => false,
                };
                if !mounted {
                    let flow = [Flow::Post, Flow::Put, Flow::Patch, Flow::Chunks(6 * MIB)];
                    client.push_blob(&self.repository, &content(blob), flow[number.min(3)]).await;
                }
            }
            tokio::time::sleep(pause).await;
            let kind = [("content-type", OCI_MANIFEST.to_owned())];
            let pushed = client.ask("PUT", &self.by_tag(), &kind, &manifest).await;
            if pushed.status == 400 && began.elapsed() >= times.leased_for() {
                // The client or the machine was so slow that the blobs were collected rightly.
                continue;
            }
            pushed.expect(201);
            return;
        }
        panic!("{} was not pushed in {AGAIN_MAX} times", self.by_tag());
    }

    /// Deletes its manifest with its tags.
    pub(super) async fn delete(&self, client: &Persistent) {
        let deleted = client.ask("DELETE", &self.by_digest(), &[], b"").await;
        // 404: another client has deleted it, or the answer of the first try was lost.
        assert!(matches!(deleted.status.as_u16(), 202 | 404), "{deleted:?}");
    }

    /// Pulls it, and compares every byte.
    pub(super) async fn pull(&self, client: &Client) {
        let manifest = client.request("GET", &self.by_tag()).send().await.expect(200);
        assert!(manifest.body == self.manifest(), "{}", self.by_tag());
        for blob in self.blobs() {
            let content = content(blob);
            let path = format!("/v2/{}/blobs/{}", self.repository, sha256(&content));
            let pulled = client.request("GET", &path).send().await.expect(200);
            assert!(pulled.body == content, "{path} of {}", self.by_tag());
        }
    }
}

/// Mounts a blob. False if the registry began an upload instead.
pub(super) async fn mount(client: &Persistent, to: &str, from: &str, blob: Blob) -> bool {
    let digest = sha256(&content(blob));
    let path = format!("/v2/{to}/blobs/uploads/?mount={digest}&from={from}");
    let mounted = client.ask("POST", &path, &[], b"").await;
    assert!(matches!(mounted.status.as_u16(), 201 | 202), "{mounted:?}");
    mounted.status == 201
}

/// What must be in the bucket when nothing but these images is left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) data: usize,
    pub(super) links: usize,
    pub(super) manifests: usize,
    pub(super) tags: usize,
}

impl Expected {
    pub(super) fn of(images: &[Image]) -> Self {
        let mut data = BTreeSet::new();
        let (mut links, mut manifests, mut tags) = (data.clone(), BTreeSet::new(), BTreeSet::new());
        let mut repositories = std::collections::BTreeMap::new();
        for image in images {
            let number = repositories.len();
            let number = *repositories.entry(&image.repository).or_insert(number);
            for (seed, size) in image.blobs() {
                // The sizes of blobs with one seed are the same.
                links.insert((number as u64, seed as usize));
                if size > INLINE_MAX {
                    data.insert((seed, size));
                }
            }
            manifests.insert((&image.repository, image.config, &image.layers));
            tags.insert((&image.repository, &image.tag));
        }
        let [data, links] = [data.len(), links.len()];
        Self { data, links, manifests: manifests.len(), tags: tags.len() }
    }
}

/// Pushes images one after another, each second one deleted again, until `goes_on` says no.
/// Returns those that are left.
pub(super) async fn push_and_delete(
    cluster: &Cluster,
    client_number: u64,
    mut goes_on: impl FnMut() -> bool + Send,
) -> Vec<Image> {
    let mut random = Random::new(cluster.seed + client_number);
    let repository = format!("r{}", client_number % 2);
    let (mut left, mut number) = (Vec::new(), 100_000 * client_number);
    while goes_on() {
        number += 1;
        let image = Image::new(&repository, number).with_own_layer(number);
        image.push(&cluster.client, cluster.times, Duration::ZERO, None).await;
        if random.percent(50) {
            image.delete(&cluster.client).await;
        } else {
            left.push(image);
        }
    }
    left
}
