//! Lists with more deleted rows than one request may walk over: pages are short, and their links
//! lead to the rows behind.
//!
//! Covers distribution-spec "Listing Tags" (end-8) and "Listing Referrers" (end-12): a page may
//! have fewer rows than `n` as long as it has a `Link`.

use bytes::Bytes;
use longshore::config::Settings;
use longshore::oci::{Digest, RepositoryName};
use longshore::store::RecordKey;
use longshore::store::memory::Calls;
use serde_json::Value;

use super::STORE;
use crate::support::app::OCI_MANIFEST;
use crate::support::content::{artifact, descriptor, spelled};
use crate::support::test_store::TestStore;
use crate::support::{App, sha256};

/// More than ten full listings.
const DELETED: usize = 12_000;
/// Listings that one page may cost (`registry::lists`).
const LISTINGS_MAX: u64 = 10;

fn name(text: &str) -> RepositoryName {
    text.parse().expect("a name")
}

fn tag(repository: &str, tag: &str) -> RecordKey {
    RecordKey::Tag(name(repository), tag.parse().expect("a tag"))
}

/// The key of a row that sorts before all others.
fn early(number: usize) -> String {
    format!("0{number:05}")
}

/// The digest with this number.
fn digest(number: usize) -> Digest {
    format!("sha256:{number:064x}").parse().expect("a digest")
}

async fn delete(app: &App, reference: &str) {
    let path = format!("/v2/r/manifests/{reference}");
    app.request("DELETE", &path).send().await.expect(202);
}

/// A registry that caches, with a tag, and the tombstone of another one.
async fn registry() -> (TestStore, App, Bytes) {
    let store = TestStore::start(STORE).await;
    let app = App::over(store.objects.clone(), Settings::default()).await;
    app.push_small("r", "deleted", 1).await;
    delete(&app, "deleted").await;
    let tombstone = store.record(&tag("r", "deleted")).expect("a tombstone").body;
    (store, app, tombstone)
}

async fn fill(store: &TestStore, body: &Bytes, key: impl Fn(usize) -> RecordKey) {
    for number in 0..DELETED {
        store.create(&key(number), body.clone()).await;
    }
}

