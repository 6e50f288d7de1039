//! How clients push, pull and list manifests, and what each answer has to agree with.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use longshore::store::BlobStore as _;
use serde_json::Value;

use crate::bucket::{link_key, manifest_key, tag_key};
use crate::client::{Client, Payload};
use crate::content::{CONTENT, Document, TAGS, sha256};
use crate::frontend::Reply;
use crate::ledger::{Act, Outcome};
use crate::profile::{Caching, Focus};
use crate::timeline::Span;

/// What a push requires of its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    None,
    Absent,
    /// The tag points at this digest.
    PointsAt(String),
}

impl Condition {
    fn holds(&self, target: Option<&str>) -> bool {
        match self {
            Self::None => true,
            Self::Absent => target.is_none(),
            Self::PointsAt(digest) => target == Some(digest),
        }
    }

    fn header(&self) -> Option<(&'static str, String)> {
        match self {
            Self::None => None,
            Self::Absent => Some(("if-none-match", "*".to_owned())),
            Self::PointsAt(digest) => Some(("if-match", format!("\"{digest}\""))),
        }
    }
}

/// A manifest that is pushed, with its tags.
struct Push<'a> {
    repository: &'a str,
    document: &'a Document,
    tags: Vec<&'a str>,
    condition: Condition,
    by_digest: bool,
}

impl Push<'_> {
    fn path(&self) -> String {
        let Self { repository, document, tags, .. } = self;
        if !self.by_digest {
            return format!("/v2/{repository}/manifests/{}", tags[0]);
        }
        let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        format!("/v2/{repository}/manifests/{}{query}", document.digest)
    }
}

impl Client {
    /// For how long a cache may show an outdated link or manifest.
    pub(crate) fn blob_lag(&self) -> Duration {
        match self.world.profile.caching {
            Caching::None | Caching::Perfect => self.world.profile.local_ttl,
            Caching::Failing => {
                self.world.profile.settings().cache.ttl + self.world.profile.local_ttl
            }
        }
    }

    /// The time whose values a read may show that a cache answers.
    pub(crate) fn cached(&self, repository: &str, span: Span, lag: Duration) -> Span {
        if self.world.profile.caching != Caching::Perfect {
            return span.lagging(lag);
        }
        let from = self.world.ledger().unanswered_since(span.from, repository);
        Span { from, to: span.to }
    }

    /// Pushes a document with all that it names. False if that failed.
    pub(crate) fn push<'a>(&'a self, repository: &'a str, number: usize) -> BoxFuture<'a, bool> {
        async move {
            let document = &CONTENT.documents[number];
            if !self.push_named(repository, document).await {
                return false;
            }
            self.pause(Duration::from_mins(40)).await;
            let push = self.choose(repository, document).await;
            for _ in 0..4 {
                if let Some(pushed) = self.put_manifest(&push).await {
                    return pushed;
                }
                self.back_off().await;
            }
            false
        }
        .boxed()
    }

    async fn push_named(&self, repository: &str, document: &Document) -> bool {
        for child in document.children.iter().chain(&document.subject) {
            let path = format!("/v2/{repository}/manifests/{}", CONTENT.documents[*child].digest);
            let (_, reply) = self.send("HEAD", &path, &accept(), Payload::Nothing).await;
            let there = reply.is_some_and(|reply| reply.status == 200);
            if !there && !self.push(repository, *child).await {
                return false;
            }
        }
        for blob in &document.blobs {
            if !self.push_blob(repository, *blob).await {
                return false;
            }
        }
        for blob in &document.foreign {
            // A repository need not have it.
            if self.random.chance(600) {
                self.push_blob(repository, *blob).await;
            }
        }
        true
    }

    async fn choose<'a>(&self, repository: &'a str, document: &'a Document) -> Push<'a> {
        let mut tags = vec![*self.random.pick(&TAGS)];
        // Only a manifest without tags is acknowledged long after it was accepted.
        let slow = self.world.profile.focus == Focus::SlowDecisions && self.random.chance(800);
        let by_digest = slow || self.random.chance(400);
        if slow {
            tags.clear();
        } else if by_digest {
            tags.retain(|_| self.random.chance(500));
            if self.random.chance(300) {
                tags = TAGS[1..].to_vec();
            }
        }
        let mut condition = Condition::None;
        if tags.len() == 1 && self.random.chance(400) {
            condition = Condition::Absent;
            let path = format!("/v2/{repository}/manifests/{}", tags[0]);
            let (_, reply) = self.send("HEAD", &path, &accept(), Payload::Nothing).await;
            let digest = reply.as_ref().and_then(|reply| reply.header("docker-content-digest"));
            if let Some(digest) = digest {
                condition = Condition::PointsAt(digest.to_owned());
            }
        }
        Push { repository, document, tags, condition, by_digest }
    }

