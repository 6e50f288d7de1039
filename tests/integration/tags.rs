//! distribution-spec, "Content Discovery", "Listing Tags" (end-8): order, pages, and their links.

use std::sync::Arc;

use longshore::config::Settings;
use longshore::layout::encoding::decode;
use longshore::layout::records;
use longshore::store::RecordKey;
use longshore::store::memory::Memory;
use serde_json::json;

use crate::support::content::skip;
use crate::support::{App, Reply};

async fn list(app: &App, repository: &str, query: &str) -> Reply {
    app.get(&format!("/v2/{repository}/tags/list{query}")).send().await
}

/// Asserts one page: its tags, and whether there is a next page.
#[track_caller]
fn assert_page(reply: Reply, repository: &str, tags: &[&str], more: bool) {
    let reply = reply.expect(200).with("content-type", "application/json");
    assert_eq!(reply.json(), json!({ "name": repository, "tags": tags }), "{reply:?}");
    assert_eq!(reply.header("link").is_some(), more, "{reply:?}");
}

async fn tagged(app: &App, tags: &[&str]) -> String {
    let repository = app.repository("tags");
    let (digest, body) = app.push_small(&repository, tags[0], 1).await;
    for chunk in tags.chunks(60) {
        let query: Vec<String> = chunk.iter().map(|tag| format!("tag={tag}")).collect();
        let reference = format!("{digest}?{}", query.join("&"));
        let put =
            app.put_manifest(&repository, &reference, crate::support::app::OCI_MANIFEST, &body);
        put.await.expect(201);
    }
    repository
}

/// `-` 2D, `.` 2E, digits 30, capitals 41, `_` 5F, letters 61: neither a locale nor a folded case.
#[tokio::test]
async fn tags_are_listed_in_ascii_order() {
    let app = App::start().await;
    let pushed = ["b", "a.b", "_x", "a-b", "B", "a", "10", "a_b", "A", "9", "aB", "ab", "1"];
    let repository = tagged(&app, &pushed).await;
    let ordered = ["1", "10", "9", "A", "B", "_x", "a", "a-b", "a.b", "aB", "a_b", "ab", "b"];
    assert_page(list(&app, &repository, "").await, &repository, &ordered, false);
    for count in 1..=ordered.len() + 1 {
        let mut pages = Vec::new();
        let mut next = Some(format!("/v2/{repository}/tags/list?n={count}"));
        while let Some(path) = next {
            let page = app.get(&path).send().await.expect(200);
            next = page.next();
            let tags = page.json()["tags"].as_array().expect("tags").clone();
            assert!(tags.len() == count || next.is_none(), "a page in the middle is full");
            pages.extend(tags);
            assert!(pages.len() <= ordered.len(), "pages of {count} repeat themselves");
        }
        assert_eq!(pages, ordered, "pages of {count}");
    }
}

/// distribution 03210665f: tags that are prefixes of others were missing.
#[tokio::test]
async fn tags_that_are_prefixes_of_each_other_are_listed() {
    let app = App::start().await;
    let pushed = ["0.1", "0.1.2", "0.1.2-rc", "0.1.20", "0.1.2_x", "0.1.3"];
    let repository = tagged(&app, &pushed).await;
    assert_page(list(&app, &repository, "").await, &repository, &pushed, false);
    for (position, last) in pushed.iter().enumerate() {
        let after = &pushed[position + 1..];
        let query = format!("?last={last}");
        assert_page(list(&app, &repository, &query).await, &repository, after, false);
        let query = format!("?n=1&last={last}");
        let (one, more) = (&after[..after.len().min(1)], after.len() > 1);
        assert_page(list(&app, &repository, &query).await, &repository, one, more);
        let path = format!("/v2/{repository}/manifests/{last}");
        app.request("DELETE", &path).send().await.expect(202);
        app.get(&path).send().await.expect(404);
        assert_page(list(&app, &repository, "").await, &repository, after, false);
    }
}

#[tokio::test]
async fn the_parameter_n_limits_the_page() {
    let app = App::start().await;
    let repository = tagged(&app, &["a", "b", "c"]).await;
    let page = |query: &'static str| list(&app, &repository, query);
    assert_page(page("?n=0").await, &repository, &[], false);
    assert_page(page("?n=0&last=a").await, &repository, &[], false);
    assert_page(page("?n=1").await, &repository, &["a"], true);
    assert_page(page("?n=2").await, &repository, &["a", "b"], true);
    assert_page(page("?n=3").await, &repository, &["a", "b", "c"], false);
    // CVE-2023-2253: a large number must not cause a large allocation.
    for large in ["?n=4", "?n=0003", "?n=2147483647", "?n=99999999999999999999999999"] {
        assert_page(page(large).await, &repository, &["a", "b", "c"], false);
    }
    // As without `n`.
    assert_page(page("?n=").await, &repository, &["a", "b", "c"], false);
    assert_page(page("?n=&last=a").await, &repository, &["b", "c"], false);
    for bad in ["?n=-1", "?n=x", "?n=1.5", "?n=%2B1", "?n=0x10", "?n=1%00", "?n=%D9%A1"] {
        page(bad).await.expect_envelope(400, &["UNSUPPORTED"]);
    }
}

