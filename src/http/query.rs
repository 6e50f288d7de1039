//! The query string of a request: pairs, percent-decoded, `+` kept as it is.

use std::borrow::Cow;

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What need not be encoded in a value of a query.
const VALUE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// The pairs of a query string, in their order.
#[derive(Clone, Debug)]
pub(super) struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    /// The query of a URI. What is not UTF-8 after decoding is replaced, and parses as nothing.
    pub(super) fn of(uri: &'a Uri) -> Self {
        Self::of_pairs(uri.query().unwrap_or_default().split('&'))
    }

    /// The query of the location of an upload. Scripts add `&digest=` or `?digest=` to a location
    /// whether or not it has a query: so a query may also begin with `&`, and a second `?` counts
    /// as `&`. No value here contains either.
    pub(super) fn of_upload(uri: &'a Uri) -> Self {
        let (_, in_path) = uri.path().split_once('&').unwrap_or_default();
        let pairs = uri.query().unwrap_or_default().split(['&', '?']);
        Self::of_pairs(in_path.split('&').chain(pairs))
    }

    /// The fields of a form (`application/x-www-form-urlencoded`) in which each `+` was made a
    /// space.
    pub(super) fn of_form(text: &'a str) -> Self {
        Self::of_pairs(text.split('&'))
    }

    fn of_pairs(pairs: impl Iterator<Item = &'a str>) -> Self {
        let decoded = |text: &'a str| percent_decode_str(text).decode_utf8_lossy();
        let pairs = pairs
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(key), decoded(value))
            })
            .collect();
        Self { pairs }
    }

    /// The first value of a key.
    pub(super) fn one(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    /// All values of a key.
    pub(super) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_ref())
    }
}

/// A value as it is spelled in a query.
pub(super) fn encoded(value: &str) -> String {
    utf8_percent_encode(value, VALUE).to_string()
}
