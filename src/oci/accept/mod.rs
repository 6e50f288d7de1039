//! The parts of the `Accept` header that matter for manifests.

#[cfg(test)]
mod tests;

use memchr::memchr;

use super::media_type::MediaType;

/// How many entries are read. Clients send about ten.
const ENTRIES_MAX: usize = 1000;

/// The media types that a client accepts (RFC 9110, 12.5.1).
///
/// Of the weights only `q=0` matters: a manifest has one type, so there is nothing to rank. The
/// default value stands for a request without the header.
#[derive(Clone, Debug, Default)]
pub struct Accept {
    named: Vec<MediaType>,
    /// Whether some entry covers every manifest type.
    wildcard: bool,
    /// Whether some entry is valid, even one that only excludes a type.
    present: bool,
}

impl Accept {
    /// Parses all `Accept` headers of a request. Ignores invalid entries.
    pub fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Self {
        let mut accept = Self::default();
        for entry in headers.flat_map(|h| split_unquoted(h, b',')).take(ENTRIES_MAX) {
            accept.add(entry);
        }
        accept
    }

    /// Whether the client accepts every type: it sent no header, or one that covers all types.
    ///
    /// `application/json` covers all types, because every manifest is JSON and people type it.
    pub fn is_unrestricted(&self) -> bool {
        self.wildcard || !self.present
    }

    /// Whether the header lists exactly this type.
    pub fn names(&self, media_type: &MediaType) -> bool {
        self.named.contains(media_type)
    }

    fn add(&mut self, entry: &str) {
        // Nearly every entry that clients send is the type of a manifest without parameters.
        if let Some(media_type) = MediaType::named(entry.trim()) {
            self.present = true;
            self.named.push(media_type);
            return;
        }
        let mut parts = split_unquoted(entry, b';');
        let range = parts.next().unwrap_or_default().trim();
        let Some(excluded) = is_excluded(parts) else { return };
        if !is_range(range) {
            return;
        }
        self.present = true;
        if excluded {
            return;
        }
        let Ok(media_type) = range.parse::<MediaType>();
        match media_type.as_str() {
            "*/*" | "application/*" | "application/json" => self.wildcard = true,
            _ => self.named.push(media_type),
        }
    }
}

/// Whether the parameters contain `q=0`. `None` if the weight is not a number.
fn is_excluded<'a>(parameters: impl Iterator<Item = &'a str>) -> Option<bool> {
    for parameter in parameters {
        let Some((name, weight)) = parameter.split_once('=') else { continue };
        if !name.trim().eq_ignore_ascii_case("q") {
            continue;
        }
        let weight = weight.trim();
        if weight.is_empty() || !weight.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return None;
        }
        return Some(weight.parse::<f32>().ok()? <= 0.0);
    }
    Some(false)
}

/// Whether the text is `token/token`. An asterisk is allowed in a token.
fn is_range(text: &str) -> bool {
    text.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    let is_token_byte = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Splits at separators outside of quoted strings. Compares bytes, because each request for a
/// manifest runs through here: the separators are ASCII, and no byte of a longer character is.
fn split_unquoted(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    let has_quotes = memchr(b'"', text.as_bytes()).is_some();
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = if has_quotes {
            text.bytes().position(|byte| {
                if escaped {
                    escaped = false;
                } else if quoted && byte == b'\\' {
                    escaped = true;
                } else if byte == b'"' {
                    quoted = !quoted;
                }
                byte == separator && !quoted
            })
        } else {
            memchr(separator, text.as_bytes())
        };
        let (piece, after) = match end {
            Some(end) => (text.get(..end)?, text.get(end + 1..)),
            None => (text, None),
        };
        rest = after;
        Some(piece)
    })
}
