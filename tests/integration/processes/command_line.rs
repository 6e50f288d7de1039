//! Messages of the commands, and of a start that fails.

use crate::support::process::{Process, run};

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
         write deadlines ok, checksums ok\n"
    );
    assert_eq!(ended.stdout, expected);
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
