//! The settings of authentication and authorization.

use std::path::PathBuf;

use super::issuers::IssuerSettings;
use super::rules::Rule;
use crate::setting::{choice, choice_of, path, settings, tables, text, word};

settings! {
    /// Who may do what.
    ///
    /// Without a login (`htpasswd_file`, a token server or `server.tls.client_ca_file`) and without
    /// rules every client may do everything, and the registry listens on a loopback address only,
    /// unless `anonymous` is given. With a login or rules, a request that nothing allows is denied.
    pub struct AccessSettings {
        /// What every client may do in all repositories, also without a login: `pull`, or `push`,
        /// which is everything. The registry listens on an address other than loopback only with a
        /// login or with this setting, so that nobody opens a registry to the network by accident.
        anonymous: Option<GeneralAccess> = None, choice_of::<GeneralAccess>() => "pull";
        /// What every client with a valid login may do in all repositories: `pull`, or `push`,
        /// which is everything. Use rules to be more precise.
        authenticated: Option<GeneralAccess> = None, choice_of::<GeneralAccess>() => "push";
        /// Users and the bcrypt hashes of their passwords, as `htpasswd -B` writes them.
        /// The registry reloads the file when it changes.
        htpasswd_file: Option<PathBuf> = None, path() => "/etc/longshore/htpasswd";
        /// What a 401 asks clients for. `bearer` sends them to a token server: to that of
        /// `access.token`, or to the one that the registry itself is, where clients can log in
        /// without another one. `basic` asks for a name and a password. `auto` is `bearer`; Docker
        /// needs it to pull without a login from a registry that has logins. A password that a
        /// client sends without being asked is accepted in any case.
        challenge: Challenge = Challenge::Auto, choice_of::<Challenge>();
        token: TokenSettings;
        /// Issuers of identity tokens (OpenID Connect), so that CI jobs, cloud workloads and pods
        /// log in with what they have and no secret is stored for them:
        ///
        /// ```toml
        /// [[access.issuers]]
        /// name = "github"
        /// url = "https://token.actions.githubusercontent.com"
        /// audience = "registry.example.com"
        /// required = ["repository_owner=acme"]
        /// ```
        ///
        /// A token is accepted as a bearer token, and as the password of a login of the user
        /// `oidc`. Rules say what it may do: `issuer:github repository=acme/app`.
        ///
        /// `name`: what rules and logs call the issuer. `url`: the exact `iss` of its tokens.
        /// `audience`: a text or a list; the token has to have one of them. `required`: claims that
        /// every token has to have, as `CLAIM=PATTERN`. `subject_claim`: the claim with the name
        /// of the caller, `sub` by default. `groups_claim`: the claim with the groups for rules of
        /// the form `group:NAME`; without it the issuer says nothing about groups.
        ///
        /// The registry fetches the keys of the issuer from the address in its discovery document,
        /// or from `jwks_url`, or reads them from `jwks_file`. `ca_file`: the authorities that the
        /// server of the issuer is trusted by, instead of those of the machine.
        /// `bearer_token_file`: a token for that server, as a Kubernetes API server may want one.
        ///
        /// Claims inside objects have the names of both, such as `kubernetes.io.namespace`.
        issuers: Vec<IssuerSettings> = Vec::new(), tables();
        /// Rules. Each rule allows all of its subjects all of its actions in all of its
        /// repositories:
        ///
        /// ```toml
        /// [[access.rules]]
        /// subject = ["group:developers", "user:ci"]
        /// repositories = ["team/**", "mirror/*"]
        /// actions = ["pull", "push"]
        /// ```
        ///
        /// Subjects: `user:NAME`; `group:NAME` and `claim:NAME=VALUE`, which the token of a caller
        /// has to contain; `issuer:NAME CLAIM=PATTERN...`, a token of one of `access.issuers` in
        /// which each claim matches; `certificate:PATTERN`, a client certificate with a matching
        /// name; `authenticated`, every caller with a valid login; `anonymous`, every caller.
        ///
        /// Repositories: `*` stands for a part of one component, `**` for anything.
        ///
        /// Actions: `pull`; `push`; `create`, which is a push that moves no existing tag;
        /// `delete`; `catalog`, which lists the repositories that the caller may pull. Clients
        /// that push also read existing content, so give them `pull` as well.
        ///
        /// `longshore access explain` prints which rule decides.
        rules: Vec<Rule> = Vec::new(), tables();
    }
}

impl AccessSettings {
    /// Whether clients can log in with an `Authorization` header.
    pub fn has_login(&self) -> bool {
        self.htpasswd_file.is_some() || self.token.realm.is_some() || !self.issuers.is_empty()
    }
}

settings! {
    /// A token server that authenticates users: the "Token Authentication" of Docker registries.
    ///
    /// Needs all of `realm`, `service`, `issuer` and `keys_file`. A token allows what its list
    /// (`access`) contains. If rules name logins, or `access.authenticated` is given, these have
    /// to allow the request as well.
    pub struct TokenSettings {
        /// Where clients fetch tokens: a URL, or a path on the registry's own address. That
        /// address is the `Host` of the request, with `https` if the request used it (see
        /// `server.trusted_proxies`).
        realm: Option<String> = None, text(realm) => "https://tokens.example.com/token";
        /// The name of this registry, which its tokens have as their audience.
        service: Option<String> = None, text(quotable) => "registry.example.com";
        /// The issuer of the tokens.
        issuer: Option<String> = None, text(word) => "tokens.example.com";
        /// The public keys that verify tokens: a JWKS, or PEM with certificates and public keys.
        /// For `RS256`, `ES256` and `EdDSA`. The registry reloads the file when it changes.
        keys_file: Option<PathBuf> = None, path() => "/etc/longshore/jwks.json";
        /// The claim with the groups of a user, for rules.
        groups_claim: String = "groups".to_owned(), text(word);
    }
}

choice! {
    /// What a 401 asks for.
    pub enum Challenge {
        /// Tokens, if there is a token server.
        Auto = "auto",
        /// A name and a password.
        Basic = "basic",
        /// A token.
        Bearer = "bearer",
    }
}

choice! {
    /// What may be done in all repositories.
    pub enum GeneralAccess {
        /// Read, lists included.
        Pull = "pull",
        /// Everything.
        Push = "push",
    }
}

/// Text for a challenge: between quotes, and without the names of schemes, because some clients
/// look for those anywhere in the line.
fn quotable(text: &str) -> Result<String, String> {
    let text = word(text)?;
    let lower = text.to_lowercase();
    if text.contains(['"', '\\', ',']) || ["basic", "bearer"].iter().any(|s| lower.contains(s)) {
        return Err(format!(
            "{text:?} would confuse clients: it must not contain a quote, a comma, a backslash, or \
             the words basic and bearer"
        ));
    }
    Ok(text)
}

/// The address of a token server, or a path on our own.
fn realm(text: &str) -> Result<String, String> {
    let text = quotable(text)?;
    let own = text.starts_with('/') && !text.starts_with("//");
    let elsewhere = text.parse::<http::Uri>().ok().filter(|address| {
        matches!(address.scheme_str(), Some("http" | "https"))
            && address.authority().is_some_and(|a| !a.as_str().contains('@'))
    });
    if own || elsewhere.is_some() {
        return Ok(text);
    }
    Err(format!("{text:?} is not an address, such as https://tokens.example.com/token or /token"))
}
