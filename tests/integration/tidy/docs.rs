//! The pages: their links and paths exist, the code map is the table of the modules, the index is
//! complete, and the README stays short.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::directions::MODULES;
use super::{Source, root};

/// Words of the README: a page for one minute.
const README_WORDS_MAX: usize = 900;
/// What operators make in their copy; the repository does not have it.
const MADE_BY_OPERATORS: [&str; 1] = ["deploy/secrets"];

/// Every page in Markdown that a person wrote or that a command made.
fn pages() -> Vec<Source> {
    let mut pages = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["docs", "helm", "terraform"].map(|folder| root().join(folder)).into();
    let mut files: Vec<PathBuf> = Vec::new();
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        files.push(root().join(name));
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    for path in files {
        let text = fs::read_to_string(&path).expect("a text");
        let path = path.strip_prefix(root()).expect("a path below the root");
        pages.push(Source { path: path.to_string_lossy().into_owned(), text });
    }
    pages
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("the page")
}

/// A page without its blocks of code, which are what people type and what programs print.
fn prose(text: &str) -> String {
    let mut code = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// The targets of the links in a text.
fn links(text: &str) -> Vec<&str> {
    let ends = text.match_indices("](").map(|(at, found)| &text[at + found.len()..]);
    ends.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// What a forge makes of a heading, to link to it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut faults = Vec::new();
    for Source { path, text } in pages() {
        let text = prose(&text);
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let folder = root().join(Path::new(&path).parent().expect("a folder"));
            let target = if file.is_empty() { root().join(&path) } else { folder.join(file) };
            let is_page = target.extension().is_some_and(|extension| extension == "md");
            let found = target.exists()
                && (heading.is_empty()
                    || !is_page
                    || anchors(&fs::read_to_string(&target).expect("a text")).contains(heading));
            if !found {
                faults.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The paths of this project that a text names: of sources also without `src/` before them.
fn paths(text: &str) -> BTreeSet<&str> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let words = text.split(|c: char| !is_path(c)).map(|word| word.trim_end_matches('.'));
    let ours = ["src/", "tests/", "docs/", "deploy/", "helm/", "terraform/", "fuzz/"];
    words
        .filter(|word| {
            let source = word.contains('/')
                && !word.starts_with('/')
                && Path::new(word).extension().is_some_and(|extension| extension == "rs");
            source || ours.iter().any(|folder| word.starts_with(folder) && word != folder)
        })
        .collect()
}

#[test]
fn every_path_in_the_pages_exists() {
    let mut faults = Vec::new();
    for Source { path, text } in pages() {
        let folder = root().join(Path::new(&path).parent().expect("a folder"));
        for named in paths(&text) {
            let made = MADE_BY_OPERATORS.iter().any(|made| named.starts_with(made));
            let places = [root().join(named), root().join("src").join(named), folder.join(named)];
            if !made && !places.iter().any(|place| place.exists()) {
                faults.push(format!("{path}: {named}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_code_map_is_the_table_of_the_modules() {
    let text = page("ARCHITECTURE.md");
    let mut map = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| `src/")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [module, _, uses] = cells.as_slice() else { panic!("three cells: {line}") };
        let module = module.trim_matches('`').trim_start_matches("src/").trim_end_matches(".rs");
        let uses = uses.split(", ").map(|used| used.trim_matches('`'));
        map.push((module, uses.filter(|used| *used != "nothing").collect::<Vec<_>>()));
    }
    let table: Vec<_> = MODULES.iter().map(|(module, uses)| (*module, uses.to_vec())).collect();
    assert_eq!(map, table, "the code map of ARCHITECTURE.md, and MODULES in directions.rs");
    let library = page("src/lib.rs");
    let declared = library.lines().filter_map(|line| line.strip_prefix("pub mod "));
    let declared: Vec<&str> = declared.map(|name| name.trim_end_matches(';')).collect();
    let order: Vec<&str> = table.iter().map(|(module, _)| *module).collect();
    assert_eq!(declared, order, "the modules of src/lib.rs, in the order of the table");
}

/// A folder with an index of its own lists its pages there.
#[test]
fn the_index_has_every_page() {
    for Source { path, .. } in pages() {
        let Some(name) = path.strip_prefix("docs/").filter(|name| *name != "README.md") else {
            continue;
        };
        let own =
            name.rsplit_once('/').map(|(folder, page)| (format!("docs/{folder}/README.md"), page));
        let own = own.filter(|(index, page)| *page != "README.md" && root().join(index).exists());
        let (index, name) = own.unwrap_or(("docs/README.md".to_owned(), name));
        let text = page(&index);
        assert!(links(&text).contains(&name), "{index} does not link to {name}");
    }
}

#[test]
fn the_readme_is_short() {
    let words = page("README.md").split_whitespace().count();
    assert!(words <= README_WORDS_MAX, "README.md has {words} words");
}

/// A check that finds nothing proves nothing, unless it finds what is there.
#[test]
fn links_and_paths_are_found() {
    assert_eq!(links("[a](b.md#c), `b` ([d](../e))"), ["b.md#c", "../e"]);
    assert_eq!(
        anchor(" What a store's `probe` finds, and why"),
        "what-a-stores-probe-finds-and-why"
    );
    let text = "`src/oci`, http/router.rs<br>tests/run. https://a.example/docs/x.md and/or";
    let found: Vec<&str> = paths(text).into_iter().collect();
    assert_eq!(found, ["http/router.rs", "src/oci", "tests/run"]);
}
