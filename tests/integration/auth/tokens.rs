//! Tokens of a token server: which are accepted and, above all, which are refused.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use longshore::store::memory::Memory;
use serde_json::{Value, json};

use super::issuer::{ISSUER, SERVICE, Signer, base64_url, claims, jwks, now, with_tokens};
use super::{As as _, Guarded, challenge, noticed, push};
use crate::support::App;

const ALL: &[(&str, &[&str])] = &[("a/b", &["pull", "push"])];

async fn status(app: &App, token: &str) -> u16 {
    app.get("/v2/a/b/tags/list").bearer(token).send().await.status.as_u16()
}

/// 404: the caller is allowed, and the manifest does not exist.
const LET_IN: u16 = 404;

async fn refused(app: &Guarded, token: &str, what: &str) {
    let reply = app.get("/v2/a/b/tags/list").bearer(token).send().await;
    let shown = challenge(&reply);
    let expected = "scope=\"repository:a/b:pull\",error=\"invalid_token\"";
    assert!(shown.ends_with(expected), "{what}: {shown}");
}

#[tokio::test]
async fn every_algorithm_and_key_format_is_accepted() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let (signer, other) = (Signer::new(algorithm, "a"), Signer::new(Algorithm::ES256, "b"));
        let certificates = other.certificate() + &signer.certificate();
        let keys = [jwks(&[&other, &signer]), signer.pair.public_key_pem(), certificates];
        for (form, keys) in keys.iter().enumerate() {
            let app = with_tokens(keys, "").await;
            let good = signer.token("alice", ALL);
            assert_eq!(status(&app, &good).await, LET_IN, "{algorithm:?} {form}");
            // The second time from the cache.
            assert_eq!(status(&app, &good).await, LET_IN, "{algorithm:?} {form}");
            let mut nameless = signer.header();
            nameless.kid = None;
            let nameless = signer.sign(&nameless, &claims("alice", ALL));
            assert_eq!(status(&app, &nameless).await, LET_IN, "{algorithm:?} {form}");
            let stranger = Signer::new(algorithm, "a").token("alice", ALL);
            refused(&app, &stranger, "an unknown key").await;
        }
    }
}

#[tokio::test]
async fn a_token_cannot_choose_how_it_is_verified() {
    let signer = Signer::new(Algorithm::RS256, "a");
    let attacker = Signer::new(Algorithm::RS256, "a");
    let pem = signer.pair.public_key_pem();
    for keys in [jwks(&[&signer]), pem.clone(), signer.certificate()] {
        let app = with_tokens(&keys, "").await;
        let good = claims("alice", ALL);

        let none = json!({ "alg": "none", "typ": "JWT" });
        for header in [none, json!({ "alg": "None" }), json!({ "alg": "" }), json!({})] {
            let unsigned = format!("{}.{}.", part(&header), part(&good));
            refused(&app, &unsigned, "nothing signed it").await;
        }
        let secrets = [pem.as_bytes(), pem.trim().as_bytes(), signer.pair.public_key_raw(), b""];
        for secret in secrets {
            let mut header = Header::new(Algorithm::HS256);
            header.kid = Some("a".to_owned());
            let token = jsonwebtoken::encode(&header, &good, &EncodingKey::from_secret(secret));
            refused(&app, &token.expect("a token"), "the public key as a secret").await;
        }
        let x5c: Value = json!([attacker
            .certificate()
            .replace("-----BEGIN CERTIFICATE-----", "")
            .replace("-----END CERTIFICATE-----", "")
            .replace(['\r', '\n'], "")]);
        for (name, value) in [
            ("jwk", attacker.jwk()),
            ("x5c", x5c),
            ("jku", json!("https://evil.test/jwks.json")),
            ("x5u", json!("https://evil.test/cert.pem")),
        ] {
            let token = attacker.sign(&with(&attacker.header(), name, &value), &good);
            refused(&app, &token, name).await;
        }
        for kid in ["../../etc/passwd", "b/../a", "\u{0}"] {
            let mut header = attacker.header();
            header.kid = Some(kid.to_owned());
            refused(&app, &attacker.sign(&header, &good), kid).await;
        }
        let critical = with(&signer.header(), "crit", &json!(["b64"]));
        refused(&app, &signer.sign(&critical, &good), "critical").await;
        for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
            let token = signer.sign(&Header::new(algorithm), &good);
            refused(&app, &token, "an algorithm that is not allowed").await;
        }
    }
}

