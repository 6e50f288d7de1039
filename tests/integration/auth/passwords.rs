//! Users with passwords.

use std::time::{Duration, Instant};

use super::{As as _, challenge, noticed, push, with_passwords, write_users};

/// Anonymous callers may pull, and users may push.
const PULL_OR_PUSH: &str =
    "access.challenge = 'basic'\naccess.anonymous = 'pull'\naccess.authenticated = 'push'";
const BASIC: &str = "Basic realm=\"Longshore\"";

/// Only this response tells Docker, podman and crane that there is a login.
#[tokio::test]
async fn v2_returns_401_even_if_anonymous_pull_is_allowed() {
    let app = with_passwords(&["alice"], PULL_OR_PUSH).await;
    assert_eq!(challenge(&app.get("/v2/").send().await), BASIC);
    app.get("/v2/").user("alice").send().await.expect(200);
    push(&app, "a/b", "v1", "x").user("alice").send().await.expect(201);
    app.get("/v2/a/b/manifests/v1").send().await.expect(200);
    assert_eq!(challenge(&push(&app, "a/b", "v1", "x").send().await), BASIC);
}

#[tokio::test]
async fn empty_basic_credentials_are_anonymous() {
    let app = with_passwords(&["alice"], PULL_OR_PUSH).await;
    app.get("/v2/a/tags/list").basic("", "").send().await.expect_error(404, "NAME_UNKNOWN");
    assert_eq!(challenge(&app.get("/v2/").basic("", "").send().await), BASIC);
}

/// Otherwise a mistyped password would look like a missing image.
#[tokio::test]
async fn wrong_credentials_are_refused_even_for_anonymous_access() {
    let app = with_passwords(&["alice"], PULL_OR_PUSH).await;
    for (user, password) in [("alice", "x"), ("bob", "bob-pw"), ("", "x"), ("alice", "")] {
        let reply = app.get("/v2/a/tags/list").basic(user, password).send().await;
        assert_eq!(challenge(&reply), BASIC);
    }
    for header in ["Basic", "Basic !!", "Basic YWxpY2U=", "Digest x", "x", "Bearer a.b.c"] {
        let reply = app.get("/v2/a/tags/list").header("authorization", header).send().await;
        assert_eq!(challenge(&reply), BASIC, "{header}");
    }
    let twice = app.get("/v2/a/tags/list").user("alice").user("alice").send().await;
    assert_eq!(challenge(&twice), BASIC);
}

#[tokio::test]
async fn a_changed_password_file_is_reloaded_and_an_invalid_one_is_not() {
    let app = with_passwords(&["alice"], "access.authenticated = 'push'").await;
    let file = app.folder.path().join("users");
    app.get("/v2/").user("alice").send().await.expect(200);
    app.get("/v2/").user("bob").send().await.expect(401);
    write_users(&file, &[("alice", "changed".to_owned()), ("bob", "bob-pw".to_owned())]);
    noticed().await;
    // Although it was cached as verified a moment ago.
    app.get("/v2/").user("alice").send().await.expect(401);
    app.get("/v2/").basic("alice", "changed").send().await.expect(200);
    app.get("/v2/").user("bob").send().await.expect(200);
    super::replace(&file, "alice:plain text\n");
    noticed().await;
    app.get("/v2/").user("bob").send().await.expect(200);
    super::replace(&file, "");
    noticed().await;
    app.get("/v2/").user("bob").send().await.expect(401);
}

/// The whole server, with an expensive hash: cached logins are not delayed, others get their turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_wrong_passwords_does_not_delay_other_clients() {
    let text = "server.trusted_proxies = '127.0.0.0/8'\naccess.authenticated = 'push'";
    let app = with_passwords(&["alice"], text).await;
    let hash = |password: &str| bcrypt::hash(password, 9).expect("a hash");
    let users = format!("alice:{}\nbob:{}\n", hash("alice-pw"), hash("bob-pw"));
    super::replace(&app.folder.path().join("users"), &users);
    noticed().await;
    app.get("/v2/").user("alice").send().await.expect(200);

    let flood = async {
        let requests = (0..200).map(|number| {
            let request = app.get("/v2/").header("x-forwarded-for", "192.0.2.1");
            request.basic("alice", &format!("wrong {number}")).try_send()
        });
        futures_util::future::join_all(requests).await
    };
    let others = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        let known = app.get("/v2/").header("x-forwarded-for", "192.0.2.1").user("alice");
        known.send().await.expect(200);
        let known = begun.elapsed();
        // One of a hundred addresses may share the queue of the flood.
        let mut served = 0;
        for last in 1..=4 {
            let request = app.get("/v2/").header("x-forwarded-for", format!("198.51.100.{last}"));
            served += usize::from(request.user("bob").send().await.status == 200);
        }
        (known, begun.elapsed(), served)
    };
    let (flood, (known, all, served)) = tokio::join!(flood, others);
    assert!(known < Duration::from_secs(2), "{known:?}");
    assert!(all < Duration::from_secs(10), "{all:?}");
    assert!(served >= 3, "{served}");
    let with = |status: u16| flood.iter().flatten().filter(|reply| reply.status == status).count();
    assert_eq!(with(401) + with(429), 200);
    assert!(with(429) > 0, "no login was refused with 429");
    let sent_away = flood.iter().flatten().find(|reply| reply.status == 429).expect("one of them");
    assert_eq!(sent_away.json()["errors"][0]["code"], "TOOMANYREQUESTS");
    assert!(sent_away.header("retry-after").is_some());
}
