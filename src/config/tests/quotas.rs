//! Storage quotas.

use super::*;

#[test]
fn quotas_are_read_in_their_order() {
    let settings = load(&file(
        "[[quotas]]\nnamespaces = ['team-a', 'mirror-*']\nbytes = '500GiB'\n\
         [[quotas]]\nnamespaces = '*'\nbytes = 1000\n[usage]\ninterval = '1h'\n",
    ));
    let settings = settings.unwrap();
    let shown: Vec<(Vec<String>, String)> = settings
        .quotas
        .iter()
        .map(|quota| {
            (quota.namespaces.iter().map(ToString::to_string).collect(), quota.bytes.to_string())
        })
        .collect();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        shown,
        [
            (names(&["team-a", "mirror-*"]), "500GiB".to_owned()),
            (names(&["*"]), "1000B".to_owned())
        ]
    );
    assert_eq!(settings.usage.interval, Duration::from_hours(1));
}

#[test]
fn everything_wrong_with_quotas_is_said_at_once_with_its_place() {
    check(
        &file(
            "[[quotas]]\nnamespaces = ['team/a', 'Team']\nbytes = '500GB'\n\
             [[quotas]]\nnamespace = 'a'\nbytes = 0\n[[quotas]]\n\
             [usage]\ninterval = '30s'\n",
        ),
        "
file longshore.toml, line 2, quotas.namespaces: \"team/a\" is not a pattern of namespaces: write \
         the first component of names of repositories, in which * matches anything, such as team-*
file longshore.toml, line 2, quotas.namespaces: \"Team\" is not a pattern of namespaces: write the \
         first component of names of repositories, in which * matches anything, such as team-*
file longshore.toml, line 3, quotas.bytes: \"500GB\" is not a size, such as 16MiB: units are B, \
         KiB, MiB, GiB and TiB
file longshore.toml, line 4, quotas.namespaces: is missing
file longshore.toml, line 5, quotas.namespace: unknown key: did you mean quotas.namespaces?
file longshore.toml, line 6, quotas.bytes: is no quota: to forbid pushes, use access rules
file longshore.toml, line 7, quotas.namespaces: is missing
file longshore.toml, line 7, quotas.bytes: is missing
file longshore.toml, line 9, usage.interval: 30s is not between 1m and 1d",
    );
    for (toml, expected) in [
        ("quotas = 1", "line 1, quotas: is a list of tables: write [[quotas]]"),
        ("[quotas]\nbytes = 1", "line 1, quotas: is a list of tables: write [[quotas]]"),
        ("[[quota]]", "line 1, quota: unknown key: did you mean quotas?"),
    ] {
        let errors = load(&file(toml)).unwrap_err().to_string();
        assert!(errors.contains(expected), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}
