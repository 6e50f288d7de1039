//! The end of a session: by commit, by a wrong digest, or by cancel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use longshore::config::Settings;
use longshore::oci::UploadId;
use longshore::store::RecordKey;
use longshore::store::memory::{Fault, FaultKind, Memory, Operation, Reported};

use crate::support::exchange::{created, with_query};
use crate::support::{App, bytes, sha256, sha512};

/// Asserts that a location is no longer valid.
///
/// Not tested for the first location (`<id>-new`): a PUT of the whole body does not read the
/// session, so the blob is accepted as by a single POST.
async fn assert_gone(app: &App, location: &str) {
    // A commit ends its session in the background. A registry in another process does not report
    // when that is done, so the status is requested until the session is gone, for ten seconds.
    for _ in 0..100 {
        if app.is_ours() || app.get(location).send().await.status == 404 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for method in ["GET", "DELETE"] {
        let reply = app.request(method, location).send().await;
        reply.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    }
    app.request("HEAD", location).send().await.expect(404).says(b"");
    app.patch(location, b"more").await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    app.patch_at(location, 0, b"more").await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    app.patch_at(location, 3, b"more").await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    app.close(location, &sha256(b"never"), b"seen").await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    for content in [&b""[..], b"never seen"] {
        if location.ends_with("-new") {
            break;
        }
        let reply = app.close(location, &sha256(content), content).await;
        reply.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        let reply = app.close(location, &sha512(content), content).await;
        reply.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    }
}

#[tokio::test]
async fn an_unknown_session_is_404() {
    let app = App::start().await;
    let repository = app.repository("never");
    let unknown = UploadId::random().to_string();
    let upper = unknown.to_uppercase();
    for id in [&unknown, &upper, "1", "not-an-upload", "..", "%2e%2e", "a%20b"] {
        assert_gone(&app, &format!("/v2/{repository}/blobs/uploads/{id}")).await;
    }
}

#[tokio::test]
async fn a_cancelled_session_is_404() {
    for size in [0, 3, 100_000, 17 * 1024 * 1024] {
        let app = App::start().await;
        let repository = app.repository("cancelled");
        let start = app.start_upload(&repository, "").await;
        let location = if size == 0 {
            start.clone()
        } else {
            app.patch(&start, &bytes(300, size)).await.expect(202).location()
        };
        let id = app.get(&location).send().await.expect(204).stands_at(size);
        let id = id.header("docker-upload-uuid").expect("an identifier").to_owned();
        let cancelled = app.request("DELETE", &location).send().await.expect(204);
        cancelled.has("docker-upload-uuid", id).says(b"");
        assert_gone(&app, &location).await;
        assert_gone(&app, &start).await;
        app.assert_nothing_stored().await;
    }
}

#[tokio::test]
async fn a_finished_session_is_404() {
    for size in [3, 100_000, 17 * 1024 * 1024] {
        let app = App::start().await;
        let repository = app.repository("finished");
        let content = bytes(301, size);
        let digest = sha256(&content);
        let start = app.start_upload(&repository, "").await;
        let location = app.patch(&start, &content).await.expect(202).location();
        created(app.close(&location, &digest, b"").await, &repository, &digest);
        app.settled().await;
        assert_gone(&app, &location).await;
        assert_gone(&app, &start).await;
        app.assert_blob(&repository, &digest, &content).await;
    }
}

/// The identifier of a session is valid only in its repository.
#[tokio::test]
async fn a_session_of_another_repository_is_404() {
    let app = App::start().await;
    let (ours, theirs) = (app.repository("ours"), app.repository("theirs"));
    let start = app.start_upload(&ours, "").await;
    let location = app.patch(&start, b"secret").await.expect(202).location();
    let moved = location.replace(&ours, &theirs);
    assert_gone(&app, &moved).await;
    let digest = sha256(b"secret");
    app.close(&moved, &digest, b"").await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    app.assert_no_blob(&theirs, &digest).await;
    // The location of the start is that of another new session there.
    let moved = start.replace(&ours, &theirs);
    app.patch(&moved, b"other").await.expect(202).stands_at(5);
    app.get(&location).send().await.expect(204).stands_at(6);
    created(app.close(&location, &digest, b"").await, &ours, &digest);
    app.assert_no_blob(&theirs, &digest).await;
}

/// A response may get lost: a client that repeats the final request gets success again.
#[tokio::test]
async fn the_final_put_may_be_repeated() {
    let app = App::start().await;
    let repository = app.repository("repeated");
    for size in [3, 100_000, 17 * 1024 * 1024] {
        let content = bytes(302, size);
        let digest = sha256(&content);
        let start = app.start_upload(&repository, "").await;
        let location = app.patch(&start, &content[..2]).await.expect(202).location();
        let close = with_query(&location, &format!("digest={digest}"));
        for _ in 0..3 {
            let put = app.request("PUT", &close).chunk_at(2, size - 2);
            let reply = put.body(content[2..].to_vec()).send().await;
            created(reply, &repository, &digest);
            app.settled().await;
        }
        created(app.close(&start, &digest, &content[2..]).await, &repository, &digest);
        app.assert_blob(&repository, &digest, &content).await;
    }
}

/// A wrong digest ends the session and deletes its data.
#[tokio::test]
async fn a_wrong_digest_ends_the_session() {
    for size in [3, 100_000, 17 * 1024 * 1024] {
        for announced in ["", "?digest-algorithm=sha256", "?digest-algorithm=sha512"] {
            for wrong in [sha256(b"wrong"), sha512(b"wrong")] {
                let app = App::start().await;
                let repository = app.repository("wrong");
                let content = bytes(303, size);
                let start = app.start_upload(&repository, announced).await;
                let location = app.patch(&start, &content).await.expect(202).location();
                let reply = app.close(&location, &wrong, b"").await;
                reply.expect_error(400, "DIGEST_INVALID").lacks("location");
                app.settled().await;
                assert_gone(&app, &location).await;
                // The same request again, as a client repeats it.
                let reply = app.close(&location, &wrong, b"").await;
                reply.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
                app.assert_no_blob(&repository, &wrong).await;
                app.assert_no_blob(&repository, &sha256(&content)).await;
                app.assert_nothing_stored().await;
            }
        }
    }
}

/// An invalid request does not end the session; wrong content does.
#[tokio::test]
async fn a_missing_or_malformed_digest_can_be_corrected() {
    let app = App::start().await;
    let repository = app.repository("corrected");
    let content = bytes(304, 1_000);
    let start = app.start_upload(&repository, "").await;
    let location = app.patch(&start, &content).await.expect(202).location();
    app.request("PUT", &location).send().await.expect_error(400, "DIGEST_INVALID");
    let md5 = format!("md5:{}", "0".repeat(32));
    for digest in ["", "sha256:bad", "nonsense", &md5] {
        app.close(&location, digest, b"").await.expect_error(400, "DIGEST_INVALID");
        app.get(&location).send().await.expect(204).stands_at(1_000);
    }
    let digest = sha256(&content);
    created(app.close(&location, &digest, b"").await, &repository, &digest);
}

#[tokio::test]
async fn other_methods_are_405_with_an_allow_header() {
    let app = App::start().await;
    let repository = app.repository("methods");
    let location = app.start_upload(&repository, "").await;
    let reply = app.request("POST", &location).send().await.expect_error(405, "UNSUPPORTED");
    reply.has("allow", "GET, HEAD, PATCH, PUT, DELETE");
    for method in ["GET", "PUT", "PATCH", "DELETE", "HEAD"] {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let reply = app.request(method, &path).send().await.expect(405);
        reply.has("allow", "POST");
    }
}

/// HEAD of a location is GET without a body, and neither has one.
#[tokio::test]
async fn head_returns_the_upload_status() {
    let app = App::start().await;
    let repository = app.repository("head");
    let start = app.start_upload(&repository, "").await;
    app.request("HEAD", &start).send().await.expect(204).stands_at(0).says(b"");
    let location = app.patch(&start, b"0123").await.expect(202).location();
    app.request("HEAD", &location).send().await.expect(204).stands_at(4).says(b"");
}

/// A session that never existed has no blob, even if its repository has one with that digest. The
/// location of a start needs no record: a request that carries the content may be repeated.
#[tokio::test]
async fn a_final_put_without_content_needs_a_session_that_existed() {
    let app = App::start().await;
    let repository = app.repository("random");
    for size in [3, 100_000] {
        let content = bytes(305, size);
        let digest = app.push_blob(&repository, &content).await;
        let unknown = format!("/v2/{repository}/blobs/uploads/{}", UploadId::random());
        for body in [&b""[..], &content] {
            let reply = app.close(&unknown, &digest, body).await;
            reply.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        }
        let new = format!("{unknown}-new");
        app.close(&new, &digest, b"").await.expect_error(400, "DIGEST_INVALID");
        for _ in 0..2 {
            created(app.close(&new, &digest, &content).await, &repository, &digest);
        }
    }
}

/// A client that lost the response to its final PUT relies on the blob: its link gets a new lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_final_put_touches_an_old_link() {
    let seconds = Arc::new(AtomicU64::new(1_800_000_000));
    let clock = seconds.clone();
    let now = move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst));
    let memory = Arc::new(Memory::with_clock(Arc::new(now)));
    let app = App::over_memory(memory.clone(), Settings::default()).await;
    for size in [3, 100_000] {
        let content = bytes(306, size);
        let digest = sha256(&content);
        let start = app.start_upload("a", "").await;
        let location = app.patch(&start, &content).await.expect(202).location();
        created(app.close(&location, &digest, b"").await, "a", &digest);
        app.settled().await;
        seconds.fetch_add(25 * 3600, Ordering::SeqCst);
        created(app.close(&location, &digest, b"").await, "a", &digest);
        let link = RecordKey::Link("a".parse().expect("a name"), digest.parse().expect("a digest"));
        assert_eq!(memory.record(&link).expect("a link").age, Duration::ZERO);
    }
}

/// The store has cancelled the session, and its response was lost.
#[tokio::test]
async fn a_cancel_whose_response_is_lost_succeeds() {
    let memory = Arc::new(Memory::new());
    let app = App::over_memory(memory.clone(), Settings::default()).await;
    let start = app.start_upload("a", "").await;
    let lost = FaultKind::FailAfter(Reported::Conflict);
    memory.inject(Fault::on(Operation::Create, lost).below("v1/u/"));
    app.request("DELETE", &start).send().await.expect(204);
    assert_gone(&app, &start).await;
}
