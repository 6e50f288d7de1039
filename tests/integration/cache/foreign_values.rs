//! Values in Redis that somebody else has written: none of them is served, and each is replaced by
//! what the store holds.
//!
//! The hand that writes them knows the values of the registry and can do anything to Redis.

use std::sync::Arc;
use std::time::Duration;

use longshore::config::Settings;
use longshore::store::memory::{Calls, Memory};
use serde_json::json;

use super::redis_server::{self, RedisServer};
use super::{frontend, tag};
use crate::support::app::image_manifest;
use crate::support::{App, bytes, sha256};

/// Replaces the first `ARGV[1]` in the value of `KEYS[1]` by `ARGV[2]`, and removes its time to
/// live.
const REWRITE: &str = "\
    local value = redis.call('GET', KEYS[1]) \
    local from, to = string.find(value, ARGV[1], 1, true) \
    if not from then return 'absent' end \
    redis.call('SET', KEYS[1], value:sub(1, from - 1) .. ARGV[2] .. value:sub(to + 1)) \
    return 'OK'";

struct Setup {
    redis: RedisServer,
    memory: Arc<Memory>,
    app: App,
}

async fn start() -> Option<Setup> {
    let redis = redis_server::start(&[]).await?;
    let memory = Arc::new(Memory::new());
    let app = frontend(&memory, &redis).await;
    Some(Setup { redis, memory, app })
}

impl Setup {
    /// The key in Redis of a key of the bucket.
    fn key(&self, key: &str) -> String {
        let known = self.redis.command(&["KEYS", "*{*}"]);
        let known = known.lines().next().expect("something is cached");
        format!("{}{{{key}}}", known.split('{').next().expect("a prefix"))
    }

    fn rewrite(&self, key: &str, from: &str, to: &str) {
        let said = self.redis.command(&["EVAL", REWRITE, "1", &self.key(key), from, to]);
        assert_eq!(said, "OK", "{key} has no {from}");
    }

    fn copy(&self, from: &str, to: &str) {
        let words = ["COPY", &self.key(from), &self.key(to), "REPLACE"];
        assert_eq!(self.redis.command(&words), "1", "{from} is not cached");
    }

    fn set(&self, key: &str, value: &str) {
        assert_eq!(self.redis.command(&["SET", &self.key(key), value]), "OK");
    }

    /// How many values the registry has refused.
    fn refused(&self) -> u64 {
        refused(&self.app, "forged")
    }

    /// Asserts that a request needs no call to the store: what was refused has been replaced.
    async fn is_cached(&self, path: &str) {
        let before = self.memory.calls();
        self.app.get(path).send().await.expect(200);
        assert_eq!(self.memory.calls().since(&before), Calls::default(), "{path}");
    }
}

fn refused(app: &App, reason: &str) -> u64 {
    let start = format!("longshore_cache_refused_values_total{{reason=\"{reason}\"}} ");
    let text = app.metrics.exposition();
    let line = text.lines().find_map(|line| line.strip_prefix(&start)).expect("the metric");
    line.parse().expect("a count")
}

