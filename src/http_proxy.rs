//! HTTP proxies between this process and the servers that it asks: the bucket and the collector of
//! traces.
//!
//! The environment names them, as it does for most programs: `HTTPS_PROXY` for addresses with
//! `https`, `HTTP_PROXY` for those with `http`, `ALL_PROXY` for both, `NO_PROXY` for exceptions, in
//! upper or lower case. A request to an `http` address names the whole address to the proxy; for an
//! `https` address the proxy only opens a tunnel (CONNECT), and TLS goes through it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::PROXY_AUTHORIZATION;
use http::uri::{Scheme, Uri};
use http::{HeaderValue, Request};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

type BoxError = Box<dyn StdError + Send + Sync>;

/// The proxies of the environment.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Option<Arc<Matcher>>);

/// A proxy for some address. `Display` writes where it is, without its login.
#[derive(Clone, Debug)]
pub struct Proxy(Intercept);

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.0.uri().to_string();
        write!(f, "the HTTP proxy {}", address.trim_end_matches('/'))
    }
}

/// A proxy that could not be reached, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{proxy} cannot be used")]
struct ProxyError {
    proxy: String,
    source: BoxError,
}

impl Proxies {
    /// Reads the variables. The error names the variable and not its value, which may contain a
    /// password.
    #[expect(clippy::disallowed_methods, reason = "programs share these variables")]
    pub fn from_environment() -> Result<Self, String> {
        Self::read(&|name| std::env::var(name).ok())
    }

    fn read(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let get = |name: &str| {
            let set = [name.to_owned(), name.to_lowercase()];
            let mut set = set.iter().filter_map(|name| lookup(name));
            set.find(|value| !value.trim().is_empty()).map(|value| value.trim().to_owned())
        };
        let address = |name: &str| match get(name) {
            Some(text) if !is_http(&text) => Err(format!(
                "{name} is not the address of an HTTP proxy, such as \
                 http://proxy.example.com:3128; other kinds of proxies are not supported"
            )),
            text => Ok(text.unwrap_or_default()),
        };
        let no = get("NO_PROXY").unwrap_or_default();
        if no.split(',').any(|entry| entry.trim() == "*") {
            return Ok(Self::default());
        }
        let all = address("ALL_PROXY")?;
        let (http, https) = (address("HTTP_PROXY")?, address("HTTPS_PROXY")?);
        if all.is_empty() && http.is_empty() && https.is_empty() {
            return Ok(Self::default());
        }
        let matcher = Matcher::builder().all(all).http(http).https(https).no(no).build();
        Ok(Self(Some(Arc::new(matcher))))
    }

    /// The proxy for an address. There is none for this machine itself.
    pub fn of(&self, address: &Uri) -> Option<Proxy> {
        let matcher = self.0.as_ref()?;
        let host = address.host()?.trim_start_matches('[').trim_end_matches(']');
        let ip = host.parse::<std::net::IpAddr>();
        if host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback()) {
            return None;
        }
        matcher.intercept(address).map(Proxy)
    }

    /// Adds the login of the proxy to a request that the proxy itself reads. A tunnel has it
    /// already.
    pub fn authorize<B>(&self, request: &mut Request<B>) {
        if request.uri().scheme() == Some(&Scheme::HTTP)
            && let Some(login) = self.of(request.uri()).and_then(|proxy| proxy.login())
        {
            request.headers_mut().insert(PROXY_AUTHORIZATION, login);
        }
    }
}

impl Proxy {
    fn login(&self) -> Option<HeaderValue> {
        self.0.basic_auth().cloned()
    }

    fn failed(&self, source: impl Into<BoxError>) -> BoxError {
        Box::new(ProxyError { proxy: self.to_string(), source: source.into() })
    }
}

/// Whether a text is `http://host:port` or `host:port`, with or without a login.
fn is_http(text: &str) -> bool {
    text.parse::<Uri>().is_ok_and(|address| {
        matches!(address.scheme_str(), None | Some("http"))
            && address.host().is_some_and(|host| !host.is_empty())
    })
}

/// Opens connections: to the server itself, or to its proxy. TLS is on top of this.
#[derive(Clone, Debug)]
pub struct ProxyConnector {
    tcp: HttpConnector,
    proxies: Proxies,
}

impl ProxyConnector {
    pub fn new(tcp: HttpConnector, proxies: Proxies) -> Self {
        Self { tcp, proxies }
    }
}

