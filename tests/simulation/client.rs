//! Clients: they push, pull and delete as real ones do, repeat what failed, and check every answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Request;
use tokio::time::sleep;

use crate::content::{CONTENT, REPOSITORIES, TAGS};
use crate::frontend::{Frontend, Reply};
use crate::ledger::{Act, Outcome};
use crate::profile::{Focus, GRACE, Profile};
use crate::random::Random;
use crate::timeline::Span;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

pub(crate) struct Client {
    pub(crate) world: Arc<World>,
    pub(crate) random: Random,
    frontends: Vec<Frontend>,
    name: usize,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Nothing,
    /// With its length.
    Whole(Bytes),
    /// In pieces, without its length. It may break off, and come slowly.
    Pieces(Bytes),
}

impl Payload {
    fn into_body(self, random: &Random) -> Body {
        match self {
            Self::Nothing => Body::empty(),
            Self::Whole(bytes) => Body::from(bytes),
            Self::Pieces(bytes) => {
                let sent = if random.chance(150) { random.below(bytes.len()) } else { bytes.len() };
                let pause = if random.chance(200) { 5 * SECOND } else { Duration::ZERO };
                let broken = sent < bytes.len();
                let pieces: Vec<Bytes> =
                    bytes[..sent].chunks(7_000).map(Bytes::copy_from_slice).collect();
                let failure = broken.then(|| Err(std::io::Error::other("the client goes away")));
                let pieces = stream::iter(pieces.into_iter().map(Ok).chain(failure));
                Body::from_stream(pieces.then(move |piece| async move {
                    sleep(pause).await;
                    piece
                }))
            }
        }
    }
}

impl Client {
    pub(crate) fn new(world: &Arc<World>, frontends: &[Frontend], name: usize) -> Self {
        let random = Random::of(world.profile.seed, 100 + name as u64);
        Self { world: world.clone(), random, frontends: frontends.to_vec(), name }
    }

    /// Does one thing after the other.
    pub(crate) async fn live(self) {
        let Profile { pause_max, deletions, pushes, names, .. } = self.world.profile.clone();
        let (repositories, tags, documents) = names;
        for _ in 0..self.world.profile.acts {
            self.pause(pause_max).await;
            let repository = *self.random.pick(&REPOSITORIES[..repositories]);
            let tag = *self.random.pick(&TAGS[..tags]);
            let document = self.random.below(CONTENT.documents.len().min(documents));
            if self.random.chance(deletions) {
                let only_manifests = self.world.profile.focus == Focus::SlowDecisions;
                match if only_manifests { 1 } else { self.random.below(3) } {
                    0 => self.delete_tag(repository, tag).await,
                    1 => self.delete_manifest(repository, document).await,
                    _ => self.delete_blob(repository).await,
                }
            } else if self.random.chance(pushes) {
                self.push(repository, document).await;
            } else {
                match self.random.below(4) {
                    0 | 1 => {
                        self.push_blob(repository, self.random.below(CONTENT.blobs.len())).await;
                    }
                    2 => self.list_tags(repository).await,
                    _ => self.pull(repository, tag).await,
                }
            }
        }
    }

    /// The blob that this client uploads for a week: large, and another one for each client.
    pub(crate) fn week_blob(&self) -> usize {
        7 + self.name % 3
    }

    /// Waits for a while, at most for `most`.
    pub(crate) async fn pause(&self, most: Duration) {
        sleep(self.random.between(SECOND, most)).await;
    }

    /// Waits before a request is repeated: seconds, or hours if the client comes back later.
    pub(crate) async fn back_off(&self) {
        if self.world.profile.focus == Focus::Resumption && self.random.chance(500) {
            sleep(self.random.between(GRACE, GRACE + 8 * MINUTE)).await;
            return;
        }
        let later = self.random.chance(100);
        self.pause(if later { 6 * HOUR } else { MINUTE }).await;
    }

    /// Sends a request to some frontend. Nothing if no whole answer arrives.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        payload: Payload,
    ) -> (Span, Option<Reply>) {
        let mut request = Request::builder().method(method).uri(path).header("host", "registry");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Payload::Whole(bytes) = &payload {
            request = request.header("content-length", bytes.len());
        }
        let request = request.body(payload.into_body(&self.random)).expect("a request");
        let mut patience = self.random.between(20 * SECOND, 20 * MINUTE);
        if self.world.profile.focus == Focus::SlowDecisions {
            // A client that repeats the push would make the slow decision harmless.
            patience = 6 * HOUR;
        }
        let from = self.world.at();
        let reply = self.random.pick(&self.frontends).call(request, patience).await;
        let status = reply.as_ref().map(|reply| reply.status);
        self.world.note(format_args!("client-{} {method} {path} {status:?}", self.name));
        if status == Some(500) {
            self.world.fault(format_args!("{method} {path}: 500"));
        }
        (Span { from, to: self.world.at() }, reply.filter(|reply| reply.status < 500))
    }

    /// Sends a request that changes something, and enters it into the ledger. `judge` says what an
    /// answer means for it.
    pub(crate) async fn change(
        &self,
        act: Act,
        (method, path): (&str, &str),
        headers: &[(&str, String)],
        payload: Payload,
        judge: impl Fn(&Reply) -> Outcome,
    ) -> (Span, Option<Reply>) {
        let number = self.world.ledger().begin(self.world.at(), act);
        let (span, reply) = self.send(method, path, headers, payload).await;
        let outcome = reply.as_ref().map_or(Outcome::Unknown, judge);
        self.world.ledger().end(number, span.to, outcome);
        (span, reply)
    }

    async fn delete_tag(&self, repository: &str, tag: &str) {
        let act = Act::DeleteTag(repository.to_owned(), tag.to_owned());
        let path = format!("/v2/{repository}/manifests/{tag}");
        if let Some((span, 202 | 404)) = self.delete(act, &path).await {
            self.expect_tag_absent(repository, tag, span);
        }
    }

    async fn delete_manifest(&self, repository: &str, document: usize) {
        let digest = &CONTENT.documents[document].digest;
        let act = Act::DeleteManifest(repository.to_owned(), digest.clone());
        let path = format!("/v2/{repository}/manifests/{digest}");
        if let Some((span, status @ (202 | 404))) = self.delete(act, &path).await {
            self.expect_manifest_absent(repository, digest, span, status == 202);
        }
    }

    async fn delete_blob(&self, repository: &str) {
        let digest = &self.random.pick(&CONTENT.blobs).digest;
        let act = Act::DeleteBlob(repository.to_owned(), digest.clone());
        let path = format!("/v2/{repository}/blobs/{digest}");
        if let Some((span, 202 | 404)) = self.delete(act, &path).await {
            self.expect_blob(repository, digest, span, false);
        }
    }

    async fn delete(&self, act: Act, path: &str) -> Option<(Span, u16)> {
        for _ in 0..3 {
            let judge = |reply: &Reply| match reply.status {
                202 => Outcome::Acknowledged,
                _ => Outcome::Refused,
            };
            let request = ("DELETE", path);
            let changed = self.change(act.clone(), request, &[], Payload::Nothing, judge);
            if let (span, Some(reply)) = changed.await {
                return Some((span, reply.status));
            }
            self.back_off().await;
        }
        None
    }
}
