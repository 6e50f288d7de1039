//! The registry as its own token server.

use std::sync::Arc;
use std::time::Duration;

use longshore::registry::{LeaseSettings, Leases, Rotation, TokenKeyStore};
use longshore::store::memory::{Fault, FaultKind, Memory, Operation};
use serde_json::{Value, json};

use super::issuer::base64_url;
use super::{
    As as _, Guarded, challenge, noticed, push, settings, with_passwords, with_passwords_over,
    write_users,
};
use crate::support::http::Reply;
use crate::support::{App, sha256};

/// Anonymous callers may pull below `open`, alice everything, bob may pull, carol creates tags.
const RULES: &str = "
[[access.rules]]
subject = 'anonymous'
repositories = 'open/**'
actions = ['pull']
[[access.rules]]
subject = 'user:alice'
repositories = '**'
actions = ['pull', 'push', 'delete', 'catalog']
[[access.rules]]
subject = 'user:bob'
repositories = 'team/**'
actions = ['pull']
[[access.rules]]
subject = 'user:carol'
repositories = 'team/**'
actions = ['pull', 'create']
";
const USERS: [&str; 3] = ["alice", "bob", "carol"];
const BASIC: &str = "Basic realm=\"Longshore\"";
/// Longer than the pause between two reads of the keys.
const KEYS_MAY_BE_READ: Duration = Duration::from_millis(1100);

async fn registry() -> Guarded {
    with_passwords(&USERS, RULES).await
}

/// The answer of the token service to a GET, as this user or anonymously.
async fn get(app: &App, user: Option<&str>, query: &str) -> Value {
    let request = app.get(&format!("/auth/token?service=longshore&{query}"));
    let request = match user {
        Some(user) => request.user(user),
        None => request,
    };
    request.send().await.expect(200).json()
}

async fn token(app: &App, user: Option<&str>, scope: &str) -> String {
    token_of(&get(app, user, &format!("scope={scope}")).await)
}

#[track_caller]
fn token_of(answer: &Value) -> String {
    assert_eq!(answer["token"], answer["access_token"]);
    answer["token"].as_str().expect("a token").to_owned()
}

async fn post(app: &App, form: &str) -> Reply {
    let request = app.request("POST", "/auth/token");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.body(form.to_owned()).send().await
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).expect("three parts");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).expect("base64");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn key_of(token: &str) -> String {
    use base64::Engine as _;
    let header = token.split('.').next().expect("three parts");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).expect("base64");
    let header: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!((&header["alg"], &header["typ"]), (&json!("EdDSA"), &json!("JWT")));
    header["kid"].as_str().expect("the id of a key").to_owned()
}

#[tokio::test]
async fn the_challenge_leads_to_the_registry_itself() {
    let app = with_passwords(
        &["alice"],
        "server.trusted_proxies = '127.0.0.0/8'\naccess.authenticated = 'push'",
    )
    .await;
    let host = app.address.expect("an address").to_string();
    let bearer = |realm: &str, rest: &str| {
        format!("Bearer realm=\"{realm}/auth/token\",service=\"longshore\"{rest}")
    };
    let own = format!("http://{host}");
    let ping = app.get("/v2/").send().await;
    assert_eq!(challenge(&ping), bearer(&own, ""));
    let proxied = app.get("/v2/").header("x-forwarded-proto", "https");
    assert_eq!(challenge(&proxied.send().await), bearer(&format!("https://{host}"), ""));
    let pull = challenge(&app.get("/v2/a/b/tags/list").send().await);
    assert_eq!(pull, bearer(&own, ",scope=\"repository:a/b:pull\""));
    let mount = app.request("POST", "/v2/a/blobs/uploads/?mount=x&from=b/c").send().await;
    let scopes = ",scope=\"repository:a:pull,push repository:b/c:pull\"";
    assert_eq!(challenge(&mount), bearer(&own, scopes));
    let catalog = challenge(&app.get("/v2/_catalog").send().await);
    assert_eq!(catalog, bearer(&own, ",scope=\"registry:catalog:*\""));
    let invalid = challenge(&app.get("/v2/").bearer("a.b.c").send().await);
    assert_eq!(invalid, bearer(&own, ",error=\"invalid_token\""));
    // A browser asks its user for a password only for Basic.
    assert_eq!(challenge(&app.get("/ui/").send().await), BASIC);
    // A password that was not asked for works, and a wrong one is answered as ever.
    app.get("/v2/").user("alice").send().await.expect(200);
    assert_eq!(challenge(&app.get("/v2/").basic("alice", "x").send().await), BASIC);
}

