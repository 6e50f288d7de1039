//! Redis is down, slow, full or loses its data: requests still succeed, with more requests to the
//! store.

use std::sync::Arc;
use std::time::Duration;

use longshore::shared_cache::CacheSettings;
use longshore::shared_cache::redis::Redis;
use longshore::store::memory::Memory;
use longshore::telemetry::metrics::Metrics;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::redis_server::{self, free_port};
use super::{frontend, frontend_at, tag};
use crate::support::App;

/// Pushes, moves and deletes at two replicas, with the responses of a registry without a cache.
async fn everything_works(apps: [&App; 2], name: &str) {
    for round in 0..6u64 {
        let (writer, reader) = (apps[round as usize % 2], apps[(round as usize + 1) % 2]);
        let (digest, manifest) = writer.push_image(name, "latest", round * 10).await;
        assert_eq!(tag(reader, name, "latest").await.as_ref(), Some(&digest), "{name} {round}");
        let path = format!("/v2/{name}/manifests/{digest}");
        assert_eq!(reader.get(&path).send().await.expect(200).body, manifest);
        reader.request("DELETE", &path).send().await.expect(202);
        assert_eq!(tag(reader, name, "latest").await, None, "{name} {round}");
        assert_eq!(tag(writer, name, "latest").await, None, "{name} {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_succeed_if_redis_is_down_at_the_start() {
    let memory = Arc::new(Memory::new());
    let url = format!("redis://127.0.0.1:{}", free_port());
    let (one, other) = (frontend_at(&memory, &url).await, frontend_at(&memory, &url).await);
    everything_works([&one, &other], "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_succeed_while_redis_is_killed_and_restarted() {
    let Some(mut redis) = redis_server::start(&[]).await else { return };
    let memory = Arc::new(Memory::new());
    let (one, other) = (frontend(&memory, &redis).await, frontend(&memory, &redis).await);
    everything_works([&one, &other], "before").await;
    redis.kill();
    everything_works([&one, &other], "without").await;
    redis.run().await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    everything_works([&one, &other], "after").await;
    assert_ne!(redis.command(&["DBSIZE"]), "0", "it is used again");
}

/// Redis accepts requests and never responds. Writes in that time are invalidated later: after
/// Redis resumes with its old data, no reader gets an old value.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_redis_serves_no_old_value_when_it_resumes() {
    let Some(redis) = redis_server::start(&[]).await else { return };
    let memory = Arc::new(Memory::new());
    let (one, other) = (frontend(&memory, &redis).await, frontend(&memory, &redis).await);
    let (old, _) = one.push_image("a", "latest", 1).await;
    assert_eq!(tag(&other, "a", "latest").await, Some(old));

    redis.signal("STOP");
    let (new, _) = one.push_image("a", "latest", 2).await;
    assert_eq!(tag(&other, "a", "latest").await.as_ref(), Some(&new), "the store knows");
    redis.signal("CONT");

    // The writer retries the invalidation in the background, without another request.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(tag(&other, "a", "latest").await.as_ref(), Some(&new));
    assert_eq!(tag(&one, "a", "latest").await.as_ref(), Some(&new));
    everything_works([&one, &other], "b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_succeed_if_redis_is_full() {
    let full = ["--maxmemory", "2mb", "--maxmemory-policy", "noeviction"];
    let Some(redis) = redis_server::start(&full).await else { return };
    let large = "x".repeat(100_000);
    for key in 0..40 {
        redis.command(&["SET", &format!("filler{key}"), &large]);
    }
    assert!(redis.command(&["SET", "one more", &large]).contains("OOM"), "it is full");
    let memory = Arc::new(Memory::new());
    let (one, other) = (frontend(&memory, &redis).await, frontend(&memory, &redis).await);
    everything_works([&one, &other], "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_succeed_while_redis_is_flushed() {
    let Some(redis) = redis_server::start(&[]).await else { return };
    let memory = Arc::new(Memory::new());
    let (one, other) = (frontend(&memory, &redis).await, frontend(&memory, &redis).await);
    let flushing = async {
        loop {
            redis.command(&["FLUSHALL"]);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = everything_works([&one, &other], "a") => {}
        () = flushing => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_succeed_with_a_wrong_redis_password() {
    let Some(redis) = redis_server::start(&["--requirepass", "right"]).await else { return };
    let memory = Arc::new(Memory::new());
    let url = redis.url().replace("redis://", "redis://:wrong@");
    let (one, other) = (frontend_at(&memory, &url).await, frontend_at(&memory, &url).await);
    everything_works([&one, &other], "a").await;
    let url = redis.url().replace("redis://", "redis://:right@");
    let app = frontend_at(&memory, &url).await;
    let (digest, _) = app.push_image("b", "v1", 1).await;
    assert_eq!(tag(&app, "b", "v1").await, Some(digest));
}

/// Redis refuses only deletions, so the circuit breaker never opens by itself. A value that cannot
/// be deleted is not served either.
#[tokio::test(flavor = "multi_thread")]
async fn values_are_not_served_if_redis_refuses_to_delete_them() {
    let Some(redis) = redis_server::start(&[]).await else { return };
    let memory = Arc::new(Memory::new());
    let (one, other) = (frontend(&memory, &redis).await, frontend(&memory, &redis).await);
    let (old, _) = one.push_image("a", "latest", 1).await;
    assert_eq!(tag(&one, "a", "latest").await, Some(old));
    let (still, _) = one.push_image("b", "latest", 1).await;

    assert_eq!(redis.command(&["ACL", "SETUSER", "default", "-del"]), "OK");
    let reading = async {
        loop {
            assert_eq!(tag(&one, "b", "latest").await.as_ref(), Some(&still));
        }
    };
    let (new, _) = tokio::select! {
        pushed = one.push_image("a", "latest", 2) => pushed,
        () = reading => unreachable!("it does not end"),
    };
    assert_eq!(tag(&one, "a", "latest").await.as_ref(), Some(&new), "it has just been written");
    assert_eq!(redis.command(&["ACL", "SETUSER", "default", "+del"]), "OK");
    let began = tokio::time::Instant::now();
    while tag(&other, "a", "latest").await.as_ref() != Some(&new) {
        assert!(began.elapsed() < Duration::from_secs(20), "the invalidation was not retried");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A server that speaks neither TLS nor the protocol of Redis.
async fn no_redis() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let tasks = TaskTracker::new();
    tasks.spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    port
}

/// In the metric, in the log, and in what `check` prints; never the password.
#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_failure_is_told() {
    let Some(redis) = redis_server::start(&["--requirepass", "right"]).await else { return };
    let weak = ["-a", "right", "ACL", "SETUSER", "weak", "on", ">hidden", "~*", "+set"];
    redis.command(&weak);
    let at = |login: &str| redis.url().replace("redis://", &format!("redis://{login}"));
    let closed = format!("redis://:hidden@127.0.0.1:{}", free_port());
    let no_tls = format!("rediss://:hidden@127.0.0.1:{}", no_redis().await);
    let silent = redis_server::start(&[]).await.expect("there is a redis-server");
    silent.signal("STOP");
    for (url, reason, words) in [
        (at(":hidden@"), "login", "authentication failed"),
        (at(""), "login", "NOAUTH"),
        (at("weak:hidden@"), "permission", "no permissions"),
        (closed, "connection_refused", "refused"),
        (no_tls, "tls", "corrupt message"),
        (silent.url(), "timeout", "timed out"),
    ] {
        let urls = url.parse().expect("a URL");
        let redis_timeout = Duration::from_millis(500);
        let settings = CacheSettings { redis_timeout, ..CacheSettings::default() };
        let cache = Redis::start(&urls, &settings, "longshore:", &Metrics::default());
        let said = cache.expect("a URL").ping().await.expect_err("it cannot be used");
        assert!(said.contains(words) && !said.contains("hidden"), "{reason}: {said}");

        let app = frontend_at(&Arc::new(Memory::new()), &url).await;
        assert_eq!(tag(&app, "a", "v1").await, None);
        let line = format!("longshore_cache_errors_total{{op=\"get\",reason=\"{reason}\"}} ");
        let text = app.metrics.exposition();
        let count = text.lines().find_map(|text| text.strip_prefix(&line)).expect("the metric");
        assert_ne!(count, "0", "{reason}: {text}");
    }
    silent.signal("CONT");
}

/// What `check` and `serve` report at the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_ping_says_whether_redis_answers() {
    let start = |url: String| {
        let urls = url.parse().expect("a URL");
        let redis_timeout = Duration::from_millis(500);
        let settings = CacheSettings { redis_timeout, ..CacheSettings::default() };
        Redis::start(&urls, &settings, "longshore:", &Metrics::default()).expect("a URL")
    };
    let nowhere = start(format!("redis://:hidden@127.0.0.1:{}", free_port()));
    let reason = nowhere.ping().await.expect_err("no server listens");
    assert!(reason.contains("refused") && !reason.contains("hidden"), "{reason}");
    let Some(mut server) = redis_server::start(&[]).await else { return };
    let cache = start(server.url());
    assert_eq!(cache.ping().await, Ok(()));
    server.kill();
    cache.ping().await.expect_err("it was killed");
    server.run().await;
    assert_eq!(cache.ping().await, Ok(()));
}
