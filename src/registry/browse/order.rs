//! The orders of tags.

use std::cmp::Ordering;

/// In which order tags are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TagOrder {
    /// By the bytes of their names, as the API lists them.
    #[default]
    Name,
    /// By their names, the numbers in them as numbers, the highest first: `v1.10` before `v1.9`.
    Version,
    /// The last pushed first.
    Newest,
    /// The largest first.
    Largest,
}

/// Compares two names in pieces of digits and of other characters, numbers by their value.
pub(super) fn natural(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one, other);
    while let (Some(a), Some(b)) = (piece(left), piece(right)) {
        let order = match (number(a), number(b)) {
            (Some(a), Some(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            _ => a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
        left = left.get(a.len()..).unwrap_or_default();
        right = right.get(b.len()..).unwrap_or_default();
    }
    left.len().cmp(&right.len()).then_with(|| one.cmp(other))
}

/// The longest beginning of a text that has only digits or none, `None` at the end.
fn piece(text: &str) -> Option<&str> {
    let digit = text.as_bytes().first()?.is_ascii_digit();
    let end = text.bytes().position(|byte| byte.is_ascii_digit() != digit);
    text.get(..end.unwrap_or(text.len()))
}

/// The digits of a number without leading zeros, `None` for other text.
fn number(piece: &str) -> Option<&str> {
    piece.as_bytes().first()?.is_ascii_digit().then(|| piece.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let mut names = ["v1.10", "v1.9", "v1.9-rc.2", "v2", "v1.09", "latest", "1", "v10", "1.0"];
        names.sort_by(|one, other| natural(one, other));
        let expected = ["1", "1.0", "latest", "v1.09", "v1.9", "v1.9-rc.2", "v1.10", "v2", "v10"];
        assert_eq!(names, expected);
    }

    proptest! {
        /// Otherwise sorting may panic.
        #[test]
        fn the_order_is_total(names in proptest::collection::vec("[a-c0-2._-]{0,6}", 3)) {
            let [a, b, c] = [&names[0], &names[1], &names[2]];
            prop_assert_eq!(natural(a, b), natural(b, a).reverse());
            prop_assert_eq!(natural(a, b) == Ordering::Equal, a == b);
            if natural(a, b).is_le() && natural(b, c).is_le() {
                prop_assert!(natural(a, c).is_le());
            }
        }
    }
}