/// What the Docker engine needs: it has no anonymous way for Basic.
#[tokio::test]
async fn anonymous_clients_pull_with_a_token() {
    let app = registry().await;
    push(&app, "open/a", "v1", "x").user("alice").send().await.expect(201);
    push(&app, "team/a", "v1", "x").user("alice").send().await.expect(201);
    let answer = get(&app, None, "scope=repository:open/a:pull").await;
    assert_eq!(answer["scope"], "repository:open/a:pull");
    assert!(answer["expires_in"].as_u64().expect("seconds") >= 60, "{answer}");
    assert!(answer.get("refresh_token").is_none());
    let issued = answer["issued_at"].as_str().expect("a time");
    assert!(issued.len() == 20 && issued.ends_with('Z'), "{issued}");
    let token = token_of(&answer);
    assert_eq!(claims(&token)["sub"], "");
    app.get("/v2/").bearer(&token).send().await.expect(200);
    app.get("/v2/open/a/manifests/v1").bearer(&token).send().await.expect(200);
    // A push needs a login, and so does another repository.
    let pushed = challenge(&push(&app, "open/a", "v1", "y").bearer(&token).send().await);
    assert!(pushed.ends_with("error=\"insufficient_scope\""), "{pushed}");
    let answer = get(&app, None, "scope=repository:team/a:pull,push&scope=nonsense").await;
    assert_eq!(answer["scope"], "");
    let token = token_of(&answer);
    let other = app.get("/v2/team/a/manifests/v1").bearer(&token).send().await;
    assert!(challenge(&other).ends_with("error=\"insufficient_scope\""));
    // Some clients say so that they have no credentials.
    let empty = app.get("/auth/token?scope=repository:open/a:pull").basic("", "").send().await;
    assert_eq!(empty.expect(200).json()["scope"], "repository:open/a:pull");
}

#[tokio::test]
async fn a_token_grants_what_was_asked_for_and_the_rules_allow() {
    let app = registry().await;
    for (user, query, scope) in [
        (
            "alice",
            "scope=repository:a:pull,push&scope=repository:b:pull",
            "repository:a:pull,push repository:b:pull",
        ),
        (
            "alice",
            "scope=repository:a:pull,push%20repository:b:pull",
            "repository:a:pull,push repository:b:pull",
        ),
        (
            "alice",
            "scope=repository:a:pull,push+repository:b:pull",
            "repository:a:pull,push repository:b:pull",
        ),
        ("alice", "scope=repository:a:*", "repository:a:pull,push,delete"),
        ("alice", "scope=registry:catalog:*", "registry:catalog:*"),
        ("bob", "scope=registry:catalog:*", ""),
        ("bob", "scope=repository:team/a:pull,push", "repository:team/a:pull"),
        ("bob", "scope=repository:a:*", ""),
        ("carol", "scope=repository:team/a:*", "repository:team/a:pull,create"),
        ("alice", "account=alice&client_id=docker", ""),
    ] {
        assert_eq!(get(&app, Some(user), query).await["scope"], scope, "{user} {query}");
    }
    let wrong = app.get("/auth/token?scope=repository:a:pull").basic("alice", "x").send().await;
    assert_eq!(challenge(&wrong), BASIC);
}

