//! What each subject and each client address may use in a second, and what happens beyond it.
//!
//! The rates are low, and each test sends until it is refused: so a slow machine, or a slow store,
//! changes only how many requests that takes.

use longshore::config::{self, Sources};
use tempfile::TempDir;

use super::*;
use crate::support::{Reply, Request};
use crate::telemetry::value;

const KIB: usize = 1024;
/// More requests than any test needs to use up a limit.
const ATTEMPTS_MAX: usize = 200;
const FIRST: &str = "198.51.100.1";
const SECOND: &str = "198.51.100.2";
/// `alice:alice-pw` and `bob:bob-pw`, with the lowest cost.
const USERS: [&str; 2] = ["alice", "bob"];

struct Limited {
    app: App,
    _folder: TempDir,
}

/// A registry with these settings. It takes `X-Forwarded-For` for the address of the client.
async fn limited(text: &str) -> Option<Limited> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let users = folder.path().join("users");
    let line =
        |user| format!("{user}:{}\n", bcrypt::hash(format!("{user}-pw"), 4).expect("a hash"));
    std::fs::write(&users, USERS.map(line).concat()).expect("written");
    let text = format!(
        "server.trusted_proxies = '127.0.0.0/8'\naccess.htpasswd_file = '{}'\n\
         access.anonymous = 'push'\naccess.authenticated = 'push'\n{text}",
        users.display()
    );
    let file = Some(("longshore.toml".into(), text));
    let sources = Sources { file, ..Sources::default() };
    let settings = config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
    let app = App::start_with(|of_app| *of_app = settings).await;
    if !app.is_ours() {
        println!("skipped: a running registry has its own limits");
        return None;
    }
    Some(Limited { app, _folder: folder })
}

impl Limited {
    fn ping(&self, address: &str) -> Request<'_> {
        self.app.get("/v2/").header("x-forwarded-for", address)
    }

    fn pull(&self, address: &str, path: &str) -> Request<'_> {
        self.app.get(path).header("x-forwarded-for", address)
    }

    /// Pushes a blob in one request.
    fn push(&self, address: &str, content: &[u8]) -> Request<'_> {
        let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(content));
        let push = self.app.request("POST", &path).header("x-forwarded-for", address);
        push.body(content.to_vec())
    }

    fn refused(&self, limit: &str, by: &str) -> u64 {
        let labels = [("limit", limit), ("by", by)];
        value(&self.app.metrics, "longshore_limited_total", &labels)
    }
}

/// Basic credentials of a user, with the right password or another.
fn login<'a>(request: Request<'a>, user: &str, password: &str) -> Request<'a> {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    request.header("authorization", format!("Basic {encoded}"))
}

/// Sends until it is refused: how many were answered with `status` before, and the refusal.
async fn until_refused<'a>(status: u16, send: impl Fn() -> Request<'a>) -> (usize, Reply) {
    for sent in 0..ATTEMPTS_MAX {
        let reply = send().send().await;
        if reply.status == 429 {
            return (sent, reply.expect_error(429, "TOOMANYREQUESTS"));
        }
        reply.expect(status);
    }
    panic!("{ATTEMPTS_MAX} requests were not refused")
}

fn retry_after(reply: &Reply) -> u64 {
    let seconds = reply.header("retry-after").expect("Retry-After").parse();
    seconds.expect("whole seconds")
}

#[tokio::test]
async fn an_address_that_waits_as_long_as_it_is_told_is_served_again() {
    let text = "limits.address = { requests_per_second = 1, requests_burst = 3 }";
    let Some(limited) = limited(text).await else { return };
    let login_of_alice = |address| login(limited.ping(address), "alice", "alice-pw");
    let (sent, reply) = until_refused(200, || login_of_alice(FIRST)).await;
    assert!(sent >= 3, "the burst is 3: {sent}");
    let text = reply.body_text();
    assert!(text.contains("limits.address.requests_per_second"), "{text}");
    // Another address, with the same login.
    login_of_alice(SECOND).send().await.expect(200);
    let seconds = retry_after(&reply);
    assert!((1..=2).contains(&seconds), "{seconds} s");
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    login_of_alice(FIRST).send().await.expect(200);
    assert!(limited.refused("requests", "address") > 0);
    assert_eq!(limited.refused("requests", "subject"), 0);
}

#[tokio::test]
async fn all_addresses_of_an_ipv6_network_are_one_client() {
    let text = "limits.address = { requests_per_second = 1, requests_burst = 3 }";
    let Some(limited) = limited(text).await else { return };
    let ping = |address: &str| login(limited.ping(address), "bob", "bob-pw");
    until_refused(200, || ping("2001:db8:0:1::1")).await;
    let (sent, _) = until_refused(200, || ping("2001:db8:0:1:ffff::2")).await;
    assert!(sent <= 2, "it has the bucket of its network: {sent}");
    let (sent, _) = until_refused(200, || ping("2001:db8:0:2::1")).await;
    assert!(sent >= 3, "another network: {sent}");
}

