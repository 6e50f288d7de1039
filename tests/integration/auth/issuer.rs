//! A token server that only signs tokens.

use std::sync::Arc;
use std::time::SystemTime;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use longshore::clock::{Clock as _, SystemClock};
use longshore::store::memory::Memory;
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::{Guarded, replace, settings};
use crate::support::App;

pub(super) const ISSUER: &str = "tokens.test";
pub(super) const SERVICE: &str = "registry.test";

/// A key that signs tokens.
pub(super) struct Signer {
    pub(super) pair: KeyPair,
    pub(super) algorithm: Algorithm,
    pub(super) id: String,
}

impl Signer {
    pub(super) fn new(algorithm: Algorithm, id: &str) -> Self {
        let kind = match algorithm {
            Algorithm::RS256 => &rcgen::PKCS_RSA_SHA256,
            Algorithm::EdDSA => &rcgen::PKCS_ED25519,
            _ => &rcgen::PKCS_ECDSA_P256_SHA256,
        };
        let pair = KeyPair::generate_for(kind).expect("a key pair");
        Self { pair, algorithm, id: id.to_owned() }
    }

    pub(super) fn key(&self) -> EncodingKey {
        let pem = self.pair.serialize_pem();
        let key = match self.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_ec_pem(pem.as_bytes()),
        };
        key.expect("a private key")
    }

    pub(super) fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.clone());
        header
    }

    pub(super) fn sign(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.key()).expect("a token")
    }

    /// A token of this user with this access.
    pub(super) fn token(&self, user: &str, access: &[(&str, &[&str])]) -> String {
        self.sign(&self.header(), &claims(user, access))
    }

    pub(super) fn jwk(&self) -> Value {
        if self.algorithm == Algorithm::EdDSA {
            let x = base64_url(self.pair.public_key_raw());
            return json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": x });
        }
        let jwk = Jwk::from_encoding_key(&self.key(), self.algorithm).expect("a JWK");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = json!(self.id);
        jwk
    }

    pub(super) fn certificate(&self) -> String {
        let parameters = rcgen::CertificateParams::new(vec!["tokens.test".to_owned()]);
        let parameters = parameters.expect("good parameters");
        parameters.self_signed(&self.pair).expect("a certificate").pem()
    }
}

/// Claims that are valid for five minutes. Each access is `name` or `type:name` with its actions.
pub(super) fn claims(user: &str, access: &[(&str, &[&str])]) -> Value {
    let now = now();
    let entry = |(name, actions): &(&str, &[&str])| {
        let (kind, name) = name.split_once(':').unwrap_or(("repository", name));
        json!({ "type": kind, "name": name, "actions": actions })
    };
    json!({
        "iss": ISSUER, "sub": user, "aud": SERVICE, "jti": "x",
        "iat": now, "nbf": now, "exp": now + 300,
        "access": access.iter().map(entry).collect::<Vec<_>>(),
    })
}

pub(super) fn now() -> i64 {
    let since = SystemClock.now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("a number of seconds")
}

pub(super) fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn jwks(signers: &[&Signer]) -> String {
    json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }).to_string()
}

/// A registry that accepts tokens signed by these keys, with further settings.
pub(super) async fn with_tokens(keys: &str, text: &str) -> Guarded {
    let folder = tempfile::tempdir().expect("a temporary folder");
    replace(&folder.path().join("keys"), keys);
    let text = format!(
        "access.token = {{ realm = 'https://tokens.test/token', service = '{SERVICE}', issuer = \
         '{ISSUER}', keys_file = '{{folder}}/keys' }}\n{text}"
    );
    let settings = settings(folder.path(), &text);
    Guarded { app: App::over_memory(Arc::new(Memory::new()), settings).await, folder }
}