#[tokio::test]
async fn a_token_needs_its_grant_and_a_rule_at_each_request() {
    let app = registry().await;
    let pull = token(&app, Some("alice"), "repository:team/a:pull").await;
    push(&app, "team/a", "v1", "x").user("alice").send().await.expect(201);
    app.get("/v2/team/a/manifests/v1").bearer(&pull).send().await.expect(200);
    let refused = push(&app, "team/a", "v2", "x").bearer(&pull).send().await;
    let expected = ",scope=\"repository:team/a:pull,push\",error=\"insufficient_scope\"";
    assert!(challenge(&refused).ends_with(expected));
    let both = token(&app, Some("alice"), "repository:team/a:pull,push").await;
    push(&app, "team/a", "v2", "x").bearer(&both).send().await.expect(201);
    let delete = || app.request("DELETE", "/v2/team/a/manifests/v2");
    assert!(challenge(&delete().bearer(&both).send().await).contains("insufficient_scope"));
    let all = token(&app, Some("alice"), "repository:team/a:*").await;
    delete().bearer(&all).send().await.expect(202);
    app.get("/v2/_catalog").bearer(&all).send().await.expect(401);
    let catalog = token(&app, Some("alice"), "registry:catalog:*").await;
    let listed = app.get("/v2/_catalog").bearer(&catalog).send().await.expect(200);
    assert_eq!(listed.json()["repositories"], json!(["team/a"]));
    // Another token would not help bob.
    let bob = token(&app, Some("bob"), "repository:team/a:pull,push").await;
    push(&app, "team/a", "v3", "x").bearer(&bob).send().await.expect_error(403, "DENIED");
    // Carol creates tags and moves none.
    let carol = token(&app, Some("carol"), "repository:team/a:pull,push").await;
    push(&app, "team/a", "new", "x").bearer(&carol).send().await.expect(201);
    push(&app, "team/a", "new", "y").bearer(&carol).send().await.expect(403);
    // An upload is cancelled with the right to push.
    let started = app.request("POST", "/v2/team/a/blobs/uploads/").bearer(&both).send().await;
    let location = started.expect(202).location();
    app.request("DELETE", &location).bearer(&pull).send().await.expect(401);
    app.request("DELETE", &location).bearer(&both).send().await.expect(204);
}

#[tokio::test]
async fn a_mount_reads_its_source_with_the_same_token() {
    let app = registry().await;
    let blob = sha256(b"blob");
    let path = format!("/v2/team/a/blobs/uploads/?digest={blob}");
    app.request("POST", &path).user("alice").body(&b"blob"[..]).send().await.expect(201);
    let mount = |to: &str| format!("/v2/{to}/blobs/uploads/?mount={blob}&from=team/a");
    let one = token(&app, Some("alice"), "repository:x:pull,push").await;
    let reply = app.request("POST", &mount("x")).bearer(&one).send().await;
    assert!(challenge(&reply).contains("repository:x:pull,push repository:team/a:pull"));
    let scopes = "repository:x:pull,push+repository:team/a:pull";
    let two = token(&app, Some("alice"), scopes).await;
    app.request("POST", &mount("x")).bearer(&two).send().await.expect(201);
    // Without the right to read the source it becomes an upload, not a loop of challenges.
    let elsewhere = format!("/v2/team/b/blobs/uploads/?mount={blob}&from=secret");
    let carol = token(&app, Some("carol"), "repository:team/b:pull,push+repository:secret:pull");
    app.request("POST", &elsewhere).bearer(&carol.await).send().await.expect(202);
}

#[tokio::test]
async fn passwords_and_refresh_tokens_are_posted() {
    let app = registry().await;
    let form = "grant_type=password&service=longshore&client_id=test&username=alice&\
                password=alice-pw&scope=repository%3Aa%3Apull+repository%3Ab%3Apush";
    let answer = post(&app, form).await.expect(200).json();
    assert_eq!(answer["scope"], "repository:a:pull repository:b:push");
    assert!(answer.get("refresh_token").is_none());
    app.get("/v2/a/tags/list").bearer(&token_of(&answer)).send().await.expect(404);

    let answer = post(&app, &format!("{form}&access_type=offline")).await.expect(200).json();
    let refresh = answer["refresh_token"].as_str().expect("a refresh token").to_owned();
    let again = format!(
        "grant_type=refresh_token&service=longshore&client_id=test&refresh_token={refresh}"
    );
    for scope in ["repository:a:pull", "repository:c:push"] {
        let answer = post(&app, &format!("{again}&scope={scope}")).await.expect(200).json();
        assert_eq!(answer["scope"], scope);
        assert!(answer.get("refresh_token").is_none());
        assert_eq!(claims(&token_of(&answer))["sub"], "alice");
    }
    let offline = post(&app, &format!("{again}&access_type=offline")).await.expect(200).json();
    assert_eq!(offline["refresh_token"], refresh, "it is not renewed, so it ends");
    // A GET asks for one, too, and anonymous callers get none.
    let answer = get(&app, Some("alice"), "offline_token=true").await;
    assert!(answer["refresh_token"].is_string());
    assert!(get(&app, None, "offline_token=true").await.get("refresh_token").is_none());
    // It is good for nothing else.
    let used = app.get("/v2/").bearer(&refresh).send().await;
    assert!(challenge(&used).ends_with("error=\"invalid_token\""));
    assert_eq!(challenge(&app.get("/v2/").basic("alice", &refresh).send().await), BASIC);
}

