//! Every way in: how a caller of a certain name gets what it shows with its requests.

use std::net::SocketAddr;
use std::sync::Arc;

use jsonwebtoken::Algorithm;
use longshore::registry::{LeaseSettings, Leases, TokenKeyStore};
use longshore::store::memory::Memory;
use longshore::tasks::Tasks;
use rcgen::{DnType, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::json;
use tokio::net::TcpListener;

use super::certificates::{Authority, client_of, connect};
use super::issuer::{Signer, jwks, now, with_tokens};
use super::tls::pair;
use super::{Guarded, basic_header, password, replace, settings, write_users};
use crate::support::App;
use crate::support::http::{Client, Request};

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Anonymous,
    /// A token of the registry, got without a login.
    AnonymousToken,
    Password,
    /// A token of the registry, got with a password in a header, in a form, and with a refresh
    /// token.
    PasswordToken,
    FormToken,
    RefreshedToken,
    /// The token of an issuer, as a bearer token and as a password.
    Identity,
    IdentityAsPassword,
    /// A token of the registry, got with the token of an issuer.
    IdentityToken,
    /// A token of an external token server.
    TokenServer,
    /// A client certificate, over TLS.
    Certificate,
    /// A token of the registry, got with a client certificate.
    CertificateToken,
}

/// What a caller may do in repositories.
pub(super) type Rights<'a> = &'a [(&'a str, &'a [&'a str])];

/// An index may name manifests that are not there.
const SPARSE: &str = "manifests.sparse = 'indexes'\n";

/// Repositories of the tests, for which a token is asked. The last one is the source of a mount.
pub(super) const REPOSITORIES: [&str; 6] =
    ["matrix/app", "matrix/nil", "mine/app", "mine/other", "secret/app", "x"];

impl Way {
    pub(super) const ALL: [Self; 12] = [
        Self::Anonymous,
        Self::AnonymousToken,
        Self::Password,
        Self::PasswordToken,
        Self::FormToken,
        Self::RefreshedToken,
        Self::Identity,
        Self::IdentityAsPassword,
        Self::IdentityToken,
        Self::TokenServer,
        Self::Certificate,
        Self::CertificateToken,
    ];

    fn has_certificate(self) -> bool {
        matches!(self, Self::Certificate | Self::CertificateToken)
    }

    /// Whether the caller shows a token of the registry itself.
    pub(super) fn has_registry_token(self) -> bool {
        matches!(
            self,
            Self::AnonymousToken
                | Self::PasswordToken
                | Self::FormToken
                | Self::RefreshedToken
                | Self::IdentityToken
                | Self::CertificateToken
        )
    }

    /// The status for what the caller may not do: 403, or 401 where other credentials could help.
    pub(super) fn refusal(self) -> u16 {
        match self {
            // Beside a certificate many clients send a password only when they are challenged.
            Self::Anonymous | Self::AnonymousToken | Self::TokenServer | Self::Certificate => 401,
            _ => 403,
        }
    }

    /// The subject of rules for a caller.
    fn subject(self, name: &str) -> String {
        match self {
            Self::Anonymous | Self::AnonymousToken => "anonymous".to_owned(),
            Self::Identity | Self::IdentityAsPassword | Self::IdentityToken => {
                format!("issuer:ci sub={name}")
            }
            Self::Certificate | Self::CertificateToken => format!("certificate:{name}"),
            _ => format!("user:{name}"),
        }
    }
}

/// What a caller sends its requests with.
pub(super) struct LoggedIn {
    client: Client,
    pub(super) authorization: Option<String>,
}

impl LoggedIn {
    pub(super) fn request(&self, method: &str, path: &str) -> Request<'_> {
        let request = self.client.request(method, path);
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }
}

/// A registry with one caller, and with an owner who may do everything.
pub(super) struct Scene {
    pub(super) way: Way,
    name: &'static str,
    rights: Vec<(String, Vec<String>)>,
    /// It stops when this is dropped.
    _guarded: Guarded,
    memory: Arc<Memory>,
    pub(super) owner: LoggedIn,
    client: Client,
    /// The key of the issuer or of the token server.
    signer: Signer,
}

impl Scene {
    pub(super) async fn start(way: Way, name: &'static str, rights: Rights<'_>) -> Self {
        let (signer, authority) = (Signer::new(Algorithm::ES256, "a"), Authority::new("ours"));
        let shown = pair();
        let guarded = if way == Way::TokenServer {
            with_tokens(&jwks(&[&signer]), SPARSE).await
        } else {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let users = [name, "owner"].map(|user| (user, password(user)));
            write_users(&folder.path().join("users"), &users);
            for (file, content) in [
                ("keys", &jwks(&[&signer])),
                ("tls.crt", &shown.certificate),
                ("tls.key", &shown.key),
                ("clients.crt", &authority.0.pem()),
            ] {
                replace(&folder.path().join(file), content);
            }
            let settings = settings(folder.path(), &text(way, name, rights));
            let app = App::over_memory(Arc::new(Memory::new()), settings).await;
            Guarded { app, folder }
        };
        let memory = guarded.memory.clone().expect("the memory store");
        let (client, of_owner) = if way.has_certificate() {
            let identity = authority.issue(|parameters| {
                parameters.distinguished_name.push(DnType::CommonName, name);
            });
            let address = guarded.address.expect("an address");
            let client = over_tls(address, client_of(&shown, Some(&identity), "http/1.1")).await;
            (client, over_tls(address, client_of(&shown, None, "http/1.1")).await)
        } else {
            (guarded.client.clone(), guarded.client.clone())
        };
        let owner = if way == Way::TokenServer {
            let mut all: Vec<(&str, &[&str])> =
                REPOSITORIES.iter().map(|name| (*name, &["*"][..])).collect();
            all.push(("registry:catalog", &["*"]));
            format!("Bearer {}", signer.token("owner", &all))
        } else {
            basic_header("owner", &password("owner"))
        };
        let owner = LoggedIn { client: of_owner, authorization: Some(owner) };
        let rights = rights.iter().map(|(repository, actions)| {
            let actions = actions.iter().map(|action| (*action).to_owned()).collect();
            ((*repository).to_owned(), actions)
        });
        let rights = rights.collect();
        Self { way, name, rights, _guarded: guarded, memory, owner, client, signer }
    }

    /// The caller, with a token for these repositories and for the catalog if it has one.
    pub(super) async fn log_in(&self, repositories: &[&str]) -> LoggedIn {
        let shown = self.shown(repositories).await;
        let authorization = shown.map(|shown| match self.way {
            Way::Password => basic_header(self.name, &shown),
            Way::IdentityAsPassword => basic_header("oidc", &shown),
            _ => format!("Bearer {shown}"),
        });
        LoggedIn { client: self.client.clone(), authorization }
    }

    /// A caller with another secret in the place of its own.
    pub(super) fn showing(&self, secret: &str) -> LoggedIn {
        let authorization = match self.way {
            Way::Password => basic_header(self.name, secret),
            Way::IdentityAsPassword => basic_header("oidc", secret),
            _ => format!("Bearer {secret}"),
        };
        LoggedIn { client: self.client.clone(), authorization: Some(authorization) }
    }

    /// The caller with these credentials.
    pub(super) fn with(&self, authorization: Option<String>) -> LoggedIn {
        LoggedIn { client: self.client.clone(), authorization }
    }

    /// The password or the token that the caller shows.
    pub(super) async fn shown(&self, repositories: &[&str]) -> Option<String> {
        let basic = |user: &str, password: &str| Some(basic_header(user, password));
        let form = |rest: &str| {
            let name = self.name;
            format!("grant_type=password&username={name}&password={}&{rest}", password(name))
        };
        let scopes: Vec<String> =
            repositories.iter().map(|name| format!("repository:{name}:*")).collect();
        let scope = format!("scope={}+registry:catalog:*", scopes.join("+"));
        Some(match self.way {
            Way::Anonymous | Way::Certificate => return None,
            Way::Password => password(self.name),
            Way::AnonymousToken | Way::CertificateToken => self.got(None, &scope).await,
            Way::PasswordToken => self.got(basic(self.name, &password(self.name)), &scope).await,
            Way::FormToken => self.posted(&form(&scope), "token").await,
            Way::RefreshedToken => {
                let refresh = self.refresh_token().await;
                let form = format!("grant_type=refresh_token&refresh_token={refresh}&{scope}");
                self.posted(&form, "token").await
            }
            Way::Identity | Way::IdentityAsPassword => self.identity(),
            Way::IdentityToken => self.got(basic("oidc", &self.identity()), &scope).await,
            Way::TokenServer => self.of_token_server(repositories),
        })
    }

    pub(super) async fn refresh_token(&self) -> String {
        let (name, password) = (self.name, password(self.name));
        let form =
            format!("grant_type=password&username={name}&password={password}&access_type=offline");
        self.posted(&form, "refresh_token").await
    }

    async fn got(&self, authorization: Option<String>, scope: &str) -> String {
        let caller = self.with(authorization);
        let path = format!("/auth/token?service=longshore&{scope}");
        let answer = caller.request("GET", &path).send().await.expect(200).json();
        answer["token"].as_str().expect("a token").to_owned()
    }

    async fn posted(&self, form: &str, field: &str) -> String {
        let request = self.client.request("POST", "/auth/token").body(form.to_owned());
        let answer = request.send().await.expect(200).json();
        answer[field].as_str().expect("a token").to_owned()
    }

    fn identity(&self) -> String {
        let now = now();
        let claims = json!({
            "iss": "https://ci.test", "sub": self.name, "aud": "registry", "iat": now,
            "exp": now + 300,
        });
        self.signer.sign(&self.signer.header(), &claims)
    }

    /// Its list has what the caller may do, and without an action what it may not do.
    fn of_token_server(&self, repositories: &[&str]) -> String {
        let mut access: Vec<(&str, Vec<&str>)> = Vec::new();
        for (repository, actions) in &self.rights {
            let actions = actions.iter().map(String::as_str);
            access.push((repository, actions.filter(|action| *action != "catalog").collect()));
        }
        access.retain(|(name, _)| repositories.contains(name) || !REPOSITORIES.contains(name));
        access.extend(repositories.iter().map(|repository| (*repository, Vec::new())));
        if self.rights.iter().any(|(_, actions)| actions.iter().any(|one| one == "catalog")) {
            access.push(("registry:catalog", vec!["*"]));
        }
        let access: Vec<(&str, &[&str])> =
            access.iter().map(|(name, actions)| (*name, actions.as_slice())).collect();
        self.signer.token(self.name, &access)
    }

    /// The key that has signed what the caller shows.
    pub(super) async fn key(&self) -> Signer {
        if !self.way.has_registry_token() {
            let pair = KeyPair::from_pem(&self.signer.pair.serialize_pem()).expect("a key");
            return Signer { pair, algorithm: self.signer.algorithm, id: self.signer.id.clone() };
        }
        let leases = Leases::new(&LeaseSettings::default()).expect("safe times");
        let keys = TokenKeyStore::new(self.memory.clone(), leases).read().await.expect("keys");
        let [key] = &keys[..] else { panic!("one key") };
        // RFC 8410, section 7: what stands before the seed.
        let mut der = hex::decode("302e020100300506032b657004220420").expect("hex");
        der.extend_from_slice(key.seed.expose());
        let der = PrivatePkcs8KeyDer::from(der);
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519);
        Signer { pair: pair.expect("a key"), algorithm: Algorithm::EdDSA, id: key.id.clone() }
    }
}

/// The settings of the registry.
fn text(way: Way, name: &str, rights: Rights<'_>) -> String {
    let subject = way.subject(name);
    let rules: String = rights
        .iter()
        .map(|(repository, actions)| {
            format!(
                "[[access.rules]]\nsubject = '{subject}'\nrepositories = '{repository}'\n\
                 actions = {actions:?}\n"
            )
        })
        .collect();
    let tls = if way.has_certificate() {
        "[server.tls]\ncertificate_file = '{folder}/tls.crt'\nkey_file = '{folder}/tls.key'\n\
         client_ca_file = '{folder}/clients.crt'\n"
    } else {
        ""
    };
    format!(
        "{SPARSE}access.htpasswd_file = '{{folder}}/users'\n\
         [[access.issuers]]\nname = 'ci'\nurl = 'https://ci.test'\naudience = 'registry'\n\
         jwks_file = '{{folder}}/keys'\n\
         [[access.rules]]\nsubject = 'user:owner'\nrepositories = '**'\n\
         actions = ['pull', 'push', 'delete', 'catalog']\n{rules}{tls}"
    )
}

/// A client whose connections reach a registry over TLS, through a port of this process.
pub(super) async fn over_tls(registry: SocketAddr, config: Arc<ClientConfig>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(Tasks::new().spawn(async move {
        while let Ok((mut plain, _)) = listener.accept().await {
            let config = config.clone();
            drop(Tasks::new().spawn(async move {
                let Ok(mut encrypted) = connect(registry, &config).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut plain, &mut encrypted).await;
            }));
        }
    }));
    Client::new(&format!("http://{address}"))
}
