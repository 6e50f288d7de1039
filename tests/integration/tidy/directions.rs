//! Which module may use which, and which of them may use a crate.

use std::collections::BTreeSet;

use super::{Source, sources};

/// What each module may use, besides itself. A module may use only modules above it in this table.
pub(super) const MODULES: &[(&str, &[&str])] = &[
    // How modules declare their settings.
    ("setting", &[]),
    ("entropy", &[]),
    ("tasks", &[]),
    ("oci", &["entropy"]),
    ("docker_schema1", &["oci"]),
    ("clock", &[]),
    ("http_proxy", &[]),
    ("client_network", &[]),
    // Other modules get a `Metrics` and use only its fields.
    ("telemetry", &["setting", "http_proxy"]),
    ("reloaded_file", &["telemetry"]),
    ("layout", &["entropy", "oci"]),
    (
        "store",
        &["setting", "entropy", "tasks", "oci", "clock", "http_proxy", "telemetry", "layout"],
    ),
    ("walk", &["oci", "layout", "store"]),
    (
        "shared_cache",
        &["setting", "entropy", "tasks", "oci", "clock", "telemetry", "layout", "store"],
    ),
    (
        "auth",
        &[
            "setting",
            "entropy",
            "tasks",
            "oci",
            "clock",
            "http_proxy",
            "client_network",
            "telemetry",
            "reloaded_file",
        ],
    ),
    // The `http` layer tells it what to write.
    ("audit_log", &["setting", "oci", "telemetry"]),
    (
        "registry",
        &[
            "setting",
            "entropy",
            "tasks",
            "oci",
            "docker_schema1",
            "clock",
            "client_network",
            "telemetry",
            "layout",
            "store",
            "shared_cache",
        ],
    ),
    ("collector", &["setting", "entropy", "oci", "telemetry", "layout", "store", "registry"]),
    ("usage", &["entropy", "oci", "telemetry", "layout", "store", "walk"]),
    (
        "quota",
        &["setting", "entropy", "oci", "telemetry", "layout", "store", "auth", "registry", "usage"],
    ),
    ("audit", &["oci", "docker_schema1", "layout", "store", "registry", "walk"]),
    ("inspect", &["oci", "layout", "store", "registry", "walk"]),
    // It knows the registry as its clients do.
    ("doctor", &["setting", "tasks", "oci", "clock"]),
    ("credential_provider", &[]),
    (
        "http",
        &[
            "setting",
            "entropy",
            "tasks",
            "oci",
            "docker_schema1",
            "clock",
            "client_network",
            "telemetry",
            "reloaded_file",
            "auth",
            "audit_log",
            "registry",
            "quota",
        ],
    ),
    // Composed of the settings of all modules; none of them may use it.
    (
        "config",
        &[
            "setting",
            "oci",
            "telemetry",
            "store",
            "shared_cache",
            "auth",
            "audit_log",
            "registry",
            "quota",
            "http",
        ],
    ),
    ("cli", &["setting", "oci", "layout", "auth", "inspect", "config"]),
    (
        "app",
        &[
            "setting",
            "tasks",
            "oci",
            "docker_schema1",
            "clock",
            "telemetry",
            "store",
            "walk",
            "shared_cache",
            "auth",
            "audit_log",
            "registry",
            "collector",
            "usage",
            "quota",
            "audit",
            "inspect",
            "doctor",
            "http",
            "config",
        ],
    ),
];

/// The only places that may name a crate or a function, by what its name begins with.
const CRATES: &[(&str, &[&str])] = &[
    ("aws_config", &["src/store/s3/"]),
    ("aws_credential_types", &["src/store/s3/"]),
    ("aws_s", &["src/store/s3/"]),
    // The cryptography of TLS.
    (
        "aws_lc_rs",
        &[
            "src/http/tls.rs",
            "src/store/s3/",
            "src/docker_schema1/",
            "src/registry/sealed_cursor.rs",
            "src/auth/token_service/keys.rs",
            "src/telemetry/traces/",
            "src/shared_cache/redis/connection.rs",
        ],
    ),
    ("redb", &["src/store/local/"]),
    ("governor", &["src/http/limits/"]),
    // Everything else takes its random bytes from there, and only tests seed them.
    ("getrandom", &["src/entropy.rs"]),
    ("seed_this_thread", &["src/entropy.rs"]),
    ("TaskTracker", &["src/tasks.rs"]),
    ("prometheus", &["src/telemetry/metrics/"]),
    ("deadpool_redis", &["src/shared_cache/redis"]),
    ("axum", &["src/http/"]),
    (
        "hyper",
        &[
            "src/http/",
            "src/http_proxy.rs",
            "src/store/s3/http_client.rs",
            "src/telemetry/",
            "src/doctor/client.rs",
            "src/auth/issuers/fetch.rs",
        ],
    ),
    ("opentelemetry", &["src/telemetry/traces/"]),
    ("tracing_opentelemetry", &["src/telemetry/traces/"]),
];

/// Text without comments and without what stands in quotation marks.
pub(super) fn code(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        let mut quoted = false;
        let mut before = ' ';
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '"' if before != '\\' && before != '\'' => quoted = !quoted,
                '/' if !quoted && characters.peek() == Some(&'/') => break,
                _ if quoted => {}
                other => code.push(other),
            }
            before = character;
        }
        code.push('\n');
    }
    code
}

