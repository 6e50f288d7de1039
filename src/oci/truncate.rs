//! Shortens text that came from a client before an error repeats it.

const CHARS_MAX: usize = 100;

/// The first 100 characters of `text`, with an ellipsis if more follow.
///
/// Errors are sent in responses and written to logs: without a limit, a client could fill both
/// with its own text.
pub(crate) fn truncate(text: &str) -> String {
    truncate_to(text, CHARS_MAX)
}

/// [`truncate`] with another limit.
pub(crate) fn truncate_to(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
