//! Patterns for repository names and for the text of claims.

use std::fmt;
use std::str::FromStr;

use crate::oci::RepositoryName;
use crate::setting::shown;

/// A pattern for repository names: `*` matches any characters within one component of a name, `**`
/// also across components.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(TextPattern);

/// A pattern for the text of a claim or of a certificate: `*` matches any characters but a slash,
/// `**` any characters.
#[derive(Clone, PartialEq, Eq)]
pub struct TextPattern {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Byte(u8),
    WithinComponent,
    Anything,
}

/// A longer text is no pattern, and no text that is longer than this matches one.
const TEXT_BYTES_MAX: usize = 1024;

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a pattern of repositories: write a name in which * matches a part of one \
     component and ** matches anything, such as team/* or **"
)]
pub struct PatternError(String);

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a pattern: write printable text in which * matches anything but a slash and ** \
     matches anything"
)]
pub struct TextPatternError(String);

impl Pattern {
    pub fn everything() -> Self {
        Self(TextPattern { text: "**".to_owned(), pieces: vec![Piece::Anything] })
    }

    pub fn matches(&self, name: &RepositoryName) -> bool {
        self.0.matches(name.as_str())
    }
}

impl TextPattern {
    /// Whether a text matches. Takes time proportional to the product of the lengths at most,
    /// whatever the pattern.
    pub fn matches(&self, text: &str) -> bool {
        if text.len() > TEXT_BYTES_MAX {
            return false;
        }
        if self.pieces == [Piece::Anything] {
            return true;
        }
        // reached[i]: the pieces before i can match the bytes so far.
        let mut reached = vec![false; self.pieces.len() + 1];
        reached[0] = true;
        self.skip_stars(&mut reached);
        for byte in text.bytes() {
            let mut next = vec![false; reached.len()];
            for (index, piece) in self.pieces.iter().enumerate().filter(|(i, _)| reached[*i]) {
                match piece {
                    Piece::Byte(expected) if *expected == byte => next[index + 1] = true,
                    Piece::WithinComponent if byte != b'/' => next[index] = true,
                    Piece::Anything => next[index] = true,
                    Piece::Byte(_) | Piece::WithinComponent => {}
                }
            }
            self.skip_stars(&mut next);
            reached = next;
        }
        reached[self.pieces.len()]
    }

    /// A star can match nothing.
    fn skip_stars(&self, reached: &mut [bool]) {
        for (index, piece) in self.pieces.iter().enumerate() {
            if reached[index] && !matches!(piece, Piece::Byte(_)) {
                reached[index + 1] = true;
            }
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/*".contains(&byte)
        };
        // A pattern that can never match is a mistake: it would silently deny access.
        let possible = !text.is_empty()
            && text.len() <= RepositoryName::BYTES_MAX
            && text.bytes().all(plain)
            && text.split('/').all(|component| !component.is_empty())
            && !text.contains("***");
        if !possible {
            return Err(PatternError(shown(text)));
        }
        Ok(Self(TextPattern::of(text)))
    }
}

impl FromStr for TextPattern {
    type Err = TextPatternError;

    fn from_str(text: &str) -> Result<Self, TextPatternError> {
        let possible = !text.is_empty()
            && text.len() <= TEXT_BYTES_MAX
            && !text.chars().any(char::is_control)
            && !text.contains("***");
        if possible { Ok(Self::of(text)) } else { Err(TextPatternError(shown(text))) }
    }
}

impl TextPattern {
    fn of(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            (pieces, rest) = match (first, tail) {
                (b'*', [b'*', tail @ ..]) => (with(pieces, Piece::Anything), tail),
                (b'*', tail) => (with(pieces, Piece::WithinComponent), tail),
                (byte, tail) => (with(pieces, Piece::Byte(*byte)), tail),
            };
        }
        Self { text: text.to_owned(), pieces }
    }
}

fn with(mut pieces: Vec<Piece>, piece: Piece) -> Vec<Piece> {
    pieces.push(piece);
    pieces
}

impl fmt::Display for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(&name.parse().unwrap())
    }

    #[test]
    fn a_star_matches_within_a_component_and_two_stars_across() {
        for (pattern, name, expected) in [
            ("team/app", "team/app", true),
            ("team/app", "team/apps", false),
            ("team/*", "team/app", true),
            ("team/*", "team/app/deep", false),
            ("team/*", "team", false),
            ("team/*", "steam/app", false),
            ("team/**", "team/app/deep", true),
            ("team/**", "teams/app", false),
            ("*/app", "team/app", true),
            ("*/app", "a/b/app", false),
            ("**/app", "a/b/app", true),
            ("**/app", "app", false),
            ("t*m/a*p*", "team/appp", true),
            ("*", "team", true),
            ("*", "team/app", false),
            ("**", "a/b/c", true),
            ("a**c", "a/b/c", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_that_can_never_match_is_refused() {
        for text in ["", "Team/*", "/a", "a/", "a//b", "a b", "***", "a?", "[a]", "ä"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn many_stars_are_matched_quickly() {
        let pattern = "*a".repeat(100) + "b";
        assert!(!matches(&pattern, &"a".repeat(255)));
    }
}
