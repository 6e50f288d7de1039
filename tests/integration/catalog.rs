//! The catalog, `GET /v2/_catalog`, a reserved extension of older registries (distribution-spec,
//! extensions): order, pages, and their links.

use serde_json::{Value, json};

use crate::support::content::skip;
use crate::support::{App, Reply};

async fn catalog(app: &App, query: &str) -> Reply {
    app.get(&format!("/v2/_catalog{query}")).send().await
}

#[track_caller]
fn assert_page(reply: Reply, names: &[&str], next: Option<&str>) {
    let reply = reply.expect(200).with("content-type", "application/json");
    assert_eq!(reply.json(), json!({ "repositories": names }), "{reply:?}");
    assert_eq!(reply.next().as_deref(), next, "{reply:?}");
}

/// A separate registry with these repositories. `None` against a running registry, whose catalog
/// has other repositories, too.
async fn registry_of(names: &[&str]) -> Option<App> {
    let app = App::start().await;
    if !app.is_ours() {
        skip("the catalog of a registry that is not ours has other repositories, too");
        return None;
    }
    for (seed, name) in names.iter().enumerate() {
        app.push_small(name, "v1", seed as u64).await;
    }
    Some(app)
}

/// `!` sorts before `-`, `-` before `.`, `.` before `/`, `/` before digits and letters: the order
/// is that of the names, not that of storage keys.
#[tokio::test]
async fn repositories_are_listed_in_ascii_order() {
    let pushed =
        ["math/x", "a", "math0", "math-voila", "math.js", "math", "math_lib", "b/c/d", "math/x/y"];
    let Some(app) = registry_of(&pushed).await else { return };
    let mut ordered = pushed.to_vec();
    ordered.sort_unstable();
    assert_eq!(ordered[3], "math-voila");
    assert_page(catalog(&app, "").await, &ordered, None);
    for count in 1..=ordered.len() {
        let mut all: Vec<Value> = Vec::new();
        let mut next = Some(format!("/v2/_catalog?n={count}"));
        while let Some(path) = next {
            let page = app.get(&path).send().await.expect(200);
            next = page.next();
            let names = page.json()["repositories"].as_array().expect("names").clone();
            assert!(names.len() == count || next.is_none(), "a page in the middle is full");
            all.extend(names);
            assert!(all.len() <= ordered.len(), "pages of {count} repeat themselves: {all:?}");
        }
        assert_eq!(all, ordered, "pages of {count}");
    }
    for (position, last) in ordered.iter().enumerate() {
        let after = &ordered[position + 1..];
        assert_page(catalog(&app, &format!("?last={last}")).await, after, None);
    }
}

#[tokio::test]
async fn the_catalog_is_listed_in_pages() {
    let Some(app) = registry_of(&["a", "b/b", "c"]).await else { return };
    assert_page(catalog(&app, "?n=0").await, &[], None);
    assert_page(catalog(&app, "?n=2").await, &["a", "b/b"], Some("/v2/_catalog?n=2&last=b/b"));
    assert_page(catalog(&app, "?n=2&last=b/b").await, &["c"], None);
    assert_page(catalog(&app, "?n=2&last=b%2Fb").await, &["c"], None);
    assert_page(catalog(&app, "?n=3").await, &["a", "b/b", "c"], None);
    assert_page(catalog(&app, "?n=2147483647").await, &["a", "b/b", "c"], None);
    assert_page(catalog(&app, "?last=aa").await, &["b/b", "c"], None);
    assert_page(catalog(&app, "?last=b").await, &["b/b", "c"], None);
    assert_page(catalog(&app, "?last=c").await, &[], None);
    assert_page(catalog(&app, "?last=").await, &["a", "b/b", "c"], None);
    assert_page(catalog(&app, "?n=").await, &["a", "b/b", "c"], None);
    for bad in ["?n=-1", "?n=many"] {
        catalog(&app, bad).await.expect_envelope(400, &["UNSUPPORTED"]);
    }
    let get = catalog(&app, "?n=1").await;
    let head = app.request("HEAD", "/v2/_catalog?n=1").send().await.expect(200).with_body(b"");
    assert_eq!(head.described(), get.described());
}

/// An empty registry has an empty catalog, and a repository with only a blob is not listed.
#[tokio::test]
async fn a_repository_is_listed_once_it_has_a_manifest() {
    let Some(app) = registry_of(&[]).await else { return };
    assert_page(catalog(&app, "").await, &[], None);
    app.push_blob("blobs-only", b"a blob").await;
    assert_page(catalog(&app, "").await, &[], None);
    app.push_small("a", "v1", 1).await;
    app.push_small("a", "v2", 2).await;
    assert_page(catalog(&app, "").await, &["a"], None);
}

#[tokio::test]
async fn a_disabled_catalog_is_405() {
    let app = App::start_with(|settings| settings.lists.catalog = false).await;
    if !app.is_ours() {
        return skip("whether there is a catalog is a setting");
    }
    catalog(&app, "").await.expect_envelope(405, &["UNSUPPORTED"]);
}

/// Against any registry: a pushed repository is found by following all pages.
#[tokio::test]
async fn pushed_repositories_are_found_in_the_catalog() {
    let app = App::start().await;
    let pushed = [app.repository("found"), app.repository("found-too")];
    for name in &pushed {
        app.push_small(name, "v1", 1).await;
    }
    let mut next = Some("/v2/_catalog?n=50".to_owned());
    let mut found = Vec::new();
    while let Some(path) = next {
        let page = app.get(&path).send().await.expect(200);
        next = page.next();
        let names = page.json()["repositories"].as_array().expect("names").clone();
        found.extend(names.into_iter().filter_map(|name| name.as_str().map(str::to_owned)));
        assert!(found.is_sorted_by(|one, next| one < next), "{found:?}");
    }
    assert!(pushed.iter().all(|name| found.contains(name)), "{found:?}");
}
