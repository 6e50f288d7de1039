//! Mounting a blob from another repository: distribution-spec "Mounting a blob from another
//! repository" (end-11).

use crate::support::exchange::created;
use crate::support::{App, Reply, bytes, sha256, sha512};

async fn mount(app: &App, repository: &str, query: &str) -> Reply {
    app.request("POST", &format!("/v2/{repository}/blobs/uploads/?{query}")).send().await
}

/// Asserts that nothing was mounted, and that the new session accepts the blob.
async fn uploads_instead(app: &App, repository: &str, reply: Reply, content: &[u8]) {
    let location = reply.expect(202).stands_at(0).lacks("docker-content-digest").location();
    let prefix = format!("/v2/{repository}/blobs/uploads/");
    assert!(location.starts_with(&prefix), "{location}");
    let digest = sha256(content);
    created(app.close(&location, &digest, content).await, repository, &digest);
    app.assert_blob(repository, &digest, content).await;
}

#[tokio::test]
async fn a_blob_is_mounted_from_a_named_repository() {
    let app = App::start().await;
    for size in [0, 10, 100_000, 17 * 1024 * 1024] {
        let (source, target) = (app.repository("source"), app.repository("target"));
        let content = bytes(size as u64 + 600, size);
        let digest = app.push_blob(&source, &content).await;
        app.assert_no_blob(&target, &digest).await;
        let reply = mount(&app, &target, &format!("mount={digest}&from={source}")).await;
        created(reply, &target, &digest);
        app.assert_blob(&target, &digest, &content).await;
        // An existing blob can be mounted again, also into its own repository.
        let reply = mount(&app, &target, &format!("mount={digest}&from={source}")).await;
        created(reply, &target, &digest);
        let reply = mount(&app, &source, &format!("mount={digest}&from={source}")).await;
        created(reply, &source, &digest);
    }
}

#[tokio::test]
async fn a_blob_is_mounted_from_any_repository() {
    let app = App::start().await;
    for size in [10, 100_000] {
        let (source, target) = (app.repository("source"), app.repository("target"));
        // Unique content, so that this repository is the only source.
        let content = [bytes(610, size), source.clone().into_bytes()].concat();
        let digest = app.push_blob(&source, &content).await;
        created(mount(&app, &target, &format!("mount={digest}")).await, &target, &digest);
        app.assert_blob(&target, &digest, &content).await;
    }
}

#[tokio::test]
async fn a_blob_is_mounted_by_sha512_and_by_an_encoded_digest() {
    let app = App::start().await;
    let (source, target) = (app.repository("source"), app.repository("target/below"));
    for size in [10, 100_000] {
        let content = bytes(620, size);
        let digest = sha512(&content);
        let location = app.start_upload(&source, "").await;
        app.close(&location, &digest, &content).await.expect(201);
        let from = source.replace('/', "%2F");
        let encoded = digest.replace(':', "%3A");
        let reply = mount(&app, &target, &format!("from={from}&mount={encoded}")).await;
        created(reply, &target, &digest);
        app.assert_blob(&target, &digest, &content).await;
    }
}

#[tokio::test]
async fn a_mount_of_a_missing_blob_starts_an_upload() {
    let app = App::start().await;
    let (source, target) = (app.repository("source"), app.repository("target"));
    let content = [&b"never pushed "[..], source.as_bytes()].concat();
    let digest = sha256(&content);
    // An unknown repository, a blob that it lacks, and a blob that no repository has.
    let named = format!("mount={digest}&from={source}");
    let reply = mount(&app, &target, &named).await;
    uploads_instead(&app, &target, reply, &bytes(630, 10)).await;
    app.push_blob(&source, b"something else").await;
    let reply = mount(&app, &target, &named).await;
    uploads_instead(&app, &target, reply, &bytes(631, 10)).await;
    let reply = mount(&app, &target, &format!("mount={digest}")).await;
    uploads_instead(&app, &target, reply, &bytes(632, 10)).await;
    app.assert_no_blob(&target, &digest).await;
    // A blob of a third repository is not in the named one.
    let third = app.repository("third");
    app.push_blob(&third, &content).await;
    let reply = mount(&app, &target, &named).await;
    uploads_instead(&app, &target, reply, &bytes(633, 10)).await;
    app.assert_no_blob(&target, &digest).await;
    app.assert_no_blob(&source, &digest).await;
}