/// The limit comes before the password is checked, so it bounds what guessing costs.
#[tokio::test]
async fn wrong_passwords_use_up_the_limit_of_their_address_and_of_no_subject() {
    let text = "limits.address = { requests_per_second = 1, requests_burst = 10 }\n\
                limits.subject = { requests_per_second = 1, requests_burst = 3 }";
    let Some(limited) = limited(text).await else { return };
    let guess = || login(limited.ping(FIRST), "alice", "wrong");
    let (sent, _) = until_refused(401, guess).await;
    assert!(sent >= 10, "{sent}");
    let alice = || login(limited.ping(SECOND), "alice", "alice-pw");
    let (sent, reply) = until_refused(200, alice).await;
    assert!(sent >= 3, "only her own requests count: {sent}");
    assert!(reply.body_text().contains("limits.subject.requests_per_second"));
}

#[tokio::test]
async fn two_subjects_of_one_address_do_not_disturb_each_other() {
    let text = "limits.subject = { requests_per_second = 1, requests_burst = 3 }";
    let Some(limited) = limited(text).await else { return };
    let as_user = |user| login(limited.ping(FIRST), user, &format!("{user}-pw"));
    let (sent, _) = until_refused(200, || as_user("alice")).await;
    assert!(sent >= 3, "{sent}");
    let (sent, _) = until_refused(200, || as_user("bob")).await;
    assert!(sent >= 3, "{sent}");
    // The limit of subjects is none for those who are not known.
    for _ in 0..10 {
        limited.pull(FIRST, "/v2/a/tags/list").send().await.expect(404);
    }
}

#[tokio::test]
async fn a_push_beyond_the_bytes_is_finished_and_the_next_ones_wait_for_it() {
    let text =
        "limits.address = { upload_bytes_per_second = '1KiB', upload_burst_bytes = '64KiB' }";
    let Some(limited) = limited(text).await else { return };
    // Longer than the burst, and accepted: it has begun.
    let content = bytes(1, 1000 * KIB);
    limited.push(FIRST, &content).send().await.expect(201);
    let (_, reply) = until_refused(201, || limited.push(FIRST, &content)).await;
    let text = reply.body_text();
    assert!(text.contains("limits.address.upload_bytes_per_second"), "{text}");
    // 1000 KiB, minus the burst and what has come back since.
    let seconds = retry_after(&reply);
    assert!((500..2500).contains(&seconds), "{seconds} s");
    // Every kind of push: the session of an upload, and a manifest.
    let start = limited.app.request("POST", "/v2/a/blobs/uploads/");
    start.header("x-forwarded-for", FIRST).send().await.expect_error(429, "TOOMANYREQUESTS");
    let put = limited.app.request("PUT", "/v2/a/manifests/v1").header("x-forwarded-for", FIRST);
    put.body(b"{}".to_vec()).send().await.expect_error(429, "TOOMANYREQUESTS");
    // Pulls have another limit, and other addresses have a bucket of their own.
    let path = format!("/v2/a/blobs/{}", sha256(&content));
    limited.pull(FIRST, &path).send().await.expect(200).says(&content);
    limited.push(SECOND, b"small").send().await.expect(201);
    assert!(limited.refused("upload_bytes", "address") >= 3);
}

#[tokio::test]
async fn a_pull_beyond_the_bytes_is_finished_and_the_next_ones_wait_for_it() {
    let text =
        "limits.subject = { download_bytes_per_second = '1KiB', download_burst_bytes = '64KiB' }";
    let Some(limited) = limited(text).await else { return };
    let content = bytes(2, 1000 * KIB);
    limited.push(FIRST, &content).send().await.expect(201);
    let path = format!("/v2/a/blobs/{}", sha256(&content));
    let pull = |user: &str| login(limited.pull(FIRST, &path), user, &format!("{user}-pw"));
    pull("alice").send().await.expect(200).says(&content);
    let (_, reply) = until_refused(200, || pull("alice")).await;
    let seconds = retry_after(&reply);
    assert!((500..2500).contains(&seconds), "{seconds} s");
    let text = reply.body_text();
    assert!(text.contains("limits.subject.download_bytes_per_second"), "{text}");
    pull("bob").send().await.expect(200).says(&content);
    login(limited.push(FIRST, b"more"), "alice", "alice-pw").send().await.expect(201);
    assert!(limited.refused("download_bytes", "subject") > 0);
}

/// What a request is charged for ends with it, also if its client leaves in the middle.
#[tokio::test]
async fn a_client_that_leaves_has_used_what_it_has_sent() {
    let text =
        "limits.address = { upload_bytes_per_second = '1KiB', upload_burst_bytes = '64KiB' }";
    let Some(limited) = limited(text).await else { return };
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(b"never"));
    // Few, because the start of a request takes 1 KiB as well.
    for _ in 0..20 {
        let push = limited.app.request("POST", &path).header("x-forwarded-for", FIRST);
        let _ = push.broken_after(&bytes(3, 200 * KIB)).try_send().await;
        let ended = limited.app.request("POST", "/v2/a/blobs/uploads/");
        if ended.header("x-forwarded-for", FIRST).send().await.status == 429 {
            return;
        }
    }
    panic!("no request was refused")
}
