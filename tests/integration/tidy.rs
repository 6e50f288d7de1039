//! Properties of the code that no compiler checks: which module may use which, that no two files
//! use each other, how long files and functions are, and that every endpoint of the
//! distribution-spec ("Endpoints") is cited where it is answered and where it is tested. Also that
//! the supervisors of `deploy` allow a process what its default settings need.

mod cycles;
mod directions;
mod docs;
mod endpoints;
mod runbooks;
mod supervisors;

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file.
const LINES_MAX: usize = 500;
/// Characters of a line.
const COLUMNS_MAX: usize = 100;

/// A file of ours: its path below the root of the project, and its text.
struct Source {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a folder.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a text");
                let path = path.strip_prefix(root()).expect("a path below the root");
                found.push(Source { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

fn everything() -> Vec<Source> {
    let mut all = sources("src");
    all.extend(sources("tests/integration"));
    all.extend(sources("tests/simulation"));
    all.extend(sources("tests/load"));
    all.extend(sources("tests/model"));
    all
}

#[test]
fn files_and_lines_are_short() {
    let mut faults = Vec::new();
    for Source { path, text } in everything() {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{path} has {lines} lines"));
        }
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > COLUMNS_MAX {
                faults.push(format!("{path}:{} is wider than {COLUMNS_MAX}", number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Spelled in two halves, so that this file does not forbid itself.
const BANNED: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("dbg", "!"),
    concat!("unimplemented", "!"),
    concat!("todo", "!"),
];

#[test]
fn nothing_is_left_for_later() {
    let mut faults = Vec::new();
    for Source { path, text } in everything() {
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = BANNED.iter().find(|word| line.contains(*word)) {
                faults.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// A file whose name says nothing collects what belongs elsewhere.
#[test]
fn files_are_called_by_what_they_are_about() {
    let vague = ["util", "utils", "helper", "helpers", "common", "manager", "misc"];
    for Source { path, .. } in everything() {
        let parts = path.trim_end_matches(".rs").split(['/', '_']);
        for part in parts {
            assert!(!vague.contains(&part), "{path} has a vague name");
        }
    }
}

/// The image is built from these files and nothing else.
#[test]
fn the_image_is_built_from_all_that_the_program_needs() {
    let read = |name: &str| fs::read_to_string(name).expect("it is there");
    let (dockerfile, context) = (read("deploy/Dockerfile"), read(".dockerignore"));
    let copied: Vec<&str> = dockerfile
        .lines()
        .filter(|line| line.starts_with("COPY ") && !line.contains("--from"))
        .flat_map(str::split_whitespace)
        .collect();
    for name in ["Cargo.toml", "Cargo.lock", "askama.toml", "src"] {
        assert!(Path::new(name).exists(), "{name}");
        assert!(copied.contains(&name), "deploy/Dockerfile does not copy {name}");
        let sent = format!("!{name}");
        assert!(context.lines().any(|line| line == sent), ".dockerignore keeps {name} back");
    }
}

#[test]
fn the_reference_of_settings_is_fresh() {
    let page = fs::read_to_string(root().join("docs/configuration.md")).expect("the page");
    let fresh = longshore::config::reference_markdown();
    let command = "longshore config-reference --markdown > docs/configuration.md";
    assert!(page == fresh, "docs/configuration.md is stale: {command}");
}
