//! Pages of lists: cached pages need no request to the store, and every write is seen at once.
//!
//! Covers distribution-spec "Listing Tags" (end-8) and "Listing Referrers" (end-12).

use std::sync::Arc;
use std::time::Duration;

use longshore::config::Settings;
use longshore::store::memory::{Calls, Fault, FaultKind, Memory, Operation};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::redis_server;
use super::{frontend, frontend_at};
use crate::support::app::{OCI_MANIFEST, image_manifest};
use crate::support::{App, sha256};

async fn tags(app: &App, path: &str) -> Vec<String> {
    let reply = app.get(path).send().await.expect(200);
    serde_json::from_value(reply.json()["tags"].clone()).expect("tags")
}

async fn referrers(app: &App, path: &str) -> usize {
    let reply = app.get(path).send().await.expect(200);
    reply.json()["manifests"].as_array().expect("descriptors").len()
}

async fn put(app: &App, name: &str, reference: &str, manifest: &[u8]) {
    let put = app.request("PUT", &format!("/v2/{name}/manifests/{reference}"));
    put.header("content-type", OCI_MANIFEST).body(manifest.to_vec()).send().await.expect(201);
}

async fn delete(app: &App, name: &str, reference: &str) {
    let path = format!("/v2/{name}/manifests/{reference}");
    app.request("DELETE", &path).send().await.expect(202);
}

/// A manifest with another one as its subject.
fn referrer(subject: &str, number: usize) -> Vec<u8> {
    let mut referrer: Value =
        serde_json::from_slice(&image_manifest(b"{}", &[b"{}"])).expect("JSON");
    referrer["subject"] = json!({ "mediaType": OCI_MANIFEST, "digest": subject, "size": 7 });
    referrer["annotations"] = json!({ "number": number.to_string() });
    serde_json::to_vec(&referrer).expect("JSON")
}

/// Asserts that a request needs no call to the store.
async fn free<T>(memory: &Memory, ask: impl Future<Output = T>) -> T {
    let before = memory.calls();
    let answer = ask.await;
    let calls = memory.calls().since(&before);
    assert_eq!(calls, Calls::default(), "it should have been known");
    answer
}

