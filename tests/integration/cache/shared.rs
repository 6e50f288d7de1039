//! Several replicas share a cache, and each sees the writes of the others at once.

use std::sync::Arc;
use std::time::Duration;

use longshore::store::memory::{Fault, FaultKind, Memory, Operation};

use super::redis_server;
use super::{frontend, tag};
use crate::support::{bytes, sha256};

#[tokio::test(flavor = "multi_thread")]
async fn a_value_read_by_one_replica_is_cached_for_the_other() {
    let Some(redis) = redis_server::start(&[]).await else { return };
    let memory = Arc::new(Memory::new());
    let (one, other) = (frontend(&memory, &redis).await, frontend(&memory, &redis).await);
    let (digest, manifest) = one.push_image("a", "v1", 1).await;
    assert_eq!(tag(&one, "a", "v1").await.as_ref(), Some(&digest));

    let before = memory.calls();
    let path = "/v2/a/manifests/v1";
    for app in [&one, &other, &one, &other] {
        assert_eq!(app.get(path).send().await.expect(200).body, manifest);
        app.request("HEAD", path).send().await.expect(200);
    }
    let blob = format!("/v2/a/blobs/{}", sha256(&bytes(1, 300)));
    assert_eq!(one.get(&blob).send().await.expect(200).body, bytes(1, 300));
    assert_eq!(other.get(&blob).send().await.expect(200).body, bytes(1, 300));
    let calls = memory.calls().since(&before);
    assert_eq!(calls.total(), 0, "the push has read the link: {calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_one_replica_is_seen_by_the_other_at_once() {
    let Some(redis) = redis_server::start(&[]).await else { return };
    let memory = Arc::new(Memory::new());
    let apps = [frontend(&memory, &redis).await, frontend(&memory, &redis).await];
    for round in 0..60u64 {
        let (writer, reader) = if round % 2 == 0 { (0, 1) } else { (1, 0) };
        let (digest, _) = apps[writer].push_image("a", "latest", round * 10).await;
        for app in [&apps[reader], &apps[writer]] {
            assert_eq!(tag(app, "a", "latest").await.as_ref(), Some(&digest), "round {round}");
        }
        if round % 5 == 4 {
            let path = format!("/v2/a/manifests/{digest}");
            assert_eq!(tag(&apps[writer], "a", &digest).await.as_ref(), Some(&digest));
            apps[reader].request("DELETE", &path).send().await.expect(202);
            for app in &apps {
                assert_eq!(tag(app, "a", "latest").await, None, "round {round}");
                assert_eq!(tag(app, "a", &digest).await, None, "round {round}");
            }
        }
    }
}

/// CVE-2026-35172: a blob that was deleted in one repository reappeared when another repository was
/// read.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_blob_is_not_found_through_another_repository() {
    let Some(redis) = redis_server::start(&[]).await else { return };
    let memory = Arc::new(Memory::new());
    let (one, other) = (frontend(&memory, &redis).await, frontend(&memory, &redis).await);
    for content in [bytes(7, 500), bytes(8, 200_000)] {
        let digest = one.push_blob("a", &content).await;
        one.push_blob("b", &content).await;
        let (here, there) = (format!("/v2/a/blobs/{digest}"), format!("/v2/b/blobs/{digest}"));
        other.get(&here).send().await.expect(200);
        one.request("DELETE", &here).send().await.expect(202);
        for app in [&one, &other] {
            app.get(&there).send().await.expect(200);
            app.request("HEAD", &here).send().await.expect(404);
            app.get(&here).send().await.expect(404);
        }
    }
}

/// Absence is cached for a second, and a push invalidates it at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_invalidates_a_cached_absence() {
    let Some(redis) = redis_server::start(&[]).await else { return };
    let memory = Arc::new(Memory::new());
    let (one, other) = (frontend(&memory, &redis).await, frontend(&memory, &redis).await);
    for round in 0..20u64 {
        let name = format!("v{round}");
        assert_eq!(tag(&other, "a", &name).await, None);
        let (digest, _) = one.push_image("a", &name, round * 10).await;
        assert_eq!(tag(&other, "a", &name).await, Some(digest));
    }
}

/// Concurrent reads of one uncached tag are one read of the tag and one of the manifest, with or
/// without Redis.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_reads_of_an_uncached_tag_are_one_read_of_the_store() {
    let Some(redis) = redis_server::start(&[]).await else { return };
    let memory = Arc::new(Memory::new());
    let (digest, _) = frontend(&memory, &redis).await.push_image("a", "v1", 1).await;
    for url in [redis.url(), "redis://127.0.0.1:1".to_owned()] {
        redis.command(&["FLUSHALL"]);
        let app = Arc::new(super::frontend_at(&memory, &url).await);
        let slow = FaultKind::Delay(Duration::from_millis(300));
        memory.inject(Fault::on(Operation::Read, slow).always());
        let before = memory.calls();
        let mut readers = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let app = app.clone();
            readers.spawn(async move { tag(&app, "a", "v1").await });
        }
        for found in readers.join_all().await {
            assert_eq!(found.as_ref(), Some(&digest));
        }
        memory.heal();
        assert_eq!(memory.calls().since(&before).read, 2, "{url}");
    }
}
