//! Logins at the token service: what is counted and logged of them, once and with the right name.

use super::{As as _, Guarded, basic_header, with_passwords};
use crate::support::process::Process;

const RULES: &str = "access.anonymous = 'pull'\naccess.authenticated = 'push'";

/// The counter of decisions, without the zeros.
fn counted(app: &Guarded) -> Vec<String> {
    let text = app.metrics.exposition();
    let lines = text.lines().filter_map(|line| line.strip_prefix("longshore_auth_total"));
    lines.filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect()
}

#[tokio::test]
async fn each_login_at_the_token_service_counts_once() {
    let post = |form: &'static str| ("POST", form, None);
    let head = |password: &str| ("GET", "", Some(basic_header("alice", password)));
    let refresh = "grant_type=refresh_token&refresh_token=a.b.c";
    for ((method, form, header), status, expected) in [
        (post("grant_type=password&username=alice&password=alice-pw"), 200, "basic none allowed"),
        (
            post("grant_type=password&username=alice&password=x"),
            401,
            "basic wrong_password challenged",
        ),
        (post("grant_type=password"), 200, "none none allowed"),
        (post(refresh), 401, "bearer token_malformed challenged"),
        (("GET", "", None), 200, "none none allowed"),
        (head("alice-pw"), 200, "basic none allowed"),
        (head("x"), 401, "basic wrong_password challenged"),
        // Nothing was decided: the form says no login.
        (post("grant_type=other"), 400, ""),
    ] {
        let app = with_passwords(&["alice"], RULES).await;
        let mut request = app.request(method, "/auth/token").body(form);
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        request.send().await.expect(status);
        let expected: Vec<String> = match expected.split(' ').collect::<Vec<_>>()[..] {
            [method, reason, result] => {
                let labels = format!("method=\"{method}\",reason=\"{reason}\",result=\"{result}\"");
                vec![format!("{{{labels}}} 1")]
            }
            _ => Vec::new(),
        };
        assert_eq!(counted(&app), expected, "{method} {form}");
    }
}

/// RFC 9110, section 9.3.2: `HEAD` is `GET` without the content.
#[tokio::test]
async fn head_of_the_token_service_is_get_without_the_token() {
    let app = with_passwords(&["alice"], RULES).await;
    let head = app.request("HEAD", "/auth/token?scope=repository:a:pull").user("alice").send();
    let head = head.await.expect(200).with_body(b"").with("content-type", "application/json");
    assert_eq!(head.header("cache-control"), Some("no-store"));
    app.request("HEAD", "/auth/token").basic("alice", "x").send().await.expect(401);
}

/// The user in the log is the one of the form, and of a login that has failed there is none.
#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_names_the_user_of_the_form() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let users = folder.path().join("users");
    super::write_users(&users, &[("alice", "alice-pw".to_owned())]);
    let users = users.to_str().expect("a path");
    let process = Process::serve(
        "memory",
        &[
            ("LONGSHORE_ACCESS_HTPASSWD_FILE", users),
            ("LONGSHORE_ACCESS_AUTHENTICATED", "push"),
            ("LONGSHORE_LOG_FORMAT", "json"),
        ],
    );
    let client = process.client();
    for (id, form, status) in [
        ("by-form", "grant_type=password&username=alice&password=alice-pw", 200),
        ("wrong-form", "grant_type=password&username=alice&password=x", 401),
        ("anonymous-form", "grant_type=password", 200),
    ] {
        let request = client.request("POST", "/auth/token").header("x-request-id", id);
        request.body(form).send().await.expect(status);
    }
    let request = client.request("GET", "/auth/token").header("x-request-id", "by-header");
    request.user("alice").send().await.expect(200);
    let line = |id: &str| {
        let log = process.log();
        let line = log.lines().find(|line| line.contains(&format!("\"{id}\"")));
        serde_json::from_str::<serde_json::Value>(line?).ok()
    };
    for (id, subject) in [
        ("by-form", Some("user:alice")),
        ("wrong-form", None),
        ("anonymous-form", Some("anonymous")),
        ("by-header", Some("user:alice")),
    ] {
        let mut shown = line(id);
        for _ in 0..100 {
            if shown.is_some() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            shown = line(id);
        }
        let shown = shown.unwrap_or_else(|| panic!("no line {id}: {}", process.log()));
        let found = shown.get("subject").or_else(|| shown["fields"].get("subject"));
        assert_eq!(found.and_then(|one| one.as_str()), subject, "{shown}");
    }
}
