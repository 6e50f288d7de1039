//! An upload session belongs to the caller that started it, in its repository.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::issuer::{Signer, claims, jwks, now, with_tokens};
use super::{As as _, with_passwords};
use crate::support::sha256;

#[tokio::test]
async fn only_the_owner_can_continue_an_upload() {
    let text = "access.anonymous = 'push'\naccess.authenticated = 'push'";
    let app = with_passwords(&["alice", "bob"], text).await;
    let start = app.request("POST", "/v2/a/blobs/uploads/").user("alice").send().await;
    let patch = app.request("PATCH", &start.expect(202).location()).user("alice");
    let location = patch.body(&b"hello"[..]).send().await.expect(202).location();
    let digest = sha256(b"hello");
    let close = format!("{location}?digest={digest}");
    for (method, path) in
        [("GET", &location), ("PATCH", &location), ("PUT", &close), ("DELETE", &location)]
    {
        let unknown = "BLOB_UPLOAD_UNKNOWN";
        let request = || app.request(method, path).body(&b""[..]);
        request().user("bob").send().await.expect_error(404, unknown);
        request().send().await.expect_error(404, unknown);
        let elsewhere = path.replace("/v2/a/", "/v2/b/");
        let request = app.request(method, &elsewhere).user("alice").body(&b""[..]);
        request.send().await.expect_error(404, unknown);
    }
    // With the mark of a new session, it is a new session of bob's own.
    let start = app.request("POST", "/v2/a/blobs/uploads/").user("alice").send().await;
    let start = start.expect(202).location();
    for (user, body) in [("alice", &b"hello"[..]), ("bob", b"x")] {
        let patch = app.request("PATCH", &start).user(user).body(body).send().await;
        let patched = patch.expect(202).stands_at(body.len()).location();
        app.get(&patched).user("alice").send().await.expect(204).stands_at(5);
    }
    app.request("PUT", &close).user("alice").send().await.expect(201);
    app.settled().await;
    // The same after the session has ended: only its owner may repeat the request.
    for _ in 0..2 {
        for path in [&close, &close.replace("/v2/a/", "/v2/b/")] {
            let put = app.request("PUT", path).user("bob").send().await;
            put.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
            app.request("PUT", path).send().await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        }
        app.request("PUT", &close).user("alice").send().await.expect(201);
    }
}

/// Who may push and not pull does not learn which blobs are there, whatever session ends.
#[tokio::test]
async fn an_ended_session_does_not_tell_which_blobs_exist() {
    let rules = "
        [[access.rules]]
        subject = 'user:ci'
        repositories = '**'
        actions = ['create']
        [[access.rules]]
        subject = 'user:owner'
        repositories = '**'
        actions = ['pull', 'push']";
    let app = with_passwords(&["ci", "owner"], rules).await;
    let (there, absent) = (sha256(b"there"), sha256(b"absent"));
    let path = format!("/v2/a/blobs/uploads/?digest={there}");
    app.request("POST", &path).user("owner").body(&b"there"[..]).send().await.expect(201);
    for (user, found) in [("ci", 404), ("owner", 201)] {
        let start = app.request("POST", "/v2/a/blobs/uploads/").user(user).send().await;
        let start = start.expect(202).location();
        let patch = app.request("PATCH", &start).user(user).body(&b"x"[..]).send().await;
        let begun = patch.expect(202).location();
        app.request("DELETE", &begun).user(user).send().await.expect(204);
        for location in [&start, &begun] {
            for (digest, status) in [(&there, found), (&absent, 404)] {
                let close = format!("{location}?digest={digest}");
                app.request("PUT", &close).user(user).send().await.expect(status);
            }
        }
    }
}

/// A request is authorized when it begins. A token that is valid then is sufficient until the last
/// byte; the next request needs a valid one.
#[tokio::test]
async fn a_chunk_completes_after_its_token_has_expired() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let app = with_tokens(&jwks(&[&signer]), "").await;
    let access: &[(&str, &[&str])] = &[("a", &["pull", "push"])];
    let short = {
        let mut claims = claims("alice", access);
        // With the tolerated clock skew: two seconds from now.
        claims["exp"] = json!(now() - 58);
        signer.sign(&signer.header(), &claims)
    };
    let start = app.request("POST", "/v2/a/blobs/uploads/").bearer(&short).send().await;
    let patch = app.request("PATCH", &start.expect(202).location()).bearer(&short);
    let patch = patch.slowly(&[b"he", b"ll", b"o"], Duration::from_millis(1200));
    let location = patch.send().await.expect(202).location();
    app.get(&location).bearer(&short).send().await.expect(401);
    let renewed = signer.token("alice", access);
    let close = format!("{location}?digest={}", sha256(b"hello"));
    app.request("PUT", &close).bearer(&renewed).send().await.expect(201);
}
