//! `longshore keys`: the keys of tokens are listed and changed while processes serve the bucket.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::auth::As as _;
use crate::support::process::{Ended, Process, run, s3_variables};
use crate::support::scripted_s3::{BUCKET_URL, Match, ScriptedS3};

const RECORD: &str = "v1/g/keys";
/// The default of `KEYS_OVERLAP`, after which a new key signs.
const OVERLAP_SECONDS: u64 = 5 * 60;
/// The documented time until all processes have read the keys again.
const READ_WITHIN: Duration = Duration::from_mins(1);

/// Longer than the pause between two reads that tokens with unknown keys cause.
const READ_AGAIN: Duration = Duration::from_millis(1100);

/// A bucket, and the file with its users.
struct Bucket {
    s3: ScriptedS3,
    folder: tempfile::TempDir,
}

impl Bucket {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let hash = bcrypt::hash("alice-pw", 4).expect("a hash");
        std::fs::write(folder.path().join("users"), format!("alice:{hash}\n")).expect("written");
        Self { s3: ScriptedS3::start().await, folder }
    }

    fn serve(&self) -> Process {
        let users = self.folder.path().join("users");
        let users = users.to_str().expect("a path");
        let login =
            [("LONGSHORE_ACCESS_HTPASSWD_FILE", users), ("LONGSHORE_ACCESS_AUTHENTICATED", "push")];
        Process::over_s3(&self.s3, &login)
    }

    fn keys(&self, arguments: &[&str]) -> Ended {
        let arguments = [&["keys"], arguments, &["--store", BUCKET_URL]].concat();
        let ended = run(&arguments, &s3_variables(&self.s3.url()));
        let record = self.s3.object(RECORD).unwrap_or_default();
        for seed in String::from_utf8_lossy(&record).split("\"seed\":\"").skip(1) {
            let seed = &seed[..64];
            assert!(!format!("{ended:?}").contains(seed), "it prints a key");
        }
        ended
    }

    /// The table that a successful command prints: the keys with their states.
    fn table(&self, arguments: &[&str]) -> Vec<(String, String)> {
        let ended = self.keys(arguments);
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        let mut lines = ended.stdout.lines();
        let head = lines.next().expect("a head");
        assert_eq!(head.split_whitespace().collect::<Vec<_>>(), ["key", "signs", "from", "state"]);
        let row = |line: &str| {
            let (key, rest) = line.split_once(' ').expect("columns");
            let (_, state) = rest.trim().split_once(' ').expect("columns");
            (key.to_owned(), state.trim().to_owned())
        };
        lines.map(row).collect()
    }

    /// As if so many seconds had passed since the keys were made.
    fn pass(&self, seconds: u64) {
        let record = self.s3.object(RECORD).expect("the keys");
        let mut text = String::from_utf8(record.to_vec()).expect("text");
        let mut from = 0;
        while let Some(at) = text[from..].find("\"signs_from\":") {
            let begin = from + at + "\"signs_from\":".len();
            let digits = text[begin..].bytes().take_while(u8::is_ascii_digit).count();
            let time: u64 = text[begin..begin + digits].parse().expect("a number");
            text.replace_range(begin..begin + digits, &(time - seconds).to_string());
            from = begin;
        }
        self.s3.put(RECORD, text);
    }
}

async fn token(process: &Process) -> String {
    let client = process.client();
    let asked = client.request("GET", "/auth/token?scope=repository:a:pull").user("alice");
    let answer = asked.send().await.expect(200).json();
    answer["token"].as_str().expect("a token").to_owned()
}

/// The key that has signed a token.
fn key_of(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().expect("a header"));
    let header: Value = serde_json::from_slice(&header.expect("base64")).expect("JSON");
    header["kid"].as_str().expect("the name of a key").to_owned()
}