#[tokio::test]
async fn a_changed_password_revokes_refresh_tokens() {
    let app = registry().await;
    let refresh = |answer: Value| answer["refresh_token"].as_str().expect("one").to_owned();
    let of_alice = refresh(get(&app, Some("alice"), "offline_token=true").await);
    let of_bob = refresh(get(&app, Some("bob"), "offline_token=true").await);
    let of_carol = refresh(get(&app, Some("carol"), "offline_token=true").await);
    let form = |token: &str| format!("grant_type=refresh_token&refresh_token={token}");
    // Carol's line stays: another hash of the same password counts as a change.
    let users = std::fs::read_to_string(app.folder.path().join("users")).expect("the users");
    let carol = users.lines().find(|line| line.starts_with("carol:")).expect("carol");
    let file = app.folder.path().join("users");
    write_users(&file, &[("alice", "changed".to_owned())]);
    let changed = std::fs::read_to_string(&file).expect("the users");
    super::replace(&file, &format!("{changed}{carol}\n"));
    noticed().await;
    for (who, token) in [("alice", &of_alice), ("bob", &of_bob)] {
        let reply = post(&app, &form(token)).await;
        assert_eq!(challenge(&reply), BASIC, "{who}");
    }
    post(&app, &form(&of_carol)).await.expect(200);
}

#[tokio::test]
async fn a_token_is_not_exchanged_for_another_one() {
    let app = registry().await;
    let token = token(&app, Some("alice"), "repository:a:pull").await;
    let reply = app.get("/auth/token?scope=repository:a:*").bearer(&token).send().await;
    assert_eq!(challenge(&reply), BASIC);
    let form = format!("grant_type=refresh_token&refresh_token={token}");
    assert_eq!(challenge(&post(&app, &form).await), BASIC);
    let form = format!("grant_type=password&username=alice&password={token}");
    assert_eq!(challenge(&post(&app, &form).await), BASIC);
}

#[tokio::test]
async fn only_our_own_signatures_count() {
    let (app, other) = (registry().await, registry().await);
    let good = token(&app, Some("alice"), "repository:a:pull").await;
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    let mut more = claims(&good);
    more["access"] = json!([{ "type": "repository", "name": "a", "actions": ["*"] }]);
    let more = base64_url(more.to_string().as_bytes());
    let none = base64_url(b"{\"alg\":\"none\",\"typ\":\"JWT\"}");
    let hmac = base64_url(b"{\"alg\":\"HS256\",\"typ\":\"JWT\"}");
    let foreign = token(&other, Some("alice"), "repository:a:pull").await;
    for token in [
        format!("{header}.{more}.{signature}"),
        format!("{none}.{payload}."),
        format!("{hmac}.{payload}.{signature}"),
        format!("{header}.{payload}."),
        foreign,
    ] {
        let reply = app.get("/v2/a/tags/list").bearer(&token).send().await;
        assert!(challenge(&reply).ends_with("error=\"invalid_token\""), "{token}");
    }
    app.get("/v2/a/tags/list").bearer(&good).send().await.expect(404);
    assert!(good.len() < 1000, "{}", good.len());
}

#[tokio::test]
async fn hostile_forms_and_scopes_are_answered() {
    let app = registry().await;
    for (form, status) in [
        (String::new(), 400),
        ("grant_type=client_credentials".to_owned(), 400),
        ("grant_type=password&username=%ff&password=%ff".to_owned(), 401),
        ("grant_type=password&username=alice&password=alice-pw%00".to_owned(), 401),
        ("grant_type=refresh_token".to_owned(), 401),
        ("grant_type=refresh_token&refresh_token=a.b.c".to_owned(), 401),
        ("grant_type=password".to_owned(), 200),
        (format!("grant_type=password&scope={}", "x".repeat(33 * 1024)), 413),
    ] {
        let reply = post(&app, &form).await;
        assert_eq!(reply.status.as_u16(), status, "{}", &form[..form.len().min(60)]);
        if status != 200 {
            assert!(reply.json()["errors"][0]["code"].is_string(), "{reply:?}");
        }
    }
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let reply = app.request(method, "/auth/token").send().await;
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.header("allow"), Some("GET, HEAD, POST"));
    }
    let many: String = (0..300).map(|number| format!("&scope=repository:r{number}:pull")).collect();
    let token = token_of(&get(&app, Some("alice"), &many).await);
    assert!(token.len() < 8 * 1024, "{}", token.len());
    app.get("/v2/").bearer(&token).send().await.expect(200);
    for path in ["/auth", "/auth/", "/auth/token/", "/auth/tokens"] {
        app.get(path).send().await.expect(404);
    }
}

