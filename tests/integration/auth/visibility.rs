//! Callers learn nothing about repositories that they may not read.

use jsonwebtoken::Algorithm;
use longshore::config::Settings;
use longshore::store::{RecordKey, RecordStore as _};

use super::issuer::{Signer, jwks, with_tokens};
use super::{As as _, Guarded, push, with_passwords};
use crate::support::{App, sha256};

async fn registry() -> Guarded {
    let rules = "
        [[access.rules]]
        subject = 'anonymous'
        repositories = 'public/**'
        actions = ['pull', 'catalog']
        [[access.rules]]
        subject = 'user:alice'
        repositories = 'alice/**'
        actions = ['pull', 'push']
        [[access.rules]]
        subject = 'user:owner'
        repositories = '**'
        actions = ['pull', 'push', 'delete', 'catalog']";
    with_passwords(&["alice", "owner"], rules).await
}

async fn push_blob(app: &Guarded, repository: &str, content: &'static [u8]) -> String {
    let digest = sha256(content);
    let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    app.request("POST", &path).user("owner").body(content).send().await.expect(201);
    digest
}

#[tokio::test]
async fn the_catalog_lists_only_repositories_that_the_caller_may_pull() {
    let app = registry().await;
    for repository in ["alice/x", "public/x", "secret/x"] {
        push(&app, repository, "v1", "x").user("owner").send().await.expect(201);
    }
    let list = |reply: crate::support::Reply| reply.expect(200).json()["repositories"].to_string();
    let catalog = || app.get("/v2/_catalog");
    assert_eq!(list(catalog().send().await), r#"["public/x"]"#);
    assert_eq!(list(catalog().user("alice").send().await), r#"["alice/x","public/x"]"#);
    let all = list(catalog().user("owner").send().await);
    assert_eq!(all, r#"["alice/x","public/x","secret/x"]"#);
    // A page is filled with what the caller may see.
    let (mut shown, mut next) = (Vec::new(), Some("/v2/_catalog?n=1".to_owned()));
    while let Some(path) = next {
        let page = app.get(&path).send().await.expect(200);
        next = page.next();
        shown.push(list(page));
    }
    assert_eq!(shown, [r#"["public/x"]"#, "[]"]);
}

/// Follows the links from a path. Returns the repositories of each page, and the links.
async fn walk(app: &Guarded, path: &str, user: Option<&str>) -> (Vec<Vec<String>>, Vec<String>) {
    let (mut pages, mut links) = (Vec::new(), Vec::new());
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let request = app.get(&path);
        let request = if let Some(user) = user { request.user(user) } else { request };
        let page = request.send().await.expect(200);
        let names = page.json()["repositories"].as_array().expect("names").clone();
        pages.push(names.iter().map(|name| name.as_str().expect("text").to_owned()).collect());
        next = page.next();
        links.extend(next.clone());
        assert!(pages.len() < 100, "{path}: the links have no end");
    }
    (pages, links)
}

#[tokio::test]
async fn the_links_of_the_catalog_name_only_what_the_caller_may_pull() {
    let app = registry().await;
    let hidden = ["secret/one", "secret/two", "team/app", "a"];
    for repository in [&hidden[..], &["alice/app", "public/hello", "public/zoo"]].concat() {
        push(&app, repository, "v1", "x").user("owner").send().await.expect(201);
    }
    for (user, visible) in [
        (None, &["public/hello", "public/zoo"][..]),
        (Some("alice"), &["alice/app", "public/hello", "public/zoo"]),
    ] {
        for count in 1..=7 {
            let (pages, links) = walk(&app, &format!("/v2/_catalog?n={count}"), user).await;
            assert_eq!(pages.concat(), visible, "n={count}");
            let (last, full) = pages.split_last().expect("pages");
            assert!(full.iter().all(|page| page.len() == count) && last.len() <= count);
            for link in &links {
                let (_, last) = link.split_once("&last=").expect("a cursor");
                assert!(visible.contains(&last), "{link}");
            }
        }
        // The caller chooses where to begin.
        for last in ["secret", "secret/one", "public/zzz", "se", "z", "t", "public/zoo", "b"] {
            for count in [1, 2] {
                let path = format!("/v2/_catalog?n={count}&last={last}");
                let (pages, links) = walk(&app, &path, user).await;
                let after: Vec<&str> =
                    visible.iter().copied().filter(|name| *name > last).collect();
                assert_eq!(pages.concat(), after, "{path}");
                let named = |link: &String| {
                    hidden.iter().any(|name| link.ends_with(&format!("last={name}")))
                };
                assert!(!links.iter().any(named), "{path}: {links:?}");
            }
        }
    }
}

/// A page walks over a bounded number of hidden repositories. Where it shows none, only the
/// registry can read its cursor.
#[tokio::test(flavor = "multi_thread")]
async fn many_hidden_repositories_are_passed_by_sealed_cursors() {
    let app = registry().await;
    for repository in ["alice/app", "public/a", "zoo"] {
        push(&app, repository, "v1", "x").user("owner").send().await.expect(201);
    }
    let memory = app.memory.as_ref().expect("the memory store");
    let marker = |name: &str| RecordKey::Repository(name.parse().expect("a name"));
    let body = memory.record(&marker("zoo")).expect("a marker").body;
    for number in 0..12_000 {
        for prefix in ["hidden", "private"] {
            let key = marker(&format!("{prefix}/{number:05}"));
            memory.create(&key, body.clone(), None).await.expect("created");
        }
    }
    for (count, user) in [(1, None), (1, Some("alice")), (5, None), (1000, Some("alice"))] {
        let before = memory.calls();
        let (pages, links) = walk(&app, &format!("/v2/_catalog?n={count}"), user).await;
        let mut visible = vec!["public/a"];
        visible.extend(user.map(|_| "alice/app"));
        visible.sort_unstable();
        assert_eq!(pages.concat(), visible);
        let listings = memory.calls().since(&before).list as usize;
        assert!(listings <= 11 * pages.len() + 10, "{listings} listings for {} pages", pages.len());
        let sealed = links.iter().filter(|link| link.contains("last=~")).count();
        assert!(sealed > 0, "{links:?}");
        for word in ["hidden", "private", "zoo"] {
            assert!(!links.iter().any(|link| link.contains(word)), "{links:?}");
        }
        // A cursor of one process is good at another, and one that was changed nowhere.
        let link = links.iter().find(|link| link.contains("last=~")).expect("a sealed cursor");
        let other = App::frontend(memory.clone(), Settings::default()).await;
        other.get(link).send().await.expect(200);
        let (start, end) = link.split_at(link.len() - 8);
        let changed = format!("{start}{}", if end == "AAAAAAAA" { "BBBBBBBB" } else { "AAAAAAAA" });
        app.get(&changed).user("owner").send().await.expect_error(400, "UNSUPPORTED");
    }
    app.get("/v2/_catalog?last=~").user("owner").send().await.expect_error(400, "UNSUPPORTED");
}

#[tokio::test]
async fn a_mount_needs_pull_access_to_its_source() {
    let app = registry().await;
    let secret = push_blob(&app, "secret/x", b"secret").await;
    let public = push_blob(&app, "public/x", b"public").await;
    for (digest, from, expected) in [
        (&secret, "&from=secret/x", 202),
        (&secret, "&from=public/x", 202),
        (&secret, "", 202),
        (&public, "&from=public/x", 201),
    ] {
        let path = format!("/v2/alice/x/blobs/uploads/?mount={digest}{from}");
        let reply = app.request("POST", &path).user("alice").send().await;
        assert_eq!(reply.status.as_u16(), expected, "{digest}{from}");
    }
    // Without a source: only from repositories that she may read.
    let path = format!("/v2/alice/y/blobs/uploads/?mount={public}");
    app.request("POST", &path).user("alice").send().await.expect(201);
    for method in ["GET", "HEAD"] {
        for digest in [&secret] {
            let path = format!("/v2/alice/x/blobs/{digest}");
            assert_eq!(app.request(method, &path).user("alice").send().await.status, 404);
        }
    }
}

/// The same with tokens. A token that was requested without the source is challenged with both
/// scopes; a token without access to the source uploads the layer.
#[tokio::test]
async fn a_mount_with_a_token_needs_its_source_in_the_scope() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let app = with_tokens(&jwks(&[&signer]), "").await;
    let all: &[&str] = &["pull", "push"];
    let source = signer.token("owner", &[("source", all)]);
    let digest = sha256(b"blob");
    let path = format!("/v2/source/blobs/uploads/?digest={digest}");
    app.request("POST", &path).bearer(&source).body(&b"blob"[..]).send().await.expect(201);
    let path = format!("/v2/target/blobs/uploads/?mount={digest}&from=source");
    for (access, expected) in [
        (&[("target", all)][..], 401),
        (&[("target", all), ("source", &[])], 202),
        (&[("target", all), ("source", &["push"])], 202),
        (&[("target", all), ("source", &["pull"])], 201),
        (&[("source", &["pull"])], 401),
    ] {
        let token = signer.token("alice", access);
        let reply = app.request("POST", &path).bearer(&token).send().await;
        assert_eq!(reply.status.as_u16(), expected, "{access:?}");
        if expected == 401 {
            let scopes = "scope=\"repository:target:pull,push repository:source:pull\"";
            let shown = super::challenge(&reply);
            assert!(shown.contains(scopes) && shown.ends_with("insufficient_scope\""), "{shown}");
        }
    }
}

/// A token with the catalog scope lists all repositories. Rules restrict it like any other access.
#[tokio::test]
async fn a_token_with_the_catalog_scope_lists_every_repository() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let limited = "
        [[access.rules]]
        subject = 'authenticated'
        repositories = 'a/**'
        actions = ['pull', 'push', 'catalog']";
    for (rules, expected) in [("", r#"["a/x","b/x"]"#), (limited, r#"["a/x"]"#)] {
        let app = with_tokens(&jwks(&[&signer]), rules).await;
        for repository in ["a/x", "b/x"] {
            let token = signer.token("owner", &[(repository, &["push"])]);
            let pushed = push(&app, repository, "v1", "x").bearer(&token).send().await.status;
            assert_eq!(pushed, if rules.is_empty() || repository == "a/x" { 201 } else { 403 });
        }
        let token = signer.token("alice", &[("registry:catalog", &["*"])]);
        let reply = app.get("/v2/_catalog").bearer(&token).send().await.expect(200);
        assert_eq!(reply.json()["repositories"].to_string(), expected);
        let token = signer.token("alice", &[("a/x", &["*"])]);
        app.get("/v2/_catalog").bearer(&token).send().await.expect(401);
    }
}

/// Status, headers and body do not reveal whether the repository exists.
#[tokio::test]
async fn missing_and_forbidden_repositories_get_the_same_response() {
    let app = registry().await;
    push(&app, "secret/app", "v1", "x").user("owner").send().await.expect(201);
    let there = push_blob(&app, "secret/app", b"secret").await;
    let absent = sha256(b"absent");
    for (method, there, absent) in [
        ("GET", "/v2/secret/app/manifests/v1".to_owned(), "/v2/secret/nil/manifests/v1".to_owned()),
        ("HEAD", "/v2/secret/app/manifests/v1".into(), "/v2/secret/app/manifests/v2".into()),
        ("GET", "/v2/secret/app/tags/list".into(), "/v2/secret/nil/tags/list".into()),
        ("GET", format!("/v2/secret/app/blobs/{there}"), format!("/v2/secret/app/blobs/{absent}")),
        (
            "DELETE",
            format!("/v2/secret/app/blobs/{there}"),
            format!("/v2/secret/nil/blobs/{there}"),
        ),
        ("POST", "/v2/secret/app/blobs/uploads/".into(), "/v2/secret/nil/blobs/uploads/".into()),
    ] {
        for user in [None, Some("alice")] {
            let mut shown = Vec::new();
            for path in [&there, &absent] {
                let request = app.request(method, path);
                let request = if let Some(user) = user { request.user(user) } else { request };
                let mut reply = request.send().await;
                reply.headers.remove("date");
                reply.headers.remove("x-request-id");
                assert_eq!(reply.status.as_u16(), if user.is_some() { 403 } else { 401 });
                // The challenge repeats the name that the client has asked for.
                shown.push(format!("{reply:?}").replace(":secret/nil:", ":secret/app:"));
            }
            assert_eq!(shown[0], shown[1], "{method} {there} {user:?}");
        }
    }
}

/// Some caches keep answers to requests with credentials, unless these say that they are private.
#[tokio::test]
async fn only_what_everybody_may_read_is_left_to_shared_caches() {
    let app = registry().await;
    for (repository, private, blobs) in [
        ("public/x", None, "max-age=31536000, immutable, no-transform"),
        ("secret/x", Some("private"), "private, max-age=31536000, immutable, no-transform"),
    ] {
        let manifests = private.map_or("no-transform", |_| "private, no-transform");
        push(&app, repository, "v1", "x").user("owner").send().await.expect(201);
        let blob = push_blob(&app, repository, b"content").await;
        let digest = sha256(&super::manifest("x"));
        for (path, expected) in [
            (format!("blobs/{blob}"), Some(blobs)),
            ("manifests/v1".to_owned(), Some(manifests)),
            (format!("manifests/{digest}"), Some(manifests)),
            ("tags/list".to_owned(), private),
            (format!("referrers/{digest}"), private),
        ] {
            for method in ["GET", "HEAD"] {
                for conditional in ["", &format!("\"{blob}\", \"{digest}\"")] {
                    let path = format!("/v2/{repository}/{path}");
                    let request = app.request(method, &path).user("owner");
                    let reply = request.header("if-none-match", conditional).send().await;
                    assert!([200, 304].contains(&reply.status.as_u16()), "{path}: {reply:?}");
                    assert_eq!(reply.header("cache-control"), expected, "{method} {path}");
                }
            }
        }
        let part = app.get(&format!("/v2/{repository}/blobs/{blob}")).user("owner");
        let part = part.header("range", "bytes=0-1").send().await.expect(206);
        assert_eq!(part.header("cache-control"), Some(blobs));
    }
    // What the catalog shows depends on the caller.
    let catalog = app.get("/v2/_catalog").user("owner").send().await.expect(200);
    assert_eq!(catalog.header("cache-control"), Some("private"));
}

/// Scripts look for the texts that distribution gives each code.
#[tokio::test]
async fn refusals_begin_with_the_customary_text() {
    let app = registry().await;
    let list = || app.get("/v2/secret/app/tags/list");
    for (reply, text) in [
        (list().send().await.expect(401), "authentication required: "),
        (
            list().user("alice").send().await.expect(403),
            "requested access to the resource is denied: ",
        ),
    ] {
        let message = reply.json()["errors"][0]["message"].to_string();
        assert!(message.starts_with(&format!("\"{text}")), "{message}");
    }
}

/// The same endpoint under other spellings of its path.
#[tokio::test]
async fn other_spellings_of_a_path_do_not_bypass_authorization() {
    let app = registry().await;
    push(&app, "secret/app", "v1", "x").user("owner").send().await.expect(201);
    for path in [
        "/v2//_catalog",
        "//v2/_catalog",
        "/v2/../v2/_catalog",
        "/V2/secret/app/tags/list",
        "/v2/secret/app/tags/list/",
        "/v2/secret/app/tags/list;x",
        "/v2/secret%2fapp/tags/list",
        "/v2/secret/./app/tags/list",
        "/v2/public/../secret/app/tags/list",
        "/v2/public/%2e%2e/secret/app/tags/list",
        "/v2/secret/app/manifests/v1?from=public/x",
        "/v2/%73ecret/app/manifests/v1",
    ] {
        let reply = app.get(path).send().await;
        assert!(matches!(reply.status.as_u16(), 400 | 401 | 404), "{path}: {reply:?}");
        assert!(!String::from_utf8_lossy(&reply.body).contains("v1\"]"), "{path}: {reply:?}");
    }
}
