//! An outage of the whole store, or refused credentials: every endpoint is 503, and no response
//! says that content does not exist.

use std::sync::Arc;

use longshore::config::Settings;
use longshore::oci::UploadId;
use longshore::store::memory::{Fault, FaultKind, Memory, Reported};

use crate::support::app::OCI_MANIFEST;
use crate::support::{App, bytes, sha256};

async fn everything_is_503(kind: FaultKind) {
    let memory = Arc::new(Memory::new());
    let app = App::over_memory(memory.clone(), Settings::default()).await;
    let (manifest, raw) = app.push_image("a", "v1", 1).await;
    let blob = app.push_blob("a", &bytes(7, 100_000)).await;
    let started = app.request("POST", "/v2/a/blobs/uploads/").send().await.location();
    let patch = app.request("PATCH", &started).body(bytes(1, 100));
    let session = patch.send().await.expect(202).location();
    let unknown = UploadId::random();
    let other = sha256(b"other");
    memory.inject(Fault::everywhere(kind).always());
    for (method, path, body) in [
        ("GET", format!("/v2/a/blobs/{blob}"), &[] as &[u8]),
        ("GET", format!("/v2/a/blobs/{other}"), &[]),
        ("HEAD", format!("/v2/a/blobs/{blob}"), &[]),
        ("DELETE", format!("/v2/a/blobs/{blob}"), &[]),
        ("GET", "/v2/a/manifests/v1".to_owned(), &[]),
        ("GET", "/v2/a/manifests/v2".to_owned(), &[]),
        ("HEAD", format!("/v2/a/manifests/{manifest}"), &[]),
        ("DELETE", "/v2/a/manifests/v1".to_owned(), &[]),
        ("DELETE", format!("/v2/a/manifests/{manifest}"), &[]),
        ("PUT", "/v2/a/manifests/v1".to_owned(), &raw),
        ("PUT", "/v2/a/manifests/v2".to_owned(), &raw),
        ("POST", format!("/v2/b/blobs/uploads/?mount={blob}&from=a"), &[]),
        ("POST", format!("/v2/b/blobs/uploads/?mount={blob}"), &[]),
        ("POST", format!("/v2/b/blobs/uploads/?digest={other}"), b"other"),
        ("PATCH", session.clone(), b"more"),
        ("GET", session.clone(), &[]),
        ("GET", format!("/v2/a/blobs/uploads/{unknown}"), &[]),
        ("PUT", format!("{session}?digest={}", sha256(&bytes(1, 100))), &[]),
        ("DELETE", session.clone(), &[]),
        ("GET", "/v2/a/tags/list".to_owned(), &[]),
        ("GET", "/v2/nothing/tags/list".to_owned(), &[]),
        ("GET", "/v2/_catalog".to_owned(), &[]),
        ("GET", format!("/v2/a/referrers/{manifest}"), &[]),
    ] {
        let request = app.request(method, &path).header("content-type", OCI_MANIFEST);
        let reply = request.body(body.to_vec()).send().await;
        assert_eq!(reply.status.as_u16(), 503, "{kind:?} {method} {path}: {reply:?}");
        assert!(reply.header("retry-after").is_some(), "{method} {path}: {reply:?}");
        if method != "HEAD" {
            assert_eq!(reply.json()["errors"][0]["code"], "UNAVAILABLE", "{method} {path}");
        }
    }
    // Requests that do not need the store succeed.
    app.get("/v2/").send().await.expect(200);
    app.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_is_503_if_the_store_is_down() {
    everything_is_503(FaultKind::FailBefore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_is_503_if_the_store_refuses_the_credentials() {
    everything_is_503(FaultKind::Refuse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_is_503_if_responses_of_the_store_are_lost() {
    everything_is_503(FaultKind::FailAfter(Reported::Unavailable)).await;
}

/// A push in which every conditional write conflicts with its own first attempt succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_with_an_own_earlier_attempt_is_a_success() {
    let memory = Arc::new(Memory::new());
    let app = App::over_memory(memory.clone(), Settings::default()).await;
    memory
        .inject(Fault::everywhere(FaultKind::FailAfter(Reported::Conflict)).below("v1/").always());
    // Only conditional writes can conflict with themselves.
    memory.heal();
    for operation in
        [longshore::store::memory::Operation::Create, longshore::store::memory::Operation::Replace]
    {
        memory.inject(Fault::on(operation, FaultKind::FailAfter(Reported::Conflict)).always());
    }
    let (digest, raw) = app.push_image("a", "v1", 1).await;
    app.push_blob("a", &bytes(1, 7_000_000)).await;
    let started = app.request("POST", "/v2/a/blobs/uploads/").send().await.location();
    let patch = app.request("PATCH", &started).body(bytes(2, 7_000_000));
    let session = patch.send().await.expect(202).location();
    let close = format!("{session}?digest={}", sha256(&bytes(2, 7_000_000)));
    app.request("PUT", &close).send().await.expect(201);
    let again = app.request("PUT", "/v2/a/manifests/v1").header("content-type", OCI_MANIFEST);
    again.body(raw.clone()).send().await.expect(201);
    assert_eq!(app.get("/v2/a/manifests/v1").send().await.expect(200).body, raw);
    app.request("DELETE", &format!("/v2/a/manifests/{digest}")).send().await.expect(202);
    app.get("/v2/a/manifests/v1").send().await.expect(404);
    app.settled().await;
    assert_eq!(memory.data_objects().len(), 2);
    assert_eq!(memory.open_multiparts(), 0);
}
