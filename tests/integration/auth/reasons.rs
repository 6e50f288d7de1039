//! The metrics count the reason of each decision. Clients do not see it.

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::issuer::{Signer, claims, jwks, now, with_tokens};
use super::{As as _, basic_header, challenge, with_passwords};
use crate::support::App;

const PULL: &[(&str, &[&str])] = &[("a/b", &["pull"])];

/// The counter of these decisions.
#[track_caller]
fn counted(app: &App, method: &str, result: &str, reason: &str, count: u32) {
    let labels = format!("method=\"{method}\",reason=\"{reason}\",result=\"{result}\"");
    has(app, &format!("longshore_auth_total{{{labels}}} {count}"));
}

/// The counter of lookups in the cache of verified credentials.
#[track_caller]
fn looked_up(app: &App, cache: &str, result: &str, count: u32) {
    let labels = format!("cache=\"{cache}\",layer=\"local\",result=\"{result}\"");
    has(app, &format!("longshore_cache_requests_total{{{labels}}} {count}"));
}

#[track_caller]
fn has(app: &App, line: &str) {
    let text = app.metrics.exposition();
    let ours = |line: &&str| line.contains("auth_total") || line.contains("cache_requests");
    let shown: Vec<&str> = text.lines().filter(ours).collect();
    assert!(shown.contains(&line), "no {line} in {shown:#?}");
}

#[tokio::test]
async fn password_and_rule_decisions_are_counted_with_their_reason() {
    let app =
        with_passwords(&["alice"], "access.anonymous = 'pull'\naccess.authenticated = 'pull'")
            .await;
    let list = || app.get("/v2/a/b/tags/list");
    list().send().await.expect(404);
    counted(&app, "none", "allowed", "none", 1);
    for _ in 0..2 {
        list().user("alice").send().await.expect(404);
    }
    counted(&app, "basic", "allowed", "none", 2);
    for _ in 0..3 {
        list().basic("alice", "x").send().await.expect(401);
    }
    list().basic("unknown", "x").send().await.expect(401);
    counted(&app, "basic", "challenged", "wrong_password", 4);
    // Two of alice's and three of the wrong password. The first of each is not cached yet.
    looked_up(&app, "password", "miss", 3);
    looked_up(&app, "password", "hit", 3);

    app.get("/v2/").send().await.expect(401);
    app.request("DELETE", "/v2/a/b/manifests/v1").send().await.expect(401);
    counted(&app, "none", "challenged", "no_credentials", 2);
    app.request("DELETE", "/v2/a/b/manifests/v1").user("alice").send().await.expect(403);
    counted(&app, "basic", "forbidden", "no_rule", 1);
    list().bearer("a.b.c").send().await.expect(401);
    counted(&app, "bearer", "challenged", "token_malformed", 1);
    list().header("authorization", "Digest x").send().await.expect(401);
    counted(&app, "other", "challenged", "malformed", 1);
}

#[tokio::test]
async fn token_decisions_are_counted_with_their_reason() {
    let (signer, other) = (Signer::new(Algorithm::ES256, "a"), Signer::new(Algorithm::ES256, "a"));
    let app = with_tokens(&jwks(&[&signer]), "").await;
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = claims("alice", PULL);
        claims[name] = value;
        signer.sign(&signer.header(), &claims)
    };
    let list = |token: &str| app.get("/v2/a/b/tags/list").bearer(token).send();
    let good = signer.token("alice", PULL);
    for _ in 0..3 {
        list(&good).await.expect(404);
    }
    counted(&app, "bearer", "allowed", "none", 3);
    looked_up(&app, "token", "miss", 1);
    looked_up(&app, "token", "hit", 2);

    for (token, reason) in [
        ("a.b.c".to_owned(), "token_malformed"),
        (other.token("alice", PULL), "token_signature"),
        (with("iss", json!("another")), "token_issuer"),
        (with("aud", json!("something")), "token_audience"),
        (with("exp", json!(now() - 120)), "token_expired"),
        (with("nbf", json!(now() + 120)), "token_not_yet_valid"),
        (signer.token("alice", &[("c", &["pull"])]), "token_scope"),
    ] {
        let reply = list(&token).await;
        let shown = challenge(&reply);
        counted(&app, "bearer", "challenged", reason, 1);
        // Only the operator sees the reason.
        let error = if reason == "token_scope" { "insufficient_scope" } else { "invalid_token" };
        assert!(shown.ends_with(&format!("error=\"{error}\"")), "{reason}: {shown}");
        assert!(!String::from_utf8_lossy(&reply.body).contains(reason), "{reply:?}");
    }
    let password = basic_header("alice", "alice-pw");
    app.get("/v2/").header("authorization", password).send().await.expect(401);
    counted(&app, "basic", "challenged", "not_configured", 1);
}