pub(super) fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// The first names of the paths in a group `{a::b, c}` or of the one path that follows.
fn heads(rest: &str) -> Vec<String> {
    let word = |text: &str| text.trim().chars().take_while(|c| is_word(*c)).collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let mut depth = 0;
    let mut heads = Vec::new();
    let mut item = String::new();
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            ',' if depth == 0 => heads.push(word(&std::mem::take(&mut item))),
            other => {
                depth += i32::from(other == '{') - i32::from(other == '}');
                item.push(other);
            }
        }
    }
    heads.push(word(&item));
    heads
}

/// What stands behind each occurrence of a prefix that begins a path.
fn after<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let found = code.match_indices(prefix);
    found
        .filter(|(at, _)| !code[..*at].ends_with(|c| is_word(c) || c == ':' || c == '$'))
        .map(|(at, _)| &code[at + prefix.len()..])
        .collect()
}

/// The module a file belongs to, and how many `super::` lead from it to the root of the crate.
fn place(path: &str) -> (&str, usize) {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let inner = inner.trim_end_matches("/mod");
    (inner.split('/').next().unwrap_or(inner), inner.split('/').count())
}

/// The modules that a file names.
fn uses(source: &Source) -> BTreeSet<String> {
    let code = code(&source.text);
    let (_, depth) = place(&source.path);
    let to_root = "super::".repeat(depth);
    let rests = after(&code, "crate::").into_iter().chain(after(&code, &to_root));
    rests.flat_map(heads).filter(|head| !head.is_empty()).collect()
}

fn faults(source: &Source) -> Vec<String> {
    let (module, _) = place(&source.path);
    let mut faults = Vec::new();
    if !["main", "lib", "allocator"].contains(&module) {
        let Some((_, allowed)) = MODULES.iter().find(|(name, _)| *name == module) else {
            return vec![format!("{} is in no module of the table", source.path)];
        };
        for used in uses(source) {
            if used != module && !allowed.contains(&used.as_str()) {
                faults.push(format!("{}: {module} must not use {used}", source.path));
            }
        }
    }
    let code = code(&source.text);
    let words: BTreeSet<&str> = code.split(|c| !is_word(c)).collect();
    for (name, places) in CRATES {
        let here = places.iter().any(|place| source.path.starts_with(place));
        let named = words.iter().find(|word| word.starts_with(name));
        if let (Some(word), false) = (named, here) {
            faults.push(format!("{}: only {places:?} may name {word}", source.path));
        }
    }
    faults
}

#[test]
fn modules_use_only_modules_above_them() {
    let faults: Vec<String> = sources("src").iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Every module of the library is in the table, and the table has no cycle.
#[test]
fn the_table_is_complete() {
    let map = sources("src").into_iter().find(|source| source.path == "src/lib.rs");
    let map = map.expect("src/lib.rs").text;
    let declared = map.lines().filter_map(|line| line.strip_prefix("pub mod "));
    let declared: BTreeSet<&str> = declared.map(|name| name.trim_end_matches(';')).collect();
    assert_eq!(declared, MODULES.iter().map(|(name, _)| *name).collect());
    for (position, (module, allowed)) in MODULES.iter().enumerate() {
        for used in *allowed {
            let above = MODULES[..position].iter().any(|(name, _)| name == used);
            assert!(above, "{module} uses {used}, which does not stand above it");
        }
    }
}

/// A check that finds nothing proves nothing, unless it finds what is there.
#[test]
fn violations_are_found() {
    let sample =
        |path: &str, text: &str| faults(&Source { path: path.to_owned(), text: text.to_owned() });
    let found = [
        ("src/oci/digest.rs", "use crate::store::Entry;"),
        ("src/oci/digest.rs", "use crate::{\n    oci::{Tag, Name},\n    registry::Error,\n};"),
        ("src/registry/tags.rs", "fn f() -> crate::http::Error { todo() }"),
        ("src/registry/mod.rs", "use super::http;"),
        ("src/registry/uploads/mod.rs", "use super::super::{auth, store};"),
        ("src/clock.rs", "use super::{config};"),
        ("src/config/mod.rs", "use crate::app;"),
        ("src/http/handlers/blobs.rs", "use crate::store::PresignGet;"),
        ("src/plumbing.rs", "fn f() {}"),
        ("src/store/mod.rs", "use aws_sdk_s3::Client;"),
        ("src/registry/mod.rs", "use hyper_util::rt;"),
        ("src/registry/mod.rs", "fn f(body: axum::body::Body) {}"),
        ("src/store/memory/mod.rs", "use redb::Database;"),
        ("src/http/layers/trace.rs", "use opentelemetry::Context;"),
        ("src/app/mod.rs", "let _seeded = entropy::seed_this_thread(1);"),
    ];
    for (path, text) in found {
        assert_eq!(sample(path, text).len(), 1, "{path}: {text}");
    }
    let nothing = [
        ("src/oci/digest.rs", "// use crate::store::Entry;\nuse super::text;"),
        ("src/oci/digest.rs", "let path = \"crate::store\"; // crate::http"),
        ("src/registry/uploads/mod.rs", "use super::{entry};\nuse crate::registry::Error;"),
        ("src/registry/tags.rs", "use crate::{oci::{Tag}, store::{self, Entry}};"),
        ("src/store/s3/mod.rs", "use aws_sdk_s3::Client;"),
        ("src/app/mod.rs", "use crate::{http, store, config};"),
    ];
    for (path, text) in nothing {
        assert_eq!(sample(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
