//! Labels as closed enums: a series can only be named by values that are written down here, and is
//! found by its number, never by its text.

/// One label.
pub trait Label: Copy + 'static {
    /// The name of the label.
    const NAME: &'static str;
    /// Every value, in the order of the enum.
    const WORDS: &'static [&'static str];

    /// Its place in `WORDS`.
    fn index(self) -> usize;

    /// Its text.
    fn as_str(self) -> &'static str {
        Self::WORDS[self.index()]
    }
}

/// A label and all the values that it can have.
#[derive(Clone, Copy, Debug)]
pub struct LabelSet {
    /// The name of the label.
    pub name: &'static str,
    /// Every value.
    pub words: &'static [&'static str],
}

const fn set<A: Label>() -> LabelSet {
    LabelSet { name: A::NAME, words: A::WORDS }
}

/// The labels of a metric together: nothing, or up to three of them in a tuple.
pub trait Labels: Copy {
    /// Every label.
    const SETS: &'static [LabelSet];

    /// The number of this combination among all of them.
    fn index(self) -> usize;
}

impl Labels for () {
    const SETS: &'static [LabelSet] = &[];

    fn index(self) -> usize {
        0
    }
}

impl<A: Label> Labels for (A,) {
    const SETS: &'static [LabelSet] = &[set::<A>()];

    fn index(self) -> usize {
        self.0.index()
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    const SETS: &'static [LabelSet] = &[set::<A>(), set::<B>()];

    fn index(self) -> usize {
        self.0.index() * B::WORDS.len() + self.1.index()
    }
}

impl<A: Label, B: Label, C: Label> Labels for (A, B, C) {
    const SETS: &'static [LabelSet] = &[set::<A>(), set::<B>(), set::<C>()];

    fn index(self) -> usize {
        (self.0, self.1).index() * C::WORDS.len() + self.2.index()
    }
}

/// How many combinations there are.
pub(super) fn combinations(sets: &[LabelSet]) -> usize {
    sets.iter().map(|set| set.words.len()).product()
}

/// The texts of the combination with this number.
pub(super) fn words(sets: &[LabelSet], index: usize) -> Vec<&'static str> {
    let mut rest = index;
    let mut words: Vec<&'static str> = Vec::with_capacity(sets.len());
    for set in sets.iter().rev() {
        words.push(set.words[rest % set.words.len()]);
        rest /= set.words.len();
    }
    words.reverse();
    words
}

/// Declares a label: an enum, and the text of each of its values.
macro_rules! label {
    ($(#[$about:meta])* $vis:vis $type:ident as $name:literal {
        $($(#[$meaning:meta])* $value:ident => $word:literal,)+
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $type {
            $($(#[$meaning])* $value,)+
        }

        impl $crate::telemetry::metrics::Label for $type {
            const NAME: &'static str = $name;
            const WORDS: &'static [&'static str] = &[$($word),+];

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
            /// The first.
            A => "a",
            /// The second.
            B => "b",
        }
    }

    label! {
        /// Three values.
        Three as "three" {
            /// The first.
            X => "x",
            /// The second.
            Y => "y",
            /// The third.
            Z => "z",
        }
    }

    #[test]
    fn every_combination_has_a_number_of_its_own() {
        type All = (Two, Three, Two);
        let mut seen = Vec::new();
        for a in [Two::A, Two::B] {
            for b in [Three::X, Three::Y, Three::Z] {
                for c in [Two::A, Two::B] {
                    let index = (a, b, c).index();
                    assert_eq!(words(All::SETS, index), [a.as_str(), b.as_str(), c.as_str()]);
                    seen.push(index);
                }
            }
        }
        let all: Vec<usize> = (0..combinations(All::SETS)).collect();
        assert_eq!(seen, all);
        assert_eq!((combinations(<()>::SETS), words(<()>::SETS, 0)), (1, vec![]));
    }
}