fn part(value: &Value) -> String {
    base64_url(value.to_string().as_bytes())
}

fn with(header: &Header, name: &str, value: &Value) -> Header {
    let mut header = serde_json::to_value(header).expect("JSON");
    header[name] = value.clone();
    serde_json::from_value(header).expect("a header")
}

#[tokio::test]
async fn an_unknown_kid_is_refused_if_the_keys_have_kids() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let app = with_tokens(&jwks(&[&signer]), "").await;
    let mut header = signer.header();
    header.kid = Some("b".to_owned());
    refused(&app, &signer.sign(&header, &claims("alice", ALL)), "an unknown key").await;
}

#[tokio::test]
async fn issuer_audience_and_times_are_checked() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let app = with_tokens(&jwks(&[&signer]), "").await;
    let now = now();
    for (name, value, let_in) in [
        ("iss", json!("other"), false),
        ("iss", json!(null), false),
        ("iss", json!([ISSUER]), false),
        ("aud", json!("other"), false),
        ("aud", json!(null), false),
        ("aud", json!([]), false),
        ("aud", json!(["other", SERVICE]), true),
        ("aud", json!({ SERVICE: SERVICE }), false),
        ("exp", json!(now - 61), false),
        ("exp", json!(now - 30), true),
        ("exp", json!(null), false),
        ("exp", json!("tomorrow"), false),
        ("exp", json!(-1), false),
        ("exp", json!(i64::MIN), false),
        ("exp", json!(-1e300), false),
        ("exp", json!(u64::MAX), true),
        ("exp", json!(1e300), true),
        ("nbf", json!(now + 70), false),
        ("nbf", json!(now + 30), true),
        ("nbf", json!(u64::MAX), false),
        ("nbf", json!(1e300), false),
        ("nbf", json!(i64::MIN), true),
        ("nbf", json!(-1e300), true),
        ("nbf", json!("now"), false),
        ("nbf", json!(null), true),
        ("iat", json!(null), true),
        ("iat", json!(-1), true),
        ("iat", json!(u64::MAX), true),
        ("sub", json!(null), true),
        ("sub", json!(["x"]), true),
    ] {
        let mut claims = claims("alice", ALL);
        claims[name] = value.clone();
        let token = signer.sign(&signer.header(), &claims);
        if let_in {
            assert_eq!(status(&app, &token).await, LET_IN, "{name} {value}");
        } else {
            refused(&app, &token, &format!("{name} {value}")).await;
        }
        claims.as_object_mut().expect("claims").remove(name);
        let token = signer.sign(&signer.header(), &claims);
        let needed = matches!(name, "iss" | "aud" | "exp");
        assert_eq!(status(&app, &token).await, if needed { 401 } else { LET_IN }, "no {name}");
    }
}

