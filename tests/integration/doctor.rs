//! `longshore doctor` as a process, before real processes of the registry: behind nginx, with
//! Redis, over an S3 whose requests fail. Servers that answer as no registry does are played.

mod answers;
mod nginx;
mod played;
mod processes;
mod proxies;

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::{Ended, Process, command, run};

/// The only user, with this password.
const USER: &str = "ci";
const PASSWORD: &str = "p4ssw0rd-of-ci";

/// How an examination ended, and what it found.
struct Examined {
    code: Option<i32>,
    findings: Vec<Value>,
    summary: Value,
    ended: Ended,
}

impl Examined {
    /// The classes of the findings, in their order.
    fn classes(&self) -> Vec<&str> {
        self.findings.iter().filter_map(|finding| finding["class"].as_str()).collect()
    }

    /// The only finding, with this class.
    #[track_caller]
    fn only(&self, class: &str) -> String {
        assert_eq!(self.classes(), [class], "{:?}", self.ended);
        assert_eq!(self.code, Some(3), "{:?}", self.ended);
        let finding = &self.findings[0];
        let advice = finding["advice"].as_str().expect("an advice");
        assert!(!advice.is_empty());
        format!(
            "{} (seen: {})",
            finding["what"].as_str().unwrap(),
            finding["seen"].as_str().unwrap()
        )
    }
}

/// Runs `longshore doctor --json`.
fn examine(arguments: &[&str], variables: &[(&str, &str)]) -> Examined {
    let arguments = [&["doctor", "--json"], arguments].concat();
    let ended = tokio::task::block_in_place(|| run(&arguments, variables));
    let lines = ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let mut findings: Vec<Value> = lines.collect();
    let summary = findings.pop().unwrap_or_default();
    assert!(!format!("{ended:?}").contains(PASSWORD), "the password is printed: {ended:?}");
    Examined { code: ended.status.code(), findings, summary, ended }
}

/// A user of the registry, and the file with the password.
struct User {
    folder: TempDir,
}

impl User {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let hash = bcrypt::hash(PASSWORD, 4).expect("a hash");
        std::fs::write(folder.path().join("users"), format!("{USER}:{hash}\n")).expect("written");
        std::fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).expect("written");
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        path.to_str().expect("text").to_owned()
    }

    fn password(&self) -> String {
        self.path("password")
    }

    fn users(&self) -> String {
        self.path("users")
    }
}

/// The arguments that examine a process of the registry by itself, admin port included.
fn of(process: &Process) -> [String; 3] {
    let registry = format!("http://{}", process.address);
    [registry, "--admin".to_owned(), format!("http://{}", process.admin_address())]
}

fn strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// Any free port for the admin port.
const ADMIN: (&str, &str) = ("LONGSHORE_ADMIN_LISTEN", "127.0.0.1:0");

/// Every finding has a row in the page, and every row is a finding.
#[test]
fn the_page_explains_each_finding() {
    let page = std::fs::read_to_string("docs/doctor.md").expect("the page");
    let (_, page) = page.split_once("\n## Findings\n").expect("the findings");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let rows: Vec<&str> = rows.map(|(name, _)| name).collect();
    let classes = longshore::doctor::Class::ALL.iter().map(|class| class.name());
    assert_eq!(rows, classes.collect::<Vec<_>>());
}

#[test]
fn wrong_arguments_are_refused_without_a_password() {
    for (arguments, said) in [
        (&[][..], "required"),
        (&["registry.example"], "is not http://HOST"),
        (&["https://ci:p4ssw0rd-of-ci@localhost"], "has a login in it"),
        (&["https://localhost/v2/"], "has a path"),
        (&["https://localhost", "--user", "ci"], "--password-file"),
        (&["https://localhost", "--repository", "A"], "--repository"),
    ] {
        let ended = run(&[&["doctor"], arguments].concat(), &[]);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
        assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);
    }
    let program = command(&["doctor", "--help"], &[]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&program.stdout).contains("Exit status: 0 nothing"));
}
