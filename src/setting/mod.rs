//! How a module declares its settings: one row holds the key, the text of the reference, the
//! default and the limits.
//!
//! `config` composes the structs of all modules and reads them from a file, the environment and
//! flags. This module knows none of them.

mod amount;
mod choice;
mod kind;
mod networks;
mod secret;

pub(crate) use self::amount::{
    DAY, GIB, HOUR, KIB, MIB, MILLISECOND, MINUTE, SECOND, Size, TIB, format_bytes, format_duration,
};
pub(crate) use self::amount::{parse_bytes, parse_duration};
pub(crate) use self::choice::{Choice, choice};
pub(crate) use self::kind::{
    Kind, Shape, address, bytes, choice_of, count, duration, parsed, path, secret, tables, text,
    word,
};
pub use self::networks::Networks;
pub(crate) use self::networks::networks;
pub use self::secret::Secret;
pub(crate) use self::secret::read_secret;

/// Characters of a bad text that an error repeats.
const SHOWN_MAX: usize = 80;

/// The beginning of a bad text, for an error.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

/// A struct of settings: its rows, and the sections inside it.
pub(crate) trait Section {
    /// The doc comment of the struct, one line of text in each line.
    fn about(&self) -> &'static str;

    /// The rows, in the order in which they are declared.
    fn items(&mut self) -> Vec<Item<'_>>;
}

/// One row of a section.
pub(crate) enum Item<'s> {
    Setting(Setting<'s>),
    /// A section inside this one, by its name.
    Section(&'static str, &'s mut dyn Section),
}

/// One setting, with the field that holds its value.
pub(crate) struct Setting<'s> {
    /// The last part of its key.
    pub(crate) name: &'static str,
    /// Its doc comment, one line of text in each line.
    pub(crate) doc: &'static str,
    /// What the reference shows for a setting without a default.
    pub(crate) example: Option<&'static str>,
    pub(crate) shape: Shape,
    field: Box<dyn Field + 's>,
}

impl<'s> Setting<'s> {
    pub(crate) fn new<T: 's>(
        (name, doc): (&'static str, &'static str),
        slot: impl Into<Slot<'s, T>>,
        kind: Kind<T>,
        examples: &'static [&'static str],
    ) -> Self {
        let (shape, example) = (kind.shape, examples.first().copied());
        Self { name, doc, example, shape, field: Box::new(Bound { slot: slot.into(), kind }) }
    }

    /// Parses the text of a value into the field. The error never repeats a secret.
    pub(crate) fn read(&mut self, text: &str) -> Result<(), String> {
        self.field.read(text)
    }

    /// The value as [`Setting::read`] parses it. Nothing for a secret and for what is not set.
    pub(crate) fn show(&self) -> Option<String> {
        self.field.show().filter(|text| !text.is_empty())
    }

    /// The smallest and the largest value.
    pub(crate) fn limits(&self) -> Option<(String, String)> {
        self.field.limits()
    }
}

/// Hides the type of the value.
trait Field {
    fn read(&mut self, text: &str) -> Result<(), String>;
    fn show(&self) -> Option<String>;
    fn limits(&self) -> Option<(String, String)>;
}

struct Bound<'s, T> {
    slot: Slot<'s, T>,
    kind: Kind<T>,
}

/// The field of a struct.
pub(crate) enum Slot<'s, T> {
    Required(&'s mut T),
    Optional(&'s mut Option<T>),
}

impl<'s, T> From<&'s mut T> for Slot<'s, T> {
    fn from(field: &'s mut T) -> Self {
        Self::Required(field)
    }
}

impl<'s, T> From<&'s mut Option<T>> for Slot<'s, T> {
    fn from(field: &'s mut Option<T>) -> Self {
        Self::Optional(field)
    }
}

impl<T> Field for Bound<'_, T> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let value = (self.kind.parse)(text)?;
        match &mut self.slot {
            Slot::Required(field) => **field = value,
            Slot::Optional(field) => **field = Some(value),
        }
        Ok(())
    }

    fn show(&self) -> Option<String> {
        match &self.slot {
            Slot::Required(field) => Some((self.kind.show)(field)),
            Slot::Optional(field) => field.as_ref().map(self.kind.show),
        }
    }

    fn limits(&self) -> Option<(String, String)> {
        self.kind.limits.clone()
    }
}

/// Declares a struct of settings: `name: type = default, kind(limits) => "example";`.
///
/// The doc comments are the text of the reference (`longshore config-reference`). The example is
/// for a setting that has no default. A row without `=` is a section of its own.
macro_rules! settings {
    ($(#[doc = $about:literal])+
     pub struct $struct:ident {$(
        $(#[doc = $doc:literal])*
        $name:ident: $type:ty $(= $default:expr, $kind:expr $(=> $example:literal)?)?;
     )+}) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $struct {
            $($(#[doc = $doc])* pub $name: $type,)+
        }

        impl Default for $struct {
            fn default() -> Self {
                Self { $($name: $crate::setting::settings!(@default $($default)?),)+ }
            }
        }

        impl $crate::setting::Section for $struct {
            fn about(&self) -> &'static str {
                concat!($($about, "\n"),+)
            }

            fn items(&mut self) -> Vec<$crate::setting::Item<'_>> {
                vec![$($crate::setting::settings!(
                    @item stringify!($name), concat!($($doc, "\n"),*), &mut self.$name,
                    $($kind, &[$($example)?])?
                )),+]
            }
        }
    };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
    (@item $name:expr, $doc:expr, $field:expr,) => {
        $crate::setting::Item::Section($name, $field)
    };
    (@item $name:expr, $doc:expr, $field:expr, $kind:expr, $examples:expr) => {
        $crate::setting::Item::Setting($crate::setting::Setting::new(
            ($name, $doc), $field, $kind, $examples,
        ))
    };
}
pub(crate) use settings;
