//! An accepted pattern is displayed unchanged, and one without a star matches its own text only.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore::auth::Pattern;
use longshore::oci::RepositoryName;

fuzz_target!(|input: (&str, &str)| {
    let (text, name) = input;
    let Ok(pattern) = text.parse::<Pattern>() else { return };
    assert_eq!(pattern.to_string(), text);
    let Ok(name) = name.parse::<RepositoryName>() else { return };
    let matches = pattern.matches(&name);
    assert!(text.contains('*') || matches == (name.as_str() == text));
    assert!(text != "**" || matches);
});
