//! The public keys of the token server: a JWKS, or PEM with certificates and public keys.
//!
//! A key has exactly one algorithm, so a token cannot choose how it is verified: neither `none`,
//! nor HMAC with a public key as the secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use rustls::server::ParsedCertificate;
use serde_json::Value;

/// The most keys in one file: a token may have to be tried with each of them.
const KEYS_MAX: usize = 32;

pub(super) struct Key {
    /// The `kid` in a JWKS. A key from PEM has none.
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) public: DecodingKey,
}

/// The keys of a token server.
pub(super) struct Keys(Vec<Key>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Keys").field(&self.0.len()).finish()
    }
}

impl Keys {
    /// Parses a JWKS or PEM file.
    pub(super) fn parse(contents: &[u8]) -> Result<Self, String> {
        let json = contents.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        let keys = if json { jwks(contents)? } else { pem(contents)? };
        match keys.len() {
            0 => Err("holds no public key for RS256, ES256 or EdDSA".to_owned()),
            1..=KEYS_MAX => Ok(Self(keys)),
            more => Err(format!("holds {more} keys, at most {KEYS_MAX} are read")),
        }
    }

    /// These keys.
    pub(super) fn of(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    /// Whether a key has this identifier, or has none and so may have any.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref().is_none_or(|known| known == id))
    }

    /// The keys that may have signed a token with this header. A `kid` in the token selects among
    /// the keys that have one.
    pub(super) fn candidates(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| {
            let named = match (id, &key.id) {
                (Some(wanted), Some(id)) => wanted == id,
                (None, _) | (_, None) => true,
            };
            named && key.algorithm == algorithm
        })
    }
}

fn jwks(contents: &[u8]) -> Result<Vec<Key>, String> {
    let set: Value =
        serde_json::from_slice(contents).map_err(|error| format!("is not JSON: {error}"))?;
    let keys = set.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or("is JSON, but no JWKS: it has no list called keys")?;
    // Keys for another use or of an unknown type are skipped.
    Ok(keys.iter().filter_map(|key| jwk(serde_json::from_value(key.clone()).ok()?)).collect())
}

fn jwk(jwk: Jwk) -> Option<Key> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        // With a symmetric key, everyone who can read the file could sign tokens.
        AlgorithmParameters::EllipticCurve(_)
        | AlgorithmParameters::OctetKeyPair(_)
        | AlgorithmParameters::OctetKey(_)
        | _ => return None,
    };
    let meant = jwk.common.key_algorithm;
    if meant.is_some_and(|meant| meant != KeyAlgorithm::from(algorithm)) {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key { id: jwk.common.key_id, algorithm, public: key })
}

fn pem(contents: &[u8]) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(contents) {
        let (kind, der) = section.map_err(|error| format!("is not PEM: {error:?}"))?;
        match kind {
            SectionKind::PublicKey => keys.push(public_key(&der)?),
            SectionKind::Certificate => {
                let certificate = CertificateDer::from(der);
                let parsed = ParsedCertificate::try_from(&certificate)
                    .map_err(|error| format!("holds an invalid certificate: {error}"))?;
                keys.push(public_key(&parsed.subject_public_key_info())?);
            }
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                return Err("holds a private key, which only the token server may have".into());
            }
            // Revocation lists and certificate requests contain no key to verify with.
            _ => {}
        }
    }
    Ok(keys)
}

/// The DER object identifiers of the key types (RFC 3279, RFC 5480, RFC 8410).
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// The greatest offset of the identifier in a key: after the headers of two sequences.
const HEADERS_BYTES_MAX: usize = 8;

fn public_key(der: &[u8]) -> Result<Key, String> {
    let is = |identifier: &[u8]| {
        (0..=HEADERS_BYTES_MAX)
            .any(|at| der.get(at..).is_some_and(|rest| rest.starts_with(identifier)))
    };
    let text =
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
    let (algorithm, key) = if is(RSA) {
        (Algorithm::RS256, DecodingKey::from_rsa_pem(text.as_bytes()))
    } else if is(P256) {
        (Algorithm::ES256, DecodingKey::from_ec_pem(text.as_bytes()))
    } else if is(ED25519) {
        (Algorithm::EdDSA, DecodingKey::from_ed_pem(text.as_bytes()))
    } else {
        return Err("holds a key that is none of RSA, P-256 and Ed25519".to_owned());
    };
    let key = key.map_err(|error| format!("holds an invalid public key: {error}"))?;
    Ok(Key { id: None, algorithm, public: key })
}