    /// Sends the manifest. Nothing if the client may try again.
    async fn put_manifest(&self, push: &Push<'_>) -> Option<bool> {
        let Push { repository, document, tags, condition, .. } = push;
        let act = Act::Push {
            repository: (*repository).to_owned(),
            digest: document.digest.clone(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        let mut headers = vec![("content-type", document.media_type.to_owned())];
        headers.extend(condition.header());
        let judge = |reply: &Reply| match reply.status {
            201 => Outcome::Acknowledged,
            // The manifest may have been written before the condition failed.
            412 => Outcome::Unknown,
            _ => Outcome::Refused,
        };
        let (path, payload) = (push.path(), Payload::Whole(document.bytes.clone()));
        let (span, reply) = self.change(act, ("PUT", &path), &headers, payload, judge).await;
        match reply?.status {
            201 => self.expect_pushed(push, span),
            412 => self.expect_unmet(push, span),
            400 => self.expect_missing(push, span),
            status => self.world.fault(format_args!("PUT {path}: {status}")),
        }
        Some(true)
    }

    fn expect_pushed(&self, push: &Push<'_>, span: Span) {
        let Push { repository, document, tags, condition, .. } = push;
        let key = manifest_key(repository, &document.digest);
        // What the push knows of a link may come from a cache, as what a client reads.
        let cached = self.cached(repository, span, self.blob_lag());
        let mut bucket = self.world.bucket();
        let mut wrong = Vec::new();
        if !bucket.timeline(&key).had(Some("visible"), span) {
            wrong.push(format!("I1: {key} was acknowledged, and never there"));
        }
        for blob in &document.blobs {
            let key = link_key(repository, &CONTENT.blobs[*blob].digest);
            if !bucket.timeline(&key).had(Some("linked"), cached) {
                wrong.push(format!("I1: {} was acknowledged without {key}", document.digest));
            }
        }
        for tag in tags {
            let (key, digest) = (tag_key(repository, tag), document.digest.as_str());
            let timeline = bucket.timeline(&key);
            if *condition == Condition::None {
                if !timeline.had(Some(digest), span) && !timeline.changed(span) {
                    wrong.push(format!("I6: {key} was acknowledged, and never {digest}"));
                }
                continue;
            }
            match timeline.unclaimed(digest, |before| condition.holds(before), span) {
                Some(write) => timeline.claim(write),
                None => wrong.push(format!(
                    "I6: {key} was acknowledged under {condition:?}, and no \
                    write of {digest} was the first under it"
                )),
            }
        }
        drop(bucket);
        self.world.faults(wrong);
    }

    fn expect_unmet(&self, push: &Push<'_>, span: Span) {
        let mut unmet = false;
        for tag in &push.tags {
            let mut bucket = self.world.bucket();
            let timeline = bucket.timeline(&tag_key(push.repository, tag));
            unmet |= timeline.during(span).any(|target| !push.condition.holds(target));
        }
        if !unmet {
            let (path, condition) = (push.path(), &push.condition);
            self.world.fault(format_args!("I6: 412 for {path}, and {condition:?} always held"));
        }
    }

    fn expect_missing(&self, push: &Push<'_>, span: Span) {
        let Push { repository, document, .. } = push;
        let blobs = document.blobs.iter().map(|blob| &CONTENT.blobs[*blob].digest);
        let children = document.children.iter().map(|child| &CONTENT.documents[*child].digest);
        let keys = blobs.map(|digest| link_key(repository, digest));
        let keys = keys.chain(children.map(|digest| manifest_key(repository, digest)));
        let mut bucket = self.world.bucket();
        let missing = keys.into_iter().any(|key| bucket.timeline(&key).had(None, span));
        drop(bucket);
        if !missing {
            let path = push.path();
            self.world.fault(format_args!("I1: 400 for {path}, and all that it names was there"));
        }
    }

    pub(crate) fn expect_tag_absent(&self, repository: &str, tag: &str, span: Span) {
        let key = tag_key(repository, tag);
        if !self.world.bucket().timeline(&key).had(None, span) {
            self.world.fault(format_args!("I10: {key} was deleted, and never absent"));
        }
    }

    pub(crate) fn expect_manifest_absent(
        &self,
        repository: &str,
        digest: &str,
        span: Span,
        deleted: bool,
    ) {
        let key = manifest_key(repository, digest);
        let mut bucket = self.world.bucket();
        let mut present = !bucket.timeline(&key).had(None, span);
        for tag in TAGS.iter().filter(|_| deleted) {
            let timeline = bucket.timeline(&tag_key(repository, tag));
            present |= timeline.during(span).all(|target| target == Some(digest));
            let dangles = bucket.target(repository, tag) == Some(digest)
                && !bucket.is_visible(repository, digest);
            let after = span.to + Duration::from_nanos(1);
            let names = (repository, digest);
            present |= dangles && !self.world.ledger().is_contested(after, names, tag);
        }
        drop(bucket);
        if present {
            self.world.fault(format_args!("I10: {key} was deleted, and it or a tag always there"));
        }
    }

    /// Pulls an image by its tag, with everything that it names.
    pub(crate) async fn pull(&self, repository: &str, tag: &str) {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let (span, reply) = self.send("GET", &path, &accept(), Payload::Nothing).await;
        let Some(reply) = reply else { return };
        let lagging = self.cached(repository, span, self.world.profile.lag());
        let digest = (reply.status == 200).then(|| sha256(&reply.body));
        self.expect_resolved(repository, tag, digest.as_deref(), lagging);
        let document = digest.and_then(|digest| CONTENT.document(&digest));
        for blob in document.iter().flat_map(|document| &document.blobs) {
            self.pull_blob(repository, *blob).await;
        }
    }

    fn expect_resolved(&self, repository: &str, tag: &str, digest: Option<&str>, span: Span) {
        let mut bucket = self.world.bucket();
        let targets: Vec<Option<String>> = {
            let timeline = bucket.timeline(&tag_key(repository, tag));
            timeline.during(span).map(|target| target.map(str::to_owned)).collect()
        };
        let explained = targets.iter().any(|target| match (target, digest) {
            (None, None) => true,
            (Some(target), None) => {
                bucket.timeline(&manifest_key(repository, target)).had(None, span)
            }
            (target, Some(digest)) => target.as_deref() == Some(digest),
        });
        drop(bucket);
        if !explained {
            let was = targets.last();
            self.world.fault(format_args!(
                "I6: {tag} of {repository} was read as {digest:?}, and it was {was:?}"
            ));
        }
    }

    async fn pull_blob(&self, repository: &str, number: usize) {
        let blob = &CONTENT.blobs[number];
        let path = format!("/v2/{repository}/blobs/{}", blob.digest);
        let (span, reply) = self.send("GET", &path, &[], Payload::Nothing).await;
        let Some(reply) = reply else { return };
        let lagging = self.cached(repository, span, self.blob_lag());
        self.expect_blob(repository, &blob.digest, lagging, reply.status != 404);
        if reply.status == 307 {
            self.follow(&reply).await;
        } else if reply.status == 200 && reply.body != blob.bytes {
            self.world.fault(format_args!("I3: GET {path} returned other bytes"));
        }
    }

    /// Uses a presigned URL at some time before it expires.
    async fn follow(&self, reply: &Reply) {
        let location = reply.header("location").unwrap_or_default().to_owned();
        let Some((location, _)) = location.split_once('?') else { return };
        self.pause(Duration::from_mins(15)).await;
        let location = location.trim_start_matches("memory://bucket/").parse();
        let location: longshore::store::Location = location.expect("a location");
        if !matches!(self.world.memory.head(&location).await, Ok(Some(_))) {
            self.world.fault(format_args!("I2: a client was sent to {location}, which is gone"));
        }
    }

    pub(crate) async fn list_tags(&self, repository: &str) {
        let path = format!("/v2/{repository}/tags/list");
        let (span, reply) = self.send("GET", &path, &[], Payload::Nothing).await;
        let Some(reply) = reply else { return };
        let listed: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let listed = listed.get("tags").and_then(Value::as_array).cloned().unwrap_or_default();
        let span = self.cached(repository, span, self.world.profile.lag());
        for tag in TAGS {
            let is_listed = listed.iter().any(|row| row == tag);
            let mut bucket = self.world.bucket();
            let timeline = bucket.timeline(&tag_key(repository, tag));
            let agrees = timeline.during(span).any(|target| target.is_some() == is_listed);
            drop(bucket);
            if !agrees {
                self.world.fault(format_args!("{path}: {tag} is listed: {is_listed}"));
            }
        }
    }
}

pub(crate) fn accept() -> Vec<(&'static str, String)> {
    vec![("accept", "*/*".to_owned())]
}