/// 404 if the token is good: there is no such repository.
async fn status(process: &Process, token: &str) -> u16 {
    let client = process.client();
    client.request("GET", "/v2/a/tags/list").bearer(token).send().await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_and_revoked_while_replicas_serve() {
    let bucket = Bucket::new().await;
    let ended = bucket.keys(&["list"]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.starts_with("the store has no keys yet"), "{}", ended.stdout);

    let (one, other) = (bucket.serve(), bucket.serve());
    let old = token(&one).await;
    let first = key_of(&old);
    assert_eq!(bucket.table(&["list"]), [(first.clone(), "signs".to_owned())]);
    assert_eq!((key_of(&token(&other).await), status(&other, &old).await), (first.clone(), 404));

    // The new key verifies at once and signs later.
    let rotated = bucket.table(&["rotate"]);
    let waits = "verifies, and signs then";
    let [(_, _), (second, state)] = &rotated[..] else { panic!("two keys: {rotated:?}") };
    assert_eq!((&rotated[0], state.as_str()), (&(first.clone(), "signs".to_owned()), waits));
    let third = bucket.serve();
    assert_eq!(key_of(&token(&third).await), first);
    drop(third);

    bucket.pass(OVERLAP_SECONDS);
    let listed = bucket.table(&["list"]);
    assert!(listed[0].1.starts_with("verifies until "), "{listed:?}");
    assert_eq!(listed[1], (second.clone(), "signs".to_owned()));
    let third = bucket.serve();
    let new = token(&third).await;
    tokio::time::sleep(READ_AGAIN).await;
    assert_eq!(&key_of(&new), second);
    // The others learn of the key from the token, and then sign with it.
    for process in [&one, &other, &third] {
        assert_eq!((status(process, &new).await, status(process, &old).await), (404, 404));
        assert_eq!(&key_of(&token(process).await), second);
    }

    let revoked = bucket.table(&["rotate", "--revoke"]);
    let began = Instant::now();
    let [(last, state)] = &revoked[..] else { panic!("one key: {revoked:?}") };
    assert_eq!(state, "signs");
    assert!(*last != first && last != second);
    for process in [&one, &other] {
        for token in [&new, &old] {
            while status(process, token).await != 401 {
                assert!(began.elapsed() <= READ_WITHIN + Duration::from_secs(2));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        assert_eq!(&key_of(&token(process).await), last);
    }
    assert_eq!(bucket.table(&["list"]), revoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_changed() {
    let bucket = Bucket::new().await;
    let count = || bucket.s3.arrived_in_all();
    // The costs of docs/request-costs.md.
    let before = count();
    bucket.keys(&["list"]);
    assert_eq!(count() - before, 1);
    let before = count();
    assert_eq!(bucket.table(&["rotate"]).len(), 1);
    let first = count() - before;
    let before = count();
    assert_eq!(bucket.table(&["rotate"]).len(), 2);
    assert_eq!((first, count() - before), (43, 43));

    for keys in 3..=16 {
        assert_eq!(bucket.table(&["rotate"]).len(), keys);
    }
    let record = bucket.s3.object(RECORD);
    let ended = bucket.keys(&["rotate"]);
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains("there are 16 keys already"), "{}", ended.stderr);
    assert_eq!(bucket.s3.object(RECORD), record, "nothing has changed");
    assert_eq!(bucket.table(&["rotate", "--revoke"]).len(), 1);

    // A store that refuses, a folder in use, and what is no command.
    let url = bucket.s3.url();
    let variables = [&s3_variables(&url)[..], &[("LONGSHORE_STORE_S3_ATTEMPTS_MAX", "1")]].concat();
    bucket.s3.refuse(Match::get(RECORD).always(), 403, "AccessDenied");
    for arguments in [&["keys", "list"][..], &["keys", "rotate"], &["keys", "rotate", "--revoke"]] {
        let ended = run(&[arguments, &["--store", BUCKET_URL]].concat(), &variables);
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
        assert!(ended.stderr.contains("AccessDenied"), "{}", ended.stderr);
    }
    let served = tempfile::tempdir().expect("a temporary folder");
    let _process = Process::folder(served.path(), &[]);
    let path = served.path().to_str().expect("a path");
    let ended = run(&["keys", "rotate", "--store", path], &[]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("in use by another process"), "{}", ended.stderr);
    assert_eq!(run(&["keys", "revoke"], &[]).status.code(), Some(2));
}
