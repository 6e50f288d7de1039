//! Logins, rules, TLS and proxies.

use super::*;
use crate::auth::{KeysFrom, Permission, Subject};

#[test]
fn rules_are_read_with_their_place() {
    let settings = load(&file(
        r#"
        server.trusted_proxies = ["10.1.2.3/8", "fd00::1"]
        access.htpasswd_file = "users"
        access.token = { realm = "/t", service = "x", issuer = "x", keys_file = "x" }
        [[access.rules]]
        subject = "user:alice"
        repositories = "**"
        actions = ["pull", "push", "create", "delete", "catalog"]
        [[access.rules]]
        subject = ["group:dev", "claim:team=infra=x", "authenticated", "anonymous"]
        repositories = ["team/*", "x"]
        actions = "pull"
        [[access.rules]]
        subject = "anonymous"
        actions = "catalog"
        "#,
    ))
    .unwrap();
    assert_eq!(settings.server.trusted_proxies.to_string(), "10.0.0.0/8,fd00::1/128");
    let rules = settings.access.rules;
    let places: Vec<&str> = rules.iter().map(|rule| rule.place.as_str()).collect();
    assert_eq!(places, [5, 9, 13].map(|line| format!("file longshore.toml, line {line}")));
    assert_eq!(rules[0].permissions, Permission::WORDS.map(|(_, permission)| permission));
    let claim = Subject::Claim("team".to_owned(), "infra=x".to_owned());
    assert_eq!(rules[1].subjects[1], claim);
    assert!(rules[2].repositories.is_empty());
}

