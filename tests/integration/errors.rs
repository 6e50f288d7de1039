//! distribution-spec, "Determining Support" (end-1) and "Error codes": every error has the JSON
//! body and the API version header.

use serde_json::json;

use crate::support::content::NOWHERE;
use crate::support::{App, Reply};

#[tokio::test]
async fn v2_returns_200_with_the_api_version_header() {
    let app = App::start().await;
    for path in ["/v2/", "/v2", "/v2/?ns=docker.io", "/v2?x=y"] {
        let get = app.get(path).send().await.expect(200);
        let get = get
            .with("docker-distribution-api-version", "registry/2.0")
            .with("x-content-type-options", "nosniff")
            .with("content-type", "application/json")
            .with("content-length", "2")
            .with_body(b"{}");
        let head = app.request("HEAD", path).send().await.expect(200).with_body(b"");
        assert_eq!(head.described(), get.described());
    }
}

/// No path outside of the endpoints exists, however it is spelled (CVE-2020-29662).
#[tokio::test]
async fn unknown_routes_are_404() {
    let app = App::start().await;
    let paths = [
        "/v1/",
        "/v3/",
        "/v2x",
        "/V2/",
        "//v2/",
        "//v2/_catalog",
        "/./v2/",
        "/x/../v2/",
        "/%76%32/",
        "/v2/a",
        "/v2/a/b",
        "/v2/a/manifests",
        "/v2/a/manifests/",
        "/v2/a/blobs",
        "/v2/a/tags",
        "/v2/a/tags/",
        "/v2/a/tags/list/",
        "/v2/a/tags/lists",
        "/v2/_catalog/",
        "/v2/_Catalog",
        "/v2/_oci",
        "/v2/_oci/ext",
        "/v2/a/_oci/ext",
        "/v2/a/uploads",
        "/v2/a/referrers",
        "/v2/;/_catalog",
        "/favicon.ico",
        "/metrics",
        "/debug/pprof",
    ];
    for path in paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let reply = app.request(method, path).send().await;
            let bad = reply.status == 400 || reply.status == 404;
            assert!(bad, "{method} {path}: {reply:?}");
            let status = reply.status.as_u16();
            let code = reply.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned();
            let codes = ["UNSUPPORTED", "MANIFEST_INVALID", "DIGEST_INVALID", "NAME_INVALID"];
            assert!(codes.contains(&code.as_str()), "{method} {path}: {code}");
            reply
                .expect_envelope(status, &[code.as_str()])
                .with("x-content-type-options", "nosniff");
        }
    }
    app.get("/nowhere").send().await.expect_envelope(404, &["UNSUPPORTED"]);
}

/// Load balancers that probe the port of the traffic want a 200 without a login.
#[tokio::test]
async fn the_root_says_only_that_the_registry_listens() {
    let app = App::start().await;
    for path in ["/", "/?probe"] {
        for method in ["GET", "HEAD"] {
            let reply = app.request(method, path).send().await.expect(200).with_body(b"");
            reply.with("cache-control", "no-store");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let reply = app.request(method, path).send().await;
            reply.expect_envelope(404, &["UNSUPPORTED"]);
        }
    }
}

/// A path with `..` is not resolved.
#[tokio::test]
async fn traversal_paths_are_404() {
    let app = App::start().await;
    let climbs = [
        "/v2/../v2/_catalog",
        "/v2/a/../_catalog",
        "/v2/%2e%2e/_catalog",
        "/v2/a/..%2f_catalog",
        "/v2/a/%2e%2e/b/manifests/latest",
        "/v2/a/manifests/..",
        "/v2/a/manifests/..%2f..%2fb",
        "/v2/a/manifests/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/v2/a/blobs/..%5c..%5cb",
        "/v2/a/blobs/sha256:..%2f..%2f..%2fetc%2fpasswd",
        "/v2/a/blobs/uploads/..%2f..%2fb",
        "/v2/a/blobs/uploads/../../manifests/latest",
        "/v2/..%2f..%2fetc/passwd/tags/list",
        "/v2/a/tags/list/../../../b/tags/list",
        "/v2/a/referrers/..",
    ];
    for path in climbs {
        for method in ["GET", "PUT", "DELETE", "HEAD"] {
            let reply = app.request(method, path).send().await;
            let refused = reply.status == 400 || reply.status == 404;
            assert!(refused, "{method} {path}: {reply:?}");
            if method == "HEAD" {
                assert!(reply.body.is_empty());
            } else {
                assert!(reply.json()["errors"][0]["code"].is_string(), "{method} {path}");
            }
        }
    }
}

