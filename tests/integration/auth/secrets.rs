//! Secrets never appear in output or in logs, whatever setting contains them.

use std::io::Read as _;
use std::process::{Command, Stdio};

use super::{COST, replace};

const CANARY: &str = "canary-7Qz1Yp9w";

/// The settings that are secrets: the reference lists them as readable from a file.
fn secrets() -> Vec<String> {
    let reference = longshore::config::reference();
    let (mut section, mut keys) = ("", Vec::new());
    for line in reference.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        }
        let file = line.split("Or the path of a file: ").nth(1);
        if let Some((name, _)) = file.and_then(|rest| rest.split_once("_file.")) {
            keys.push(format!("{section}.{name}"));
        }
    }
    keys
}

fn longshore(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.args(arguments).env_clear();
    command
}

fn said(command: &mut Command) -> String {
    let output = command.output().expect("the program runs");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn check_never_prints_a_secret() {
    let secrets = secrets();
    assert!(secrets.contains(&"store.s3.secret_access_key".to_owned()), "{secrets:?}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("longshore.toml");
    let values: String = secrets.iter().map(|key| format!("{key} = '{CANARY}-{key}'\n")).collect();
    let rest = "store.url = 's3://bucket'\nstore.s3.endpoint = 'http://127.0.0.1:1'\n\
                store.s3.access_key_id = 'me'\nstore.s3.region = 'x'\nlog.level = 'trace'\n\
                store.s3.attempts_max = 1\n";
    for mistake in ["", "uploads.part_bytes = 'x'\n", "[[access.rules]]\nsubject = 1\n"] {
        replace(&file, &format!("{values}{rest}{mistake}"));
        let file = file.to_str().expect("a path");
        for command in ["check", "serve"] {
            let said = said(&mut longshore(&[command, "--config", file]));
            assert!(!said.contains("canary-7Q"), "{said}");
            assert!(!said.is_empty());
        }
        let environment = secrets
            .iter()
            .map(|key| (format!("LONGSHORE_{}", key.replace('.', "_").to_uppercase()), CANARY));
        let said = said(longshore(&["check", "--config", file]).envs(environment));
        assert!(!said.contains("canary-7Q"), "{said}");
    }
    // A value in place of a table, or of a wrong type, is not printed either.
    for key in &secrets {
        replace(&file, &format!("{key} = ['{CANARY}']\n"));
        let said = said(&mut longshore(&["check", "--config", file.to_str().expect("a path")]));
        assert!(!said.contains("canary-7Q"), "{said}");
    }
}

/// A login in a URL is no secret setting, and still nothing prints it.
#[test]
fn logins_in_urls_are_never_printed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("longshore.toml");
    let login = format!("me:{CANARY}");
    let odd = format!("m\"e:{CANARY}/x\\\"@y");
    for setting in [
        "store.s3.endpoint",
        "store.s3.public_endpoint",
        "store.url",
        "access.token.realm",
        "cache.redis",
        "server.listen",
        "admin.listen",
        "access.token.issuer",
    ] {
        for value in [
            format!("http://{login}@host:9000"),
            format!("https://{login}@host/path?x"),
            format!("s3://{login}@bucket/prefix"),
            format!("redis://{login}@host:x"),
            format!("ftp://{login}@host"),
            format!("{login}@host:1"),
            format!("http://{odd}@host"),
        ] {
            replace(&file, &format!("{setting} = '{value}'\nuploads.part_bytes = 'x'\n"));
            let said = said(&mut longshore(&["check", "--config", file.to_str().expect("a path")]));
            assert!(said.contains("uploads.part_bytes"), "{said}");
            assert!(!said.contains("canary-7Q"), "{setting} = {value}: {said}");
        }
    }
}

/// Valid and invalid passwords, hashes and tokens, with the log at its lowest level.
#[tokio::test]
async fn credentials_are_never_logged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hash = bcrypt::hash(CANARY, COST).expect("a hash");
    let users = folder.path().join("users");
    replace(&users, &format!("alice:{hash}\n"));
    let mut process = longshore(&["serve", "--store", "memory", "--listen", "127.0.0.1:20597"])
        .env("LONGSHORE_ACCESS_HTPASSWD_FILE", &users)
        .env("LONGSHORE_ACCESS_AUTHENTICATED", "push")
        .env("LONGSHORE_LOG_LEVEL", "trace")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let client = crate::support::http::Client::new("http://127.0.0.1:20597");
    let mut answered = false;
    for _ in 0..100 {
        answered = client.request("GET", "/v2/").try_send().await.is_ok();
        if answered {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(answered);
    for header in [
        super::basic_header("alice", CANARY),
        super::basic_header("alice", &format!("{CANARY}-wrong")),
        format!("Bearer {CANARY}.{CANARY}.{CANARY}"),
        format!("{CANARY} {CANARY}"),
    ] {
        let path = format!("/v2/a/tags/list?token={CANARY}");
        let request = client.request("GET", &path).header("authorization", &header);
        request.try_send().await.expect("an answer");
    }
    replace(&users, &format!("alice:{CANARY}\n"));
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    client
        .request("GET", "/v2/")
        .header("authorization", super::basic_header("alice", "x"))
        .try_send()
        .await
        .expect("an answer");
    process.kill().expect("it is ours");
    process.wait().expect("it ends");
    let mut log = String::new();
    process.stderr.take().expect("a pipe").read_to_string(&mut log).expect("text");
    let (encoded, hash) = (super::basic_header("alice", CANARY), &hash[7..]);
    for secret in [CANARY, encoded.trim_start_matches("Basic "), hash] {
        assert!(!log.contains(secret), "{log}");
    }
    assert!(log.contains("reload failed, keeping the previous version"), "{log}");
    assert!(log.contains("request completed"), "{log}");
}
