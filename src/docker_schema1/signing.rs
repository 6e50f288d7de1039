//! The key with which the registry signs converted documents.

use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::encoding::{self, SPACE};
use super::public_key::PublicKey;

/// The indentation of libtrust.
pub(super) const INDENT: &str = "   ";

/// A private key on the curve P-256.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not a private key on the curve P-256 in PEM (openssl ecparam -name prime256v1 \
         -genkey -noout)"
)]
pub struct KeyError;

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id())
    }
}

impl SigningKey {
    /// Reads a key in PEM: PKCS #8 or SEC 1, also as libtrust wrote it, with headers in the block.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let lines = text.lines().filter(|line| line.starts_with("-----") || !line.contains(':'));
        let plain: String = lines.flat_map(|line| [line.trim(), "\n"]).collect();
        let der = PrivateKeyDer::from_pem_slice(plain.as_bytes()).map_err(|_| KeyError)?;
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_private_key_der(algorithm, der.secret_der())
            .map_err(|_| KeyError)?;
        Ok(Self::of(pair))
    }

    /// Makes a random key.
    ///
    /// # Panics
    ///
    /// When the operating system has no randomness.
    pub fn generate() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self::of(pair.expect("the operating system provides randomness"))
    }

    fn of(pair: EcdsaKeyPair) -> Self {
        let public = PublicKey::p256(pair.public_key().as_ref());
        Self { pair, public }
    }

    /// The fingerprint, as libtrust shows it.
    pub fn id(&self) -> String {
        self.public.id()
    }

    /// Puts a signature into a payload that ends with `\n}`, as all converted ones do.
    pub(super) fn sign(&self, payload: &str, signed_at: SystemTime) -> String {
        let head = payload.trim_end_matches(SPACE).trim_end_matches('}').trim_end_matches(SPACE);
        let tail = &payload[head.len()..];
        let time = OffsetDateTime::from(signed_at)
            .replace_nanosecond(0)
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok());
        let protected = json!({
            "formatLength": head.len(),
            "formatTail": encoding::encode(tail.as_bytes()),
            "time": time.unwrap_or_default(),
        });
        let protected = encoding::encode(protected.to_string().as_bytes());
        let signed = [&protected, ".", &encoding::encode(payload.as_bytes())].concat();
        let signature = self
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .expect("a key that was made can sign");
        let signatures = [Signature {
            header: Header { jwk: self.jwk(), alg: "ES256" },
            value: encoding::encode(signature.as_ref()),
            protected,
        }];
        let signatures = indented(&signatures).replace('\n', &format!("\n{INDENT}"));
        format!("{head},\n{INDENT}\"signatures\": {signatures}\n}}")
    }

    fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        json!({
            "crv": "P-256",
            "kid": self.id(),
            "kty": "EC",
            "x": encoding::encode(x),
            "y": encoding::encode(y),
        })
    }
}

/// A signature, with its keys in the order that libtrust writes.
#[derive(Serialize)]
struct Signature {
    header: Header,
    #[serde(rename = "signature")]
    value: String,
    protected: String,
}

#[derive(Serialize)]
struct Header {
    jwk: Value,
    alg: &'static str,
}

/// JSON over several lines, as Go's `MarshalIndent` writes it.
pub(super) fn indented(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(INDENT.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    value.serialize(&mut serializer).expect("plain data serializes");
    String::from_utf8(out).expect("JSON is UTF-8")
}
