//! No file of `src` uses another one that uses it in turn, and no function is too long.

use std::collections::{BTreeMap, BTreeSet};

use super::directions::{code, is_word};
use super::{Source, sources};

/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// The path of a module from the root of the crate: `["registry", "uploads", "writer"]`.
type Module = Vec<String>;

/// One file: what it is called, and the code in it without comments, texts and unit tests.
struct File {
    path: String,
    code: String,
}

/// The files of the crate by their modules. Unit tests may use anything and are left out.
fn modules(sources: Vec<Source>) -> BTreeMap<Module, File> {
    let mut modules = BTreeMap::new();
    for Source { path, text } in sources {
        let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut module: Module = inner.split('/').map(str::to_owned).collect();
        if module.iter().any(|part| part == "tests") || inner == "main" {
            continue;
        }
        if module.last().is_some_and(|last| last == "mod" || last == "lib") {
            module.pop();
        }
        let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        modules.insert(module, File { path, code: code(text) });
    }
    modules
}

/// Every path that begins at `text`: `a::{b, c::D}` is `a::b` and `a::c::D`.
fn paths(text: &str) -> Vec<Module> {
    let word: String = text.chars().take_while(|c| is_word(*c)).collect();
    let rest = &text[word.len()..];
    if word.is_empty() {
        let Some(group) = text.strip_prefix('{') else { return vec![Vec::new()] };
        return items(group).iter().flat_map(|item| paths(item.trim())).collect();
    }
    let below = rest.strip_prefix("::").map_or_else(|| vec![Vec::new()], paths);
    let joined = |below: Module| [vec![word.clone()], below].concat();
    below.into_iter().map(joined).collect()
}

/// The items of a group whose opening brace is cut off.
fn items(group: &str) -> Vec<String> {
    let (mut items, mut item, mut depth) = (Vec::new(), String::new(), 0);
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            other => {
                depth += i32::from(other == '{') - i32::from(other == '}');
                item.push(other);
            }
        }
    }
    items.push(item);
    items
}

/// What stands behind each occurrence of a path's first word.
fn behind<'a>(code: &'a str, first: &str) -> Vec<&'a str> {
    let found = code.match_indices(first);
    let begins = |at: usize| !code[..at].ends_with(|c| is_word(c) || c == ':' || c == '$');
    found.filter(|(at, _)| begins(*at)).map(|(at, _)| &code[at + first.len()..]).collect()
}

/// Every path that a file names, from the root of the crate.
fn named(modules: &BTreeMap<Module, File>, module: &Module, file: &File) -> Vec<Module> {
    let mut named: Vec<Module> =
        behind(&file.code, "crate::").into_iter().flat_map(paths).collect();
    let mut below = |base: &[String], first: &str| {
        let found = behind(&file.code, first).into_iter().flat_map(paths);
        named.extend(found.map(|path| [base.to_vec(), path].concat()));
    };
    below(module, "self::");
    for up in 1..=module.len() {
        below(&module[..module.len() - up], &"super::".repeat(up));
    }
    for child in modules.keys().filter(|child| child.len() == module.len() + 1) {
        if let Some((name, parent)) = child.split_last()
            && parent == module.as_slice()
        {
            below(child, &format!("{name}::"));
        }
    }
    // `super::` is found in `super::super::`, too, where it names nothing by itself.
    named.retain(|path| !path.iter().any(|part| part == "super"));
    named
}

/// The module in which a path ends: what a module passes on with `use` is looked up where it comes
/// from.
fn resolve(modules: &BTreeMap<Module, File>, path: &[String], depth: usize) -> Option<Module> {
    let mut module = Module::new();
    let mut rest = path;
    while let Some((next, below)) = rest.split_first() {
        let deeper = [module.clone(), vec![next.clone()]].concat();
        if !modules.contains_key(&deeper) {
            break;
        }
        (module, rest) = (deeper, below);
    }
    let Some(item) = rest.first().filter(|item| *item != "self") else { return Some(module) };
    let file = modules.get(&module)?;
    if depth > 8 {
        return Some(module);
    }
    for statement in behind(&file.code, "use ") {
        let statement = statement.split(';').next().unwrap_or_default();
        let flat = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        for passed_on in paths(&flat).iter().filter(|passed_on| passed_on.last() == Some(item)) {
            let from = match passed_on.first().map(String::as_str) {
                Some("crate") => passed_on[1..].to_vec(),
                Some("self") => [module.clone(), passed_on[1..].to_vec()].concat(),
                Some("super") => {
                    let up = passed_on.iter().take_while(|part| *part == "super").count();
                    let base = module.len().saturating_sub(up);
                    [module[..base].to_vec(), passed_on[up..].to_vec()].concat()
                }
                _ => [module.clone(), passed_on.clone()].concat(),
            };
            let known =
                from.first().is_some_and(|first| modules.contains_key(&vec![first.clone()]));
            if known && from != path {
                return resolve(modules, &from, depth + 1);
            }
        }
    }
    Some(module)
}

