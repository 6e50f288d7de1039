//! Many concurrent clients: distribution-spec "Pushing blobs" (content may be pushed again at any
//! time), and the data that remains in the store afterwards.

use futures_util::future::join_all;

use crate::support::exchange::{created, with_query};
use crate::support::{App, bytes, sha256};

/// One of the flows in which clients push, selected by a number.
async fn push(app: &App, repository: &str, content: &[u8], way: usize) {
    let digest = sha256(content);
    let reply = match way % 4 {
        0 => {
            let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
            app.request("POST", &path).body(content.to_vec()).send().await
        }
        1 => {
            let location = app.start_upload(repository, "").await;
            app.close(&location, &digest, content).await
        }
        2 => {
            let location = app.start_upload(repository, "").await;
            let patch = app.request("PATCH", &location).chunked(content, 30_000).send().await;
            let location = patch.expect(202).stands_at(content.len()).location();
            app.close(&location, &digest, b"").await
        }
        _ => {
            let half = content.len() / 2;
            let location = app.start_upload(repository, "?digest-algorithm=sha256").await;
            let location = app.patch_at(&location, 0, &content[..half]).await.location();
            let put = app.request("PUT", &with_query(&location, &format!("digest={digest}")));
            let put = put.chunk_at(half, content.len() - half);
            put.body(content[half..].to_vec()).send().await
        }
    };
    created(reply, repository, &digest);
}

/// The number of stored copies. Asserts that no upload is open.
async fn assert_copies(app: &App, copies: usize) {
    app.settled().await;
    if let Some(memory) = &app.memory {
        assert_eq!(memory.data_objects().len(), copies, "{:?}", memory.data_objects());
        assert_eq!(memory.open_multiparts(), 0);
    }
}

#[tokio::test]
async fn a_hundred_concurrent_pushes_of_a_blob_store_one_copy() {
    for (size, copies) in [(1_000, 0), (100_000, 1)] {
        let app = App::start().await;
        let repository = app.repository("hundred");
        let content = bytes(900, size);
        join_all((0..100).map(|way| push(&app, &repository, &content, way))).await;
        app.assert_blob(&repository, &sha256(&content), &content).await;
        assert_copies(&app, copies).await;
    }
}

#[tokio::test]
async fn a_hundred_pushes_into_twenty_repositories_store_one_copy() {
    let app = App::start().await;
    let repositories: Vec<String> = (0..20).map(|_| app.repository("twenty")).collect();
    let content = bytes(901, 100_000);
    join_all((0..100).map(|way| push(&app, &repositories[way % 20], &content, way / 20))).await;
    assert_copies(&app, 1).await;
    for repository in &repositories {
        app.assert_blob(repository, &sha256(&content), &content).await;
    }
}

#[tokio::test]
async fn concurrent_multipart_pushes_of_a_blob_store_one_copy() {
    let app = App::start().await;
    let repository = app.repository("parts");
    let content = bytes(902, 17 * 1024 * 1024);
    join_all((0..4).map(|way| push(&app, &repository, &content, way))).await;
    app.assert_blob(&repository, &sha256(&content), &content).await;
    assert_copies(&app, 1).await;
}

#[tokio::test]
async fn a_hundred_concurrent_pushes_of_different_blobs_do_not_mix() {
    let app = App::start().await;
    let repository = app.repository("different");
    let contents: Vec<Vec<u8>> =
        (1..101).map(|size| bytes(1_000 + size as u64, 1_000 * size)).collect();
    let pushes = contents.iter().enumerate();
    join_all(pushes.map(|(way, content)| push(&app, &repository, content, way))).await;
    let digests: Vec<String> = contents.iter().map(|content| sha256(content)).collect();
    let reads = digests.iter().zip(&contents);
    join_all(reads.map(|(digest, content)| app.assert_blob(&repository, digest, content))).await;
    app.settled().await;
}

/// A blob that is pushed and deleted concurrently is whole or gone, never damaged.
#[tokio::test]
async fn a_blob_pushed_and_deleted_concurrently_is_whole_or_gone() {
    for size in [1_000, 100_000] {
        let app = App::start().await;
        let repository = app.repository("push-delete");
        let content = bytes(903, size);
        let path = format!("/v2/{repository}/blobs/{}", sha256(&content));
        let deletes = async {
            for _ in 0..20 {
                let reply = app.request("DELETE", &path).send().await;
                assert!(matches!(reply.status.as_u16(), 202 | 404), "{reply:?}");
                let reply = app.get(&path).send().await;
                match reply.status.as_u16() {
                    200 => drop(reply.says(&content)),
                    _ => drop(reply.expect_error(404, "BLOB_UNKNOWN")),
                }
            }
        };
        let pushes = join_all((0..24).map(|way| push(&app, &repository, &content, way)));
        tokio::join!(deletes, pushes);
        push(&app, &repository, &content, 0).await;
        app.get(&path).send().await.expect(200).says(&content);
        assert_copies(&app, usize::from(size > 64 * 1024)).await;
    }
}
