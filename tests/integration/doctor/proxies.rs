//! What a proxy does wrong: nginx with one line changed.

use std::time::Duration;

use super::nginx::{Nginx, RIGHT};
use super::{ADMIN, Examined, PASSWORD, USER, User, examine};
use crate::support::process::{Process, run};
use crate::support::scripted_s3::ScriptedS3;

const TRUSTED: (&str, &str) = ("LONGSHORE_SERVER_TRUSTED_PROXIES", "127.0.0.1");
const PUSH: (&str, &str) = ("LONGSHORE_ACCESS_ANONYMOUS", "push");

/// Examines a registry in memory behind nginx, with everything that writes.
async fn behind(directives: &str, variables: &[(&str, &str)]) -> Option<Examined> {
    let process = Process::serve("memory", &[&[TRUSTED, PUSH], variables].concat());
    let nginx = Nginx::start(process.address, directives).await?;
    let authority = nginx.authority();
    Some(examine(&[&nginx.url(), "--write"], &[("SSL_CERT_FILE", &authority)]))
}

/// `RIGHT` with one line replaced.
fn with(right: &str, wrong: &str) -> String {
    assert!(RIGHT.contains(right));
    RIGHT.replace(right, wrong)
}

/// Everything is as it should be: no findings, everything is looked at, and nothing is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_deployment_has_no_findings() {
    let (s3, user) = (ScriptedS3::start().await, User::new());
    let users = user.users();
    let variables = [
        TRUSTED,
        ADMIN,
        ("LONGSHORE_ACCESS_HTPASSWD_FILE", users.as_str()),
        ("LONGSHORE_ACCESS_AUTHENTICATED", "push"),
        // It writes on its own.
        ("LONGSHORE_COLLECTION_ENABLED", "false"),
        ("LONGSHORE_SERVER_ABSOLUTE_LOCATIONS", "true"),
    ];
    let process = Process::over_s3(&s3, &variables);
    let Some(nginx) = Nginx::start(process.address, RIGHT).await else { return };
    let (authority, admin) = (nginx.authority(), format!("http://{}", process.admin_address()));
    let (url, password) = (nginx.url(), user.password());
    let login = ["--user", USER, "--password-file", &password];
    let arguments = [&[url.as_str(), "--admin", &admin], &login[..]].concat();
    let trust = [("SSL_CERT_FILE", authority.as_str())];

    let before = s3.keys("");
    let examined = examine(&arguments, &trust);
    assert_eq!((examined.code, examined.classes()), (Some(0), vec![]), "{:?}", examined.ended);
    assert_eq!(s3.keys(""), before, "without --write it writes nothing");
    let left_out = examined.summary["summary"]["left_out"].as_object().expect("an object");
    assert_eq!(left_out["upload"], "there is no --write");

    let examined = examine(&[&arguments[..], &["--write"]].concat(), &trust);
    assert_eq!((examined.code, examined.classes()), (Some(0), vec![]), "{:?}", examined.ended);
    let summary = &examined.summary["summary"];
    for what in [
        "entry",
        "clock",
        "certificate",
        "body-limit",
        "body-buffered",
        "access",
        "upload",
        "location",
        "pull",
        "processes",
        "redis",
        "store",
    ] {
        let checked = summary["checked"].as_array().expect("a list");
        assert!(checked.contains(&what.into()), "{what}: {summary}");
    }
    // The registry aborts it after it has answered.
    for _ in 0..100 {
        if s3.open_multiparts() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(s3.open_multiparts(), 0, "the upload is cancelled");
    let links = s3.keys("v1/l/doctor/check/");
    assert_eq!(links.len(), 1);
    assert_eq!(s3.object(&links[0]).expect("a tombstone").len(), 36, "the blob is deleted");
    assert!(!process.log().contains(PASSWORD));

    // For people: one line for each finding, then what was looked at.
    let text = [&["doctor"], &arguments[..]].concat();
    let ended = tokio::task::block_in_place(|| run(&text, &trust));
    assert!(ended.stdout.starts_with("checked processes, redis, store, clock"), "{ended:?}");
    assert!(ended.stdout.ends_with("there is no --write\nno findings\n"), "{ended:?}");
}