/// An encoded slash does not separate components.
#[tokio::test]
async fn encoded_slashes_do_not_separate_components() {
    let app = App::start().await;
    let repository = app.repository("slash");
    app.push_small(&repository, "v1", 1).await;
    let path = format!("/v2/{}/manifests/v1", repository.replace('/', "%2F"));
    app.get(&path).send().await.expect_envelope(400, &["NAME_INVALID"]);
    let path = format!("/v2/{repository}%2fmanifests/v1");
    app.get(&path).send().await.expect_envelope(400, &["NAME_INVALID"]);
    let path = format!("/v2/{repository}/manifests%2Fv1");
    app.get(&path).send().await.expect_envelope(400, &["NAME_INVALID"]);
}

#[tokio::test]
async fn methods_that_an_endpoint_does_not_support_are_405() {
    let app = App::start().await;
    let upload = "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000";
    let rows = [
        ("/v2/".to_owned(), "GET, HEAD"),
        ("/v2/_catalog".to_owned(), "GET, HEAD"),
        ("/v2/_oci/ext/discover".to_owned(), "GET, HEAD"),
        ("/v2/a/_oci/ext/discover".to_owned(), "GET, HEAD"),
        ("/v2/a/tags/list".to_owned(), "GET, HEAD"),
        (format!("/v2/a/referrers/{NOWHERE}"), "GET, HEAD"),
        (format!("/v2/a/blobs/{NOWHERE}"), "GET, HEAD, DELETE"),
        ("/v2/a/blobs/uploads/".to_owned(), "POST"),
        ("/v2/a/blobs/uploads".to_owned(), "POST"),
        (upload.to_owned(), "GET, HEAD, PATCH, PUT, DELETE"),
        ("/v2/a/manifests/latest".to_owned(), "GET, HEAD, PUT, DELETE"),
    ];
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];
    for (path, allowed) in rows {
        let allowed_methods: Vec<&str> = allowed.split(", ").collect();
        for method in methods.into_iter().filter(|method| !allowed_methods.contains(method)) {
            let reply = app.request(method, &path).send().await;
            assert_eq!(reply.status, 405, "{method} {path}: {reply:?}");
            let reply = reply.with("allow", allowed);
            if method != "HEAD" {
                reply.expect_envelope(405, &["UNSUPPORTED"]);
            }
        }
    }
}

