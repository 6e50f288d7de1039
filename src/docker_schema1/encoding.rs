//! How signed documents encode bytes and JSON: as JOSE and as Go do.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{Error, invalid};

/// The white space of JSON.
pub(super) const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// libtrust writes no padding and reads it.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// base64url without padding (RFC 7515, section 2).
pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE.encode(bytes)
}

/// The inverse. `what` names the field in the error.
pub(super) fn decode(text: &str, what: &str) -> Result<Vec<u8>, Error> {
    URL_SAFE.decode(text).map_err(|error| invalid(format!("{what} is not base64url: {error}")))
}

/// JSON as Go writes it: it escapes the characters that are special in HTML or in JavaScript. In
/// JSON they occur only within strings.
pub(super) fn escaped_like_go(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            _ => out.push(c),
        }
    }
    out
}

/// JSON without the white space between its tokens.
pub(super) fn compact(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    json.chars()
        .filter(|&c| {
            if quoted {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                quoted = !ends;
                return true;
            }
            quoted = c == '"';
            !SPACE.contains(&c)
        })
        .collect()
}