#[tokio::test]
async fn basic_challenges_are_a_choice() {
    let text = format!("access.challenge = 'basic'\n{RULES}");
    let app = with_passwords(&USERS, &text).await;
    assert_eq!(challenge(&app.get("/v2/").send().await), BASIC);
    assert_eq!(challenge(&app.get("/v2/team/a/tags/list").send().await), BASIC);
    // A client that has a token still uses it.
    let token = token(&app, Some("alice"), "repository:team/a:pull").await;
    app.get("/v2/team/a/tags/list").bearer(&token).send().await.expect(404);
    let nothing = App::over_memory(Arc::new(Memory::new()), longshore::config::Settings::default());
    nothing.await.get("/auth/token").send().await.expect(404);
}

/// Two replicas over one store, and the keys in it.
async fn replicas() -> (Guarded, App, TokenKeyStore) {
    let memory = Arc::new(Memory::new());
    let one = with_passwords_over(memory.clone(), &USERS, RULES).await;
    let text = format!("access.htpasswd_file = '{{folder}}/users'\n{RULES}");
    let other = App::over_memory(memory.clone(), settings(one.folder.path(), &text)).await;
    let leases = Leases::new(&LeaseSettings::default()).expect("safe times");
    (one, other, TokenKeyStore::new(memory, leases))
}

async fn status(app: &App, token: &str) -> u16 {
    app.get("/v2/a/tags/list").bearer(token).send().await.status.as_u16()
}

#[tokio::test]
async fn replicas_that_start_at_once_share_one_key() {
    let (one, other, keys) = replicas().await;
    let memory = one.memory.clone().expect("the memory store");
    memory.inject(
        Fault::on(Operation::Create, FaultKind::Delay(Duration::from_millis(300))).times(2),
    );
    let scope = "repository:a:pull";
    let (of_one, of_other) =
        tokio::join!(token(&one, Some("alice"), scope), token(&other, Some("alice"), scope));
    assert_eq!(key_of(&of_one), key_of(&of_other));
    assert_eq!(keys.read().await.expect("the keys").len(), 1);
    assert_eq!((status(&one, &of_other).await, status(&other, &of_one).await), (404, 404));
}

#[tokio::test]
async fn a_new_key_verifies_before_it_signs() {
    let (one, other, keys) = replicas().await;
    let scope = "repository:a:pull";
    let old = token(&one, Some("alice"), scope).await;
    assert_eq!(status(&other, &old).await, 404);
    let overlap = Duration::from_secs(3);
    let rotation = Rotation::Overlapping { overlap, kept: Duration::from_hours(1) };
    assert_eq!(keys.rotate(rotation).await.expect("rotated").len(), 2);
    // A third replica, which starts now, knows both, and signs with the old one.
    let memory = one.memory.clone().expect("the memory store");
    let text = format!("access.htpasswd_file = '{{folder}}/users'\n{RULES}");
    let third = App::over_memory(memory, settings(one.folder.path(), &text)).await;
    assert_eq!(key_of(&token(&third, Some("alice"), scope).await), key_of(&old));
    tokio::time::sleep(overlap + Duration::from_secs(1)).await;
    let new = token(&third, Some("alice"), scope).await;
    assert_ne!(key_of(&new), key_of(&old));
    // The others have not read the keys since, and do at once for a key that they do not know.
    for app in [&*one, &other, &third] {
        assert_eq!((status(app, &new).await, status(app, &old).await), (404, 404));
    }
    // The old key goes when nothing that it has signed can be valid.
    let rotation = Rotation::Overlapping { overlap, kept: Duration::ZERO };
    let left = keys.rotate(rotation).await.expect("rotated");
    assert!(left.iter().all(|key| key.id != key_of(&old)) && left.len() == 2);
}

