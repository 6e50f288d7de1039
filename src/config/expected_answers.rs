//! The file of `longshore access check-file`: what the rules are expected to decide.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use toml::de::DeTable;

use super::errors::{ConfigError, Errors, Lines, Source, unknown};
use super::tables::{Table, read_each};
use crate::auth::{Assumed, AssumedLogin, Permission};
use crate::oci::RepositoryName;

/// The list of tables in the file.
const LIST: &str = "answers";
/// Bytes of the file.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What is expected of one caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    pub caller: Assumed,
    pub repository: Option<RepositoryName>,
    pub actions: Vec<Permission>,
    pub allowed: bool,
    /// A part of the rule that has to decide, as messages show it.
    pub rule: Option<String>,
    pub place: String,
}

/// The answers that a file expects, or everything that is wrong with it.
pub fn expected_answers(path: &Path) -> Result<Vec<Expected>, Errors> {
    let contents = read(path).map_err(|message| {
        let source = Source::File { path: path.to_owned(), line: 1, key: None };
        Errors::new(vec![ConfigError { source, message }])
    })?;
    let lines = Lines { path, contents: &contents };
    let (table, errors) = DeTable::parse_recoverable(&contents);
    let (mut answers, mut wrong) = (Vec::new(), Vec::new());
    for error in &errors {
        let source = lines.source(error.span().map_or(0, |span| span.start), None);
        wrong.push(ConfigError { source, message: error.message().to_owned() });
    }
    if wrong.is_empty() {
        rows(lines, table.get_ref(), &mut answers, &mut wrong);
    }
    if wrong.is_empty() && answers.is_empty() {
        let message = format!("expects nothing: write [[{LIST}]]");
        wrong.push(ConfigError { source: lines.source(0, None), message });
    }
    if wrong.is_empty() { Ok(answers) } else { Err(Errors::new(wrong)) }
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |error| format!("cannot be read: {error}");
    let mut text = String::new();
    let mut bounded = File::open(path).map_err(failed)?.take(FILE_BYTES_MAX + 1);
    let length = bounded.read_to_string(&mut text).map_err(failed)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(format!("is longer than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

fn rows(
    lines: Lines<'_>,
    table: &DeTable<'_>,
    answers: &mut Vec<Expected>,
    wrong: &mut Vec<ConfigError>,
) {
    for (name, value) in table {
        let at = name.span().start;
        if name.get_ref() != LIST {
            let source = lines.source(at, Some(name.get_ref()));
            let message = unknown("key", name.get_ref(), std::iter::once(LIST.to_owned()));
            wrong.push(ConfigError { source, message });
            continue;
        }
        let read = |table: &mut Table<'_>| answers.extend(table.read(answer));
        wrong.extend(read_each(lines, (at, LIST), value.get_ref(), read));
    }
}

fn answer(table: &mut Table<'_>) -> Option<Expected> {
    let login = table.value::<AssumedLogin>("caller");
    let login = table.required("caller", login);
    let groups = table.values("groups").unwrap_or_default();
    let claims = table.object("claims").unwrap_or_default();
    let actions = table.values::<Permission>("actions");
    let actions = table.required("actions", actions);
    let repository = table.value::<RepositoryName>("repository");
    // `catalog` concerns no repository in particular.
    if actions.as_deref() != Some(&[Permission::Catalog]) {
        table.required("repository", repository.as_ref());
    }
    let allowed = table.value::<bool>("allowed");
    let allowed = table.required("allowed", allowed);
    let rule = table.value::<String>("rule");
    if rule.is_some() && allowed == Some(false) {
        table.wrong("rule", "stands beside allowed = false: no rule denies".to_owned());
    }
    let place = table.place();
    let caller = Assumed { login: login?, groups, claims };
    Some(Expected { caller, repository, actions: actions?, allowed: allowed?, rule, place })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Expected>, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        expected_answers(file.path())
            .map_err(|errors| errors.to_string().replace(&*file.path().to_string_lossy(), "FILE"))
    }

    #[test]
    fn rows_are_read() {
        let text = "[[answers]]\ncaller = 'issuer:ci'\nrepository = 'a/b'\nactions = 'pull'\n\
                    allowed = true\nrule = 'line 3'\n\
                    claims = {run = 7, ok = true, list = ['x'], inner = {name = 'y'}}\n\
                    [[answers]]\ncaller = 'anonymous'\nactions = ['catalog']\nallowed = false\n";
        let rows = parsed(text).expect("good rows");
        assert_eq!(rows[0].caller.login, AssumedLogin::Issuer("ci".to_owned()));
        let claims =
            serde_json::json!({"run": 7, "ok": true, "list": ["x"], "inner": {"name": "y"}});
        assert_eq!(serde_json::Value::Object(rows[0].caller.claims.clone()), claims);
        assert_eq!(rows[0].rule.as_deref(), Some("line 3"));
        assert!(rows[0].allowed && !rows[1].allowed && rows[1].repository.is_none());
    }

    #[test]
    fn everything_wrong_is_said_with_its_place() {
        let text = "other = 1\n[[answers]]\ncaler = 'user:a'\nrepository = 'A'\n\
                    actions = ['pull', 'own']\nallowed = 'maybe'\n\
                    [[answers]]\ncaller = 'group:x'\nrepository = 'a'\nactions = 'pull'\n\
                    allowed = false\nrule = 'x'\nclaims = 1\n";
        let said = parsed(text).expect_err("nothing of it is good");
        for part in [
            "FILE, line 1, other: unknown key",
            "FILE, line 2, answers.caller: is missing",
            "FILE, line 3, answers.caler: unknown key: did you mean answers.caller?",
            "FILE, line 4, answers.repository: ",
            "FILE, line 5, answers.actions: \"own\" is not an action",
            "FILE, line 6, answers.allowed: ",
            "FILE, line 8, answers.caller: \"group:x\" is not a caller",
            "FILE, line 7, answers.rule: stands beside allowed = false",
            "FILE, line 13, answers.claims: is not a table",
        ] {
            assert!(said.contains(part), "{part}\n{said}");
        }
        for (text, part) in [
            ("", "line 1: expects nothing"),
            ("answers = 1", "line 1, answers: is a list of tables"),
            ("answers = [1]", "line 1, answers: is not a table"),
            ("[[answers", "line 1: "),
        ] {
            let said = parsed(text).expect_err("no answers");
            assert!(said.contains(part), "{part}\n{said}");
        }
        let absent = expected_answers(Path::new("/absent/file")).expect_err("no file");
        assert!(absent.to_string().contains("cannot be read"), "{absent}");
    }
}
