//! Single-object uploads: a first chunk that is probably the whole blob is written to the location
//! of the blob. These sessions turn out otherwise.

use std::time::Duration;

use futures_util::future::join_all;
use longshore::store::memory::{Fault, FaultKind, Operation};

use crate::support::exchange::{created, with_query};
use crate::support::{App, bytes, sha256, sha512};

const MIB: usize = 1024 * 1024;

/// Asserts that the store has the data of this blob and no other object.
async fn assert_kept_once(app: &App, size: usize) {
    app.settled().await;
    if let Some(memory) = &app.memory {
        let sizes: Vec<u64> = memory.data_objects().into_iter().map(|(_, size)| size).collect();
        assert_eq!(sizes, [size as u64]);
        assert_eq!(memory.open_multiparts(), 0);
    }
}

/// An upload whose first request, without a range, sent this data. Returns the next location.
async fn begun(app: &App, repository: &str, bytes: &[u8]) -> String {
    let start = app.start_upload(repository, "").await;
    app.patch(&start, bytes).await.expect(202).location()
}

/// Finishes an upload with this last data, and asserts that the blob exists.
async fn publish(app: &App, repository: &str, location: &str, content: &[u8], last: &[u8]) {
    let digest = sha256(content);
    created(app.close(location, &digest, last).await, repository, &digest);
    app.assert_blob(repository, &digest, content).await;
}

/// Chunks without a range are appended.
#[tokio::test]
async fn more_chunks_can_follow() {
    for first in [100_000, 6 * MIB, 12 * MIB] {
        for second in [1, 3 * MIB, 17 * MIB] {
            let app = App::start().await;
            let repository = app.repository("more");
            let content = bytes(600, first + second);
            for (at, how) in ["no place", "a place", "the last request"].iter().enumerate() {
                let repository = format!("{repository}/{at}");
                let location = begun(&app, &repository, &content[..first]).await;
                app.get(&location).send().await.expect(204).stands_at(first);
                let rest = &content[first..];
                let (location, last) = match *how {
                    "no place" => (app.patch(&location, rest).await, &rest[..0]),
                    "a place" => (app.patch_at(&location, first, rest).await, &rest[..0]),
                    _ => {
                        publish(&app, &repository, &location, &content, rest).await;
                        continue;
                    }
                };
                let location = location.expect(202).stands_at(content.len()).location();
                publish(&app, &repository, &location, &content, last).await;
            }
            assert_kept_once(&app, content.len()).await;
        }
    }
}

/// The first location stays valid for a client that ignores the next one.
#[tokio::test]
async fn the_first_location_is_valid_for_every_chunk() {
    let app = App::start().await;
    let repository = app.repository("first");
    let content = bytes(601, 300_000);
    let start = app.start_upload(&repository, "").await;
    for chunk in content.chunks(100_000) {
        app.patch(&start, chunk).await.expect(202);
    }
    publish(&app, &repository, &start, &content, b"").await;
    assert_kept_once(&app, content.len()).await;
}

#[tokio::test]
async fn an_empty_chunk_changes_nothing() {
    let app = App::start().await;
    let repository = app.repository("nothing");
    let content = bytes(602, 200_000);
    let location = begun(&app, &repository, &content).await;
    let location = app.patch(&location, b"").await.expect(202).stands_at(200_000).location();
    publish(&app, &repository, &location, &content, b"").await;
    assert_kept_once(&app, content.len()).await;
}

/// The digest may use an algorithm that was not announced.
#[tokio::test]
async fn a_digest_algorithm_that_was_not_announced_is_accepted() {
    for size in [100_000, 7 * MIB] {
        let app = App::start().await;
        let repository = app.repository("other");
        let content = bytes(603, size);
        let location = begun(&app, &repository, &content).await;
        let digest = sha512(&content);
        created(app.close(&location, &digest, b"").await, &repository, &digest);
        app.assert_blob(&repository, &digest, &content).await;
        assert_kept_once(&app, size).await;
    }
}

/// The same through the location of the start, for which the session is read only when the digest
/// of the last request alone does not match.
#[tokio::test]
async fn a_digest_that_was_not_announced_at_the_first_location() {
    for size in [100_000, 7 * MIB] {
        for matches in [true, false] {
            let app = App::start().await;
            let repository = app.repository("first-other");
            let content = bytes(605, size);
            let start = app.start_upload(&repository, "").await;
            app.patch(&start, &content).await.expect(202);
            if matches {
                let digest = sha512(&content);
                created(app.close(&start, &digest, b"").await, &repository, &digest);
                app.assert_blob(&repository, &digest, &content).await;
                assert_kept_once(&app, size).await;
            } else {
                let wrong = sha512(b"something else");
                app.close(&start, &wrong, b"").await.expect_error(400, "DIGEST_INVALID");
                app.settled().await;
                app.assert_no_blob(&repository, &wrong).await;
                app.assert_nothing_stored().await;
            }
        }
    }
}

#[tokio::test]
async fn pushing_an_existing_blob_again_stores_one_copy() {
    let app = App::start().await;
    let repository = app.repository("twice");
    let content = bytes(604, 2 * MIB);
    for at in 0..3 {
        let repository = format!("{repository}/{at}");
        let location = begun(&app, &repository, &content).await;
        publish(&app, &repository, &location, &content, b"").await;
    }
    assert_kept_once(&app, content.len()).await;
}

