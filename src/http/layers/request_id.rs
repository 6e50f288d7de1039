//! The name of a request, by which its client, the proxies before us and the log can speak of it.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that brings it and takes it back.
pub(in crate::http) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of a name that is taken over.
const BYTES_MAX: usize = 128;

/// The name that the request brought, if it is one that can stand in a log; otherwise a new one.
pub(in crate::http) fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(X_REQUEST_ID) {
        Some(brought) if is_sane(brought.as_bytes()) => brought.clone(),
        Some(_) | None => new(),
    }
}

/// Letters, digits and what identifiers are put together with: nothing that a log, a shell or a
/// page would take for more than a name.
fn is_sane(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(byte);
    (1..=BYTES_MAX).contains(&name.len()) && name.iter().all(plain)
}

/// A name that no other process and no other request has: a random number of this process, and a
/// count.
fn new() -> HeaderValue {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let process = PROCESS.get_or_init(|| getrandom::u64().unwrap_or_default());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = String::with_capacity(32);
    let written = write!(name, "{process:016x}-{count:x}");
    debug_assert!(written.is_ok(), "a string takes all");
    HeaderValue::try_from(name).unwrap_or_else(|_| HeaderValue::from_static("-"))
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
    fn what_can_stand_in_a_log_is_taken_over() {
        for good in ["a", "0af7651916cd43dd8448eb211c80319c", "Root=1-67891233-abc/x@y_z.1:2+3"] {
            assert_eq!(answered(good.as_bytes()), good);
        }
        assert_eq!(answered(&[b'a'; BYTES_MAX]).as_bytes(), [b'a'; BYTES_MAX]);
        let long = [b'a'; BYTES_MAX + 1];
        for bad in [&b""[..], b"a b", b"a\tb", b"a\"b", b"<x>", b"\xffab", b"a;b", b"a{b}", &long] {
            let made = answered(bad);
            assert!(is_sane(made.as_bytes()) && made.as_bytes() != bad, "{made:?}");
        }
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}