#[tokio::test]
async fn a_malformed_token_is_refused() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let app = with_tokens(&jwks(&[&signer]), "").await;
    let good = signer.token("alice", ALL);
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("three parts") };
    for token in [
        "x".to_owned(),
        "..".to_owned(),
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!("{good}.x"),
        format!("{header}.{claims}.{}", &signature[1..]),
        format!("{header}.{}.{signature}", &claims[..claims.len() - 4]),
        format!("{header}=.{claims}.{signature}"),
        format!("{}.{claims}.{signature}", base64_url(b"[]")),
        format!("{}.{claims}.{signature}", base64_url(b"\"ES256\"")),
        signer.sign(&signer.header(), &json!("text")),
        signer.sign(&signer.header(), &json!([1])),
        "x".repeat(15_000),
    ] {
        refused(&app, &token, &token[..token.len().min(100)]).await;
    }
    assert_eq!(status(&app, &good).await, LET_IN);
    // A token is not a password.
    let reply = app.get("/v2/a/b/tags/list").basic("alice", &good).send().await;
    assert!(challenge(&reply).starts_with("Bearer "));
}

#[tokio::test]
async fn the_access_list_of_a_token_decides() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let app = with_tokens(&jwks(&[&signer]), "").await;
    for (entry, may_pull) in [
        (json!([{ "type": "repository", "name": "a/b", "actions": ["pull"] }]), true),
        (json!([{ "type": "repository(plugin)", "name": "a/b", "actions": ["pull"] }]), true),
        (json!([{ "type": "repository", "name": "a/b", "actions": ["*"] }]), true),
        (json!([1, "x", {}, { "type": "repository", "name": "a/b", "actions": ["pull"] }]), true),
        (json!([{ "type": "repository", "name": "a/b", "actions": ["push", "delete"] }]), false),
        (json!([{ "type": "repository", "name": "a/b", "actions": [] }]), false),
        (json!([{ "type": "repository", "name": "a/b" }]), false),
        (json!([{ "type": "repository", "name": "a/b", "actions": null }]), false),
        (json!([{ "type": "repository", "name": "a/b", "actions": "pull" }]), false),
        (json!([{ "type": "repository", "name": "a/b", "actions": ["PULL"] }]), false),
        (json!([{ "type": "repository", "name": "a", "actions": ["*"] }]), false),
        (json!([{ "type": "repository", "name": "*", "actions": ["*"] }]), false),
        (json!([{ "type": "registry", "name": "a/b", "actions": ["*"] }]), false),
        (json!({ "type": "repository", "name": "a/b", "actions": ["pull"] }), false),
        (json!(null), false),
    ] {
        let mut claims = claims("alice", &[]);
        claims["access"] = entry.clone();
        let token = signer.sign(&signer.header(), &claims);
        let expected = if may_pull { LET_IN } else { 401 };
        assert_eq!(status(&app, &token).await, expected, "{entry}");
        // Whatever it grants: the token itself is valid.
        app.get("/v2/").bearer(&token).send().await.expect(200);
    }
}

/// A token server can sign tokens without a user: anonymous callers pull with them.
#[tokio::test]
async fn a_token_without_a_user_grants_its_access_list() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let app = with_tokens(&jwks(&[&signer]), "").await;
    let token = signer.token("", &[("a/b", &["pull"])]);
    app.get("/v2/").bearer(&token).send().await.expect(200);
    assert_eq!(status(&app, &token).await, LET_IN);
    let shown = challenge(&push(&app, "a/b", "v1", "x").bearer(&token).send().await);
    assert!(shown.ends_with("scope=\"repository:a/b:pull,push\",error=\"insufficient_scope\""));
}

