//! Messages of the commands, and of a start that fails.

use crate::support::process::{Process, run, s3_variables};
use crate::support::scripted_s3::{BUCKET_URL, ScriptedS3};

#[test]
fn a_public_address_without_login_needs_an_explicit_setting() {
    let ended = run(&["serve", "--listen", "0.0.0.0:0", "--store", "memory"], &[]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("--anonymous push"), "{}", ended.stderr);
    assert!(ended.stderr.contains("--listen"), "it says where: {}", ended.stderr);
    let asked = ["check", "--listen", "0.0.0.0:0", "--store", "memory", "--anonymous", "push"];
    assert!(run(&asked, &[]).status.success());
}

#[test]
fn a_second_process_on_one_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_str().expect("text");
    let first = Process::folder(folder.path(), &[]);
    for command in ["serve", "check"] {
        let ended = run(&[command, "--listen", "127.0.0.1:0", "--store", path], &[]);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let said = format!("longshore: the folder {path} is in use by another process");
        assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    }
    first.kill();
    assert!(run(&["check", "--store", path], &[]).status.success(), "a kill leaves no lock");
}

#[test]
fn check_reports_the_store_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("data");
    let path = path.to_str().expect("text");
    let ended = run(&["check", "--store", path], &[]);
    assert!(ended.status.success(), "{ended:?}");
    let expected = format!(
        "the configuration is good\nlocal folder {path}: create-if-absent ok, compare-and-swap ok, \
         write deadlines ok, checksums ok, conditional delete ok\nshared settings: none yet, the \
         first `longshore serve` writes those of this configuration\n"
    );
    assert_eq!(ended.stdout, expected);
}

/// Below what the settings need, the registry serves fewer connections, and says so.
#[test]
fn a_low_limit_of_open_files_is_reported() {
    let check = "ulimit -n 300 && exec \"$0\" check --store memory";
    let ended = std::process::Command::new("sh")
        .args(["-c", check, env!("CARGO_BIN_EXE_longshore")])
        .output()
        .expect("it runs");
    let said = String::from_utf8(ended.stdout).expect("text");
    assert!(ended.status.success(), "{said}");
    assert!(said.contains("warning: the process may open 300 files and needs "), "{said}");
    assert!(said.contains(" it serves 86 connections at the same time"), "{said}");
}

const DEAD_REDIS: &str = "redis://user:hunter2@127.0.0.1:1";

#[test]
fn check_reports_a_redis_that_is_not_reachable() {
    let ended = run(&["check", "--store", "memory", "--redis", DEAD_REDIS], &[]);
    assert!(ended.status.success(), "the registry works without Redis: {ended:?}");
    assert!(ended.stdout.contains("redis: not reachable"), "{}", ended.stdout);
    let warning = "warning: redis at redis://127.0.0.1:1 is not reachable: ";
    assert!(ended.stdout.contains(warning), "{}", ended.stdout);
    assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
}

#[test]
fn serve_starts_without_redis_and_warns() {
    let process = Process::serve("memory", &[("LONGSHORE_CACHE_REDIS", DEAD_REDIS)]);
    let log = process.log();
    assert!(log.contains("WARN redis at redis://127.0.0.1:1 is not reachable: "), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn the_start_line_says_what_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let users = folder.path().join("users");
    std::fs::write(&users, "").expect("written");
    let process = Process::serve(
        "memory",
        &[
            ("LONGSHORE_ACCESS_HTPASSWD_FILE", users.to_str().expect("text")),
            ("LONGSHORE_ACCESS_AUTHENTICATED", "push"),
            ("LONGSHORE_ACCESS_ANONYMOUS", "pull"),
        ],
    );
    let log = process.log();
    let line = log.lines().find(|line| line.contains("listening on ")).expect("a start line");
    for part in [
        concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""),
        "access=\"anonymous: pull, passwords, logged in: push\"",
        "store=memory",
        "redis=none",
        "delivery=\"proxy\"",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn passwords_over_plain_http_are_warned_of() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let users = folder.path().join("users");
    std::fs::write(&users, "").expect("written");
    let login = [
        ("LONGSHORE_ACCESS_HTPASSWD_FILE", users.to_str().expect("text")),
        ("LONGSHORE_ACCESS_AUTHENTICATED", "push"),
    ];
    let warns = |listen: &str, proxies: &str| {
        let variables = [login[0], login[1], ("LONGSHORE_SERVER_TRUSTED_PROXIES", proxies)];
        let ended = run(&["check", "--store", "memory", "--listen", listen], &variables);
        assert!(ended.status.success(), "{ended:?}");
        ended.stdout.contains("warning: clients send passwords unencrypted to ")
    };
    assert!(warns("0.0.0.0:5000", ""));
    assert!(!warns("0.0.0.0:5000", "10.0.0.0/8") && !warns("127.0.0.1:5000", ""));
}

/// Some clients refuse a redirect to an IP address.
#[tokio::test(flavor = "multi_thread")]
async fn redirects_to_an_address_are_warned_of() {
    let s3 = ScriptedS3::start().await;
    let warns = |variables: &[(&str, &str)]| {
        let log = Process::over_s3(&s3, variables).log();
        log.contains("WARN blobs are redirected to the address 127.0.0.1, which crane, ")
    };
    let delivery = "LONGSHORE_BLOBS_DELIVERY";
    let public = "LONGSHORE_STORE_S3_PUBLIC_ENDPOINT";
    let networks = ("LONGSHORE_BLOBS_REDIRECT_NETWORKS", "10.0.0.0/8");
    assert!(warns(&[(delivery, "redirect")]));
    assert!(warns(&[(delivery, "auto"), networks]));
    assert!(!warns(&[(delivery, "proxy")]));
    assert!(!warns(&[(delivery, "redirect"), (public, "https://s3.example.com")]));
    // `check` says the same.
    for (address, warned) in [("http://[fd00::1]:9000", true), ("http://s3.internal:9000", false)] {
        let url = s3.url();
        let ended = run(
            &["check", "--store", BUCKET_URL, "--delivery", "redirect"],
            &[&s3_variables(&url)[..], &[(public, address)]].concat(),
        );
        assert!(ended.status.success(), "{ended:?}");
        let warning = "warning: blobs are redirected to the address [fd00::1], ";
        assert_eq!(ended.stdout.contains(warning), warned, "{}", ended.stdout);
    }
}

#[test]
fn all_configuration_errors_are_reported_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("longshore.toml");
    let text = "[uploads]\npart_bytes = \"much\"\nunknown = 1\n\n[lists]\npage_max = -1\n";
    std::fs::write(&file, text).expect("written");
    let arguments = ["check", "--config", file.to_str().expect("text"), "--listen", "nowhere"];
    let ended = run(&arguments, &[("LONGSHORE_LOG_FORMAT", "loud"), ("LONGSHORE_NOTHING", "1")]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "");
    for place in [
        "part_bytes",
        "unknown",
        "page_max",
        "--listen",
        "LONGSHORE_LOG_FORMAT",
        "LONGSHORE_NOTHING",
        "longshore.toml",
    ] {
        assert!(ended.stderr.contains(place), "nothing about {place}:\n{}", ended.stderr);
    }
    let missing = run(&["check", "--config", "/nonexistent.toml"], &[]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(missing.stderr.contains("/nonexistent.toml"), "{}", missing.stderr);
}

#[test]
fn an_unreachable_bucket_is_reported() {
    let variables = [
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "a-very-secret-secret"),
    ];
    let ended = run(&["check", "--store", "s3://bucket"], &variables);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("cannot be reached"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("a-very-secret-secret"), "{}", ended.stderr);
}