/// Every error once, with its code.
async fn failures(app: &App, repository: &str) -> Vec<(String, Reply, u16, &'static str)> {
    let upload = "blobs/uploads/00000000-0000-4000-8000-000000000000";
    let rows = [
        ("GET", "manifests/none", 404, "MANIFEST_UNKNOWN"),
        ("GET", &format!("manifests/{NOWHERE}"), 404, "MANIFEST_UNKNOWN"),
        ("DELETE", "manifests/none", 404, "MANIFEST_UNKNOWN"),
        ("GET", &format!("blobs/{NOWHERE}"), 404, "BLOB_UNKNOWN"),
        ("DELETE", &format!("blobs/{NOWHERE}"), 404, "BLOB_UNKNOWN"),
        ("GET", upload, 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PATCH", upload, 404, "BLOB_UPLOAD_UNKNOWN"),
        ("DELETE", upload, 404, "BLOB_UPLOAD_UNKNOWN"),
        ("GET", "blobs/uploads/garbage", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PUT", &format!("{upload}?digest={NOWHERE}"), 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PUT", upload, 400, "DIGEST_INVALID"),
        ("POST", "blobs/uploads/?digest=garbage", 400, "DIGEST_INVALID"),
        ("POST", "blobs/uploads/?digest-algorithm=md5", 400, "DIGEST_INVALID"),
        ("POST", &format!("blobs/uploads/?digest={NOWHERE}"), 400, "DIGEST_INVALID"),
        ("PUT", "manifests/v1", 400, "MANIFEST_INVALID"),
        ("GET", "manifests/sha256:x", 400, "DIGEST_INVALID"),
        ("GET", "tags/list?n=x", 400, "UNSUPPORTED"),
        ("GET", "tags/list", 404, "NAME_UNKNOWN"),
    ];
    let mut failures = Vec::new();
    for (method, rest, status, code) in rows {
        let path = format!("/v2/{repository}/{rest}");
        let reply = app.request(method, &path).send().await;
        failures.push((format!("{method} {path}"), reply, status, code));
    }
    failures
}

#[tokio::test]
async fn every_error_has_the_specified_json_body() {
    let app = App::start().await;
    let repository = app.repository("failures");
    for (request, reply, status, code) in failures(&app, &repository).await {
        assert_eq!(reply.status, status, "{request}: {reply:?}");
        let reply =
            reply.expect_envelope(status, &[code]).with("x-content-type-options", "nosniff");
        let length = reply.body.len().to_string();
        reply.with("content-length", &length);
    }
}

/// Scripts look for the texts that distribution gives each code.
#[tokio::test]
async fn messages_begin_with_the_customary_text_of_their_code() {
    let app = App::start().await;
    let repository = app.repository("texts");
    let texts = [
        ("BLOB_UNKNOWN", "blob unknown to registry: "),
        ("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry: "),
        ("DIGEST_INVALID", "provided digest did not match uploaded content: "),
        ("MANIFEST_INVALID", "manifest invalid: "),
        ("MANIFEST_UNKNOWN", "manifest unknown: "),
        ("NAME_UNKNOWN", "repository name not known to registry: "),
        ("UNSUPPORTED", "The operation is unsupported: "),
    ];
    for (request, reply, _, code) in failures(&app, &repository).await {
        let (_, text) = texts.iter().find(|(known, _)| *known == code).expect("a text");
        let message = reply.json()["errors"][0]["message"].as_str().expect("text").to_owned();
        assert!(message.starts_with(text) && message.len() > text.len(), "{request}: {message}");
    }
}

/// Messages to clients contain no details that only the operator may see.
#[tokio::test]
async fn a_failed_head_has_no_body() {
    let app = App::start().await;
    let repository = app.repository("head");
    for rest in [
        "manifests/none",
        "manifests/sha256:x",
        "tags/list",
        "tags/list?n=x",
        &format!("blobs/{NOWHERE}"),
        "blobs/uploads/garbage",
        "nowhere",
        "blobs/uploads/",
    ] {
        let path = format!("/v2/{repository}/{rest}");
        let head = app.request("HEAD", &path).send().await.with_body(b"");
        assert!(head.status.is_client_error(), "{path}: {head:?}");
        head.with("docker-distribution-api-version", "registry/2.0");
    }
}

#[tokio::test]
async fn extensions_beyond_the_specification_are_served() {
    let app = App::start().await;
    for (path, names) in [
        ("/v2/_oci/ext/discover", vec!["_oci", "_catalog"]),
        ("/v2/a/_oci/ext/discover", vec!["_oci"]),
    ] {
        let reply = app.get(path).send().await.expect(200).with("content-type", "application/json");
        let json = reply.json();
        let extensions = json["extensions"].as_array().expect("extensions").iter();
        let found: Vec<_> = extensions.map(|extension| extension["name"].clone()).collect();
        assert_eq!(json!(found), json!(names));
    }
}
