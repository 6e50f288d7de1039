//! The pages for people with a browser, as far as HTTP shows them. `tests/deploy/pages` looks at
//! them with a real one.

use longshore::config::Settings;

use crate::support::app::OCI_MANIFEST;
use crate::support::content::skip;
use crate::support::{App, Reply, sha256};

async fn page(app: &App, path: &str, status: u16) -> Reply {
    let reply = app.get(path).header("accept", "text/html").send().await.expect(status);
    assert_eq!(reply.headers["content-type"], "text/html; charset=utf-8", "{path}");
    assert_eq!(reply.headers["cache-control"], "no-store", "{path}");
    let policy = reply.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    reply
}

#[tokio::test]
async fn the_root_leads_browsers_to_the_pages_and_nothing_else() {
    let app = App::start().await;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let led = app.get("/").header("accept", browser).send().await.expect(303);
    assert_eq!(led.headers["location"], "/ui/");
    for accept in ["*/*", "application/json", OCI_MANIFEST] {
        app.get("/").header("accept", accept).send().await.expect(200);
    }
    app.get("/").send().await.expect(200);
}

#[tokio::test]
async fn a_repository_shows_its_tags_and_their_manifests() {
    let app = App::start().await;
    let name = app.repository("pages");
    let (digest, _) = app.push_image(&name, "v1", 1).await;
    app.push_image(&name, "v1.10", 5).await;
    let tags = page(&app, &format!("/ui/repository/{name}"), 200).await.body_text();
    for part in ["v1", "v1.10", &digest, "image", "anonymous"] {
        assert!(tags.contains(part), "no {part} in {tags}");
    }
    let searched = page(&app, &format!("/ui/repository/{name}?q=v1."), 200).await.body_text();
    assert!(searched.contains("v1.10") && !searched.contains(&digest), "{searched}");
    for reference in ["v1", &digest] {
        let shown = page(&app, &format!("/ui/manifest/{name}/{reference}"), 200).await.body_text();
        assert!(shown.contains(&digest) && shown.contains("docker pull"), "{shown}");
    }
    app.request("HEAD", &format!("/ui/repository/{name}")).send().await.expect(200);
}

#[tokio::test]
async fn a_tag_that_moved_shows_what_it_pointed_at() {
    let app = App::start().await;
    let name = app.repository("pages-moved");
    let (before, _) = app.push_image(&name, "v1", 1).await;
    app.push_image(&name, "v1", 7).await;
    let tags = page(&app, &format!("/ui/repository/{name}"), 200).await.body_text();
    assert!(tags.contains(&format!("/ui/manifest/{name}/{before}")), "{tags}");
    // The former manifest is there, and counts as tagged until the tag index is collected.
    page(&app, &format!("/ui/manifest/{name}/{before}"), 200).await;
    let untagged = page(&app, &format!("/ui/untagged/{name}"), 200).await.body_text();
    assert!(!untagged.contains(&before), "{untagged}");
}

#[tokio::test]
async fn manifests_that_never_had_a_tag_are_listed() {
    let app = App::start().await;
    let name = app.repository("pages-untagged");
    let (tagged, manifest) = app.push_image(&name, "v1", 1).await;
    let manifest = [b" ".as_slice(), &manifest].concat();
    let untagged = sha256(&manifest);
    app.put_manifest(&name, &untagged, OCI_MANIFEST, &manifest).await.expect(201);
    let listed = page(&app, &format!("/ui/untagged/{name}"), 200).await.body_text();
    assert!(listed.contains(&untagged) && !listed.contains(&tagged), "{listed}");
}

#[tokio::test]
async fn what_is_not_there_is_a_page_with_the_status_of_the_api() {
    let app = App::start().await;
    let name = app.repository("pages-absent");
    app.push_image(&name, "v1", 1).await;
    let absent = sha256(b"absent");
    for (path, status) in [
        (format!("/ui/repository/{name}-not"), 404),
        (format!("/ui/untagged/{name}-not"), 404),
        (format!("/ui/manifest/{name}/none"), 404),
        (format!("/ui/manifest/{name}/{absent}"), 404),
        (format!("/ui/manifest/{name}/sha256:12"), 400),
        ("/ui/repository/UPPER".to_owned(), 400),
        ("/ui/static/../../secret".to_owned(), 404),
        ("/ui/nothing".to_owned(), 404),
        ("/ui/go?name=%3Cb%3E".to_owned(), 400),
    ] {
        let reply = page(&app, &path, status).await;
        assert!(!reply.body_text().contains("<b>"), "{path}: {reply:?}");
    }
    app.get("/uinothing").send().await.expect(404);
    app.request("POST", "/ui/").send().await.expect(405);
    let led = app.get(&format!("/ui/go?name={name}")).send().await.expect(303);
    assert_eq!(led.headers["location"], format!("/ui/repository/{name}"));
}

#[tokio::test]
async fn the_pages_can_be_switched_off() {
    let app = App::start_with(|settings: &mut Settings| settings.ui.enabled = false).await;
    if !app.is_ours() {
        return skip("a registry that is not ours has its own settings");
    }
    app.get("/").header("accept", "text/html").send().await.expect(200);
    for path in ["/ui", "/ui/", "/ui/static/style.css"] {
        app.get(path).send().await.expect(404);
    }
}

#[tokio::test]
async fn a_registry_without_a_catalog_shows_repositories_by_name_only() {
    let app = App::start_with(|settings: &mut Settings| settings.lists.catalog = false).await;
    if !app.is_ours() {
        return skip("a registry that is not ours has its own settings");
    }
    app.push_image("a", "v1", 1).await;
    let refused = page(&app, "/ui/", 403).await.body_text();
    assert!(refused.contains("open a repository"), "{refused}");
    page(&app, "/ui/repository/a", 200).await;
}
