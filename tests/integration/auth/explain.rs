//! `longshore access explain`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::certificates::Authority;
use super::issuer::{ISSUER, SERVICE, Signer, claims, jwks};
use super::issuers::{Answers, Issuer};
use super::tls::pair;
use super::{As as _, password, replace, write_users};
use crate::support::process::{Ended, Process, command};

/// `access explain` with this configuration and this text on the standard input. It must not show
/// the text.
fn explain(folder: &Path, arguments: &[&str], input: &str) -> Ended {
    let file = folder.join("longshore.toml");
    let file = file.to_str().expect("text");
    let mut command = command(&["access", "explain", "--config", file], &[]);
    command.args(arguments).env_remove("LONGSHORE_CONFIG").current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the program runs");
    // A command that reads no token may have ended.
    let _ = process.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = process.wait_with_output().expect("the program ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let ended =
        Ended { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) };
    let signature = input.rsplit('.').next().expect("a part");
    assert!(input.is_empty() || !format!("{ended:?}").contains(signature), "{ended:?}");
    ended
}

/// The lines of the table for pull, push, create, delete and catalog.
#[track_caller]
fn allowed(ended: &Ended) -> Vec<bool> {
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let words = ["pull", "push", "create", "delete", "catalog"];
    let line = |word: &&str| ended.stdout.lines().find(|line| line.starts_with(*word));
    let is_allowed = |line: &str| line.split_whitespace().nth(1) == Some("allowed");
    words.iter().map(|word| line(word).map(is_allowed).expect("a line")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_an_issuer_is_verified_and_explained() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let issuer = Issuer::start(&jwks(&[&signer]), Answers::Right).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = format!(
        "[[access.issuers]]\nname = 'ci'\nurl = '{}'\naudience = 'registry'\n\
         groups_claim = 'teams'\n[[access.rules]]\nsubject = 'issuer:ci repository=acme/*'\n\
         repositories = 'acme/**'\nactions = ['pull', 'create']\n",
        issuer.url
    );
    replace(&folder.path().join("longshore.toml"), &text);
    let mut claims = issuer.claims();
    (claims["teams"], claims["sub"]) = (json!(["dev"]), json!("a\u{1b}[2Jjob"));
    let token = signer.sign(&signer.header(), &claims);
    let asked = ["--token", "-", "--repository", "acme/app"];
    let ended = explain(folder.path(), &asked, &format!("{token}\n"));
    assert_eq!(allowed(&ended), [true, false, true, false, false], "{ended:?}");
    for part in [
        "caller: issuer:ci:a\u{fffd}[2Jjob, by issuer ci\n",
        "group: dev\n",
        "claim: repository=\"acme/app\"\n",
        "longshore.toml, line 6 lets issuer:ci repository=acme/* pull, create in acme/**\n",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }

    // For machines, from a file, and one action of another repository.
    replace(&folder.path().join("token"), &token);
    let asked = ["--token-file", "token", "--repository", "b", "--action", "pull", "--json"];
    let ended = explain(folder.path(), &asked, "");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let shown: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(shown["caller"]["claims"]["repository"], "acme/app");
    assert_eq!((&shown["caller"]["groups"], &shown["repository"]), (&json!(["dev"]), &json!("b")));
    let actions = shown["actions"].as_array().expect("a list");
    assert_eq!((actions.len(), &actions[0]["allowed"]), (1, &json!(false)));

    for (name, value, reason) in [
        ("exp", json!(1), "refused: expired"),
        ("aud", json!("other"), "refused: another audience"),
    ] {
        let mut claims = issuer.claims();
        claims[name] = value;
        let token = signer.sign(&signer.header(), &claims);
        let asked = ["--token", "-", "--repository", "a", "--json"];
        let ended = explain(folder.path(), &asked, &token);
        assert_eq!(ended.status.code(), Some(3), "{ended:?}");
        assert!(ended.stderr.contains(reason), "{ended:?}");
        let refused = reason.strip_prefix("refused: ").expect("a reason");
        assert_eq!(ended.stdout, format!("{}\n", json!({ "refused": refused })));
    }
    // No key is a failure, and no statement about the token.
    issuer.answer(Answers::Error);
    let ended = explain(folder.path(), &["--token", "-", "--repository", "a"], &token);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the keys that verify the token cannot be read"), "{ended:?}");
}

#[test]
fn a_token_of_a_token_server_has_to_list_the_action() {
    let signer = Signer::new(Algorithm::EdDSA, "a");
    let folder = tempfile::tempdir().expect("a temporary folder");
    replace(&folder.path().join("keys"), &jwks(&[&signer]));
    let text = format!(
        "[access.token]\nrealm = 'https://tokens.test/token'\nservice = '{SERVICE}'\n\
         issuer = '{ISSUER}'\nkeys_file = 'keys'\n[[access.rules]]\nsubject = 'user:alice'\n\
         repositories = '**'\nactions = ['pull', 'push']\n"
    );
    replace(&folder.path().join("longshore.toml"), &text);
    let token = signer.sign(&signer.header(), &claims("alice", &[("a", &["pull", "delete"])]));
    let ended = explain(folder.path(), &["--token", "-", "--repository", "a"], &token);
    assert_eq!(allowed(&ended), [true, false, false, false, false], "{ended:?}");
    assert!(ended.stdout.contains("push     denied   the token does not list it"), "{ended:?}");
    assert!(ended.stdout.contains("delete   denied   none of 1 rules lets user:alice delete a"));
    let other = Signer::new(Algorithm::EdDSA, "a").token("alice", &[]);
    let ended = explain(folder.path(), &["--token", "-", "--repository", "a"], &other);
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    assert!(ended.stderr.contains("no key of the issuer verifies the signature"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_registry_itself_is_verified_with_the_keys_of_the_store() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_users(&folder.path().join("users"), &[("alice", password("alice"))]);
    let (users, store) = (folder.path().join("users"), folder.path().join("data"));
    let text = format!(
        "store.url = '{}'\n[access]\nhtpasswd_file = '{}'\n[[access.rules]]\n\
         subject = 'user:alice'\nrepositories = '**'\nactions = ['pull', 'push']\n",
        store.display(),
        users.display(),
    );
    let config = folder.path().join("longshore.toml");
    replace(&config, &text);
    let config = config.to_str().expect("text").to_owned();
    let store = store.to_str().expect("text").to_owned();
    let mut process = Process::serve(&store, &[("LONGSHORE_CONFIG", &config)]);
    let client = process.client();
    let path = "/auth/token?service=longshore&scope=repository:a:pull";
    let answer: Value = client.request("GET", path).user("alice").send().await.expect(200).json();
    process.terminate();
    assert!(process.ended().await.success());
    let token = answer["token"].as_str().expect("a token");
    let ended = explain(folder.path(), &["--token", "-", "--repository", "a"], token);
    assert_eq!(allowed(&ended), [true, false, false, false, false], "{ended:?}");
    assert!(
        ended.stdout.starts_with("caller: user:alice, by registry_token password\n"),
        "{ended:?}"
    );
}

#[test]
fn a_certificate_is_verified_and_explained() {
    let (authority, other) = (Authority::new("clients"), Authority::new("others"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shown = pair();
    for (name, content) in [
        ("tls.crt", &shown.certificate),
        ("tls.key", &shown.key),
        ("clients.crt", &authority.0.pem()),
        ("good", &authority.issue(|_| {}).pem()),
        ("foreign", &other.issue(|_| {}).pem()),
        ("rubbish", &"rubbish".to_owned()),
    ] {
        replace(&folder.path().join(name), content);
    }
    let tls = "server.tls = {certificate_file = 'tls.crt', key_file = 'tls.key', \
               client_ca_file = 'clients.crt'}\n[[access.rules]]\nsubject = 'certificate:c*'\n\
               repositories = '**'\nactions = 'pull'\n";
    replace(&folder.path().join("longshore.toml"), tls);
    let asked = |name| explain(folder.path(), &["--certificate", name, "--repository", "a"], "");
    let ended = asked("good");
    assert_eq!(allowed(&ended), [true, false, false, false, false], "{ended:?}");
    assert!(ended.stdout.starts_with("caller: certificate:ci, by certificate\n"), "{ended:?}");
    for (name, status, part) in [
        ("foreign", 3, "refused: invalid peer certificate"),
        ("rubbish", 1, "there is no certificate in the file"),
        ("absent", 1, "absent: "),
    ] {
        let ended = asked(name);
        assert_eq!(ended.status.code(), Some(status), "{ended:?}");
        assert!(ended.stderr.contains(part), "{ended:?}");
    }
}

#[test]
fn access_explain_names_the_deciding_rule() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("longshore.toml");
    let text = "access.htpasswd_file = '/absent'\naccess.anonymous = 'pull'\n[[access.rules]]\n\
                subject = ['group:dev', 'user:alice']\nrepositories = 'team/**'\n\
                actions = ['push', 'delete']\n[[access.rules]]\nsubject = 'authenticated'\n\
                repositories = '**'\nactions = 'create'\n[[access.issuers]]\nname = 'sso'\n\
                url = 'https://sso.example.com'\naudience = 'x'\ngroups_claim = 'groups'\n";
    replace(&file, text);
    let shown = file.display();
    for (subjects, repository, action, decided) in [
        (&["anonymous"][..], "a/b", "pull", Ok("access.anonymous lets anonymous pull".to_owned())),
        (&["user:bob"], "a/b", "pull", Ok("access.anonymous lets".to_owned())),
        (&["user:alice"], "team/x/y", "push", Ok(format!("{shown}, line 3 lets group:dev, user:"))),
        (&["user:bob", "group:dev"], "team/x", "delete", Ok(format!("{shown}, line 3 lets"))),
        (&["user:bob"], "team/x", "create", Ok(format!("{shown}, line 7 lets authenticated"))),
        (&["user:bob"], "team/x", "push", Err("none of 3 rules lets user:bob push team/x")),
        (&["anonymous"], "team/x", "create", Err("none of 3 rules lets anonymous create")),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.env_clear().args(["access", "explain", "--config"]).arg(&file);
        command.args(["--repository", repository, "--action", action]);
        for subject in subjects {
            command.args(["--subject", subject]);
        }
        let output = command.output().expect("the program runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.success(), decided.is_ok(), "{said}");
        let (start, text) = match &decided {
            Ok(text) => ("allowed: ", text.as_str()),
            Err(text) => ("longshore: denied: ", *text),
        };
        assert!(said.starts_with(start) && said.contains(text), "{said}");
    }
}
