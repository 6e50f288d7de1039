//! The settings of everything that speaks HTTP to a client.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::cors::{Origins, origins};
use crate::auth::CertificateName;
use crate::setting::{
    DAY, GIB, HOUR, KIB, MIB, MILLISECOND, MINUTE, Networks, SECOND, TIB, address, bytes, choice,
    choice_of, count, duration, networks, path, settings,
};
use crate::telemetry::metrics::ServeReason;

settings! {
    /// The registry's port: its address, its timeouts and its limits.
    pub struct ListenerSettings {
        /// The address and port to listen on.
        /// An address other than loopback also needs a login or `access.anonymous`, see there.
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 5000)), address();
        /// How long a client may take from the start of its connection to the end of the headers
        /// of its first request, TLS included, and how long a connection may have no request.
        header_timeout: Duration = 30 * SECOND, duration(100 * MILLISECOND..=HOUR);
        /// How long the body of a request may make no progress before the registry refuses it.
        /// There is no limit on the duration of a whole transfer.
        body_idle_timeout: Duration = MINUTE, duration(100 * MILLISECOND..=HOUR);
        /// How long a client may take nothing of a response before the registry ends it. When
        /// less than an eighth of `server.connections_max` or a quarter of
        /// `server.response_bytes` is free, and for a minute after a request was refused for want
        /// of them, `server.body_idle_timeout` holds instead if it is shorter.
        response_idle_timeout: Duration = 30 * MINUTE, duration(100 * MILLISECOND..=DAY);
        /// How long the registry still accepts connections after SIGTERM, while `/readyz` answers
        /// 503: as long as a load balancer needs to send its requests elsewhere.
        drain_delay: Duration = Duration::ZERO, duration(Duration::ZERO..=HOUR);
        /// How long requests in flight may take to finish after that. A client can continue an
        /// interrupted upload at another process.
        drain_timeout: Duration = 30 * SECOND, duration(Duration::ZERO..=HOUR);
        /// Connections at the same time. Further ones wait to be accepted.
        connections_max: usize = 10_000, count(1..=1_000_000);
        /// Memory for responses in flight. A blob that the registry streams takes up to 384 KiB,
        /// another response its length, and every request 16 KiB. A client, which is an IPv4
        /// address or an IPv6 network of 64 bits, may hold as much as is free; further requests
        /// get 503.
        response_bytes: usize = 256 * MIB, bytes(16 * MIB..=TIB);
        /// The proxies in front of the registry: a list of networks and addresses. The registry
        /// believes `X-Forwarded-For` and `X-Forwarded-Proto` of these only.
        trusted_proxies: Networks = Networks::default(), networks() => "10.0.0.0/8,fd00::/8";
        /// Whether `Location` has the whole URL of an upload, a blob or a manifest, for clients
        /// that cannot resolve a path. The host is the `Host` of the request, and the scheme is
        /// `https` if the client used it (see `trusted_proxies`).
        absolute_locations: bool = false, choice_of();
        /// Origins of web pages that may use the registry from a browser, with the credentials of
        /// their users (CORS). Requests of other origins are answered as before, but browsers do
        /// not show the answers to the page.
        cors_origins: Origins = Origins::default(), origins() => "https://ui.example.com";
        tls: TlsSettings;
    }
}

settings! {
    /// With both files the registry serves HTTPS only. It reloads them when they change; open
    /// connections continue.
    pub struct TlsSettings {
        /// The certificate of the registry, followed by the intermediate certificates, in PEM.
        certificate_file: Option<PathBuf> = None, path() => "/etc/longshore/tls.crt";
        /// The private key of the certificate, in PEM.
        key_file: Option<PathBuf> = None, path() => "/etc/longshore/tls.key";
        /// The authorities whose certificates clients may log in with, in PEM. The registry reloads
        /// the file when it changes, for new connections. A request without an `Authorization`
        /// header comes from the name in the certificate of its connection (`client_name`), which
        /// rules call `certificate:NAME`. A certificate that is expired, not valid yet, revoked or
        /// of another authority ends the connection.
        client_ca_file: Option<PathBuf> = None, path() => "/etc/longshore/clients.crt";
        /// Certificates that `client_ca_file` has issued and that no longer count: revocation
        /// lists in PEM, one of each authority that issues, reloaded like that file.
        client_crl_file: Option<PathBuf> = None, path() => "/etc/longshore/clients.crl";
        /// Whether clients need a certificate. `optional`: a client without one, or with one that
        /// has no such name, has not logged in by it. `required`: the registry refuses the
        /// connection. The admin port asks for none.
        client_certificates: ClientCertificates = ClientCertificates::Optional, choice_of();
        /// Which name in the certificate says who the client is: `common_name` of the subject, or
        /// `dns`, `email` or `uri` (a SPIFFE id) of the alternative names. There must be exactly
        /// one of this kind.
        client_name: CertificateName = CertificateName::CommonName, choice_of();
    }
}

