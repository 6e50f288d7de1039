//! distribution-spec, "Pulling manifests": the grammar of `<name>`, `<reference>` and `<digest>` at
//! every path that contains one.

use crate::support::app::OCI_MANIFEST;
use crate::support::content::{NOWHERE, image, spelled};
use crate::support::{App, sha256};

/// A name of exactly this many bytes, in ten segments.
fn name_of(bytes: usize) -> String {
    let start = "a/".repeat(9);
    format!("{start}{}", "x".repeat(bytes - start.len()))
}

#[tokio::test]
async fn valid_repository_names_are_accepted() {
    let app = App::start().await;
    let names = [
        "a",
        "0",
        "a.b",
        "a_b",
        "a__b",
        "a-b",
        "a---------b",
        "a/b",
        "a/b/c/d/e/f/g/h/i/j",
        "1.2_3__4-5--6/7",
        "xn--9krt00a",
        "v2",
        "v2/v2",
        "library/ubuntu",
    ];
    for name in names {
        let path = |rest: &str| format!("/v2/{name}/{rest}");
        app.get(&path("tags/list")).send().await.expect_envelope(404, &["NAME_UNKNOWN"]);
        let reply = app.get(&path("manifests/latest")).send().await;
        reply.expect_envelope(404, &["MANIFEST_UNKNOWN"]);
        let reply = app.get(&path(&format!("blobs/{NOWHERE}"))).send().await;
        reply.expect_envelope(404, &["BLOB_UNKNOWN"]);
    }
}

#[tokio::test]
async fn names_outside_the_grammar_are_refused() {
    let app = App::start().await;
    let names = [
        "A",
        "a/B",
        "_a",
        "a_",
        "a___b",
        ".a",
        "a.",
        "a..b",
        "-a",
        "a-",
        "a.-b",
        "a_.b",
        "a-_b",
        "a//b",
        "/a",
        "a/",
        ".",
        "..",
        "a/../b",
        "a/./b",
        "%2e%2e",
        "a/%2E%2e/b",
        "a%2Fb",
        "a%5Cb",
        "a%00",
        "a%20b",
        "a+b",
        "a%2Bb",
        "%C3%A4",
        "a%FF",
        "a~b",
        "a:b",
        "a@b",
        "a*",
        "_catalog",
        "a/_/b",
        "a;x=y",
        "a/_oci",
        "%61/%62%41",
    ];
    for name in names {
        for (method, rest) in [
            ("GET", "manifests/latest".to_owned()),
            ("PUT", "manifests/latest".to_owned()),
            ("DELETE", format!("manifests/{NOWHERE}")),
            ("GET", format!("blobs/{NOWHERE}")),
            ("POST", "blobs/uploads/".to_owned()),
            ("GET", "tags/list".to_owned()),
            ("GET", format!("referrers/{NOWHERE}")),
        ] {
            let reply = app.request(method, &format!("/v2/{name}/{rest}")).send().await;
            assert_eq!(reply.status, 400, "{method} {name}/{rest}: {reply:?}");
            reply.expect_envelope(400, &["NAME_INVALID"]);
        }
    }
}

/// Percent-encoding is another spelling of the same name.
#[tokio::test]
async fn percent_encoded_names_are_decoded() {
    let app = App::start().await;
    let repository = app.repository("spelled");
    let (digest, body) = app.push_small(&repository, "v1", 1).await;
    let encoded: String = repository.bytes().fold(String::new(), |text, byte| match byte {
        b'/' => text + "/",
        other => format!("{text}%{other:02x}"),
    });
    let colon = digest.replace(':', "%3A");
    for reference in ["v1", "%761", "v%31", &digest, &colon, &digest.replace(':', "%3a")] {
        for name in [&repository, &encoded] {
            let path = format!("/v2/{name}/manifests/{reference}");
            app.get(&path).send().await.expect(200).with_body(&body);
        }
    }
    let path = format!("/v2/{encoded}/tags/list");
    assert_eq!(app.get(&path).send().await.expect(200).json()["name"], repository);
}

/// The action is parsed from the right, so its words may occur in names.
#[tokio::test]
async fn repositories_may_be_named_like_endpoints() {
    let app = App::start().await;
    let prefix = app.repository("x");
    let names = [
        "blobs/uploads/manifests",
        "blobs",
        "manifests",
        "tags/list",
        "referrers",
        "uploads",
        "blobs/uploads",
        "manifests/blobs",
        "tags",
        "list",
        "v2/tags/list",
        "token",
    ];
    for (seed, name) in names.into_iter().enumerate() {
        // In a separate registry they are the whole name.
        let name = if app.is_ours() { name.to_owned() } else { format!("{prefix}/{name}") };
        let (digest, body) = app.push_small(&name, "latest", seed as u64).await;
        for reference in ["latest", &digest] {
            let path = format!("/v2/{name}/manifests/{reference}");
            app.get(&path).send().await.expect(200).with_body(&body);
            app.request("HEAD", &path).send().await.expect(200);
        }
        let path = format!("/v2/{name}/blobs/{}", sha256(b"{}"));
        app.get(&path).send().await.expect(200).with_body(b"{}");
        let list = app.get(&format!("/v2/{name}/tags/list")).send().await.expect(200).json();
        assert_eq!(list, serde_json::json!({ "name": name, "tags": ["latest"] }));
        let path = format!("/v2/{name}/referrers/{digest}");
        app.get(&path).send().await.expect(200);
        app.request("DELETE", &format!("/v2/{name}/manifests/{digest}")).send().await.expect(202);
    }
}

