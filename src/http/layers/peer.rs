//! Where a request comes from: the address of the socket, or what trusted proxies say.

use std::net::IpAddr;

use axum::extract::Request;
use http::{HeaderMap, HeaderName};

use crate::setting::Networks;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The sender of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct Client {
    /// The address of the client, not of a trusted proxy before us.
    pub(in crate::http) address: Option<IpAddr>,
    /// Whether the client used TLS.
    pub(in crate::http) secure: bool,
}

/// The client of a request: the connection's peer, which the listener has noted, or the client for
/// which a trusted proxy speaks.
pub(in crate::http) fn identify(request: &Request, trusted: &Networks) -> Client {
    let peer = request.extensions().get::<Client>().copied().unwrap_or_default();
    client(peer, request.headers(), trusted)
}

/// The client of a request that came over a connection from `peer`.
///
/// Every proxy appends the address that it was called from. So the addresses are read from the end,
/// for as long as the proxy that wrote them is trusted; anything before that is not.
fn client(peer: Client, headers: &HeaderMap, trusted: &Networks) -> Client {
    let Some(mut address) = peer.address.map(|address| address.to_canonical()) else { return peer };
    if !trusted.contains(address) {
        return Client { address: Some(address), secure: peer.secure };
    }
    for written in elements(headers, &FORWARDED_FOR).rev() {
        let Ok(one) = written.parse::<IpAddr>() else { break };
        address = one.to_canonical();
        if !trusted.contains(address) {
            break;
        }
    }
    let scheme = elements(headers, &FORWARDED_PROTO).next_back();
    let secure = scheme.map_or(peer.secure, |scheme| scheme.eq_ignore_ascii_case("https"));
    Client { address: Some(address), secure }
}

/// The elements of a list, over all the headers of this name.
fn elements<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl DoubleEndedIterator<Item = &'a str> {
    let values: Vec<&str> =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.into_iter().flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, encrypted: bool, headers: &[(&'static str, &str)]) -> (String, bool) {
        let trusted = "10.0.0.0/8,192.0.2.7/32".parse().unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let peer = Client { address: Some(peer.parse().unwrap()), secure: encrypted };
        let client = client(peer, &map, &trusted);
        (client.address.unwrap().to_string(), client.secure)
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let (forwarded, proto) = ("x-forwarded-for", "x-forwarded-proto");
        for (peer, headers, address, secure) in [
            (
                "198.51.100.1",
                &[(forwarded, "1.1.1.1"), (proto, "https")][..],
                "198.51.100.1",
                false,
            ),
            ("10.0.0.1", &[], "10.0.0.1", false),
            ("10.0.0.1", &[(forwarded, "1.1.1.1"), (proto, "https")], "1.1.1.1", true),
            ("::ffff:10.0.0.1", &[(forwarded, "1.1.1.1")], "1.1.1.1", false),
            // The client wrote 9.9.9.9 itself; the proxy appended where it came from.
            ("10.0.0.1", &[(forwarded, "9.9.9.9, 1.1.1.1")], "1.1.1.1", false),
            ("10.0.0.1", &[(forwarded, "9.9.9.9"), (forwarded, "1.1.1.1")], "1.1.1.1", false),
            ("10.0.0.1", &[(forwarded, "9.9.9.9, 1.1.1.1, 192.0.2.7")], "1.1.1.1", false),
            ("10.0.0.1", &[(forwarded, "1.1.1.1, rubbish")], "10.0.0.1", false),
            ("10.0.0.1", &[(proto, "https, http")], "10.0.0.1", false),
        ] {
            assert_eq!(of(peer, false, headers), (address.to_owned(), secure), "{headers:?}");
        }
        assert!(of("198.51.100.1", true, &[(proto, "http")]).1);
    }
}
