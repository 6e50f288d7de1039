//! Where a request comes from, and how: what proxies say counts if they are ours.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::http::Client;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The client of a request that came over a connection from `peer`.
///
/// Every proxy appends the address that it was asked from. So the addresses are read from the end,
/// for as long as those who wrote them are trusted; anything further to the front is hearsay.
pub(in crate::http) fn client(
    peer: IpAddr,
    encrypted: bool,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> Client {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut address = peer.to_canonical();
    if !is_trusted(&address) {
        return Client { address: Some(address), secure: encrypted };
    }
    for written in elements(headers, &FORWARDED_FOR).rev() {
        let Ok(one) = written.parse::<IpAddr>() else { break };
        address = one.to_canonical();
        if !is_trusted(&address) {
            break;
        }
    }
    let scheme = elements(headers, &FORWARDED_PROTO).next_back();
    let secure = scheme.map_or(encrypted, |scheme| scheme.eq_ignore_ascii_case("https"));
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
        let trusted = ["10.0.0.0/8", "192.0.2.7/32"].map(|network| network.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let client = client(peer.parse().unwrap(), encrypted, &map, &trusted);
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