choice! {
    /// Whether clients need a certificate.
    pub enum ClientCertificates {
        /// Clients without one may use other logins.
        Optional = "optional",
        /// The handshake fails without one.
        Required = "required",
    }
}

settings! {
    /// How much a caller may use. Beyond a limit the registry answers 429 with `Retry-After`, and
    /// the caller waits. Each process counts for itself, so several processes allow several times
    /// as much. The admin port has no such limits.
    pub struct LimitSettings {
        subject: CallerLimitSettings;
        address: CallerLimitSettings;
    }
}

settings! {
    /// `limits.subject` holds for each caller that has logged in. `limits.address` holds for each
    /// client address, which is an IPv4 address or an IPv6 network of 64 bits, with and without a
    /// login; behind `server.trusted_proxies` it is the address that they report.
    pub struct CallerLimitSettings {
        /// Requests in a second, over a longer time. Without this setting there is no limit.
        requests_per_second: Option<u32> = None, count(1..=1_000_000) => "50";
        /// Requests that may come at once after a pause. Pulling or pushing an image takes up to
        /// four for each layer.
        requests_burst: u32 = 200, count(1..=1_000_000);
        /// Bytes of request bodies in a second, over a longer time. A body that has begun is
        /// neither slowed nor cut; what it uses beyond the limit, later pushes wait for.
        upload_bytes_per_second: Option<usize> = None, bytes(KIB..=10 * GIB) => "50MiB";
        /// Bytes of request bodies that may come at once after a pause.
        upload_burst_bytes: usize = 4 * GIB, bytes(KIB..=512 * GIB);
        /// The same for the bodies of responses. What a client fetches from the bucket
        /// (`blobs.delivery`) does not count.
        download_bytes_per_second: Option<usize> = None, bytes(KIB..=10 * GIB) => "50MiB";
        /// Bytes of responses that may go out at once after a pause.
        download_burst_bytes: usize = 4 * GIB, bytes(KIB..=512 * GIB);
    }
}

settings! {
    /// The admin port.
    pub struct AdminSettings {
        /// The address and port of `/livez`, `/readyz` and `/metrics`. This port has no
        /// authentication and no TLS: expose it to your monitoring only. Without this setting
        /// there is no admin port.
        listen: Option<SocketAddr> = None, address() => "0.0.0.0:5001";
    }
}

settings! {
    /// How blobs reach the clients.
    pub struct BlobSettings {
        /// `proxy`: the registry streams blobs itself. `redirect`: it sends clients to the store
        /// with a presigned URL, which needs an S3 store that they can reach
        /// (`store.s3.public_endpoint`). `auto`: it redirects clients in `blobs.redirect_networks`
        /// and streams to all others.
        delivery: Delivery = Delivery::Proxy, choice_of();
        /// For `auto`: the networks whose clients can reach the store. The address of a client is
        /// the one that `server.trusted_proxies` report.
        redirect_networks: Networks = Networks::default(), networks() => "10.0.0.0/8,fd00::/8";
        /// How long a presigned URL is valid.
        redirect_ttl: Duration = 20 * MINUTE, duration(MINUTE..=7 * DAY);
        /// How long the presigned URL of a blob stays the same, so that HTTP caches between client
        /// and store can answer. A URL is valid for at least `redirect_ttl` minus this step, which
        /// must be shorter.
        redirect_step: Duration = 5 * MINUTE, duration(SECOND..=DAY);
        /// Whether clients may delete blobs.
        delete: bool = true, choice_of();
    }
}

impl BlobSettings {
    /// Whether the registry redirects a client to the store, and what decides it. It does not
    /// redirect a client with an unknown address, which may not reach the store.
    pub(super) fn redirects(&self, client: Option<IpAddr>) -> (bool, ServeReason) {
        match self.delivery {
            Delivery::Proxy => (false, ServeReason::Configured),
            Delivery::Redirect => (true, ServeReason::Configured),
            Delivery::Auto => {
                let reaches = |address| self.redirect_networks.contains(address);
                (client.is_some_and(reaches), ServeReason::Network)
            }
        }
    }
}

settings! {
    /// What clients may list.
    pub struct ListSettings {
        /// The longest page of tags or repositories, also when a client requests more. A client
        /// that does not follow the `Link` to the next page sees this many rows. A page of
        /// referrers has at most 100.
        page_max: usize = 1000, count(1..=100_000);
        /// Whether the registry serves the list of all repositories (`/v2/_catalog`).
        catalog: bool = true, choice_of();
    }
}

settings! {
    /// The pages for people with a browser, below `/ui/`.
    pub struct PageSettings {
        /// Whether the registry serves the pages, and leads a browser that asks for `/` to them.
        /// They show what the caller may pull, and change nothing.
        enabled: bool = true, choice_of();
    }
}

choice! {
    /// How a blob reaches the client.
    pub enum Delivery {
        /// The registry streams it.
        Proxy = "proxy",
        /// The client fetches it from the store with a presigned URL.
        Redirect = "redirect",
        /// A redirect to clients in the redirect networks; all others get a stream.
        Auto = "auto",
    }
}
