//! The pages for people: a view costs a listing and what it shows, side by side, and nothing when
//! it was seen a moment ago.

use std::sync::Arc;

use longshore::store::memory::{Calls, Memory};

use super::{NONE, assert_cost, cold};
use crate::support::App;
use crate::support::app::OCI_MANIFEST;

/// Repositories in the catalog of the tests. The request for one page is the same with any number.
const REPOSITORIES: usize = 600;
const TAGS: usize = 3_000;

/// The calls of a view, and of the same view a moment later.
async fn views(app: &App, memory: &Memory, path: &str) -> (Calls, Calls) {
    let mut calls = memory.calls();
    let mut seen = [NONE, NONE];
    for calls_of in &mut seen {
        app.get(path).send().await.expect(200);
        *calls_of = memory.calls().since(&calls);
        calls = memory.calls();
    }
    let [first, hot] = seen;
    (first, hot)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_repositories_take_one_listing() {
    let memory = Arc::new(Memory::new());
    let app = cold(&memory).await;
    for number in 0..REPOSITORIES {
        let name = format!("team-{}/app-{number:05}", number % 3);
        app.push_small(&name, "v1", 1).await;
    }
    for path in ["/ui/", "/ui/?q=team-1", "/ui/?q=team-1/app-001", "/ui/?last=team-0/app-00300"] {
        let (calls, _) = views(&cold(&memory).await, &memory, path).await;
        assert_cost(calls, Calls { list: 1, ..NONE }, 3);
    }
    let page = cold(&memory).await.get("/ui/?q=team-2/app-0059").send().await.expect(200);
    let names = page.body_text().matches("/ui/repository/team-2/").count();
    assert_eq!(names, 4, "590, 593, 596, 599");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tags_take_a_listing_and_a_read_for_each_row() {
    let memory = Arc::new(Memory::new());
    let app = cold(&memory).await;
    let (_, manifest) = app.push_image("a", "v0", 1).await;
    for tag in 1..TAGS {
        let path = format!("/v2/a/manifests/v{tag:05}");
        let put = app.request("PUT", &path).header("content-type", OCI_MANIFEST);
        put.body(manifest.clone()).send().await.expect(201);
    }
    let app = cold(&memory).await;
    // The tags, the referrers, and the rows of the page.
    let first = Calls { list: 2, read: 50, ..NONE };
    for path in ["/ui/repository/a", "/ui/repository/a?q=v01", "/ui/repository/a?last=v02000"] {
        let (calls, hot) = views(&cold(&memory).await, &memory, path).await;
        assert_cost(calls, first, 52);
        assert_cost(hot, NONE, 0);
    }
    // In another order all tags are listed, 1,000 at a time, and one page of records is read.
    let (calls, hot) = views(&app, &memory, "/ui/repository/a?sort=newest").await;
    assert_cost(calls, Calls { list: 4, read: 50, ..NONE }, 54);
    assert_cost(hot, NONE, 0);
    // By size all records are read once.
    let (calls, hot) = views(&app, &memory, "/ui/repository/a?sort=largest").await;
    let read = TAGS as u64 - 50;
    assert_cost(calls, Calls { read, ..NONE }, read);
    assert_cost(hot, NONE, 0);
    assert_cost(views(&app, &memory, "/ui/repository/a?sort=version").await.0, NONE, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_takes_its_records_and_its_referrers() {
    let memory = Arc::new(Memory::new());
    cold(&memory).await.push_image("a", "v1", 1).await;
    let app = cold(&memory).await;
    let (calls, _) = views(&app, &memory, "/ui/manifest/a/v1").await;
    // The tag, the manifest and the config; the referrers, the tags of cosign, and their referrers.
    assert_cost(calls, Calls { read: 3, list: 3, ..NONE }, 6);
    let (calls, hot) = views(&app, &memory, "/ui/untagged/a").await;
    assert_cost(calls, Calls { list: 2, ..NONE }, 2);
    assert_cost(hot, NONE, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_logins_take_nothing() {
    let memory = Arc::new(Memory::new());
    let app = cold(&memory).await;
    for path in ["/ui/static/style.css", "/ui/static/page.js", "/ui/static/icon.svg"] {
        assert_cost(views(&app, &memory, path).await.0, NONE, 0);
    }
}