/// B205, and what stands in every report of a proxy: nginx takes 1 MiB by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_bodies_is_found() {
    let Some(examined) = behind(&with("client_max_body_size 0;", ""), &[]).await else { return };
    let classes = examined.classes();
    // Once without writing anything, once by the chunk that it refuses.
    assert_eq!(classes, ["body-limit", "body-limit"], "{:?}", examined.ended);
    let what = examined.findings[0]["what"].as_str().expect("text");
    assert!(what.contains("nginx") && what.contains("refuses bodies of 2 MiB and more"), "{what}");
    assert_eq!(examined.code, Some(3));

    let large = with("client_max_body_size 0;", "client_max_body_size 200m;");
    let examined = behind(&large, &[]).await.expect("nginx is there");
    assert!(examined.only("body-limit").contains("of 1 GiB and more"));
}

#[tokio::test(flavor = "multi_thread")]
async fn buffered_bodies_are_found() {
    let buffered = with("proxy_request_buffering off;", "");
    let Some(examined) = behind(&buffered, &[]).await else { return };
    let what = examined.only("body-buffered");
    assert!(what.contains("404 after the body"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_scheme_of_locations_is_found() {
    let absolute = [("LONGSHORE_SERVER_ABSOLUTE_LOCATIONS", "true")];
    let plain = with("X-Forwarded-Proto $scheme", "X-Forwarded-Proto http");
    let Some(examined) = behind(&plain, &absolute).await else { return };
    let what = examined.only("location");
    assert!(what.contains("uploads go on at http://localhost:"), "{what}");
    // The port is lost, too.
    let host = with("Host $http_host", "Host $host");
    let examined = behind(&host, &absolute).await.expect("nginx is there");
    assert!(examined.only("location").contains("uploads go on at https://localhost, and"));
    // A path is right whatever the proxy says.
    let examined = behind(&plain, &[]).await.expect("nginx is there");
    assert_eq!(examined.classes(), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_realm_without_tls_is_found() {
    let user = User::new();
    let key = user.path("key.pem");
    let made = rcgen::generate_simple_self_signed(vec!["tokens".to_owned()]).expect("a pair");
    std::fs::write(&key, made.signing_key.public_key_pem()).expect("written");
    let tokens = [
        ("LONGSHORE_ACCESS_TOKEN_REALM", "/auth/token"),
        ("LONGSHORE_ACCESS_TOKEN_SERVICE", "registry"),
        ("LONGSHORE_ACCESS_TOKEN_ISSUER", "tokens"),
        ("LONGSHORE_ACCESS_TOKEN_KEYS_FILE", key.as_str()),
    ];
    let process = Process::serve("memory", &[&[TRUSTED], &tokens[..]].concat());
    let wrong = with("X-Forwarded-Proto $scheme", "X-Forwarded-Proto http");
    let Some(nginx) = Nginx::start(process.address, &wrong).await else { return };
    let (url, authority, password) = (nginx.url(), nginx.authority(), user.password());
    let login = ["--user", USER, "--password-file", &password];
    let arguments = [&[url.as_str()], &login[..]].concat();
    let examined = examine(&arguments, &[("SSL_CERT_FILE", &authority)]);
    let what = examined.only("realm");
    assert!(what.contains("/auth/token has no TLS"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compression_is_found() {
    let compressing = format!("{RIGHT} gzip on; gzip_types *; gzip_proxied any;");
    let Some(examined) = behind(&compressing, &[]).await else { return };
    let what = examined.only("compressed");
    assert!(what.contains("in the answer to"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_no_answer() {
    let process = Process::serve("memory", &[TRUSTED, PUSH]);
    let Some(nginx) = Nginx::start(process.address, RIGHT).await else { return };
    let examined = examine(&[&nginx.url()], &[]);
    assert_eq!(examined.code, Some(1), "{:?}", examined.ended);
    let said = &examined.ended.stderr;
    assert!(said.contains("cannot be reached from here: TLS: "), "{said}");
}