/// Changes each list at one replica and reads it at both: first from the store, then from the
/// cache.
async fn seen_at_once(memory: &Memory, writer: &App, reader: &App) {
    let (subject, manifest) = writer.push_image("a", "v0", 1).await;
    writer.push_blob("a", b"{}").await;
    let (list, named) = ("/v2/a/tags/list", format!("/v2/a/referrers/{subject}"));
    let (page, mut expected) = ("/v2/a/tags/list?n=2&last=v0", vec!["v0".to_owned()]);
    for round in 1..6 {
        assert_eq!(tags(reader, list).await, expected);
        assert_eq!(free(memory, tags(reader, list)).await, expected);
        assert_eq!(free(memory, tags(writer, list)).await, expected);
        tags(reader, page).await;
        assert_eq!(referrers(reader, &named).await, round - 1);
        assert_eq!(free(memory, referrers(writer, &named)).await, round - 1);

        put(writer, "a", &format!("v{round}"), &manifest).await;
        expected.push(format!("v{round}"));
        assert_eq!(tags(reader, list).await, expected, "a new tag");
        let first = tags(reader, page).await;
        assert_eq!(first, expected[1..expected.len().min(3)], "each page is a new one");
        let signature = referrer(&subject, round);
        put(writer, "a", &sha256(&signature), &signature).await;
        assert_eq!(referrers(reader, &named).await, round, "a new referrer");
    }
    for round in (1..6).rev() {
        delete(writer, "a", &expected.pop().expect("a tag")).await;
        assert_eq!(tags(reader, list).await, expected, "a tag less");
        delete(writer, "a", &sha256(&referrer(&subject, round))).await;
        assert_eq!(referrers(reader, &named).await, round - 1, "a referrer less");
    }
    // Deleting a manifest deletes its tags.
    delete(writer, "a", &subject).await;
    assert!(tags(reader, list).await.is_empty());

    let catalog = async |app: &App| app.get("/v2/_catalog").send().await.expect(200).json();
    assert_eq!(catalog(reader).await["repositories"], json!(["a"]));
    free(memory, catalog(reader)).await;
    writer.push_image("b", "v1", 1).await;
    assert_eq!(catalog(reader).await["repositories"], json!(["a", "b"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_one_process_are_cached_and_never_stale() {
    let memory = Arc::new(Memory::new());
    let app = App::over(memory.clone(), Settings::default()).await;
    seen_at_once(&memory, &app, &app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_several_processes_are_cached_and_never_stale() {
    let Some(redis) = redis_server::start(&[]).await else { return };
    let memory = Arc::new(Memory::new());
    let (one, other) = (frontend(&memory, &redis).await, frontend(&memory, &redis).await);
    seen_at_once(&memory, &one, &other).await;
}

/// The listing runs before the write, and the records of its rows are read so slowly that the page
/// is complete only after the write.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_changes_while_it_is_read_is_not_cached() {
    let alone = Arc::new(Memory::new());
    let app = Arc::new(App::over(alone.clone(), Settings::default()).await);
    overtaken(&alone, &app, &app).await;
    let Some(redis) = redis_server::start(&[]).await else { return };
    let memory = Arc::new(Memory::new());
    let one = Arc::new(frontend(&memory, &redis).await);
    let other = Arc::new(frontend(&memory, &redis).await);
    overtaken(&memory, &one, &other).await;
}

async fn overtaken(memory: &Arc<Memory>, writer: &Arc<App>, reader: &Arc<App>) {
    let (subject, _) = writer.push_image("a", "v0", 1).await;
    writer.push_blob("a", b"{}").await;
    let path = format!("/v2/a/referrers/{subject}");
    let push = async |number: usize| {
        let signature = referrer(&subject, number);
        put(writer, "a", &sha256(&signature), &signature).await;
    };
    push(0).await;
    for round in 1..5 {
        let delay = FaultKind::Delay(Duration::from_millis(300));
        memory.inject(Fault::on(Operation::Read, delay).below("v1/r/").always());
        let listed = memory.calls().list;
        let (slow, at) = (reader.clone(), path.clone());
        let slow = TaskTracker::new().spawn(async move { referrers(&slow, &at).await });
        while memory.calls().list == listed {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        push(round).await;
        memory.heal();
        assert_eq!(referrers(reader, &path).await, round + 1, "round {round}");
        assert_eq!(slow.await.expect("a page"), round, "it was overtaken");
        for app in [reader, writer] {
            assert_eq!(referrers(app, &path).await, round + 1, "round {round}");
        }
        // The next page is not cached.
        push(0).await;
    }
}

/// Many clients write and read concurrently. Afterwards every list equals that of the store.
#[tokio::test(flavor = "multi_thread")]
async fn no_list_is_stale_after_concurrent_reads_and_writes() {
    let Some(redis) = redis_server::start(&[]).await else { return };
    let memory = Arc::new(Memory::new());
    let apps = [
        Arc::new(frontend(&memory, &redis).await),
        Arc::new(frontend(&memory, &redis).await),
        Arc::new(frontend_at(&memory, &redis.url()).await),
    ];
    let (_, manifest) = apps[0].push_image("a", "v0", 1).await;
    for round in 0..6 {
        let delay = FaultKind::Delay(Duration::from_millis(3));
        memory.inject(Fault::on(Operation::List, delay).chance(round, 500));
        let mut all = tokio::task::JoinSet::new();
        for (number, app) in (0..).zip(apps.iter().cycle().take(12)) {
            let (app, manifest, tag) = (app.clone(), manifest.clone(), format!("t{number}"));
            all.spawn(async move {
                for _ in 0..5 {
                    put(&app, "a", &tag, &manifest).await;
                    let listed = tags(&app, "/v2/a/tags/list").await;
                    assert!(listed.contains(&tag), "its own write: {listed:?}");
                    delete(&app, "a", &tag).await;
                    let listed = tags(&app, "/v2/a/tags/list").await;
                    assert!(!listed.contains(&tag), "its own deletion: {listed:?}");
                }
                if number % 2 == 0 {
                    put(&app, "a", &tag, &manifest).await;
                }
            });
        }
        all.join_all().await;
        memory.heal();
        for app in &apps {
            assert_eq!(tags(app, "/v2/a/tags/list").await.len(), 7, "round {round}");
        }
    }
}

/// With `cache.strict_tags`, every list is read from the store.
#[tokio::test(flavor = "multi_thread")]
async fn strict_tags_read_each_list_from_the_store() {
    let memory = Arc::new(Memory::new());
    let mut settings = Settings::default();
    settings.cache.strict_tags = true;
    let app = App::over(memory.clone(), settings).await;
    app.push_image("a", "v1", 1).await;
    for _ in 0..2 {
        let before = memory.calls();
        tags(&app, "/v2/a/tags/list").await;
        assert_eq!(memory.calls().since(&before).list, 1);
    }
}

/// A page of a repository with 100,000 tags costs one listing, and then none for the first page.
/// Later pages are not cached, whatever their cursor.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_hundred_thousand_tags_costs_one_listing() {
    use longshore::oci::{RepositoryName, Tag};
    use longshore::store::{RecordKey, RecordStore as _};

    let Some(redis) = redis_server::start(&[]).await else { return };
    let memory = Arc::new(Memory::new());
    let (one, other) = (frontend(&memory, &redis).await, frontend(&memory, &redis).await);
    let (_, manifest) = one.push_image("a", "t", 1).await;
    let name: RepositoryName = "a".parse().expect("a name");
    let tag = |tag: String| RecordKey::Tag(name.clone(), tag.parse::<Tag>().expect("a tag"));
    let body = memory.read(&tag("t".to_owned())).await.expect("the tag").body;
    for number in 0..100_000 {
        let created = memory.create(&tag(format!("t{number:06}")), body.clone(), None).await;
        created.expect("a new tag");
    }
    let later = "/v2/a/tags/list?n=1000&last=t050000";
    for path in ["/v2/a/tags/list", later, later] {
        let before = memory.calls();
        assert_eq!(tags(&one, path).await.len(), 1_000);
        assert_eq!(memory.calls().since(&before), Calls { list: 1, ..Calls::default() });
    }
    assert_eq!(free(&memory, tags(&other, "/v2/a/tags/list")).await.len(), 1_000);
    put(&one, "a", "new", &manifest).await;
    assert_eq!(tags(&other, "/v2/a/tags/list").await[0], "new");
}