/// If any rule is about authenticated callers, both the token and a rule must allow the access.
/// Access for anonymous callers needs neither.
#[tokio::test]
async fn rules_restrict_tokens() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let rules = "
        [[access.rules]]
        subject = 'group:dev'
        repositories = 'team/**'
        actions = ['pull', 'push']
        [[access.rules]]
        subject = 'claim:level=7'
        repositories = '**'
        actions = 'pull'
        [[access.rules]]
        subject = 'anonymous'
        repositories = 'public/**'
        actions = 'pull'";
    let app = with_tokens(&jwks(&[&signer]), rules).await;
    let access: &[(&str, &[&str])] = &[("team/x", &["pull", "push"]), ("else", &["pull", "push"])];
    let mut member = claims("alice", access);
    member["groups"] = json!(["ops", "dev"]);
    let mut seven = claims("bob", access);
    seven["level"] = json!(7);
    let stranger = claims("carol", access);
    for (claims, repository, pull, pushed) in [
        (&member, "team/x", 404, 201),
        (&member, "else", 403, 403),
        (&member, "team/y", 401, 401),
        (&member, "public/x", 404, 401),
        (&seven, "team/x", 200, 403),
        (&seven, "else", 404, 403),
        (&stranger, "team/x", 403, 403),
        (&stranger, "public/x", 404, 401),
    ] {
        let token = signer.sign(&signer.header(), claims);
        let list = format!("/v2/{repository}/tags/list");
        let reply = app.get(&list).bearer(&token).send().await;
        assert_eq!(reply.status.as_u16(), pull, "{} {repository}", claims["sub"]);
        let reply = push(&app, repository, "v1", "x").bearer(&token).send().await;
        assert_eq!(reply.status.as_u16(), pushed, "{} {repository}", claims["sub"]);
    }
}

/// A removed key ends its tokens, even the cached ones.
#[tokio::test]
async fn changed_keys_are_reloaded_and_end_cached_tokens() {
    let (old, new) = (Signer::new(Algorithm::ES256, "a"), Signer::new(Algorithm::EdDSA, "b"));
    let app = with_tokens(&jwks(&[&old]), "").await;
    let tokens = [old.token("alice", ALL), new.token("alice", ALL)];
    assert_eq!(status(&app, &tokens[0]).await, LET_IN);
    refused(&app, &tokens[1], "not yet").await;
    super::replace(&app.folder.path().join("keys"), &jwks(&[&new]));
    noticed().await;
    refused(&app, &tokens[0], "no longer").await;
    assert_eq!(status(&app, &tokens[1]).await, LET_IN);
    super::replace(&app.folder.path().join("keys"), "{}");
    noticed().await;
    assert_eq!(status(&app, &tokens[1]).await, LET_IN);
}

/// Passwords and tokens together: the challenge leads to the token server, or asks for a password
/// again after a wrong one.
#[tokio::test]
async fn passwords_and_tokens_work_side_by_side() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let folder = tempfile::tempdir().expect("a temporary folder");
    super::replace(&folder.path().join("keys"), &jwks(&[&signer]));
    super::write_users(&folder.path().join("users"), &[("alice", "alice-pw".to_owned())]);
    let text = format!(
        "[access]\nauthenticated = 'push'\nhtpasswd_file = '{{folder}}/users'\n\
         [access.token]\nrealm = '/token'\nservice = '{SERVICE}'\nissuer = '{ISSUER}'\n\
         keys_file = '{{folder}}/keys'"
    );
    let settings = super::settings(folder.path(), &text);
    let app = Guarded { app: App::over_memory(Memory::new().into(), settings).await, folder };
    app.get("/v2/a/b/tags/list").user("alice").send().await.expect(404);
    assert_eq!(status(&app, &signer.token("bob", ALL)).await, LET_IN);
    let wrong = app.get("/v2/a/b/tags/list").basic("alice", "x").send().await;
    assert_eq!(challenge(&wrong), "Basic realm=\"Longshore\"");
    let anonymous = challenge(&app.get("/v2/").send().await);
    let address = app.address.expect("an address");
    let expected = format!("Bearer realm=\"http://{address}/token\",service=\"{SERVICE}\"");
    assert_eq!(anonymous, expected);
    // A user with a password and a user with a token are the same caller.
    let started = app.request("POST", "/v2/a/b/blobs/uploads/").user("alice").send().await;
    let patch = app.request("PATCH", &started.location()).user("alice").body(&b"x"[..]);
    let location = patch.send().await.expect(202).location();
    let token = signer.token("alice", ALL);
    app.get(&location).bearer(&token).send().await.expect(204);
}
