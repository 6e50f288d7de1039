//! `longshore access check-file`.

use std::path::Path;

use serde_json::{Value, json};

use super::replace;
use crate::support::process::{Ended, run};

/// Anonymous callers pull below `open`, users push below `team`, jobs of acme create, and the
/// holders of certificates pull. None of the files exists.
const CONFIG: &str = "
[access]
htpasswd_file = '/absent/users'
[server.tls]
certificate_file = '/absent/tls.crt'
key_file = '/absent/tls.key'
client_ca_file = '/absent/clients.crt'
[[access.issuers]]
name = 'ci'
url = 'https://ci.test'
audience = 'registry'
jwks_file = '/absent/keys'
required = ['owner=acme']
groups_claim = 'teams'
[[access.rules]]
subject = 'anonymous'
repositories = 'open/**'
actions = 'pull'
[[access.rules]]
subject = ['user:alice', 'group:dev']
repositories = 'team/**'
actions = ['pull', 'push']
[[access.rules]]
subject = 'issuer:ci kubernetes.io.namespace=build'
repositories = 'acme/**'
actions = ['pull', 'create']
[[access.rules]]
subject = 'certificate:spiffe://acme/*'
repositories = 'acme/**'
actions = 'pull'
";

const RIGHT: &str = "
[[answers]]
caller = 'anonymous'
repository = 'open/app'
actions = 'pull'
allowed = true
rule = 'line 15'
[[answers]]
caller = 'anonymous'
actions = 'catalog'
allowed = false
[[answers]]
caller = 'user:alice'
repository = 'team/app'
actions = ['pull', 'push', 'create']
allowed = true
rule = 'user:alice, group:dev'
[[answers]]
caller = 'issuer:ci'
claims = {owner = 'acme', kubernetes.io = {namespace = 'build'}}
repository = 'acme/app'
actions = 'create'
allowed = true
[[answers]]
caller = 'issuer:ci'
claims = {owner = 'acme', teams = ['dev']}
repository = 'team/app'
actions = 'push'
allowed = true
[[answers]]
caller = 'issuer:ci'
claims = {owner = 'other', 'kubernetes.io.namespace' = 'build'}
repository = 'acme/app'
actions = 'create'
allowed = false
[[answers]]
caller = 'certificate:spiffe://acme/runner'
repository = 'acme/app'
actions = ['pull']
allowed = true
";

fn check(folder: &Path, config: &str, answers: &str, more: &[&str]) -> Ended {
    let (config_file, answers_file) = (folder.join("longshore.toml"), folder.join("answers.toml"));
    replace(&config_file, config);
    replace(&answers_file, answers);
    let [config, answers] = [&config_file, &answers_file].map(|path| path.to_str().expect("text"));
    run(&[&["access", "check-file", answers, "--config", config], more].concat(), &[])
}

#[test]
fn right_answers_differ_nowhere() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ended = check(folder.path(), CONFIG, RIGHT, &[]);
    assert_eq!(ended.stdout, "answers: 9, differing: 0\n", "{ended:?}");
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn each_difference_is_a_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Each answer turned around; the rule is not expected where nothing may allow it.
    let turned = RIGHT.replace("= true", "= none").replace("= false", "= true");
    let turned = turned.replace("= none", "= false");
    let turned: String = turned
        .lines()
        .filter(|line| !line.starts_with("rule"))
        .fold(String::new(), |text, line| text + line + "\n");
    let ended = check(folder.path(), CONFIG, &turned, &[]);
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    assert!(ended.stdout.ends_with("\nanswers: 9, differing: 9\n"), "{ended:?}");
    for part in [
        "line 2: anonymous pull open/app: expected denied, is allowed: file ",
        "line 7: anonymous catalog: expected allowed, is denied: none of 4 rules lets anonymous",
        "is denied: the token is refused: a claim that access.issuers requires is missing",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }

    // Another rule than the expected one, also where its line begins alike.
    for other in ["line 1", "line 20", "access.anonymous"] {
        let ended = check(folder.path(), CONFIG, &RIGHT.replace("line 15", other), &["--json"]);
        assert_eq!(ended.status.code(), Some(3), "{ended:?}");
        let lines: Vec<Value> =
            ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2, "{ended:?}");
        assert_eq!(lines[0]["expected_rule"], other);
        assert_eq!((&lines[0]["action"], &lines[0]["found"]), (&json!("pull"), &json!("allowed")));
        assert_eq!(lines[1]["summary"], json!({"answers": 9, "differing": 1}));
    }
}

#[test]
fn callers_that_no_login_makes_are_errors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let row = |caller: &str| {
        format!("[[answers]]\n{caller}\nrepository = 'a'\nactions = 'pull'\nallowed = false\n")
    };
    let callers = [
        "caller = 'issuer:other'",
        "caller = 'issuer:ci'\ngroups = 'dev'",
        "caller = 'user:alice'\ngroups = 'dev'",
        "caller = 'anonymous'\nclaims = {a = 1}",
        "caller = 'certificate:x'\ngroups = 'dev'",
    ];
    let ended = check(folder.path(), CONFIG, &callers.map(row).concat(), &[]);
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    for part in [
        "line 1: [[access.issuers]] has none of that name",
        "line 6: the groups of an issuer are in its claims",
        "line 12: users with a password have no groups",
        "line 18: anonymous callers have no groups",
        "line 24: certificates have no groups",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    let open = "access.anonymous = 'push'\n";
    let ended = check(folder.path(), open, &row("caller = 'certificate:x'"), &[]);
    assert!(ended.stderr.contains("server.tls.client_ca_file is not set"), "{ended:?}");
    let ended = check(folder.path(), open, &row("caller = 'user:x'"), &[]);
    assert!(ended.stderr.contains("users cannot log in"), "{ended:?}");

    let ended = check(folder.path(), CONFIG, "[[answers]]\ncalller = 'user:x'\n", &[]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("answers.toml, line 2, answers.calller: unknown key"));
}

#[test]
fn users_of_a_token_server_have_groups_and_claims() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = "[access.token]\nrealm = 'https://tokens.test/token'\nservice = 'registry'\n\
                  issuer = 'tokens.test'\nkeys_file = '/absent/keys'\n";
    let answers = "[[answers]]\ncaller = 'user:x'\ngroups = ['dev']\nclaims = {team = ['ops']}\n\
                   repository = 'a'\nactions = ['push', 'delete']\nallowed = true\n";
    // Without rules the token decides alone.
    let ended = check(folder.path(), config, answers, &[]);
    assert_eq!(ended.stdout, "answers: 2, differing: 0\n", "{ended:?}");
    let rules = "[[access.rules]]\nsubject = 'group:dev'\nrepositories = '**'\nactions = 'push'\n\
                 [[access.rules]]\nsubject = 'claim:team=ops'\nrepositories = '**'\n\
                 actions = 'delete'\n";
    let both = format!("{config}{rules}");
    assert_eq!(check(folder.path(), &both, answers, &[]).status.code(), Some(0));
    let ended = check(folder.path(), &both, &answers.replace("ops", "other"), &[]);
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    assert!(ended.stdout.contains("delete a: expected allowed, is denied"), "{ended:?}");
}