fn record(kind: &str, repository: &str, digest: &str) -> String {
    format!("v1/{kind}/{repository}/_/{}", digest.replace(':', "/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_cannot_be_pointed_at_a_manifest_that_nobody_pushed() {
    let Some(setup) = start().await else { return };
    let (digest, manifest) = setup.app.push_image("a", "v1", 1).await;
    assert_eq!(tag(&setup.app, "a", "v1").await.as_ref(), Some(&digest));
    let forged = image_manifest(b"nobody", &[b"pushed this"]);
    let (ours, theirs) = (record("m", "a", &digest), record("m", "a", &sha256(&forged)));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("JSON");
    setup.copy(&ours, &theirs);
    setup.rewrite(&theirs, &text(&manifest), &text(&forged));
    setup.rewrite("v1/t/a/_/v1", &digest, &sha256(&forged));

    let path = "/v2/a/manifests/v1";
    assert_eq!(setup.app.get(path).send().await.expect(200).body, manifest);
    let path_of_theirs = format!("/v2/a/manifests/{}", sha256(&forged));
    setup.app.get(&path_of_theirs).send().await.expect(404);
    assert_eq!(setup.refused(), 2);
    setup.is_cached(path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_keeps_its_media_type_and_its_bytes() {
    let Some(setup) = start().await else { return };
    let (digest, manifest) = setup.app.push_image("a", "v1", 1).await;
    let path = format!("/v2/a/manifests/{digest}");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    for (from, to) in [(media_type, "text/html"), ("\"schemaVersion\": 2", "\"schemaVersion\": 3")]
    {
        setup.app.get(&path).send().await.expect(200);
        let before = setup.refused();
        setup.rewrite(&record("m", "a", &digest), from, to);
        let reply = setup.app.get(&path).send().await.expect(200);
        assert_eq!(reply.header("content-type"), Some(media_type));
        assert_eq!(reply.body, manifest);
        assert_eq!(setup.refused(), before + 1, "{to}");
        setup.is_cached(&path).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_of_one_repository_gives_no_access_in_another() {
    let Some(setup) = start().await else { return };
    for content in [bytes(1, 200_000), bytes(2, 300)] {
        let digest = setup.app.push_blob("secret/x", &content).await;
        setup.app.get(&format!("/v2/secret/x/blobs/{digest}")).send().await.expect(200);
        let before = setup.refused();
        setup.copy(&record("l", "secret/x", &digest), &record("l", "bob/app", &digest));
        let path = format!("/v2/bob/app/blobs/{digest}");
        setup.app.get(&path).send().await.expect(404);
        assert_eq!(setup.refused(), before + 1);
        setup.app.request("HEAD", &path).send().await.expect(404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_blob_keeps_its_bytes_and_its_size() {
    let Some(setup) = start().await else { return };
    let content = b"the true content";
    let digest = setup.app.push_blob("a", content).await;
    let path = format!("/v2/a/blobs/{digest}");
    let size = ("\"size\":16", "\"size\":18446744073709551615");
    for (from, to) in [("the true", "a FALSE!"), size] {
        setup.app.get(&path).send().await.expect(200);
        let before = setup.refused();
        setup.rewrite(&record("l", "a", &digest), from, to);
        assert_eq!(setup.app.get(&path).send().await.expect(200).body, &content[..], "{to}");
        assert_eq!(setup.refused(), before + 1, "{to}");
        setup.is_cached(&path).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_shows_what_the_store_holds() {
    let Some(setup) = start().await else { return };
    for (repository, name) in [("a", "one"), ("b", "two")] {
        setup.app.push_image(repository, name, 1).await;
    }
    let list = async |repository: &str| {
        let path = format!("/v2/{repository}/tags/list");
        setup.app.get(&path).send().await.expect(200).json()["tags"].clone()
    };
    let page = |repository: &str| {
        let pages = setup.redis.command(&["KEYS", &format!("*{{v1/t/{repository}/_/!*}}")]);
        let (_, page) = pages.split_once('{').expect("a page");
        page.trim_end_matches('}').to_owned()
    };
    assert_eq!((list("a").await, list("b").await), (json!(["one"]), json!(["two"])));
    setup.rewrite(&page("a"), "one", "1st");
    assert_eq!(list("a").await, json!(["one"]));
    setup.copy(&page("b"), &page("a"));
    assert_eq!(list("a").await, json!(["one"]));
    // The epoch decides which page is read.
    setup.set("v1/t/a/_/", "e0123");
    assert_eq!(list("a").await, json!(["one"]));
    assert_eq!(setup.refused(), 3);
    setup.is_cached("/v2/a/tags/list").await;
}

/// Also values as a release without seals wrote them.
#[tokio::test(flavor = "multi_thread")]
async fn junk_is_a_miss() {
    let Some(setup) = start().await else { return };
    let (digest, manifest) = setup.app.push_image("a", "v1", 1).await;
    let content = bytes(1, 300);
    let (by_tag, blob) = ("/v2/a/manifests/v1", format!("/v2/a/blobs/{}", sha256(&content)));
    let fits_a_tag = format!("o{{\"digest\":\"{digest}\"}}\n");
    let header = "s".repeat(25);
    let junk = ["", "-", "o", "y", "o{}\n", "e", "p", "pend", "s", &header, &fits_a_tag];
    let link = record("l", "a", &sha256(&content));
    for value in junk {
        for key in ["v1/t/a/_/v1", &record("m", "a", &digest), &link] {
            assert_eq!(setup.app.get(by_tag).send().await.expect(200).body, manifest);
            let before = setup.refused();
            setup.set(key, value);
            assert_eq!(setup.app.get(by_tag).send().await.expect(200).body, manifest, "{value:?}");
            assert_eq!(setup.app.get(&blob).send().await.expect(200).body, content, "{value:?}");
            assert_eq!(setup.refused(), before + 1, "{value:?} at {key}");
        }
    }
    setup.is_cached(by_tag).await;
    setup.is_cached(&blob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_put_back_ends_with_its_time_to_live() {
    let Some(redis) = redis_server::start(&[]).await else { return };
    let memory = Arc::new(Memory::new());
    let mut settings = Settings::default();
    settings.cache.redis = Some(redis.url().parse().expect("a URL"));
    settings.cache.redis_timeout = Duration::from_millis(500);
    settings.cache.tag_ttl = Duration::from_secs(1);
    let app = App::over_memory(memory.clone(), settings).await;
    let (old, _) = app.push_image("a", "latest", 1).await;
    assert_eq!(tag(&app, "a", "latest").await, Some(old));
    let setup = Setup { redis, memory, app };
    setup.copy("v1/t/a/_/latest", "kept");
    setup.redis.command(&["PERSIST", &setup.key("kept")]);

    let (new, _) = setup.app.push_image("a", "latest", 2).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    setup.copy("kept", "v1/t/a/_/latest");
    assert_eq!(tag(&setup.app, "a", "latest").await.as_ref(), Some(&new));
    assert_eq!((setup.refused(), refused(&setup.app, "expired")), (0, 1));
}

/// The key is in the store and not in the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_starts_later_uses_what_the_first_one_cached() {
    let Some(setup) = start().await else { return };
    let (digest, _) = setup.app.push_image("a", "v1", 1).await;
    let blob = format!("/v2/a/blobs/{}", sha256(&bytes(1, 300)));
    for path in ["/v2/a/manifests/v1", "/v2/a/tags/list", &blob] {
        setup.app.get(path).send().await.expect(200);
    }
    let Setup { redis, memory, app } = setup;
    drop(app);
    let later = frontend(&memory, &redis).await;
    let before = memory.calls();
    assert_eq!(tag(&later, "a", "v1").await, Some(digest));
    for path in ["/v2/a/tags/list", &blob] {
        later.get(path).send().await.expect(200);
    }
    assert_eq!(memory.calls().since(&before), Calls::default());
    assert_eq!(refused(&later, "forged"), 0);
}
