//! An accepted name is displayed unchanged, and none of its segments is special in a path.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore::oci::RepositoryName;

fuzz_target!(|text: &str| {
    let Ok(name) = text.parse::<RepositoryName>() else { return };
    assert_eq!(name.as_str(), text);
    assert!(text.len() <= RepositoryName::BYTES_MAX);
    for component in text.split('/') {
        assert!(component.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()));
        assert!(!component.contains(".."));
    }
});
