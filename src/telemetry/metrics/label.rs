//! Labels as closed enums: a series is identified by enum values, and found by their number.

/// One label.
pub trait Label: Copy + 'static {
    /// The label and its values, in the order of the enum.
    const SET: LabelSet;

    /// All values of a closed enum, in its order.
    const ALL: &'static [Self] = &[];

    /// The position of this value in the set.
    fn index(self) -> usize;

    /// The value with this text.
    fn of(text: &str) -> Option<Self> {
        let index = Self::SET.values.iter().position(|value| *value == text)?;
        Self::ALL.get(index).copied()
    }

    /// The value in the exposition.
    fn as_str(self) -> &'static str {
        Self::SET.values[self.index()]
    }
}

/// A label with open values. The caller bounds their number.
pub trait OpenLabel: Label {}

/// A label and all its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelSet {
    pub name: &'static str,
    pub(super) about: &'static str,
    pub values: &'static [&'static str],
    /// The meaning of each value, empty if the value says it.
    pub(super) meanings: &'static [&'static str],
}

/// The labels of one metric: a tuple of up to three.
pub trait Labels: Copy {
    const SETS: &'static [LabelSet];

    /// The number of this combination among all combinations.
    fn index(self) -> usize;
}

impl Labels for () {
    const SETS: &'static [LabelSet] = &[];

    fn index(self) -> usize {
        0
    }
}

impl<A: Label> Labels for (A,) {
    const SETS: &'static [LabelSet] = &[A::SET];

    fn index(self) -> usize {
        self.0.index()
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    const SETS: &'static [LabelSet] = &[A::SET, B::SET];

    fn index(self) -> usize {
        self.0.index() * B::SET.values.len() + self.1.index()
    }
}

impl<A: Label, B: Label, C: Label> Labels for (A, B, C) {
    const SETS: &'static [LabelSet] = &[A::SET, B::SET, C::SET];

    fn index(self) -> usize {
        (self.0, self.1).index() * C::SET.values.len() + self.2.index()
    }
}

/// The number of combinations.
pub(super) fn combinations(sets: &[LabelSet]) -> usize {
    sets.iter().map(|set| set.values.len()).product()
}

/// The values of the combination with this number.
pub(super) fn values(sets: &[LabelSet], index: usize) -> Vec<&'static str> {
    let mut rest = index;
    let mut values: Vec<&'static str> = Vec::with_capacity(sets.len());
    for set in sets.iter().rev() {
        values.push(set.values[rest % set.values.len()]);
        rest /= set.values.len();
    }
    values.reverse();
    values
}

/// Declares a label: an enum with the text of each value. The comments are documentation of the
/// metrics.
macro_rules! label {
    ($(#[doc = $about:literal])+ $vis:vis $type:ident as $name:literal {
        $($(#[doc = $meaning:literal])* $value:ident => $text:literal,)+
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $type {
            $($(#[doc = $meaning])* $value,)+
        }

        impl Label for $type {
            const SET: LabelSet = LabelSet {
                name: $name,
                about: concat!($($about),+),
                values: &[$($text),+],
                meanings: &[$(concat!($($meaning),*)),+],
            };

            const ALL: &'static [Self] = &[$(Self::$value),+];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

pub(super) use label;

#[cfg(test)]
mod tests {
    use super::*;

    label! {
        /// Two values.
        Two as "two" {
            A => "a",
            B => "b",
        }
    }

    label! {
        /// Three values.
        Three as "three" {
            X => "x",
            Y => "y",
            Z => "z",
        }
    }

    #[test]
    fn every_combination_has_a_different_number() {
        type All = (Two, Three, Two);
        let mut seen = Vec::new();
        for a in [Two::A, Two::B] {
            for b in [Three::X, Three::Y, Three::Z] {
                for c in [Two::A, Two::B] {
                    let index = (a, b, c).index();
                    assert_eq!(values(All::SETS, index), [a.as_str(), b.as_str(), c.as_str()]);
                    seen.push(index);
                }
            }
        }
        let all: Vec<usize> = (0..combinations(All::SETS)).collect();
        assert_eq!(seen, all);
        assert_eq!((combinations(<()>::SETS), values(<()>::SETS, 0)), (1, vec![]));
    }
}
