//! Text of a client, made short enough to be repeated in an error.

/// How many characters of a client's text an error repeats.
const EXCERPT_CHARS_MAX: usize = 100;

/// The beginning of `text`, marked with an ellipsis if something is missing.
///
/// Errors travel into responses and logs; without a limit a client could make us write megabytes
/// of its own text into both.
pub(crate) fn excerpt(text: &str) -> String {
    excerpt_of(text, EXCERPT_CHARS_MAX)
}

/// [`excerpt`] with another limit.
pub(crate) fn excerpt_of(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
