//! `longshore access explain`.

use std::process::Command;

use super::replace;

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
