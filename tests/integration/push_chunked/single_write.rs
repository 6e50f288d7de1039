//! A chunk that is probably the whole blob lies where the blob will be; these are the sessions that
//! turn out otherwise.

use std::time::Duration;

use futures_util::future::join_all;
use longshore::store::memory::{Fault, FaultKind, Operation};

use crate::support::exchange::{created, with_query};
use crate::support::{App, bytes, sha256, sha512};

const MIB: usize = 1024 * 1024;

/// Asserts that the store has the bytes of the one blob and nothing beside them.
async fn assert_kept_once(app: &App, size: usize) {
    app.settled().await;
    if let Some(memory) = &app.memory {
        let sizes: Vec<u64> = memory.data_objects().into_iter().map(|(_, size)| size).collect();
        assert_eq!(sizes, [size as u64]);
        assert_eq!(memory.open_multiparts(), 0);
    }
}

/// An upload whose first request, without a place, brought these bytes. Returns where it goes on.
async fn begun(app: &App, repository: &str, bytes: &[u8]) -> String {
    let start = app.start_upload(repository, "").await;
    app.patch(&start, bytes).await.expect(202).location()
}

/// Ends an upload with these last bytes, after which the blob is there.
async fn publish(app: &App, repository: &str, location: &str, content: &[u8], last: &[u8]) {
    let digest = sha256(content);
    created(app.close(location, &digest, last).await, repository, &digest);
    app.assert_blob(repository, &digest, content).await;
}

/// Requirement 31: chunks that say nothing of their place follow one another.
#[tokio::test]
async fn more_may_follow() {
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

/// The first location stays good for a client that never looks at the next one.
#[tokio::test]
async fn the_first_location_may_be_used_again() {
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
async fn a_chunk_without_bytes_changes_nothing() {
    let app = App::start().await;
    let repository = app.repository("nothing");
    let content = bytes(602, 200_000);
    let location = begun(&app, &repository, &content).await;
    let location = app.patch(&location, b"").await.expect(202).stands_at(200_000).location();
    publish(&app, &repository, &location, &content, b"").await;
    assert_kept_once(&app, content.len()).await;
}

/// Requirement 35: the digest may use an algorithm that nobody announced.
#[tokio::test]
async fn a_digest_that_was_not_announced() {
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

#[tokio::test]
async fn what_is_there_already_is_kept_once() {
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

/// Of several ends of one session at most one is right, and none takes the bytes away from another:
/// what was acknowledged is there, and can be pushed again in any case.
#[tokio::test(flavor = "multi_thread")]
async fn several_ends_at_once() {
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

/// What was acknowledged stays so when the request that took it back fails in the middle.
#[tokio::test]
async fn what_is_taken_back_is_not_lost() {
    for (first, second) in [(100_000, 8 * MIB), (100_000, 17 * MIB), (9 * MIB, MIB), (9 * MIB, 1)] {
        let app = App::start().await;
        let Some(memory) = &app.memory else {
            println!("not run: what_is_taken_back_is_not_lost needs the store in memory");
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

/// Two requests take the same bytes back and add to them: one of them wins.
#[tokio::test(flavor = "multi_thread")]
async fn several_additions_at_once() {
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

/// A request that read the session before it was committed, and changes it after it has ended, must
/// not take the bytes of the blob for its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_end_takes_nothing_away() {
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
            println!("not run: a_late_end_takes_nothing_away needs the store in memory");
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
