//! Web pages on other origins: the Fetch standard, "CORS protocol".

use super::{As as _, Guarded, push, with_passwords};
use crate::support::{Reply, sha256};

const PAGE: &str = "https://ui.example.com";

async fn registry(origins: &str) -> Guarded {
    let text = format!("access.authenticated = 'push'\nserver.cors_origins = {origins}");
    let app = with_passwords(&["alice"], &text).await;
    push(&app, "a", "v1", "x").user("alice").send().await.expect(201);
    app
}

/// Asserts that a page may read the response.
#[track_caller]
fn readable(reply: Reply) {
    let reply = reply.has("access-control-allow-origin", PAGE);
    let reply = reply.has("access-control-allow-credentials", "true");
    let exposed = reply.header("access-control-expose-headers").expect("a list").to_lowercase();
    let exposed: Vec<&str> = exposed.split(", ").collect();
    for (name, _) in &reply.headers {
        let ours = ["docker-", "oci-", "link", "location", "range", "etag", "www-authenticate"];
        if ours.iter().any(|ours| name.as_str().starts_with(ours)) {
            assert!(exposed.contains(&name.as_str()), "{name}: {reply:?}");
        }
    }
    assert!(reply.headers.get_all("vary").iter().any(|value| value == "Origin"), "{reply:?}");
}

#[track_caller]
fn unreadable(reply: &Reply) {
    let cors = |name: &http::HeaderName| name.as_str().starts_with("access-control-");
    assert!(!reply.headers.keys().any(cors), "{reply:?}");
}

#[tokio::test]
async fn a_preflight_of_a_named_origin_needs_no_login() {
    let app = registry(&format!("['http://localhost:8080', '{PAGE}']")).await;
    let paths = ["/v2/", "/v2/_catalog", "/v2/a/tags/list", "/v2/a/manifests/v1", "/nowhere"];
    for path in paths {
        let preflight = |origin| {
            let request = app.request("OPTIONS", path).header("origin", origin);
            request.header("access-control-request-method", "DELETE")
        };
        let request = preflight(PAGE).header("access-control-request-headers", "authorization");
        let reply = request.send().await.expect(204).says(b"");
        let list = |name| reply.header(name).expect(name).to_lowercase();
        assert!(list("access-control-allow-methods").contains("delete"));
        for header in ["authorization", "accept", "content-type", "content-range", "if-match"] {
            assert!(list("access-control-allow-headers").contains(header), "{header}");
        }
        assert!(list("access-control-max-age").parse::<u32>().is_ok());
        readable(reply.clone());
        for origin in ["https://evil.example", "https://ui.example.com.evil.example", "null"] {
            let reply = preflight(origin).send().await;
            assert!([404, 405].contains(&reply.status.as_u16()), "{reply:?}");
            unreadable(&reply);
        }
    }
}

/// The page also reads why it was refused.
#[tokio::test]
async fn a_page_of_a_named_origin_reads_every_answer() {
    let app = registry(&format!("'{PAGE}'")).await;
    let blob = format!("/v2/a/blobs/uploads/?digest={}", sha256(b"x"));
    for (method, path, login, status) in [
        ("GET", "/v2/", false, 401),
        ("GET", "/v2/", true, 200),
        ("GET", "/v2/_catalog?n=1", true, 200),
        ("HEAD", "/v2/a/manifests/v1", true, 200),
        ("GET", "/v2/a/manifests/none", true, 404),
        ("DELETE", "/v2/a/tags/list", true, 405),
        ("GET", "/v2/a/tags/list?n=x", true, 400),
        ("POST", "/v2/a/blobs/uploads/", true, 202),
        ("POST", &blob, true, 201),
        ("OPTIONS", "/v2/", true, 405),
        ("GET", "/", false, 200),
    ] {
        let request = || {
            let body = if path == blob { &b"x"[..] } else { b"" };
            let request = app.request(method, path).body(body);
            if login { request.user("alice") } else { request }
        };
        readable(request().header("origin", PAGE).send().await.expect(status));
        let other = request().header("origin", "https://evil.example").send().await;
        unreadable(&other);
        // A cache must not give a page what it kept for another.
        assert!(other.headers.get_all("vary").iter().any(|value| value == "Origin"), "{other:?}");
        unreadable(&request().send().await);
    }
}

#[tokio::test]
async fn without_named_origins_nothing_is_said_about_them() {
    let app = with_passwords(&["alice"], "access.authenticated = 'push'").await;
    let preflight = app.request("OPTIONS", "/v2/").header("origin", PAGE);
    let reply = preflight.header("access-control-request-method", "GET").send().await;
    unreadable(&reply.expect_error(405, "UNSUPPORTED").lacks("vary"));
    let get = app.get("/v2/").user("alice").header("origin", PAGE).send().await;
    unreadable(&get.expect(200).lacks("vary"));
}