#[tokio::test]
async fn a_mount_with_invalid_parameters_starts_an_upload() {
    let app = App::start().await;
    let (source, target) = (app.repository("source"), app.repository("target"));
    let digest = app.push_blob(&source, b"mount me").await;
    let unserved = format!("md5:{}", "a".repeat(32));
    let long = "a".repeat(300);
    let cases = [
        format!("mount=&from={source}"),
        format!("mount=latest&from={source}"),
        format!("mount=sha256:bad&from={source}"),
        format!("mount={unserved}&from={source}"),
        format!("mount={digest}&from="),
        format!("mount={digest}&from=UPPER/case"),
        format!("mount={digest}&from=../{source}"),
        format!("mount={digest}&from={long}"),
        format!("mount={digest}&from=%ff"),
        format!("from={source}"),
        "mount=sha256:bad".to_owned(),
    ];
    for (seed, query) in cases.iter().enumerate() {
        let reply = mount(&app, &target, query).await;
        uploads_instead(&app, &target, reply, &bytes(640 + seed as u64, 10)).await;
        app.assert_no_blob(&target, &digest).await;
    }
}

#[tokio::test]
async fn deleting_a_mounted_blob_keeps_it_in_the_other_repository() {
    let app = App::start().await;
    for size in [10, 100_000] {
        for of_source in [true, false] {
            let (source, target) = (app.repository("source"), app.repository("target"));
            let content = bytes(size as u64 + 660, size);
            let digest = app.push_blob(&source, &content).await;
            let query = format!("mount={digest}&from={source}");
            created(mount(&app, &target, &query).await, &target, &digest);
            let (deleted, kept) = if of_source { (&source, &target) } else { (&target, &source) };
            let path = format!("/v2/{deleted}/blobs/{digest}");
            app.request("DELETE", &path).send().await.expect(202);
            app.settled().await;
            app.assert_no_blob(deleted, &digest).await;
            app.assert_blob(kept, &digest, &content).await;
            // And back again, from the repository that still has it.
            let query = format!("mount={digest}&from={kept}");
            created(mount(&app, deleted, &query).await, deleted, &digest);
            app.assert_blob(deleted, &digest, &content).await;
        }
    }
}

#[tokio::test]
async fn a_deleted_blob_cannot_be_mounted() {
    let app = App::start().await;
    for size in [10, 100_000] {
        let (source, target) = (app.repository("source"), app.repository("target"));
        let content = [bytes(680, size), source.clone().into_bytes()].concat();
        let digest = app.push_blob(&source, &content).await;
        app.request("DELETE", &format!("/v2/{source}/blobs/{digest}")).send().await.expect(202);
        for query in [format!("mount={digest}&from={source}"), format!("mount={digest}")] {
            let reply = mount(&app, &target, &query).await;
            reply.expect(202).stands_at(0);
            app.assert_no_blob(&target, &digest).await;
        }
        let reply = mount(&app, &target, &format!("mount={digest}&from={source}")).await;
        uploads_instead(&app, &target, reply, &content).await;
    }
}

/// Pushing a known layer costs no transfer.
#[tokio::test]
async fn a_mount_copies_no_data() {
    let app = App::start().await;
    let Some(memory) = &app.memory else { return };
    let (source, target) = (app.repository("source"), app.repository("target"));
    let digest = app.push_blob(&source, &bytes(690, 100_000)).await;
    app.settled().await;
    let (before, objects) = (memory.calls(), memory.data_objects());
    let query = format!("mount={digest}&from={source}");
    created(mount(&app, &target, &query).await, &target, &digest);
    app.settled().await;
    let calls = memory.calls().since(&before);
    assert_eq!((calls.put, calls.get, calls.start), (0, 0, 0), "{calls:?}");
    assert_eq!(memory.data_objects(), objects);
}
