//! Reads everything again, through a frontend without faults and without a cache: what is there has
//! to be served, whole and with the right bytes, and every list has to agree.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use http::Request;
use serde_json::Value;

use crate::bucket::{link_key, referrer_key};
use crate::content::{CONTENT, Document, REPOSITORIES, TAGS, sha256};
use crate::frontend::{Frontend, Reply, undisturbed};
use crate::world::World;

pub(crate) struct Verifier {
    world: Arc<World>,
    frontend: Frontend,
}

impl Verifier {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self { world: world.clone(), frontend: undisturbed(world) }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        let request = Request::get(path).header("host", "registry").header("accept", "*/*");
        let request = request.body(Body::empty()).expect("a request");
        let minute = std::time::Duration::from_mins(1);
        self.frontend.call(request, minute).await.expect("an answer")
    }

    /// Reads everything that has to be there. When collectors have `finished` the deletions that
    /// were cut off, no tag dangles that was acknowledged.
    pub(crate) async fn everything(&self, finished: bool) {
        for repository in REPOSITORIES {
            for document in &CONTENT.documents {
                self.manifest(repository, document).await;
            }
            for tag in TAGS {
                let target = self.world.bucket().target(repository, tag).map(str::to_owned);
                let visible = |digest: &String| self.world.bucket().is_visible(repository, digest);
                let reply = self.get(&format!("/v2/{repository}/manifests/{tag}")).await;
                let found = (reply.status == 200).then(|| sha256(&reply.body));
                let dangles = target.as_ref().is_some_and(|digest| !visible(digest));
                if finished && dangles && self.world.ledger().was_tagged(repository, tag) {
                    self.world.fault(format_args!("I10: {tag} of {repository} dangles"));
                }
                if found != target.filter(visible) {
                    let status = reply.status;
                    self.world.fault(format_args!("I6: {tag} of {repository}: {status} {found:?}"));
                }
            }
        }
    }

    async fn manifest(&self, repository: &str, document: &Document) {
        let digest = &document.digest;
        let visible = self.world.bucket().is_visible(repository, digest);
        let path = format!("/v2/{repository}/manifests/{digest}");
        let reply = self.get(&path).await;
        let right = reply.status == 200 && reply.body == document.bytes;
        if right != visible {
            self.world.fault(format_args!("I1: GET {path}: {}, not {visible}", reply.status));
        }
        for blob in document.blobs.iter().filter(|_| visible) {
            let blob = &CONTENT.blobs[*blob];
            let linked = self.world.bucket().live(&link_key(repository, &blob.digest)).is_some();
            let path = format!("/v2/{repository}/blobs/{}", blob.digest);
            let reply = self.get(&path).await;
            if linked != (reply.status == 200) || (linked && reply.body != blob.bytes) {
                self.world.fault(format_args!("I1: GET {path}: {}, not {linked}", reply.status));
            }
        }
    }

    /// Compares the lists of referrers with the manifests. A push that broke off may have left a
    /// manifest without its row, until a collector repairs it.
    pub(crate) async fn referrers(&self) {
        for repository in REPOSITORIES {
            for subject in &CONTENT.documents {
                let path = format!("/v2/{repository}/referrers/{}", subject.digest);
                let listed: Value =
                    serde_json::from_slice(&self.get(&path).await.body).expect("JSON");
                let rows = listed.get("manifests").and_then(Value::as_array);
                let rows = rows.into_iter().flatten().filter_map(|row| row["digest"].as_str());
                let listed: BTreeSet<&str> = rows.collect();
                let names = |document: &&Document| {
                    let names = |number: usize| CONTENT.documents[number].digest == subject.digest;
                    document.subject.is_some_and(names)
                        && self.world.bucket().is_visible(repository, &document.digest)
                };
                let expected = CONTENT.documents.iter().filter(names);
                let expected: BTreeSet<&str> = expected.map(|d| d.digest.as_str()).collect();
                if listed != expected {
                    self.world.fault(format_args!("I9: GET {path}: {listed:?}, not {expected:?}"));
                }
            }
        }
    }

    /// Compares the rows of referrers in the bucket with what was acknowledged.
    pub(crate) fn acknowledged_referrers(&self) {
        let acknowledged = self.world.ledger().acknowledged_pushes();
        for (repository, digest) in acknowledged {
            let subject = CONTENT.document(&digest).and_then(|document| document.subject);
            let Some(subject) = subject else { continue };
            let key = referrer_key(&repository, &CONTENT.documents[subject].digest, &digest);
            let bucket = self.world.bucket();
            let missing = bucket.is_visible(&repository, &digest) && bucket.live(&key).is_none();
            drop(bucket);
            if missing {
                self.world.fault(format_args!("I9: {digest} was acknowledged, and {key} is gone"));
            }
        }
    }
}