#[tokio::test]
async fn last_is_exclusive_and_need_not_exist() {
    let app = App::start().await;
    let repository = tagged(&app, &["a", "c", "e"]).await;
    let page = |query: &'static str| list(&app, &repository, query);
    assert_page(page("?last=").await, &repository, &["a", "c", "e"], false);
    assert_page(page("?last=a").await, &repository, &["c", "e"], false);
    assert_page(page("?last=b").await, &repository, &["c", "e"], false);
    assert_page(page("?last=b&n=1").await, &repository, &["c"], true);
    assert_page(page("?last=e").await, &repository, &[], false);
    assert_page(page("?last=zzz").await, &repository, &[], false);
    assert_page(page("?last=..%2F..%2Fm").await, &repository, &["a", "c", "e"], false);
    assert_page(page("?last=%F0%9F%92%A5").await, &repository, &[], false);
}

/// The setting limits the page, whatever the client asks for.
#[tokio::test]
async fn page_size_is_limited_by_the_setting() {
    let app = App::start_with(|settings| settings.lists.page_max = 2).await;
    if !app.is_ours() {
        return skip("the longest page is a setting");
    }
    let repository = tagged(&app, &["a", "b", "c", "d", "e"]).await;
    for query in ["", "?n=1000"] {
        let first = list(&app, &repository, query).await;
        let next = first.next().expect("a link");
        assert_eq!(next, format!("/v2/{repository}/tags/list?n=2&last=b"));
        assert_page(first, &repository, &["a", "b"], true);
        let second = app.get(&next).send().await;
        let next = second.next().expect("a link");
        assert_page(second, &repository, &["c", "d"], true);
        assert_page(app.get(&next).send().await, &repository, &["e"], false);
    }
}

/// Deleted tags leave no gaps in pages, however many there are.
#[tokio::test]
async fn deleted_tags_do_not_shorten_pages() {
    let app = App::start().await;
    let names: Vec<String> = (0..40).map(|number| format!("t{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let repository = tagged(&app, &names).await;
    let kept = ["t07", "t19", "t20", "t38"];
    for tag in names.iter().filter(|tag| !kept.contains(tag)) {
        let path = format!("/v2/{repository}/manifests/{tag}");
        app.request("DELETE", &path).send().await.expect(202);
    }
    assert_page(list(&app, &repository, "").await, &repository, &kept, false);
    assert_page(list(&app, &repository, "?n=2").await, &repository, &["t07", "t19"], true);
    let rest = list(&app, &repository, "?n=2&last=t19").await;
    assert_page(rest, &repository, &["t20", "t38"], false);
    let exact = list(&app, &repository, "?n=4").await;
    assert_page(exact, &repository, &kept, false);
    // A tag that is pushed again is listed again.
    app.push_small(&repository, "t00", 1).await;
    let page = list(&app, &repository, "?n=1").await;
    assert_page(page, &repository, &["t00"], true);
}

#[tokio::test]
async fn a_repository_without_tags_is_not_404() {
    let app = App::start().await;
    let repository = app.repository("empty");
    for query in ["", "?n=1", "?last=x"] {
        list(&app, &repository, query).await.expect_envelope(404, &["NAME_UNKNOWN"]);
    }
    app.push_small(&repository, "v1", 1).await;
    app.request("DELETE", &format!("/v2/{repository}/manifests/v1")).send().await.expect(202);
    for query in ["", "?n=1", "?last=x", "?n=0"] {
        assert_page(list(&app, &repository, query).await, &repository, &[], false);
    }
    // A nested repository, or one with the name as a prefix, is another repository.
    for name in [format!("{repository}/x"), format!("{repository}-x"), repository[..4].to_owned()] {
        list(&app, &name, "").await.expect_envelope(404, &["NAME_UNKNOWN"]);
    }
}

/// The tags of `a/b` are not among those of `a`.
#[tokio::test]
async fn nested_repositories_have_separate_tags() {
    let app = App::start().await;
    let outer = app.repository("outer");
    let inner = format!("{outer}/inner");
    app.push_small(&outer, "out", 1).await;
    app.push_small(&inner, "in", 1).await;
    assert_page(list(&app, &outer, "").await, &outer, &["out"], false);
    assert_page(list(&app, &inner, "").await, &inner, &["in"], false);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let app = App::start().await;
    let repository = tagged(&app, &["a", "b"]).await;
    let path = format!("/v2/{repository}/tags/list?n=1");
    let get = app.get(&path).send().await.expect(200);
    let head = app.request("HEAD", &path).send().await.expect(200).with_body(b"");
    assert_eq!(head.described(), get.described());
}

/// The record of a tag says how often it changed, who changed it, and what it pointed at before.
#[tokio::test]
async fn a_tag_remembers_its_last_change() {
    let memory = Arc::new(Memory::new());
    let app = App::over_memory(memory.clone(), Settings::default()).await;
    let key = RecordKey::Tag("a".parse().expect("a name"), "v1".parse().expect("a tag"));
    let record = || {
        let body = memory.record(&key).expect("the tag").body;
        decode::<records::Tag>(&body).expect("a record of ours").0
    };
    let (first, _) = app.push_small("a", "v1", 1).await;
    let created = record();
    assert_eq!(
        (created.digest.to_string(), created.seq, created.previous.clone()),
        (first.clone(), 1, None)
    );
    assert!(created.by.starts_with("anonymous") && created.at > 1_700_000_000, "{created:?}");
    let (second, body) = app.push_small("a", "v1", 2).await;
    // Pushed again: no change.
    app.push_small("a", "v1", 2).await;
    let moved = record();
    assert_eq!((moved.digest.to_string(), moved.seq, moved.size), (second, 2, body.len() as u64));
    let previous = moved.previous.expect("it was moved");
    assert_eq!((previous.digest.to_string(), previous.media_type), (first, created.media_type));
}
