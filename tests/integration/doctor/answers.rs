//! What the registry, or something in its place, answers.

use std::time::{Duration, SystemTime};

use super::played::{REGISTRY, answer, play};
use super::{ADMIN, PASSWORD, USER, User, examine, of, strs};
use crate::cache::redis_server::free_port;
use crate::support::process::{Process, s3_variables};
use crate::support::scripted_s3::{BUCKET_URL, Match, ScriptedS3};

const PUSH: (&str, &str) = ("LONGSHORE_ACCESS_ANONYMOUS", "push");

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_a_status_of_its_own() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let examined = examine(&[&url], &[]);
    assert_eq!(examined.code, Some(1), "{:?}", examined.ended);
    assert!(
        examined.ended.stderr.contains("cannot be reached from here: "),
        "{:?}",
        examined.ended
    );
    assert!(examined.ended.stderr.to_lowercase().contains("refused"), "{:?}", examined.ended);
    let examined = examine(&["http://registry.invalid"], &[]);
    assert_eq!(examined.code, Some(1), "{:?}", examined.ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_registry_is_found() {
    for (shown, seen) in [
        (answer(200, &[], "<html>"), "200 without Docker-Distribution-Api-Version"),
        (answer(502, &["server: nginx"], "Bad Gateway"), "502 from a proxy (nginx)"),
        (answer(404, &[], ""), "404 from a proxy"),
    ] {
        let address = play(move |_, _| shown.clone()).await;
        let examined = examine(&[&format!("http://{address}"), "--write"], &[]);
        assert!(examined.only("not-a-registry").contains(seen), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_without_a_challenge_is_found() {
    let address = play(|_, _| answer(401, &[REGISTRY], "")).await;
    let examined = examine(&[&format!("http://{address}")], &[]);
    assert!(examined.only("no-challenge").contains("no WWW-Authenticate"));
}

/// One of three processes is down, or has other settings, and the load balancer does not know.
#[tokio::test(flavor = "multi_thread")]
async fn different_answers_to_one_request_are_found() {
    let basic = "www-authenticate: Basic realm=\"a\"";
    let address = play(move |number, _| match number % 3 {
        2 => answer(502, &[], ""),
        _ => answer(401, &[REGISTRY, basic], ""),
    })
    .await;
    let examined = examine(&[&format!("http://{address}")], &[]);
    let what = examined.only("answers-differ");
    assert!(what.contains("8 times 401 Basic") && what.contains("4 times 502"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a clock that is compared with that of a process")]
async fn a_wrong_clock_is_found() {
    let later = SystemTime::now() + Duration::from_mins(10);
    let date = format!("date: {}", httpdate::fmt_http_date(later));
    let address = play(move |_, _| answer(200, &[REGISTRY, &date], "{}")).await;
    let examined = examine(&[&format!("http://{address}")], &[]);
    let what = examined.only("clock");
    assert!(what.contains("s ahead of this one"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a certificate that ends soon")]
async fn a_certificate_that_ends_is_found() {
    let mut parameters =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    parameters.not_after = (SystemTime::now() + Duration::from_hours(72)).into();
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let user = User::new();
    let (certificate_file, key_file) = (user.path("tls.crt"), user.path("tls.key"));
    std::fs::write(&certificate_file, certificate.pem()).expect("written");
    std::fs::write(&key_file, key.serialize_pem()).expect("written");
    let tls = [
        PUSH,
        ("LONGSHORE_SERVER_TLS_CERTIFICATE_FILE", certificate_file.as_str()),
        ("LONGSHORE_SERVER_TLS_KEY_FILE", key_file.as_str()),
    ];
    let process = Process::serve("memory", &tls);
    let url = format!("https://localhost:{}", process.address.port());
    let examined = examine(&[&url], &[("SSL_CERT_FILE", &certificate_file)]);
    assert!(examined.only("certificate").contains("ends within 14 days"));
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_and_rights_are_found() {
    let user = User::new();
    let (users, password) = (user.users(), user.password());
    let variables = [
        ("LONGSHORE_ACCESS_HTPASSWD_FILE", users.as_str()),
        ("LONGSHORE_ACCESS_AUTHENTICATED", "pull"),
    ];
    let process = Process::serve("memory", &variables);
    let url = format!("http://{}", process.address);
    let login = [url.as_str(), "--user", USER, "--password-file", &password];
    let examined = examine(&login, &[]);
    assert_eq!((examined.code, examined.classes()), (Some(0), vec![]), "{:?}", examined.ended);
    let examined = examine(&[&login[..], &["--write"]].concat(), &[]);
    let what = examined.only("access");
    assert!(what.contains("an upload cannot be begun in doctor/check"), "{what}");

    std::fs::write(&password, format!("{PASSWORD}-not")).expect("written");
    let examined = examine(&login, &[]);
    let what = examined.only("login");
    assert!(what.contains("401, X-Request-Id "), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_nowhere_is_found() {
    let s3 = ScriptedS3::start().await;
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let variables = [
        ("LONGSHORE_BLOBS_DELIVERY", "redirect"),
        ("LONGSHORE_STORE_S3_PUBLIC_ENDPOINT", &nowhere),
    ];
    let process = Process::over_s3(&s3, &variables);
    let url = format!("http://{}", process.address);
    let examined = examine(&[&url, "--write"], &[]);
    assert_eq!(examined.classes(), ["redirect-host", "redirect"], "{:?}", examined.ended);
    let what = examined.findings[1]["what"].as_str().expect("text");
    assert!(what.contains(&nowhere) && what.contains("not reachable from here"), "{what}");
    assert!(!examined.ended.stdout.contains("Signature"), "a presigned URL is a login");

    // A name that leads to the store.
    let there = format!("http://localhost:{}", s3.port());
    let variables =
        [("LONGSHORE_BLOBS_DELIVERY", "redirect"), ("LONGSHORE_STORE_S3_PUBLIC_ENDPOINT", &there)];
    let process = Process::over_s3(&s3, &variables);
    let url = format!("http://{}", process.address);
    let examined = examine(&[&url, "--write"], &[]);
    assert_eq!((examined.code, examined.classes()), (Some(0), vec![]), "{:?}", examined.ended);
    let checked = &examined.summary["summary"]["checked"];
    assert!(checked.as_array().expect("a list").contains(&"redirect".into()), "{checked}");
    // What the store refuses.
    s3.refuse(Match::get("v1/d/").always(), 403, "AccessDenied");
    let examined = examine(&[&url, "--write"], &[]);
    assert!(examined.only("redirect").contains("refuses a pull"));
}

/// A store that does not answer: the registry says 503, and its metrics say why.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_is_found() {
    let s3 = ScriptedS3::start().await;
    let url = s3.url();
    let variables = [&s3_variables(&url)[..], &[ADMIN]].concat();
    let process = Process::serve(BUCKET_URL, &variables);
    let arguments = of(&process);
    s3.refuse(Match::list("").always(), 403, "AccessDenied");
    s3.refuse(Match::get("").always(), 403, "AccessDenied");
    let examined = examine(&strs(&arguments), &[]);
    assert_eq!(examined.classes(), ["store", "store"], "{:?}", examined.ended);
    assert!(examined.findings[0]["seen"].as_str().unwrap().contains("503, X-Request-Id "));
    assert!(examined.findings[1]["seen"].as_str().unwrap().ends_with("meanwhile: 4xx"));
    // What it cannot write.
    s3.heal();
    s3.refuse(Match::put("").always(), 403, "AccessDenied");
    let examined = examine(&[&strs(&arguments)[..], &["--write"]].concat(), &[]);
    let classes = examined.classes();
    assert!(classes.contains(&"upload") && classes.contains(&"store"), "{:?}", examined.ended);
}