impl Service<Uri> for ProxyConnector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.of(&target) else {
            let opening = self.tcp.call(target);
            return Box::pin(async move { Ok(Stream { io: opening.await?, is_proxied: false }) });
        };
        let address = proxy.0.uri().clone();
        if target.scheme() == Some(&Scheme::HTTPS) {
            let mut tunnel = Tunnel::new(address, self.tcp.clone());
            if let Some(login) = proxy.login() {
                tunnel = tunnel.with_auth(login);
            }
            let opening = tunnel.call(target);
            return Box::pin(async move {
                let io = opening.await.map_err(|error| proxy.failed(error))?;
                Ok(Stream { io, is_proxied: false })
            });
        }
        let opening = self.tcp.call(address);
        Box::pin(async move {
            let io = opening.await.map_err(|error| proxy.failed(error))?;
            Ok(Stream { io, is_proxied: true })
        })
    }
}

/// A connection that knows whether requests on it must name the whole address.
#[derive(Debug)]
pub struct Stream {
    io: TokioIo<TcpStream>,
    is_proxied: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.is_proxied)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, String> {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Proxies::read(&|wanted| {
            variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
        })
    }

    fn of(variables: &[(&str, &str)], address: &str) -> Option<String> {
        let found = proxies(variables).unwrap().of(&address.parse().unwrap());
        found.map(|proxy| proxy.to_string().replace("the HTTP proxy ", ""))
    }

    #[test]
    fn the_scheme_of_the_address_chooses_the_variable() {
        let all = [("HTTP_PROXY", "a:1"), ("https_proxy", "http://b:2"), ("ALL_PROXY", "c:3")];
        assert_eq!(of(&all, "http://s3.example").as_deref(), Some("http://a:1"));
        assert_eq!(of(&all, "https://s3.example").as_deref(), Some("http://b:2"));
        assert_eq!(of(&all[2..], "http://s3.example").as_deref(), Some("http://c:3"));
        // An empty variable is none.
        let empty = [("HTTP_PROXY", ""), ("http_proxy", "a:1")];
        assert_eq!(of(&empty, "http://s3.example").as_deref(), Some("http://a:1"));
        assert_eq!(of(&empty, "https://s3.example"), None);
        assert_eq!(of(&[], "https://s3.example"), None);
    }

    #[test]
    fn exceptions_are_hosts_suffixes_networks_and_everything() {
        for (no, address, excepted) in [
            ("s3.example", "http://s3.example:9000", true),
            ("s3.example", "http://bucket.s3.example", true),
            (".example", "http://s3.example", true),
            ("x.test, .example", "http://S3.EXAMPLE", true),
            ("3.example", "http://s3.example", false),
            ("192.0.2.0/24", "http://192.0.2.55:9000", true),
            ("192.0.2.0/24", "http://192.0.3.55:9000", false),
            ("2001:db8::/32", "http://[2001:db8::1]:9000", true),
            ("192.0.2.7", "http://192.0.2.7", true),
            ("*", "http://192.0.2.7", true),
            ("a, *", "http://s3.example", true),
            ("", "http://localhost:9000", true),
            ("", "http://127.0.0.1:9000", true),
            ("", "http://[::1]:9000", true),
            ("", "http://s3.example", false),
        ] {
            let variables = [("ALL_PROXY", "proxy:1"), ("no_proxy", no)];
            assert_eq!(of(&variables, address).is_none(), excepted, "{no:?} {address}");
        }
    }

    #[test]
    fn other_proxies_are_refused_without_their_passwords() {
        for address in ["socks5://u:hunter2@p:1", "https://u:hunter2@p:1", "http://", "/hunter2"] {
            let refused = proxies(&[("HTTPS_PROXY", address)]).unwrap_err();
            assert!(refused.starts_with("HTTPS_PROXY is not "), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        let proxies = proxies(&[("ALL_PROXY", "http://u:hunter2@p:1")]).unwrap();
        let proxy = proxies.of(&Uri::from_static("http://s3.example")).unwrap();
        assert_eq!(proxy.to_string(), "the HTTP proxy http://p:1");
        assert_eq!(proxy.login().unwrap(), "Basic dTpodW50ZXIy");
        assert!(!format!("{proxies:?}").contains("hunter2"));
    }
}