/// Follows the links from `path`, with a bounded number of listings for each page. Returns the rows
/// of each page.
async fn pages(store: &TestStore, app: &App, path: &str, rows: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let before = store.calls();
        let page = app.get(&path).send().await.expect(200);
        let listings = store.calls().since(&before).list;
        assert!(listings <= LISTINGS_MAX, "{path} costs {listings} listings");
        pages.push(page.json()[rows].as_array().expect("rows").clone());
        next = page.next();
        assert!(pages.len() <= 20, "{path}: the links have no end");
    }
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_behind_many_deleted_ones_are_found_by_the_links() {
    let (store, app, tombstone) = registry().await;
    app.push_small("r", "live", 2).await;
    fill(&store, &tombstone, |number| tag("r", &early(number))).await;
    for (path, count) in [("/v2/r/tags/list", 1_000), ("/v2/r/tags/list?n=5", 5)] {
        let found = pages(&store, &app, path, "tags").await;
        assert_eq!(found.concat(), ["live"], "{path}");
        assert!(found.len() > 1 && found[0].is_empty(), "{found:?}");
        // The cursor of an empty first page is cached with the page.
        let before = store.calls();
        let first = app.get(path).send().await.expect(200);
        assert_eq!(store.calls().since(&before), Calls::default(), "{path}");
        // The first listing asks for one row more than the page has.
        let seen = LISTINGS_MAX as usize * 1_000 - if count == 5 { 1_000 - 6 } else { 0 };
        let next = format!("/v2/r/tags/list?n={count}&last={}", early(seen - 1));
        assert_eq!(first.next(), Some(next));
    }
    // A deletion in the middle of many lists all tags of the manifest.
    delete(&app, "live").await;
    assert_eq!(pages(&store, &app, "/v2/r/tags/list", "tags").await.concat(), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_behind_many_deleted_markers_are_found_by_the_links() {
    let (store, app, tombstone) = registry().await;
    fill(&store, &tombstone, |number| RecordKey::Repository(name(&early(number)))).await;
    for path in ["/v2/_catalog", "/v2/_catalog?n=1"] {
        let found = pages(&store, &app, path, "repositories").await;
        assert_eq!(found.concat(), ["r"], "{path}");
        assert!(found.len() > 1, "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_behind_many_deleted_ones_are_found_by_the_links() {
    let (store, app, tombstone) = registry().await;
    let subject = digest(0);
    let signature = spelled(&artifact("application/x", &descriptor(OCI_MANIFEST, b"x"), 1));
    let text = String::from_utf8(signature).expect("text");
    let signature = text.replace(&sha256(b"x"), &subject.to_string()).into_bytes();
    app.put_manifest("r", "signature", OCI_MANIFEST, &signature).await.expect(201);
    fill(&store, &tombstone, |number| RecordKey::Referrer(name("r"), subject, digest(number)))
        .await;
    for query in ["", "?n=3", "?artifactType=application/x"] {
        let path = format!("/v2/r/referrers/{subject}{query}");
        let found = pages(&store, &app, &path, "manifests").await;
        assert!(found.len() > 1 && found[0].is_empty(), "{found:?}");
        let digests: Vec<&Value> = found.iter().flatten().map(|row| &row["digest"]).collect();
        assert_eq!(digests, [&Value::from(sha256(&signature))], "{path}");
    }
}

/// The deletion of a manifest needs all rows of its tag index, also those behind a short page.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_finds_the_tag_behind_many_deleted_tag_indexes() {
    let (store, app, tombstone) = registry().await;
    let (pushed, _) = app.push_small("r", "live", 2).await;
    let manifest: Digest = pushed.parse().expect("a digest");
    fill(&store, &tombstone, |number| {
        RecordKey::TagIndex(name("r"), manifest, early(number).parse().expect("a tag"))
    })
    .await;
    delete(&app, &pushed).await;
    let tag = store.record(&tag("r", "live")).expect("a tombstone");
    assert_eq!(tag.body.len(), tombstone.len(), "the tag is deleted");
}

/// Clients that do not follow links see all tags, where the operator wants that.
#[tokio::test(flavor = "multi_thread")]
async fn a_longer_page_has_all_rows_and_costs_a_listing_for_each_thousand() {
    let store = TestStore::start(STORE).await;
    let mut settings = Settings::default();
    settings.lists.page_max = 100_000;
    let app = App::over(store.objects.clone(), settings).await;
    app.push_small("r", "live", 2).await;
    let body = store.record(&tag("r", "live")).expect("the tag").body;
    fill(&store, &body, |number| tag("r", &early(number))).await;
    for (query, rows, listings) in
        [("", DELETED + 1, 13), ("?n=11500", 11_500, 12), ("?n=100000&last=005000", 7_000, 7)]
    {
        let before = store.calls();
        let page = app.get(&format!("/v2/r/tags/list{query}")).send().await.expect(200);
        assert_eq!(page.json()["tags"].as_array().map(Vec::len), Some(rows), "{query}");
        assert_eq!(page.next().is_some(), rows == 11_500, "{query}");
        assert_eq!(store.calls().since(&before).list, listings, "{query}");
    }
}

/// A client may page after any text. The rows before it are not listed only to be skipped.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_after_a_text_that_is_no_tag_costs_one_listing() {
    let (store, app, _) = registry().await;
    app.push_small("r", "live", 2).await;
    let body = store.record(&tag("r", "live")).expect("the tag").body;
    fill(&store, &body, |number| tag("r", &early(number))).await;
    for (last, first) in [
        ("~", None),
        ("%F0%9F%92%A5", None),
        ("0%7E", Some("live")),
        ("011:", Some("live")),
        ("010:", Some("011000")),
        ("01%20", Some("010000")),
        ("../m", Some("000000")),
    ] {
        let before = store.calls();
        let page = app.get(&format!("/v2/r/tags/list?n=1&last={last}")).send().await.expect(200);
        assert_eq!(store.calls().since(&before).list, 1, "{last}");
        assert_eq!(page.json()["tags"].get(0).and_then(Value::as_str), first, "{last}");
    }
}
