//! Clients that disconnect in the middle and resume: distribution-spec "Resuming an upload".

use std::time::Duration;

use crate::support::exchange::{created, with_query};
use crate::support::{App, Request, bytes, sha256};

const MIB: usize = 1024 * 1024;

/// Sends this part of a request and disconnects. The client may still receive a response.
pub(crate) async fn goes_away_in(request: Request<'_>, sent: &[u8]) {
    if let Ok(reply) = request.broken_after(sent).try_send().await {
        reply.expect_error(400, "BLOB_UPLOAD_INVALID");
    }
}

/// Waits until the session has stored the data of an interrupted request.
async fn resumed_at(app: &App, location: &str, at_least: u64) -> usize {
    for _ in 0..200 {
        let offset = app.get(location).send().await.expect(204).offset();
        if offset > at_least {
            return usize::try_from(offset).expect("a small number");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing of the interrupted chunk was kept")
}

/// Disconnects after each of these numbers of bytes, asks for the offset, and continues from there.
async fn goes_away(seed: u64, total: usize, breaks: &[usize], with_ranges: bool) {
    let app = App::start().await;
    let repository = app.repository("away");
    let content = bytes(seed, total);
    let digest = sha256(&content);
    let location = app.start_upload(&repository, "").await;
    let mut first = 0;
    for length in breaks {
        let mut request = app.request("PATCH", &location);
        if with_ranges {
            request = request.chunk_at(first, total - first);
        }
        let part = &content[first..first + length];
        goes_away_in(request, part).await;
        let now = resumed_at(&app, &location, first as u64).await;
        assert!(now <= first + length, "{now} bytes of {}", first + length);
        first = now;
    }
    let reply = app.patch_at(&location, first, &content[first..]).await;
    let location = reply.expect(202).stands_at(total).location();
    created(app.close(&location, &digest, b"").await, &repository, &digest);
    app.assert_blob(&repository, &digest, &content).await;
}

#[tokio::test]
async fn an_interrupted_small_chunk_can_be_resumed() {
    goes_away(400, 10_000, &[3_000, 1, 2_000], false).await;
    goes_away(401, 10_000, &[3_000, 1, 2_000], true).await;
}

#[tokio::test]
async fn an_interrupted_chunk_of_several_parts_can_be_resumed() {
    goes_away(402, 45 * MIB, &[20 * MIB, 3 * MIB, 17 * MIB], false).await;
    goes_away(403, 45 * MIB, &[20 * MIB, 3 * MIB, 17 * MIB], true).await;
}

/// A client that disconnects in the final PUT repeats it as a whole.
#[tokio::test]
async fn an_interrupted_final_put_can_be_repeated() {
    for (seed, total, sent) in [(404, 10_000, 5_000), (405, 40 * MIB, 18 * MIB)] {
        let app = App::start().await;
        let repository = app.repository("away-put");
        let content = bytes(seed, total);
        let digest = sha256(&content);
        let location = app.start_upload(&repository, "").await;
        let location = app.patch(&location, &content[..100]).await.expect(202).location();
        let close = with_query(&location, &format!("digest={digest}"));
        goes_away_in(app.request("PUT", &close), &content[100..sent]).await;
        app.settled().await;
        app.assert_no_blob(&repository, &digest).await;
        app.get(&location).send().await.expect(204).stands_at(100);
        created(app.close(&location, &digest, &content[100..]).await, &repository, &digest);
        app.assert_blob(&repository, &digest, &content).await;
    }
}

/// With a range, the server knows the position of the data and keeps it.
#[tokio::test]
async fn an_interrupted_final_put_with_a_range_can_be_resumed() {
    let app = App::start().await;
    let repository = app.repository("away-range");
    let content = bytes(406, 30 * MIB);
    let digest = sha256(&content);
    let location = app.start_upload(&repository, "").await;
    let location = app.patch(&location, &content[..100]).await.expect(202).location();
    let close = with_query(&location, &format!("digest={digest}"));
    let put = app.request("PUT", &close).chunk_at(100, content.len() - 100);
    goes_away_in(put, &content[100..20 * MIB]).await;
    let first = resumed_at(&app, &location, 100).await;
    let put = app.request("PUT", &close).chunk_at(first, content.len() - first);
    created(put.body(content[first..].to_vec()).send().await, &repository, &digest);
    app.assert_blob(&repository, &digest, &content).await;
}

/// A blob in a single request stores nothing if it breaks.
#[tokio::test]
async fn an_interrupted_single_request_stores_nothing() {
    let app = App::start().await;
    let repository = app.repository("away-whole");
    for (seed, total, sent) in [(407, 10_000, 5_000), (408, 40 * MIB, 20 * MIB)] {
        let content = bytes(seed, total);
        let digest = sha256(&content);
        let post = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let start = app.start_upload(&repository, "").await;
        let put = with_query(&start, &format!("digest={digest}"));
        for (method, path) in [("POST", &post), ("PUT", &put)] {
            goes_away_in(app.request(method, path), &content[..sent]).await;
            app.settled().await;
            app.assert_no_blob(&repository, &digest).await;
        }
        // The session of the PUT continues, from its beginning.
        created(app.close(&start, &digest, &content).await, &repository, &digest);
        app.assert_blob(&repository, &digest, &content).await;
    }
}
