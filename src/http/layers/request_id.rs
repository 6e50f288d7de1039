//! The id of a request, by which its client, the proxies before us and the log refer to it.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::entropy;

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of an id that is taken over from a request.
const BYTES_MAX: usize = 128;

/// Takes over the id that a request brought, if it can stand in a log, and makes one otherwise.
pub(in crate::http) fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(X_REQUEST_ID) {
        // A copy: a part of the head would keep all of it in memory until the response has left.
        Some(brought) if is_plain(brought.as_bytes()) => {
            HeaderValue::from_bytes(brought.as_bytes()).unwrap_or_else(|_| new())
        }
        Some(_) | None => new(),
    }
}

/// Letters, digits and what identifiers are put together with: nothing that a log, a shell or a
/// web page would interpret.
fn is_plain(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(byte);
    (1..=BYTES_MAX).contains(&id.len()) && id.iter().all(plain)
}

/// An id that no other process and no other request has: a random number of this process, and a
/// count.
fn new() -> HeaderValue {
    static PROCESS: OnceLock<String> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let process = PROCESS.get_or_init(|| format!("{:016x}-", u64::from_le_bytes(entropy::bytes())));
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut id = String::with_capacity(33);
    id.push_str(process);
    let written = write!(id, "{count:x}");
    debug_assert!(written.is_ok(), "a string takes all");
    HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(brought: &[u8]) -> HeaderValue {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(brought).unwrap());
        of(&headers)
    }

    #[test]
    fn an_id_that_can_stand_in_a_log_is_taken_over() {
        for good in ["a", "0af7651916cd43dd8448eb211c80319c", "Root=1-67891233-abc/x@y_z.1:2+3"] {
            assert_eq!(answered(good.as_bytes()), good);
        }
        assert_eq!(answered(&[b'a'; BYTES_MAX]).as_bytes(), [b'a'; BYTES_MAX]);
        let long = [b'a'; BYTES_MAX + 1];
        for bad in [&b""[..], b"a b", b"a\tb", b"a\"b", b"<x>", b"\xffab", b"a;b", b"a{b}", &long] {
            let made = answered(bad);
            assert!(is_plain(made.as_bytes()) && made.as_bytes() != bad, "{made:?}");
        }
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}
