use proptest::prelude::*;

use super::*;

/// An independent implementation of the grammar: a separator stands between two words, and neither
/// at the beginning nor at the end of a component.
fn is_name(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator =
        |s: &str| matches!(s, "." | "_" | "__") || (!s.is_empty() && s.chars().all(|c| c == '-'));
    text.len() <= 255
        && text.split('/').all(|component| {
            component.starts_with(is_word)
                && component.ends_with(is_word)
                && component.split(is_word).filter(|s| !s.is_empty()).all(is_separator)
        })
}

#[test]
fn every_short_text_is_accepted_exactly_if_the_grammar_allows_it() {
    let alphabet = ['a', '0', '.', '_', '-', '/', 'A'];
    let mut texts = vec![String::new()];
    for _ in 0..=6 {
        for text in &texts {
            assert_eq!(text.parse::<RepositoryName>().is_ok(), is_name(text), "{text:?}");
        }
        texts = texts.iter().flat_map(|text| alphabet.map(|c| format!("{text}{c}"))).collect();
    }
}

#[test]
fn words_that_are_special_in_a_path_are_accepted() {
    for text in ["a", "library/alpine", "blobs", "a/manifests/uploads", "0/1/2", "a--b__c.d_e"] {
        assert_eq!(text.parse::<RepositoryName>().map(|n| n.to_string()), Ok(text.to_owned()));
    }
}

#[test]
fn dots_slashes_and_other_alphabets_are_refused() {
    for text in ["", "/", "a//b", "a/", "/a", "..", "a/../b", "a b", "é", "a\0", "_catalog", "a:b"]
    {
        assert!(matches!(text.parse::<RepositoryName>(), Err(NameError::Malformed(_))), "{text:?}");
    }
}

#[test]
fn a_name_of_255_bytes_is_accepted_and_256_refused() {
    assert!("a".repeat(255).parse::<RepositoryName>().is_ok());
    let error = "a".repeat(256).parse::<RepositoryName>();
    assert_eq!(error, Err(NameError::TooLong { bytes: 256 }));
}

#[test]
fn deserializing_checks_the_grammar() {
    let name = serde_json::from_str::<RepositoryName>("\"a/b\"").expect("valid");
    assert_eq!(serde_json::to_string(&name).expect("serializes"), "\"a/b\"");
    assert!(serde_json::from_str::<RepositoryName>("\"a//b\"").is_err());
}

proptest! {
    #[test]
    fn a_displayed_name_parses_to_the_same_value(
        text in "[a-z0-9]{1,8}((\\.|_|__|-{1,3}|/)[a-z0-9]{1,8}){0,10}",
    ) {
        let name = text.parse::<RepositoryName>().expect("grammatical");
        prop_assert_eq!(name.as_str(), &text);
        prop_assert_eq!(name.to_string().parse::<RepositoryName>(), Ok(name));
    }

    #[test]
    fn any_text_is_accepted_exactly_if_the_grammar_allows_it(text in "\\PC{0,300}") {
        prop_assert_eq!(text.parse::<RepositoryName>().is_ok(), is_name(&text));
    }
}