#[tokio::test]
async fn a_name_of_255_bytes_is_accepted_and_256_refused() {
    let app = App::start().await;
    let longest = name_of(255);
    assert_eq!(longest.split('/').count(), 10);
    let (_, body) = app.push_small(&longest, "latest", 1).await;
    let path = format!("/v2/{longest}/manifests/latest");
    app.get(&path).send().await.expect(200).with_body(&body);
    let page = app.get(&format!("/v2/_catalog?n=1&last={}", name_of(254))).send().await.expect(200);
    assert_eq!(page.json()["repositories"][0], longest);
    for bytes in [256, 1_000, 20_000] {
        let path = format!("/v2/{}/manifests/latest", name_of(bytes));
        for method in ["GET", "PUT"] {
            let reply = app.request(method, &path).send().await;
            reply.expect_envelope(400, &["NAME_INVALID"]);
        }
    }
}

#[tokio::test]
async fn valid_tags_are_accepted() {
    let app = App::start().await;
    let repository = app.repository("tags");
    app.push_parts(&repository, 1).await;
    let body = spelled(&image(OCI_MANIFEST, 1));
    let longest = "t".repeat(128);
    let mut tags =
        ["a", "A", "0", "_", "_.-", "v1.2.3-rc.1", "sha256-abc", "a..b", "__", &longest].to_vec();
    for tag in &tags {
        app.put_manifest(&repository, tag, OCI_MANIFEST, &body).await.expect(201);
        let path = format!("/v2/{repository}/manifests/{tag}");
        app.get(&path).send().await.expect(200).with_body(&body);
    }
    tags.sort_unstable();
    let list = app.get(&format!("/v2/{repository}/tags/list")).send().await.expect(200);
    assert_eq!(list.json()["tags"], serde_json::json!(tags));
}

#[tokio::test]
async fn references_outside_the_grammar_are_refused() {
    let app = App::start().await;
    let repository = app.repository("references");
    app.push_parts(&repository, 1).await;
    let body = spelled(&image(OCI_MANIFEST, 1));
    let too_long = "t".repeat(129);
    let upper = NOWHERE.to_uppercase();
    let cut = &NOWHERE[..NOWHERE.len() - 1];
    let rows = [
        (".a", "MANIFEST_INVALID"),
        ("-a", "MANIFEST_INVALID"),
        ("a%20b", "MANIFEST_INVALID"),
        ("a+b", "MANIFEST_INVALID"),
        ("%C3%A4", "MANIFEST_INVALID"),
        (&too_long, "MANIFEST_INVALID"),
        ("..", "MANIFEST_INVALID"),
        ("a%2Fb", "NAME_INVALID"),
        ("a%00", "NAME_INVALID"),
        ("sha256:baddigeststring", "DIGEST_INVALID"),
        ("sha256:", "DIGEST_INVALID"),
        (":", "DIGEST_INVALID"),
        (&upper, "DIGEST_INVALID"),
        (cut, "DIGEST_INVALID"),
        ("sha512:00", "DIGEST_INVALID"),
        ("md5:d41d8cd98f00b204e9800998ecf8427e", "DIGEST_INVALID"),
        ("sha256:%D9%A0", "DIGEST_INVALID"),
    ];
    for (reference, code) in rows {
        let path = format!("/v2/{repository}/manifests/{reference}");
        for method in ["GET", "PUT", "DELETE"] {
            let request = app.request(method, &path).header("content-type", OCI_MANIFEST);
            let reply = request.body(body.clone()).send().await;
            assert_eq!(reply.status, 400, "{method} {path}: {reply:?}");
            reply.expect_envelope(400, &[code]);
        }
        app.request("HEAD", &path).send().await.expect(400).with_body(b"");
    }
    for digest in ["latest", "sha256:x", &upper, cut, "sha256:..%5C.."] {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let reply = app.get(&path).send().await.expect(400);
        let code = reply.json()["errors"][0]["code"].clone();
        assert!(code == "DIGEST_INVALID" || (digest.contains('%') && code == "NAME_INVALID"));
    }
}