#[tokio::test]
async fn revoking_the_keys_ends_all_tokens() {
    let (one, other, keys) = replicas().await;
    let answer = get(&one, Some("alice"), "scope=repository:a:pull&offline_token=true").await;
    let (old, refresh) = (token_of(&answer), answer["refresh_token"].as_str().expect("one"));
    assert_eq!(status(&other, &old).await, 404);
    assert_eq!(keys.rotate(Rotation::Revoking).await.expect("rotated").len(), 1);
    tokio::time::sleep(KEYS_MAY_BE_READ).await;
    // Any token with another key makes a replica read the keys at once.
    let memory = one.memory.clone().expect("the memory store");
    let text = format!("access.htpasswd_file = '{{folder}}/users'\n{RULES}");
    let third = App::over_memory(memory, settings(one.folder.path(), &text)).await;
    let new = token(&third, Some("alice"), "repository:a:pull").await;
    for app in [&*one, &other, &third] {
        assert_eq!((status(app, &new).await, status(app, &old).await), (404, 401));
        let form = format!("grant_type=refresh_token&refresh_token={refresh}");
        post(app, &form).await.expect(401);
    }
}

#[tokio::test]
async fn fields_of_a_later_release_stay_in_the_record() {
    use longshore::layout::records::{TokenKey, TokenKeys};
    use longshore::store::{RecordKey, RecordStore as _};
    let (one, _, keys) = replicas().await;
    token(&one, None, "repository:open/a:pull").await;
    let memory = one.memory.clone().expect("the memory store");
    let record = memory.read(&RecordKey::TokenKeys).await.expect("the record");
    let text = String::from_utf8(record.body.to_vec()).expect("JSON");
    let text = text.replace("\"keys\":[{", "\"later\":1,\"keys\":[{\"use\":\"all\",");
    let written = memory.replace(&RecordKey::TokenKeys, &record.version, text.into(), None).await;
    written.expect("replaced");
    let rotation = Rotation::Overlapping { overlap: Duration::ZERO, kept: Duration::from_hours(1) };
    let rotated = keys.rotate(rotation).await.expect("rotated");
    let TokenKey { rest, .. } = &rotated[0];
    assert_eq!(rest["use"], "all");
    let record = memory.read(&RecordKey::TokenKeys).await.expect("the record");
    let text = String::from_utf8(record.body.to_vec()).expect("JSON");
    assert!(text.contains("\"later\":1") && text.contains("\"use\":\"all\""), "{text}");
    let (read, _) = longshore::layout::encoding::decode::<TokenKeys>(&record.body).expect("keys");
    assert_eq!(read.keys, rotated);
    let seed = String::from(rotated[0].seed.clone());
    assert!(text.contains(&seed) && !format!("{rotated:?}").contains(&seed));
}

#[tokio::test]
async fn the_last_keys_stay_in_use_while_the_store_is_away() {
    let (one, other, _) = replicas().await;
    let memory = one.memory.clone().expect("the memory store");
    memory.inject(Fault::everywhere(FaultKind::FailBefore).always());
    // The keys were never read: no token is verified, and passwords still are.
    let reply = other.get("/auth/token").user("alice").send().await;
    assert!(reply.header("retry-after").is_some());
    reply.expect_error(503, "UNAVAILABLE");
    other.get("/v2/").bearer("a.b.c").send().await.expect(503);
    other.get("/v2/").user("alice").send().await.expect(200);
    memory.heal();
    tokio::time::sleep(KEYS_MAY_BE_READ).await;
    let token = token(&other, Some("alice"), "repository:a:pull").await;
    memory.inject(Fault::everywhere(FaultKind::FailBefore).always());
    tokio::time::sleep(KEYS_MAY_BE_READ).await;
    // A token with another key makes the registry ask the store in vain.
    let header = base64_url(b"{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"other\"}");
    let rest = token.split_once('.').expect("parts").1;
    other.get("/v2/").bearer(&format!("{header}.{rest}")).send().await.expect(401);
    other.get("/v2/").bearer(&token).send().await.expect(200);
    self::token(&other, Some("alice"), "repository:b:pull").await;
}