/// Which file uses which. What a `mod.rs` names below itself does not count: it is the table of
/// contents of its folder.
fn uses(modules: &BTreeMap<Module, File>) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut uses: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, file) in modules {
        let used = named(modules, module, file);
        let used = used.iter().filter_map(|path| resolve(modules, path, 0));
        let counts = |used: &Module| !used.is_empty() && !used.starts_with(module);
        uses.insert(module.clone(), used.filter(counts).collect());
    }
    uses
}

/// The groups of files that use one another in a circle.
fn cycles(sources: Vec<Source>) -> Vec<Vec<String>> {
    let modules = modules(sources);
    let uses = uses(&modules);
    let reachable = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            for used in uses.get(&module).into_iter().flatten() {
                if seen.insert(used.clone()) {
                    next.push(used.clone());
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&Module, BTreeSet<Module>> =
        modules.keys().map(|module| (module, reachable(module))).collect();
    let mut cycles = BTreeSet::new();
    for (module, reached) in reach.iter().filter(|(module, reached)| reached.contains(**module)) {
        let cycle = reached.iter().filter(|other| reach[other].contains(*module));
        cycles.insert(cycle.map(|other| modules[other].path.clone()).collect::<Vec<_>>());
    }
    cycles.into_iter().collect()
}

#[test]
fn no_file_uses_one_that_uses_it() {
    let cycles = cycles(sources("src"));
    assert!(cycles.is_empty(), "import cycles: {cycles:#?}");
}

/// A check that finds nothing proves nothing, unless it finds what is there.
#[test]
fn import_cycles_are_found() {
    let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let found = cycles(vec![
        source("src/lib.rs", "pub mod a;\npub mod b;\npub mod c;"),
        source("src/a/mod.rs", "mod inner;\npub use inner::{Inner};\npub use self::other::Other;"),
        source("src/a/inner.rs", "use super::Other;\nuse crate::b::{self, Thing};"),
        source("src/a/other.rs", "use super::{Inner};"),
        source("src/b.rs", "fn f() -> crate::a::Other { todo() }"),
        source("src/c.rs", "// crate::a::Inner\nuse crate::b::Thing;"),
    ]);
    assert_eq!(found, [["src/a/inner.rs", "src/a/other.rs", "src/b.rs"]]);
}

/// The functions of a file that are too long. The formatter puts the closing brace below the `fn`.
fn long_functions(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut long = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().collect();
        let before = words.iter().position(|word| *word == "fn");
        let qualifiers = ["pub", "async", "const", "pub(crate)", "pub(super)"];
        let qualified = |word: &&str| qualifiers.contains(word) || word.starts_with("pub(in");
        if !before.is_some_and(|at| words[..at].iter().all(qualified)) {
            continue;
        }
        let end = format!("{}}}", " ".repeat(indent));
        let declared_only = lines[first..].iter().find(|line| line.ends_with(['{', ';', '}']));
        if declared_only.is_some_and(|line| line.ends_with(';')) {
            continue;
        }
        let length = lines[first..].iter().position(|line| *line == end).map_or(0, |at| at + 1);
        if length > FUNCTION_LINES_MAX {
            long.push(format!("{}:{}: {length} lines", source.path, first + 1));
        }
    }
    long
}

#[test]
fn functions_fit_on_a_screen() {
    let long: Vec<String> = sources("src").iter().flat_map(long_functions).collect();
    assert!(long.is_empty(), "functions above {FUNCTION_LINES_MAX} lines: {long:#?}");
}
