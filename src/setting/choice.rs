//! Settings that are one of a few words.

/// A closed set of words.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// Each value and its word.
    const WORDS: &'static [(&'static str, Self)];

    fn as_str(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, value)| *value == self);
        found.expect("WORDS holds every value").0
    }

    fn parse(text: &str) -> Result<Self, String> {
        if let Some((_, value)) = Self::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let words: Vec<&str> = Self::WORDS.iter().map(|(word, _)| *word).collect();
        Err(format!("{text:?} is not {}", words.join(" or ")))
    }
}

impl Choice for bool {
    const WORDS: &'static [(&'static str, Self)] = &[("true", true), ("false", false)];
}

/// Declares an enum together with the word of each value.
macro_rules! choice {
    ($(#[doc = $about:literal])+
     pub enum $enum:ident {$(
        $(#[doc = $doc:literal])* $value:ident = $word:literal,
     )+}) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $enum {
            $($(#[doc = $doc])* $value,)+
        }

        impl $crate::setting::Choice for $enum {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$value)),+];
        }
    };
}
pub(crate) use choice;