/// At most one of several ends of a session succeeds, and none deletes the data of another:
/// acknowledged content exists, and can be pushed again.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_ends_of_a_session_are_consistent() {
    for seed in 0..30 {
        let app = App::start().await;
        let repository = app.repository("ends");
        let content = bytes(610 + seed, 150_000);
        let (digest, wrong) = (sha256(&content), sha256(b"wrong"));
        let location = begun(&app, &repository, &content).await;
        let close = |digest: &str| {
            let path = with_query(&location, &format!("digest={digest}"));
            app.request("PUT", &path).send()
        };
        let cancel = app.request("DELETE", &location).send();
        let more = app.request("PATCH", &location).body(vec![7; 10]).send();
        let (right, again, wrong, cancelled, added) =
            tokio::join!(close(&digest), close(&digest), close(&wrong), cancel, more);
        app.settled().await;
        for reply in [&right, &again, &wrong, &cancelled, &added] {
            let status = reply.status.as_u16();
            assert!([201, 202, 204, 400, 404, 416, 503].contains(&status), "{reply:?}");
        }
        if right.status.as_u16() == 201 || again.status.as_u16() == 201 {
            app.assert_blob(&repository, &digest, &content).await;
        }
        let other = format!("{repository}/again");
        assert_eq!(app.push_blob(&other, &content).await, digest);
        app.assert_blob(&other, &digest, &content).await;
    }
}

/// Acknowledged data stays after a request that reads it back fails in the middle.
#[tokio::test]
async fn acknowledged_data_survives_a_failure_while_it_is_read_back() {
    for (first, second) in [(100_000, 8 * MIB), (100_000, 17 * MIB), (9 * MIB, MIB), (9 * MIB, 1)] {
        let app = App::start().await;
        let Some(memory) = &app.memory else {
            println!(
                "not run: acknowledged_data_survives_a_failure_while_it_is_read_back \
                 needs the store in memory"
            );
            return;
        };
        let repository = app.repository("back");
        let content = bytes(650, first + second);
        let location = begun(&app, &repository, &content[..first]).await;
        memory.inject(Fault::on(Operation::PutPart, FaultKind::FailBefore).always());
        app.patch(&location, &content[first..]).await.expect(503);
        memory.heal();
        app.settled().await;
        app.get(&location).send().await.expect(204).stands_at(first);
        let rest = app.patch_at(&location, first, &content[first..]).await.expect(202);
        publish(&app, &repository, &rest.location(), &content, b"").await;
        assert_kept_once(&app, content.len()).await;
    }
}

/// Several requests read the same data back and append to it: one of them wins.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_concurrent_next_chunks_wins() {
    for first in [100_000, 9 * MIB] {
        let app = App::start().await;
        let repository = app.repository("additions");
        let first_bytes = bytes(620, first);
        let location = begun(&app, &repository, &first_bytes).await;
        let additions: Vec<Vec<u8>> = (0..4).map(|seed| bytes(630 + seed, 8 * MIB)).collect();
        let patches = additions.iter().map(|more| app.patch_at(&location, first, more));
        let replies = join_all(patches).await;
        let won: Vec<usize> = (0..4).filter(|at| replies[*at].status.as_u16() == 202).collect();
        assert_eq!(won.len(), 1, "{replies:?}");
        let content = [first_bytes, additions[won[0]].clone()].concat();
        publish(&app, &repository, &location, &content, b"").await;
        assert_kept_once(&app, content.len()).await;
    }
}

/// A request that read the session before the commit, and changes it afterwards, must not delete
/// the data of the blob.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_cancel_does_not_delete_the_committed_blob() {
    let content = bytes(640, 150_000);
    let digest = sha256(&content);
    let longer = [&content[..], b"more"].concat();
    for (how, query, body) in [
        ("DELETE", String::new(), &b""[..]),
        ("PUT", format!("digest={}", sha256(b"wrong")), b""),
        ("PUT", format!("digest={}", sha256(&longer)), b"more"),
    ] {
        let app = App::start().await;
        let Some(memory) = &app.memory else {
            println!(
                "not run: a_late_cancel_does_not_delete_the_committed_blob \
                 needs the store in memory"
            );
            return;
        };
        let repository = app.repository("late");
        let location = begun(&app, &repository, &content).await;
        let late = Duration::from_millis(500);
        memory.inject(Fault::on(Operation::Replace, FaultKind::Delay(late)).below("v1/u/"));
        let path = if query.is_empty() { location.clone() } else { with_query(&location, &query) };
        let request = app.request(how, &path).body(body.to_vec());
        let publishing = async {
            tokio::time::sleep(late / 5).await;
            created(app.close(&location, &digest, b"").await, &repository, &digest);
        };
        let (reply, ()) = tokio::join!(request.send(), publishing);
        app.settled().await;
        assert!(reply.status.as_u16() < 500, "{how}: {reply:?}");
        app.assert_blob(&repository, &digest, &content).await;
    }
}