#[test]
fn everything_wrong_with_rules_is_said_at_once_with_its_place() {
    check(
        &file(
            "server.listen = 'x'\n[[access.rules]]\nsubject = 'alice'\n\
             repositories = ['a', 'B', 1]\n\
             actions = 'read'\n[[access.rules]]\nsubjects = 'user:a'\nactions = []\n\
             [access.tokens]\n",
        ),
        "
file longshore.toml, line 1, server.listen: \"x\" is not an address and a port, such as \
         127.0.0.1:5000 or [::]:5000
file longshore.toml, line 3, access.rules.subject: \"alice\" is not a subject: write user:NAME, \
         group:NAME, claim:NAME=VALUE, issuer:NAME CLAIM=PATTERN..., certificate:PATTERN, \
         authenticated or anonymous
file longshore.toml, line 4, access.rules.repositories: \"B\" is not a pattern of repositories: \
         write a name in which * matches a part of one component and ** matches anything, \
         such as team/* or **
file longshore.toml, line 4, access.rules.repositories: is not a string or a list of strings
file longshore.toml, line 5, access.rules.actions: \"read\" is not an action: actions are pull, \
         push, create, delete and catalog
file longshore.toml, line 6, access.rules.repositories: is missing
file longshore.toml, line 6, access.rules.subject: is missing
file longshore.toml, line 7, access.rules.subjects: unknown key: did you mean access.rules.subject?
file longshore.toml, line 8, access.rules.actions: is an empty list
file longshore.toml, line 9, access.tokens: unknown section: did you mean access.token?",
    );
    for (toml, expected) in [
        ("access.rules = 1", "line 1, access.rules: is a list of tables: write [[access.rules]]"),
        ("access.rules = [1]", "line 1, access.rules: is not a table: write [[access.rules]]"),
        ("[[access.rule]]", "line 1, access.rule: unknown key: did you mean access.rules?"),
        ("server.trusted_proxies = [1]", "line 1, server.trusted_proxies: a list is not a value"),
        ("server.trusted_proxies = '10.0.0.0/33'", "\"10.0.0.0/33\" is not a network"),
    ] {
        let errors = load(&file(toml)).unwrap_err().to_string();
        assert!(errors.contains(expected), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn half_a_login_is_refused() {
    for (toml, expected) in [
        ("access.htpasswd_file = 'x'", "access.htpasswd_file: the login is incomplete"),
        ("access.authenticated = 'pull'", "access.authenticated: the login is incomplete"),
        (
            "[[access.rules]]\nsubject = 'user:a'\nrepositories = '**'\nactions = 'pull'",
            "access.authenticated: the login is incomplete",
        ),
        (
            "access.token = { realm = '/token', service = 'x' }",
            "access.token.realm: the token server is incomplete: access.token.issuer, \
             access.token.keys_file missing",
        ),
        ("server.tls.key_file = 'x'", "key_file: TLS is incomplete: server.tls.certificate_file"),
    ] {
        let errors = load(&file(toml)).unwrap_err().to_string();
        assert!(errors.contains(expected), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn rules_for_callers_who_cannot_log_in_are_refused() {
    let rule = |subject: &str| {
        format!("[[access.rules]]\nsubject = '{subject}'\nrepositories = '**'\nactions = 'pull'\n")
    };
    let passwords = "[access]\nhtpasswd_file = 'x'\nauthenticated = 'pull'\n";
    let tokens = "[access.token]\nrealm = '/t'\nservice = 'x'\nissuer = 'x'\nkeys_file = 'x'\n";
    let issuer =
        "[[access.issuers]]\nname = 'ci'\nurl = 'https://ci.example.com'\naudience = 'x'\n";
    let groups = format!("{issuer}groups_claim = 'groups'\n");
    for (login, subject, missing) in [
        (passwords, "user:a", None),
        (tokens, "user:a", None),
        (issuer, "user:a", Some("access.htpasswd_file or [access.token]")),
        (tokens, "group:a", None),
        (&groups, "group:a", None),
        (issuer, "group:a", Some("[access.token], or groups_claim in [[access.issuers]]")),
        (passwords, "group:a", Some("[access.token], or groups_claim in [[access.issuers]]")),
        (tokens, "claim:a=b", None),
        (issuer, "claim:a=b", Some("[access.token]")),
        (passwords, "certificate:a", Some("server.tls.client_ca_file")),
        (issuer, "issuer:ci sub=a", None),
        (issuer, "issuer:other sub=a", Some("[[access.issuers]] with that name")),
    ] {
        let loaded = load(&file(&format!("{login}{}", rule(subject))));
        let Some(missing) = missing else {
            loaded.unwrap();
            continue;
        };
        let errors = loaded.unwrap_err().to_string();
        let expected = format!("is for {subject}, and no caller can log in so: add {missing}");
        assert!(errors.contains("the rule at file longshore.toml, line "), "{errors}");
        assert!(errors.ends_with(&expected), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

/// A login, or anonymous callers by name: in a rule or in the setting.
#[test]
fn a_login_opens_the_network() {
    for toml in [
        "access = { htpasswd_file = 'x', authenticated = 'push' }",
        "access.token = { realm = '/t', service = 'x', issuer = 'x', keys_file = 'x' }",
        "access.anonymous = 'pull'",
        "[[access.rules]]\nsubject = 'anonymous'\nrepositories = 'public/**'\nactions = 'pull'",
    ] {
        load(&file(&format!("server.listen = '0.0.0.0:5000'\n{toml}"))).unwrap();
    }
}

#[test]
fn what_would_confuse_clients_is_refused() {
    for (key, texts) in [
        ("access.token.service", &["a\"b", "my basic registry", "TheBearer", "a,b", ""][..]),
        ("access.token.realm", &["//x/y", "ftp://x", "x", "https://u:p@x/", "https://x/bearer"]),
        ("access.htpasswd_file", &[""]),
    ] {
        for text in texts {
            assert!(!takes(key, text), "{key} takes {text:?}");
        }
    }
}

const ISSUER: &str =
    "[[access.issuers]]\nname = 'ci'\nurl = 'https://ci.example'\naudience = 'r'\n";

#[test]
fn issuers_are_read() {
    let toml = format!(
        "{ISSUER}required = ['repository=acme/*', 'ref=refs/heads/main']\n\
         subject_claim = 'repository'\n\
         [[access.issuers]]\nname = 'cluster'\nurl = 'kubernetes/serviceaccount'\n\
         audience = ['a', 'b']\njwks_file = '/keys.json'\ngroups_claim = 'groups'\n\
         [[access.rules]]\nsubject = 'issuer:ci repository=acme/app'\n\
         repositories = '**'\nactions = 'pull'\n"
    );
    let issuers = load(&file(&toml)).unwrap().access.issuers;
    let [ci, cluster] = issuers.as_slice() else { panic!("{issuers:?}") };
    assert_eq!((ci.name.as_str(), &ci.keys), ("ci", &KeysFrom::Discovery));
    assert_eq!((ci.required.len(), ci.subject_claim.as_str()), (2, "repository"));
    assert_eq!(cluster.keys, KeysFrom::File("/keys.json".into()));
    assert_eq!(cluster.audiences, ["a", "b"]);
    assert_eq!(
        (cluster.subject_claim.as_str(), cluster.groups_claim.as_deref()),
        ("sub", Some("groups"))
    );
}

#[test]
fn everything_wrong_with_issuers_is_said_with_its_place() {
    for (toml, expected) in [
        (
            "[[access.issuers]]\nname = 'a b'\nurl = 'https://x'\naudience = 'r'",
            "line 2, access.issuers.name: \"a b\" is not a name",
        ),
        (
            "[[access.issuers]]\nname = 'a'\naudience = 'r'",
            "line 1, access.issuers.url: is missing",
        ),
        (
            "[[access.issuers]]\nname = 'a'\nurl = 'https://x'",
            "line 1, access.issuers.audience: is missing",
        ),
        (
            "[[access.issuers]]\nname = 'a'\nurl = 'http://x.example'\naudience = 'r'",
            "access.issuers.url: \"http://x.example/.well-known",
        ),
        (
            "[[access.issuers]]\nname = 'a'\nurl = 'x'\naudience = 'r'\n\
             jwks_url = 'http://x.example/k'",
            "line 5, access.issuers.jwks_url: ",
        ),
        (
            "[[access.issuers]]\nname = 'a'\nurl = 'x'\naudience = 'r'\n\
             jwks_url = 'https://x/k'\njwks_file = 'k'",
            "access.issuers.jwks_file: stands beside jwks_url",
        ),
        (
            "[[access.issuers]]\nname = 'a'\nurl = 'https://x'\naudience = 'r'\naudiences = 'r'",
            "access.issuers.audiences: unknown key: did you mean access.issuers.audience?",
        ),
        (
            "[[access.issuers]]\nname = 'a'\nurl = 'https://x'\naudience = 'r'\nrequired = 'ref'",
            "access.issuers.required: \"ref\" is not a claim",
        ),
    ] {
        let errors = load(&file(toml)).unwrap_err().to_string();
        assert!(errors.contains(expected), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    for (toml, expected) in [
        (format!("{ISSUER}{ISSUER}"), "two issuers are called ci"),
        (format!("{ISSUER}{}", ISSUER.replace("'ci'", "'other'")), "have the same url"),
        (
            format!(
                "{ISSUER}[[access.rules]]\nsubject = 'issuer:cj'\nrepositories = '**'\n\
                 actions = 'pull'\n"
            ),
            "is for issuer:cj, and no caller can log in so: add [[access.issuers]] with that name",
        ),
    ] {
        let errors = load(&file(&toml)).unwrap_err().to_string();
        assert!(errors.contains(expected), "{errors}");
    }
}
