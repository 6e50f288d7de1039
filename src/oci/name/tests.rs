use proptest::prelude::*;

use super::*;

/// The grammar once more, written in another way: between two words stands a separator, and
/// neither end of a component is one.
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
fn agrees_with_the_grammar_on_every_short_text() {
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
fn takes_words_that_also_mean_something_in_a_path() {
    for text in ["a", "library/alpine", "blobs", "a/manifests/uploads", "0/1/2", "a--b__c.d_e"] {
        assert_eq!(text.parse::<RepositoryName>().map(|n| n.to_string()), Ok(text.to_owned()));
    }
}

#[test]
fn refuses_what_a_path_or_another_alphabet_would_need() {
    for text in ["", "/", "a//b", "a/", "/a", "..", "a/../b", "a b", "é", "a\0", "_catalog", "a:b"]
    {
        assert!(matches!(text.parse::<RepositoryName>(), Err(NameError::Malformed(_))), "{text:?}");
    }
}

#[test]
fn the_limit_is_inclusive() {
    assert!("a".repeat(255).parse::<RepositoryName>().is_ok());
    let error = "a".repeat(256).parse::<RepositoryName>();
    assert_eq!(error, Err(NameError::TooLong { bytes: 256 }));
}

#[test]
fn serde_goes_through_the_same_door() {
    let name = serde_json::from_str::<RepositoryName>("\"a/b\"").expect("valid");
    assert_eq!(serde_json::to_string(&name).expect("serializes"), "\"a/b\"");
    assert!(serde_json::from_str::<RepositoryName>("\"a//b\"").is_err());
}

proptest! {
    #[test]
    fn parses_what_it_displays(text in "[a-z0-9]{1,8}((\\.|_|__|-{1,3}|/)[a-z0-9]{1,8}){0,10}") {
        let name = text.parse::<RepositoryName>().expect("grammatical");
        prop_assert_eq!(name.as_str(), &text);
        prop_assert_eq!(name.to_string().parse::<RepositoryName>(), Ok(name));
    }

    #[test]
    fn agrees_with_the_grammar_on_any_text(text in "\\PC{0,300}") {
        prop_assert_eq!(text.parse::<RepositoryName>().is_ok(), is_name(&text));
    }
}
