//! Every endpoint of the specification is answered by a handler that cites it, and asked for by a
//! test whose header names it.

use super::{Source, sources};

/// distribution-spec, "Endpoints", and the section that describes each. Those marked *draft* are
/// newer than version 1.1.1.
const SPEC: &[(&str, &str)] = &[
    ("end-1", "Determining Support"),
    ("end-2", "Pulling blobs"),
    ("end-3", "Pulling manifests"),
    ("end-4a", "Pushing blobs"),
    ("end-4b", "Pushing blobs"),
    ("end-4c", "Pushing blobs"), // draft
    ("end-5", "Pushing a blob in chunks"),
    ("end-6", "Closing the session"),
    ("end-7a", "Pushing Manifests"),
    ("end-7b", "Pushing Manifests"), // draft
    ("end-8a", "Listing Tags"),
    ("end-8b", "Listing Tags"),
    ("end-9", "Deleting tags and manifests"),
    ("end-10", "Deleting blobs"),
    ("end-11", "Mounting a blob from another repository"),
    ("end-12a", "Listing Referrers"),
    ("end-12b", "Listing Referrers"),
    ("end-13", "Resuming an upload"),
    ("end-14", "Cancelling an upload"), // draft
];

/// The endpoint without the letter of its variant.
fn family(id: &str) -> &str {
    id.trim_end_matches(|letter: char| letter.is_ascii_lowercase())
}

/// Whether a text has this very identifier, `end-1` being none of `end-11`.
fn cites(text: &str, id: &str) -> bool {
    text.match_indices(id).any(|(at, _)| {
        let next = text[at + id.len()..].chars().next();
        !next.is_some_and(|next| next.is_ascii_alphanumeric())
    })
}

/// The doc comments that stand directly above a function.
fn handlers(source: &Source) -> Vec<String> {
    let mut handlers = Vec::new();
    let mut comment = String::new();
    for line in source.text.lines() {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("/// ") {
            comment.push_str(text);
            comment.push(' ');
        } else {
            if ["pub(super) async fn", "pub(super) fn", "async fn"]
                .iter()
                .any(|function| line.starts_with(function))
            {
                handlers.push(std::mem::take(&mut comment));
            }
            comment.clear();
        }
    }
    handlers
}

/// The comment at the beginning of a file.
fn header(source: &Source) -> String {
    let lines = source.text.lines();
    lines.map_while(|line| line.strip_prefix("//!")).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_endpoint_is_cited_above_its_handler() {
    let handlers: Vec<String> = sources("src/http/handlers").iter().flat_map(handlers).collect();
    let mut missing = Vec::new();
    for (id, section) in SPEC {
        let cited = handlers.iter().any(|doc| cites(doc, id) && doc.contains(section));
        if !cited {
            missing.push(format!("{id}, {section}"));
        }
    }
    assert!(missing.is_empty(), "no handler in src/http/handlers cites {missing:#?}");
}

#[test]
fn every_endpoint_is_cited_above_its_tests() {
    let headers: Vec<String> = sources("tests/integration")
        .iter()
        .filter(|source| !source.path.contains("/tidy"))
        .map(header)
        .collect();
    let named = |id: &str| headers.iter().any(|header| cites(header, id));
    let missing: Vec<&str> =
        SPEC.iter().map(|(id, _)| *id).filter(|id| !named(id) && !named(family(id))).collect();
    assert!(missing.is_empty(), "the header of no test file names {missing:?}");
}

/// The identifiers in the table of operations are those of the specification.
#[test]
fn every_identifier_is_one_of_the_specification() {
    let mut files = sources("src/http/endpoint").into_iter();
    let source = files.find(|source| source.path.ends_with("/mod.rs"));
    let text = source.expect("src/http/endpoint/mod.rs").text;
    let mut named: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once("row(\"end-"))
        .filter_map(|(_, rest)| rest.split_once('"'))
        .map(|(number, _)| number)
        .collect();
    named.sort_unstable_by_key(|number| number.parse::<u32>().unwrap_or_default());
    named.dedup();
    let mut specified: Vec<&str> =
        SPEC.iter().map(|(id, _)| family(id).trim_start_matches("end-")).collect();
    specified.dedup();
    // A mount begins like an upload, and is one operation with it.
    specified.retain(|number| *number != "11");
    assert_eq!(named, specified);
}

/// The page of the metrics has a row for each operation, with its endpoints.
#[test]
fn every_operation_is_documented_with_its_endpoints() {
    let page = longshore::telemetry::metrics::reference_markdown();
    for (id, _) in SPEC {
        let found = page.lines().any(|row| row.starts_with("| `") && cites(row, id));
        assert!(found, "docs/metrics.md names no operation for {id}");
    }
}

#[test]
fn citations_are_told_apart() {
    assert!(cites("end-11, end-4a, `POST`", "end-11"));
    assert!(!cites("end-11, end-4a, `POST`", "end-1"));
    assert!(!cites("end-4a", "end-4"));
    assert_eq!(family("end-12b"), "end-12");
    let text = "/// Pulling — end-3\n#[x]\nfn f() {}\n/// A — end-1,\n/// b\n\
         pub(super) async fn g() {}";
    let source = Source { path: String::new(), text: text.to_owned() };
    assert_eq!(handlers(&source), ["A — end-1, b "]);
}
